"""What several files of tests ask for by name."""

from __future__ import annotations

import pytest

from playback.replay import Replay
from tests.recordings import record


@pytest.fixture(scope="session")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """Five minutes of cologne1 under max-pressure."""
    return record(tmp_path_factory.mktemp("replays") / "mp.replay", "max_pressure")
