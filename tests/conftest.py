"""What several files of tests ask for by name, and what every process of the suite is started with."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# Simulations and commands are processes, some hundreds in all: where bytecode may not be kept, each compiles us anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# As the commands do it: the networks are small, and the tests beside these want the other core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from deployment.emulator.process import EmulatorProcess  # noqa: E402  (numpy and torch read the environment as loaded)
from playback.replay_file import Replay  # noqa: E402
from tests.recordings import record  # noqa: E402

if TYPE_CHECKING:
    from deployment.bundle.read import Bundle


@pytest.fixture(scope="session")
def pressed(tmp_path_factory: pytest.TempPathFactory) -> Replay:
    """Five minutes of cologne1 under max-pressure."""
    return record(tmp_path_factory.mktemp("replays") / "mp.replay", "max_pressure")


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed bundle of an untrained policy on `single`; beside it key, key.pub and run. Nobody may write there."""
    from tests.policy_runs import exported_bundle  # loads torch

    return exported_bundle(tmp_path_factory)


@pytest.fixture(scope="session")
def bundle(sealed: Path) -> Bundle:
    """That bundle as it is read."""
    from deployment.bundle.read import read_bundle

    return read_bundle(sealed, public_key=sealed.parent / "key.pub")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who may ask an emulator, and who may write."""
    from tests.field import users_file

    return users_file(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="module")
def emulator(users: Path) -> Iterator[EmulatorProcess]:
    """The emulated controller of `single`, half a minute after its start."""
    with EmulatorProcess("single", users=users) as emulator:
        emulator.advance(30.0)
        yield emulator


@pytest.fixture(scope="module")
def other(users: Path) -> Iterator[EmulatorProcess]:
    """Another controller with the same users and timing tables, which has been up for longer."""
    from tests.field import OTHER

    with EmulatorProcess("single", users=users, engine_id=OTHER) as emulator:
        emulator.advance(60.0)
        yield emulator


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium, which is no Python package; not kept for longer, since it brings an event loop."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on the PATH; Debian, Ubuntu: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of the module's own, as on a machine where nothing is built yet."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("cache")
        patched.setenv("XDG_CACHE_HOME", str(folder))
        yield folder
