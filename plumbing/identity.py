"""What a simulated episode depends on beside its input: the project's own code, and the versions of what it rests on.
Two machines, or two starts of one evaluation, have to agree in it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable
from functools import cache

from plumbing.interpreter import ROOT

DETERMINING = ("plumbing", "signals", "scenarios", "envs", "controllers", "agents", "evaluation", "hatch_build.py")
"""Whose code a run depends on; the last says how the compiled part is built."""
SHOWING = ("monitor", "report", "results", "progress.py", "stress.py", "tune.py")
"""What in evaluation/ only shows what runs came to."""
CODE = (".py", ".cpp", ".h", ".xml", ".yaml")
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
    """Of Python and the packages that a run depends on, where they are installed."""
    return {"python": platform.python_version(), **installed(PACKAGES)}


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those that are."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
