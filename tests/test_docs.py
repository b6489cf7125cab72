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


def run(code: str, **settings: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SUMO_HOME"}
    environment |= {"PYTHONPATH": str(ROOT), **settings}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_our_side_of_the_migration_page_runs() -> None:
    ours = [block for block in BLOCKS if block not in THEIRS]
    assert len(ours) >= 4
    run("\n".join(ours))


@pytest.mark.parametrize("block", THEIRS, ids=["one signal", "all signals"])
def test_sumo_rls_side_of_the_migration_page_runs(block: str) -> None:
    run(block, SUMO_HOME=sumo.SUMO_HOME)


def test_every_option_and_reward_is_on_the_migration_page() -> None:
    from signals.rewards import REWARDS

    text = PAGE.read_text()
    for name in REWARDS:
        assert f'"{name}"' in text, f"docs/migrating-from-sumo-rl.md does not mention the reward {name}"
