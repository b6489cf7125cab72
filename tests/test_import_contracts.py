"""The contract of the field is checked of control.py itself, whatever it imports and wherever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


@pytest.mark.parametrize(
    ("line", "chain"),
    [
        ("import torch.nn", "control -> torch"),
        ("def late() -> None:\n    import pickle", "control -> pickle"),
        ("from scenarios.loading import load", "control -> scenarios.loading"),
        ("from deployment.plans import observe", "control -> deployment.plans.observe"),
        ("from deployment.bundle.make import sheet", "control -> deployment.bundle.make.sheet"),
        ("from deployment.emulator import lamps", "control -> deployment.emulator.lamps"),
        ("", ""),
    ],
)
def test_what_control_imports_counts(line: str, chain: str, tmp_path: Path) -> None:
    """Run beside a changed control.py, as `make check` runs it beside the real one."""
    (tmp_path / "control.py").write_text(f"{(ROOT / 'control.py').read_text()}\n\n{line}\n")
    for name in ("pyproject.toml", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [LINT, "--no-cache", "--contract", "field"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == (1 if chain else 0), done.stdout + done.stderr
    assert chain in done.stdout
