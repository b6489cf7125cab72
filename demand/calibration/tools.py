"""SUMO's own programs and scripts as processes, which write into the folder that they are given and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from plumbing.errors import InputError
from plumbing.interpreter import ROOT, environment, last_line

LIMIT_S = 3600.0


def binary(name: str, words: Sequence[str], limit_s: float = LIMIT_S) -> str:
    """Run a program of SUMO's, such as duarouter. Returns what it says; paths are absolute.

    Raises:
        InputError: it fails.
    """
    return _call(name, [os.path.join(_home(), "bin", name), *words], limit_s)


def script(name: str, words: Sequence[str], limit_s: float = LIMIT_S) -> str:
    """The same of one of the Python scripts in SUMO's tools."""
    # by its path, so that Python searches the tools' folder first and not the current one
    return _call(name, [sys.executable, os.path.join(_home(), "tools", name), *words], limit_s)


def _call(name: str, command: Sequence[str], limit_s: float) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            env=environment(SUMO_HOME=_home()),
            cwd=ROOT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"SUMO's {name} does not run: {error}; check the installation of eclipse-sumo") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if line.startswith("Error")), last_line(done.stderr))
        raise InputError(f"SUMO's {name} fails: {said or f'exit status {done.returncode}'}; check network and counts")
    return done.stdout


def listed(files: Sequence[Path]) -> str:
    """Files as SUMO's options take them."""
    return ",".join(map(str, files))


def _home() -> str:
    import sumo  # the wheel that brings the programs; it knows where they are

    return str(sumo.SUMO_HOME)
