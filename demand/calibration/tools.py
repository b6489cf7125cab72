"""SUMO's programs as calibration calls them: each writes into a folder of its own, and a failure is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scenarios.sumo_tools import check_said, run_binary, run_script

_ADVICE = "check network and counts"


def binary(name: str, words: Sequence[str], folder: Path) -> None:
    """Run a program of SUMO's, such as duarouter; paths are absolute. Raises InputError where it fails."""
    check_said(run_binary(name, words, folder), name, _ADVICE)


def script(name: str, words: Sequence[str], folder: Path) -> None:
    """The same of one of the Python scripts in SUMO's tools."""
    check_said(run_script(name, words, folder), name, _ADVICE)
