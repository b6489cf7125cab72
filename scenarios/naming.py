"""Files as a user names them, and what a scenario is called after."""

from __future__ import annotations

import os
import re
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with the home folder in the place of a `~`; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


# fmt: off
SAYS_NOTHING = frozenset({
    "config", "configuration", "default", "demo", "in", "input", "main", "map", "my", "net", "network", "osm", "run",
    "scenario", "sim", "simulation", "sumo", "test", "traffic",
})
# fmt: on
"""Names that files have wherever they lie."""


def name_of(path: Path) -> str:
    """A scenario's name: that of its file without its endings or, where that says nothing, of the nearest folder that
    says something."""
    stem = re.sub(r"(\.net)?(\.xml)?(\.gz)?$|\.sumocfg$", "", path.name) or path.name
    names = (stem, *(folder.name for folder in Path(os.path.abspath(path)).parents))
    return next((name for name in names if name and name.lower() not in SAYS_NOTHING), stem)
