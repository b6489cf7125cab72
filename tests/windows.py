"""Short windows of scenarios, and what an environment shows in them."""

from __future__ import annotations

import functools
from typing import Any

from scenarios.loading import load
from scenarios.scenario import Scenario


@functools.cache
def window(name: str, seconds: float, skipped_s: float = 0.0) -> Scenario:
    """So many seconds from a scenario's begin, or from some time later; as far as it goes."""
    whole = load(name)
    begin_s = whole.begin_s + skipped_s
    return load(name, begin_s=begin_s, end_s=min(begin_s + seconds, whole.end_s))


def phase_of(env: Any, signal: int = 0) -> int:
    """The phase that a signal shows, or changes to."""
    return int(env._worker.snapshot.phase[signal])
