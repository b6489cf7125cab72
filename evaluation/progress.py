"""Progress of an evaluation on stderr: a bar in a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 5.0


class RunProgress:
    """Call `advance` after each run; safe from several threads."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._lock = threading.Lock()
        self._began = self._spoke = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> RunProgress:
        self._began = self._spoke = time.monotonic()
        if sys.stderr.isatty():
            columns = TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("runs", total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, *_: object) -> None:
        """One more run is done."""
        with self._lock:
            self.done += 1
            if self._bar is not None:
                self._bar.advance(self._task)
                return
            now = time.monotonic()
            if now - self._spoke >= EVERY_S and self.done < self.total:
                self._spoke = now
                left_s = (now - self._began) / self.done * (self.total - self.done)
                print(
                    f"{self.done} of {self.total} runs, about {left_s:.0f} s left",
                    file=sys.stderr,
                    flush=True,
                )
