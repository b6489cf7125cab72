"""The allocator that SUMO runs with: it allocates so much that a faster one takes a tenth off each step.

Measured figures are in benchmarks/README.md. Nothing depends on it: where the package is missing (it is built for
Linux alone), SUMO keeps the C library's.
"""

from __future__ import annotations

import importlib.metadata
import os
from functools import cache

PACKAGE, LIBRARY = "cmeel-mimalloc", "libmimalloc.so"


@cache
def allocator_library() -> str:
    """The path of the allocator's shared library, or "" where its package is not installed."""
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
    if not library:
        return environment
    others = environment.get("LD_PRELOAD", "")
    return {**environment, "LD_PRELOAD": f"{others}:{library}" if others else library}
