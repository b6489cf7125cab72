"""The report: one self-contained page about what an evaluation found. `page.write_page` makes it."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

# On its import matplotlib reads the current folder's matplotlibrc before any other, and that may be a stranger's; in
# the folder of its data lies its own.
_SPEC = importlib.util.find_spec("matplotlib")
assert _SPEC is not None
assert _SPEC.origin is not None
with contextlib.chdir(Path(_SPEC.origin).parent / "mpl-data"):
    import matplotlib as matplotlib
