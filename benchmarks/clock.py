"""What a child of a benchmark needs: silence on its standard output, and a clock. It imports next to nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any


def quiet() -> int:
    """Send this process's own output to nowhere, as SUMO is talkative; a descriptor of what was its stdout."""
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return answers


class Clock:
    """Adds up what calls take, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, timed."""
        self.seconds[name] = 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed
