"""Programs of a benchmark that need a process of their own: libsumo holds one simulation in each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from envs.workers.allocator import preloading
from plumbing import interpreter
from plumbing.interpreter import ROOT


def environment(preload: bool = False, **settings: str) -> dict[str, str]:
    """The environment variables of a child, with the allocator of our workers if asked for."""
    found = interpreter.environment(**{"OMP_NUM_THREADS": "1", **settings})
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
        _command(module),
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


@contextlib.contextmanager
def stepwise_child(
    module: str, request: dict[str, Any], *, preload: bool = False
) -> Iterator[Callable[[int], float]]:
    """A module of this folder that goes on step by step, so that something else can run in between.

    Args:
        preload: with the allocator of our workers.

    Yields:
        What lets it go on by so many steps and returns how long these took [s].
    """
    child = subprocess.Popen(
        _command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=environment(preload), cwd=ROOT, text=True,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    asked, answers = child.stdin, child.stdout

    def go_on(line: str) -> float:
        print(line, file=asked, flush=True)
        for answer in answers:
            if answer.startswith("{"):  # libraries say things while they are imported
                return float(json.loads(answer)["seconds"])
        raise RuntimeError(f"benchmarks.{module} ended before its time")

    try:
        go_on(json.dumps(request))
        yield lambda steps: go_on(str(steps))
    finally:
        with contextlib.suppress(BrokenPipeError):
            asked.close()
        child.wait()
        answers.close()


class HaltedProgram:
    """A program that stands still but when it is told to go on; a context that ends it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._name, silent = command[0], subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdout=silent, stderr=silent, env=environment())
        self._ended = False
        os.kill(self._process.pid, signal.SIGSTOP)
        self._wait()

    def go_on(self, for_s: float | None) -> float:
        """Let it run for so many seconds, or with None to its end; returns how long it ran [s].

        Raises:
            RuntimeError: it failed.
        """
        if self._ended:
            return 0.0
        began = time.perf_counter()
        os.kill(self._process.pid, signal.SIGCONT)
        if for_s is not None:
            time.sleep(for_s)
            os.kill(self._process.pid, signal.SIGSTOP)
        self._wait()
        return time.perf_counter() - began

    def _wait(self) -> None:
        """Until it is halted or has ended. Nothing else may ask for its status: later its number may be another's."""
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        self._ended = not os.WIFSTOPPED(status)
        if self._ended and os.waitstatus_to_exitcode(status):
            raise RuntimeError(f"{self._name} ended with {os.waitstatus_to_exitcode(status)}")

    def __enter__(self) -> HaltedProgram:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self._process.kill()
            self._process.wait()


def _command(module: str) -> list[str]:
    return interpreter.command(f"benchmarks.{module}")
