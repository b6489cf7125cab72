"""Recordings, as the tests of replays make them."""

from __future__ import annotations

from pathlib import Path

import replay as command
from playback.replay_file import Replay

COLOGNE1 = ("--scenario", "cologne1", "--begin", "25200", "--end", "25500")


def run(*arguments: str | Path) -> int:
    return command.main([str(a) for a in arguments])


def record(out: Path, controller: str, *more: str) -> Replay:
    assert run("record", *(more or COLOGNE1), "--controller", controller, "--out", out) == 0
    return Replay.read(out)
