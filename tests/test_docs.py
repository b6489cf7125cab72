"""The pages' Python runs as it stands: ours without SUMO_HOME, sumo-rl's (so marked) with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sumo

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "migrating-from-sumo-rl.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
THEIRS = [block for block in BLOCKS if block.startswith("# sumo-rl\n")]


@pytest.mark.wide
def test_our_side_of_the_migration_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [block for block in BLOCKS if block not in THEIRS]
    assert len(ours) >= 4
    monkeypatch.delenv("SUMO_HOME", raising=False)
    exec(compile("\n".join(ours), PAGE, "exec"), {"__name__": "example"})


@pytest.mark.wide
def test_sumo_rls_side_of_the_migration_page_runs() -> None:
    assert len(THEIRS) == 2, "for one signal and for all"
    environment = {**os.environ, "SUMO_HOME": sumo.SUMO_HOME}
    command = [sys.executable, "-c", "\n".join(THEIRS)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_option_and_reward_is_on_the_migration_page() -> None:
    from signals.rewards import REWARDS

    text = PAGE.read_text()
    for name in REWARDS:
        assert f'"{name}"' in text, f"docs/migrating-from-sumo-rl.md does not mention the reward {name}"
