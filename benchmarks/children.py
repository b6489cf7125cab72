"""Programs of a benchmark that need a process of their own: libsumo holds one simulation in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from envs.allocator import preloading

ROOT = Path(__file__).parents[1]


def environment(preload: bool = False, **settings: str) -> dict[str, str]:
    """The environment variables of a child, with the allocator of our workers if asked for."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}
    return preloading(found) if preload else found


def run_child(module: str, request: dict[str, Any], *, preload: bool = False, **settings: str) -> dict[str, Any]:
    """Run a module of this folder that reads one JSON line and answers with one.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}"],
        input=json.dumps(request) + "\n",
        env=environment(preload, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def quiet() -> int:
    """Send this process's own output to nowhere, as SUMO is talkative; a descriptor of what was its stdout."""
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return answers
