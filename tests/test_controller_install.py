"""What a controller's computer gets: one command, from a Python as it comes, to a control.py that runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deployment.emulator.process import ROOT, EmulatorProcess
from tests.field import start
from tests.policy_runs import exported_bundle

NEEDED = [
    text for text in (ROOT / "deployment" / "requirements.txt").read_text().splitlines() if not text.startswith("#")
]


def name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def test_what_control_needs_has_the_bounds_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    }
    assert set(NEEDED) <= bounds


@pytest.mark.slow
def test_one_command_installs_what_control_needs_into_a_clean_environment(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """By the pip that comes with Python; it fetches from the package index, and fails in pip's words without one."""
    venv, python = tmp_path / "venv", str(tmp_path / "venv" / "bin" / "python")
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")}
    made = subprocess.run(
        ["make", "controller", f"CONTROLLER_VENV={venv}", f"PYTHON={sys.executable}"], cwd=ROOT, env=plain,
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert f"Ready: {python} control.py --help" in made.stdout

    # exactly the tested versions, and of the heavy ones none
    frozen = subprocess.run([python, "-m", "pip", "freeze"], text=True, capture_output=True, check=True).stdout
    pinned = {name(text): text for text in (ROOT / "constraints.txt").read_text().splitlines() if "==" in text}
    found = {name(text): text for text in frozen.splitlines()}
    assert {name(text) for text in NEEDED} <= set(found)
    assert {key: text.partition("==")[2] for key, text in found.items()} == {
        key: pinned[key].partition("==")[2] for key in found
    }
    assert not {"torch", "eclipse-sumo", "libsumo", "gymnasium", "polars", "intergreen"} & set(found)

    helped = subprocess.run(
        [python, "control.py", "--help"], cwd=ROOT, env=plain, text=True, capture_output=True, check=False
    )
    assert (helped.returncode, helped.stderr) == (0, "")
    path = exported_bundle(tmp_path_factory)
    bundle, log = (path, path.parent / "key.pub"), tmp_path / "watch.jsonl"
    with EmulatorProcess("single", speed=5.0) as emulator:
        words = ("--speed", "5", "--duration", "15", "--log", str(log), "--metrics-port", "0")
        watching = start(bundle, emulator.port, *words, python=python)
        told, errors = watching.communicate(timeout=60)
    assert watching.returncode == 0, errors
    assert "watches, and writes nothing" in told
    again = start(bundle, 0, "--replay", str(log), python=python)
    told, errors = again.communicate(timeout=60)
    assert again.returncode == 0, told + errors
    assert ", 0 different; 0 commands were written" in told
