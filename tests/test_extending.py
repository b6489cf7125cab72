"""The page about code of one's own runs as it stands: files are written, Python and commands run, in its order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from plumbing.interpreter import ROOT

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python|sh)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_run(tmp_path: Path) -> None:
    for kind, block in BLOCKS:
        assert len(block.splitlines()) <= 25, block
        named = re.match(r"# (\w+\.py)\n", block)
        if named:
            (tmp_path / named[1]).write_text(block)
        elif kind == "python":
            run(tmp_path, "-c", block)
        else:
            for line in block.replace("\\\n", "").splitlines():
                python, command, *words = shlex.split(line)
                assert python == "python"
                run(tmp_path, str(ROOT / command), *words)


def run(folder: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stderr}"


def test_every_way_to_extend_is_on_the_page() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    kinds = ["Reward", "Observation", "Something new from the snapshot", "Controller", "Network", "Algorithm"]
    assert titles == [*kinds, "What a run directory remembers"]
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}
