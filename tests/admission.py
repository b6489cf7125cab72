"""What the tests of admission ask of an emulator that must not have been touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployment.emulator.process import EmulatorProcess
from deployment.field.admission import Admission
from plumbing.errors import InputError
from tests.field import CLOSED, drive
from tests.udp_proxy import UdpProxy


def untouched(emulator: EmulatorProcess, before: dict[str, Any]) -> bool:
    now = emulator.status()
    return all(now[name] == before[name] for name in ("commands", "control_status", "pattern"))


def new_log(folder: Path) -> Path:
    """A place for a log, which holds one run."""
    return folder / f"log-{len(list(folder.glob('log*')))}"


def refused(emulator: EmulatorProcess, tmp_path: Path, admission: Callable[[], Admission], said: str) -> None:
    """With one line, before a single SET."""
    before = emulator.status()
    with UdpProxy(emulator.host, emulator.port) as link, pytest.raises(InputError, match=said) as caught:
        drive(emulator, 3.0, new_log(tmp_path), port=link.port, who=CLOSED, admission=admission())
    assert "\n" not in str(caught.value)
    assert link.seen.sets == []
    assert untouched(emulator, before)
