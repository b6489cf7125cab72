"""The page about code of one's own runs as it stands: files are written, Python and commands run, in its order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import evaluate
import replay
import train
from plumbing.interpreter import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


COMMANDS = {"train.py": train.main, "evaluate.py": evaluate.main, "replay.py": replay.main}


@pytest.mark.wide
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, block in BLOCKS:
        assert len(block.splitlines()) <= 25, block
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            Path(named[1]).write_text(block)
        elif kind == "python":
            exec(compile(block, "docs/extending.md", "exec"), {"__name__": "example"})
        else:
            for line in block.replace("\\\n", "").splitlines():
                python, command, *words = shlex.split(line)
                assert python == "python"
                assert COMMANDS[command](words) == 0, line


def test_every_way_to_extend_is_on_the_page() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    kinds = ["Reward", "Observation", "Something new from the snapshot", "Controller", "Network", "Algorithm"]
    assert titles == [*kinds, "A trained policy in a program of your own", "What a run directory remembers"]
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}
