"""The files that a simulation reads, carried to another machine: used in place where it has the same, else copied.

SUMO gets paths, and an evaluation's scenario holds some. What one file names inside (`<include href=…>`) is not
looked for: such files have to lie at the same paths on every machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from envs.sumo.setup import SimulationSetup
from plumbing.cache import cached_file
from plumbing.identity import code_sha256, installed
from scenarios.scenario import Scenario

PACKAGES = ("eclipse-sumo", "libsumo", "numpy")
"""Beside our own code, bundles' too, what a simulation's outcome may depend on."""


@dataclasses.dataclass(frozen=True)
class Parcel:
    """Files with their contents. It may be sent anywhere."""

    contents: Mapping[str, bytes]
    """By path on the machine that sent it."""

    @classmethod
    def of(cls, paths: Iterable[Path | str]) -> Parcel:
        """Read these files."""
        return cls({str(path): Path(path).read_bytes() for path in dict.fromkeys(paths)})

    def unpack(self) -> dict[str, str]:
        """Make each file available here; where it lies, by its path on the machine that sent it.

        Raises:
            InputError: there is no room for a copy.
        """
        return {path: self._place(path, content) for path, content in self.contents.items()}

    @staticmethod
    def _place(path: str, content: bytes) -> str:
        try:
            if Path(path).read_bytes() == content:
                return path
        except OSError:
            pass
        digest, old = hashlib.sha256(content).hexdigest(), Path(path)
        # the folder's name, too: where two files share a name, it tells them apart
        return str(cached_file(f"shipped/{digest[:20]}/{old.parent.name}/{old.name}", lambda: content))


def files_of_setup(setup: SimulationSetup) -> list[str]:
    """The files among SUMO's arguments, which list several with commas."""
    words = [word for argument in setup.sumo_args for word in argument.split(",")] + list(setup.days)
    return [word for word in words if Path(word).is_absolute() and Path(word).is_file()]


def setup_here(setup: SimulationSetup, places: Mapping[str, str]) -> SimulationSetup:
    """The same setup with the files where they lie here."""
    arguments = tuple(
        ",".join(places.get(word, word) for word in argument.split(",")) for argument in setup.sumo_args
    )
    days = tuple(places.get(day, day) for day in setup.days)
    return dataclasses.replace(setup, sumo_args=arguments, days=days)


def files_of_scenario(scenario: Scenario) -> list[str]:
    """Network, routes and additional files."""
    routes = (*scenario.route_files, *scenario.days)
    return [str(path) for path in (scenario.net_file, *routes, *scenario.additional_files)]


def scenario_here(scenario: Scenario, places: Mapping[str, str]) -> Scenario:
    """The same scenario with the files where they lie here."""

    def here(path: Path) -> Path:
        return Path(places[str(path)])

    return dataclasses.replace(
        scenario,
        net_file=here(scenario.net_file),
        route_files=tuple(map(here, scenario.route_files)),
        days=tuple(map(here, scenario.days)),
        additional_files=tuple(map(here, scenario.additional_files)),
    )


def fingerprint() -> dict[str, str]:
    """What has to agree between machines, so that the same seed gives the same episode on each."""
    found = {"intergreen's code": code_sha256("deployment")[:12], "Python": platform.python_version()}
    return found | dict.fromkeys(PACKAGES, "none") | installed(PACKAGES)


def differences(theirs: Mapping[str, str]) -> str:
    """In what this machine differs from the one that sent its fingerprint; "" where they agree."""
    ours = fingerprint()
    return ", ".join(
        f"{name} is {ours.get(name, 'none')} and not {value}"
        for name, value in theirs.items()
        if ours.get(name) != value
    )
