"""The code and versions that a simulated episode depends on beside its input. Two machines, or two starts of one
evaluation, have to agree in them."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from functools import cache

from plumbing.interpreter import ROOT

DETERMINING = (
    "plumbing", "native", "signals", "scenarios", "envs", "controllers", "agents", "evaluation", "hatch_build.py",
)  # fmt: skip
"""The code that a run depends on; the last file builds the compiled part."""
SHOWING = ("monitor", "report", "results", "files.py", "progress.py", "statistics.py", "stress.py", "tune.py")
"""The parts of evaluation/ that only judge or show finished runs."""
CODE = (".py", ".cpp", ".h", ".xml", ".yaml", ".csv")
PACKAGES = ("eclipse-sumo", "libsumo", "sumo-rl", "numpy", "polars", "torch", "intergreen")


@cache
def code_sha256(*more: str) -> str:
    """The digest of the project's own code that a run depends on.

    Args:
        more: further packages, for what only some runs use.
    """
    digest = hashlib.sha256()
    for part in (*DETERMINING, *more):
        for path in sorted([ROOT / part, *(ROOT / part).rglob("*")]):
            inside = path.relative_to(ROOT)
            shows = inside.parts[0] == "evaluation" and inside.parts[1:2] and inside.parts[1] in SHOWING
            if path.suffix in CODE and path.is_file() and not shows:
                digest.update(f"{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages that a run depends on."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
