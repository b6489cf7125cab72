"""Progress of long work on stderr: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

EVERY_S = 5.0
"""Seconds between lines where there is no terminal."""


class Meter:
    """Tells how much of the work is done: `begin` a part of it, then say `at` as it goes on."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._what, self._unit, self._total, self._scale = "", "", 1, 1
        self._began = self._spoke = time.monotonic()

    def __enter__(self) -> Meter:
        if sys.stderr.isatty():
            columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def begin(self, what: str, total: int, unit: str, scale: int = 1) -> None:
        """A part of the work begins.

        Args:
            what: such as "reading".
            total: in the same measure as `at`.
            unit: what is shown, such as "MB".
            scale: how many of `total` are one unit.
        """
        self._what, self._unit, self._total, self._scale = what, unit, max(total, 1), scale
        self._began = self._spoke = time.monotonic()
        if self._bar is not None:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task = self._bar.add_task(what, total=self._total)

    def at(self, done: int) -> None:
        """So much of this part is done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            return
        now = time.monotonic()
        if now - self._spoke >= EVERY_S and 0 < done < self._total:
            self._spoke = now
            left_s = (now - self._began) / done * (self._total - done)
            shown = f"{done // self._scale} of {self._total // self._scale} {self._unit}"
            print(f"{self._what}: {shown}, about {left_s:.0f} s left", file=sys.stderr, flush=True)
