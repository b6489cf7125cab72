"""The allocator that SUMO runs with: it allocates so much that a faster one takes more than a tenth off each step.

Measured figures are in benchmarks/SPEED.md. Nothing depends on it: where it was not built, SUMO keeps the C
library's.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from envs.getters import SWITCH, sources_sha256

LIBRARY = Path(__file__).parent / "native" / "preload" / "liballocator.so"


def allocator_library() -> str:
    """The path of the shared library, or "" where it was not built, is older than its source or is off."""
    return "" if os.environ.get(SWITCH) == "0" or not _fits(LIBRARY) else str(LIBRARY)


@cache
def _fits(library: Path) -> bool:
    # not loaded to ask it: it is for processes that begin with it. The loader splits its list at spaces and colons
    if not library.is_file() or set(str(library)) & set(" :"):
        return False
    return sources_sha256(library.parent) in library.read_bytes()


def preloading(environment: dict[str, str]) -> dict[str, str]:
    """The environment variables for a process that shall use the allocator, after whatever else it preloads."""
    library = allocator_library()
    if not library:
        return environment
    others = environment.get("LD_PRELOAD", "")
    return {**environment, "LD_PRELOAD": f"{others}:{library}" if others else library}
