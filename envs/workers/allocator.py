"""The allocator that SUMO runs with: mimalloc, from its package, preloaded into workers that show no window.

SUMO makes and drops small things all the time; benchmarks/SPEED.md has what that brings. Nothing depends on it: where
the package is missing (it is built for Linux on x86-64 alone), or with `INTERGREEN_ALLOCATOR=0` in the environment,
SUMO keeps the C library's.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from functools import cache

log = logging.getLogger("intergreen.workers")
PACKAGE, LIBRARY = "cmeel-mimalloc", "libmimalloc.so"
SWITCH = "INTERGREEN_ALLOCATOR"
SYSTEM = "the C library's"


def allocator_library() -> str:
    """The path of the shared library, or "" where its package is not installed or it is off."""
    return "" if os.environ.get(SWITCH) == "0" else _installed()


def allocator_name() -> str:
    """What workers run with, such as "mimalloc 3.4.3"."""
    return f"mimalloc {importlib.metadata.version(PACKAGE)}" if allocator_library() else SYSTEM


@cache
def _installed() -> str:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return ""
    found = [str(file.locate()) for file in files if file.name == LIBRARY]
    # the loader splits its list at spaces and colons
    return found[0] if found and os.path.isfile(found[0]) and not set(found[0]) & set(" :") else ""


def preloading(environment: dict[str, str]) -> dict[str, str]:
    """The environment variables for a process that shall use the allocator, after whatever else it preloads."""
    library = allocator_library()
    log.debug("workers allocate with %s", allocator_name())
    if not library:
        return environment
    others = environment.get("LD_PRELOAD", "")
    return {**environment, "LD_PRELOAD": f"{others}:{library}" if others else library}
