"""The cache: below the home, else in the temporary folder where it is this user's alone, else a private one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plumbing import cache
from plumbing.cache import cache_dir, cached_file

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the cache would be in the temporary folder, since the home cannot be written."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "home").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    cache._private.cache_clear()
    yield tmp_path / "tmp" / f"intergreen-cache-{os.geteuid()}"
    cache._private.cache_clear()


def mode(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_it_is_made_for_its_user_alone_and_kept(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == shared
    assert mode(shared) == 0o700
    cached_file("kind/a.xml", lambda: b"mine")
    assert cached_file("kind/a.xml", lambda: b"another").read_bytes() == b"mine"
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared.parent / "home"))
    assert cache_dir() == shared.parent / "home" / "intergreen"
    assert mode(cache_dir()) == 0o700


def link(place: Path) -> None:
    (place.parent / "theirs").mkdir()
    place.symlink_to(place.parent / "theirs")


TAKEN: dict[str, Callable[[Path], object]] = {
    "a link": link,
    "a file": lambda place: place.touch(),
    "all may write": lambda place: (place.mkdir(), place.chmod(0o777)),
    "its group may write": lambda place: (place.mkdir(), place.chmod(0o770)),
}


@pytest.mark.parametrize("how", TAKEN)
def test_what_others_may_have_filled_is_not_used(shared: Path, how: str) -> None:
    TAKEN[how](shared)
    private_one(shared)


def test_another_users_is_not_used(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = os.geteuid()
    monkeypatch.setattr("os.geteuid", lambda: me + 1)
    place = shared.with_name(f"intergreen-cache-{me + 1}")
    place.mkdir(mode=0o700)
    private_one(place)
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared.parent / "home"))
    (shared.parent / "home" / "intergreen").mkdir(parents=True)
    private_one(place)


def private_one(place: Path) -> None:
    """Somebody has put there what SUMO would read."""
    if place.is_dir():
        (place / "a.xml").write_text("poison")
    assert cached_file("a.xml", lambda: b"mine").read_bytes() == b"mine"
    assert cache_dir() == cache_dir() != place
    assert mode(cache_dir()) == 0o700


def test_a_private_one_goes_with_its_process(shared: Path) -> None:
    shared.touch()
    code = "from plumbing.cache import cached_file; print(cached_file('a.xml', lambda: b'mine'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "TMPDIR": str(shared.parent)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(done.stdout).is_relative_to(shared.parent)
    assert list(shared.parent.iterdir()) == [shared]
