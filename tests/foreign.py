"""A folder of somebody's in which files lie that bear the names of modules: each tells of it when it is imported."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from plumbing.interpreter import ROOT
from tests.scenario_files import user_folder

OURS = (
    "plumbing",
    "native",
    "signals",
    "scenarios",
    "envs",
    "controllers",
    "agents",
    "evaluation",
    "playback",
    "deployment",
    "benchmarks",
)
OTHERS = (
    "libsumo", "traci", "sumolib", "sumo", "numpy", "yaml", "gymnasium", "torch", "scipy", "polars", "rich", "ray",
    "stable_baselines3", "matplotlib", "onnxruntime", "pysnmp", "cryptography", "sitecustomize", "usercustomize",
    "train", "evaluate", "replay", "export", "control",
)  # fmt: skip
LEDGER = "ledger.txt"


@functools.cache
def of_python() -> tuple[str, ...]:
    """The modules of the standard library that Python has not imported yet when it comes to those of `python -m`."""
    code = "import runpy, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    return tuple(sorted(sys.stdlib_module_names - set(loaded.split()) - set(sys.builtin_module_names)))


def poison(folder: Path, but: str = "") -> Path:
    """Fill it; `but` is left out, as Python itself looks there for the package of `python -m`. Returns the ledger."""
    ledger = folder / LEDGER
    text = f"with open({str(ledger)!r}, 'a') as ledger:\n    print(__name__, file=ledger)\nraise RuntimeError\n"
    for name in {*of_python(), *OURS, *OTHERS} - {but}:
        file = folder / name / "__init__.py" if name in OURS else folder / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return ledger


def foreign_folder(place: Path, but: str = "") -> Path:
    """A network of a user's, its routes and its configuration, among such files."""
    folder = user_folder(place)
    (folder / "my.sumocfg").write_text(
        '<configuration><net-file value="my.net.xml.gz"/><route-files value="my.rou.xml"/>'
        '<begin value="100"/><end value="130"/></configuration>'
    )
    poison(folder, but)
    return folder


def imported(folder: Path) -> list[str]:
    """What was imported from there."""
    ledger = folder / LEDGER
    return sorted(set(ledger.read_text().split())) if ledger.is_file() else []


def run_there(folder: Path, words: Sequence[str], **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, started in that folder; the first word is a script of the checkout or -m."""
    first = [] if words[0] == "-m" else [str(ROOT / words[0])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # where nothing says so yet, as an installation does
    return subprocess.run(
        [sys.executable, *first, *words[len(first) :]],
        cwd=folder, env=environment | settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
