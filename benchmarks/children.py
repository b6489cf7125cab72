"""Programs of a benchmark that need a process of their own: libsumo holds one simulation in each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envs.allocator import preloading

ROOT = Path(__file__).parents[1]


def environment(preload: bool = False, **settings: str) -> dict[str, str]:
    """The environment variables of a child, with the allocator of our workers if asked for."""
    found = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **settings}
    return preloading(found) if preload else found


def run_child(
    module: str, request: dict[str, Any], *, preload: bool = False, settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module of this folder that reads one JSON line and answers with one.

    Args:
        preload: with the allocator of our workers.
        settings: further environment variables.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}"],
        input=json.dumps(request) + "\n",
        env=environment(preload, **(settings or {})),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
