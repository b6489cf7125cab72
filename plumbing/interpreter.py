"""How a Python process of ours is started: with this project's code and the installed packages, from any folder.

Python searches the current folder, or that of its script, before all else. A `numpy.py` that lies beside somebody's
network would be run in the place of NumPy.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout. A process of ours has it as its current folder, too; whatever path it is given is absolute."""
# -P leaves the current folder out. The checkout comes as an argument: PYTHONPATH is split at each ':', also within a
# folder's name. -I would leave out packages that an administrator offers by PYTHONPATH, or that lie in the user's own
# site-packages, on which this very process may run.
_START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import runpy; "
    "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)
_NOISE = re.compile(r"proj_create|PROJ:|pj_obj_create")
"""PROJ complains where its data is missing, which nothing here needs."""


def command(module: str, *words: str) -> list[str]:
    """The command that starts a module as a program; run it in `ROOT`, with `environment()`."""
    return [sys.executable, "-P", "-c", _START, str(ROOT), module, *words]


def runs(module: str) -> bool:
    """Whether this process was started by `command(module, …)`."""
    start = command(module)[1:]
    return sys.orig_argv[1 : 1 + len(start)] == start


def environment(**settings: str) -> dict[str, str]:
    """This process's environment variables with these, and with a PYTHONPATH that leaves the current folder out.

    An empty entry of PYTHONPATH, as a colon at its end leaves one, means the current folder.
    """
    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [entry for entry in entries if os.path.isabs(entry) and not _is_here(entry)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(kept), **settings}


def _is_here(folder: str) -> bool:
    return os.path.realpath(folder) == os.path.realpath(os.curdir) != str(ROOT)


def last_line(said: str) -> str:
    """The last line that a process has said, which is its error where it ended by one; "" if it has said nothing."""
    lines = (line.strip() for line in reversed(said.splitlines()) if not _NOISE.search(line))
    return next(filter(None, lines), "")
