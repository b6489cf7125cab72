"""An evaluation as data: the contestants, their common seeds and settings, and the result of a run."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import polars as pl

from controllers.base import Controller
from controllers.programs import ProgramControl
from evaluation.details.corridor import Corridor
from evaluation.findings import Findings
from evaluation.metrics import RunMetrics
from evaluation.store import StoredRun, digest_of
from plumbing.command import check_text
from plumbing.errors import InputError
from plumbing.identity import code_sha256, versions
from scenarios.scenario import Scenario
from signals.loops import DetectorFaults
from signals.timing import Timing

MOST_CHARACTERS = 60
"""Most characters of a controller's label: at most 240 bytes, of the 255 that a folder's name may have."""


class RunFailed(RuntimeError):
    """A simulation or a controller failed; the message says in which run."""


@dataclass(frozen=True)
class Contestant:
    """A controller to evaluate."""

    name: str
    make: Callable[[], Controller | ProgramControl]
    """Makes a new controller for each run, since several runs go on at a time."""
    baseline: bool = True
    """Whether the others may be compared with it."""
    identity: str = ""
    """Distinguishes it beside its name: the digest of a policy's weights and settings."""
    trained_on: str = ""
    """The scenario that a policy was trained on."""
    trained_by: tuple[str, ...] = ()
    """The commands that train it again, for the report."""
    trained_tls_ids: tuple[tuple[str, ...], ...] = ()
    """The signals that a policy was trained to control, for each of its runs for which some were chosen."""
    tuned: str = ""
    """Its tuned parameters and how they were found."""


@dataclass(frozen=True)
class Recording:
    """Outputs of SUMO's that somebody wants of each run, beside those that an evaluation needs."""

    files: tuple[str, ...]
    """What is left in the run's folder."""
    options: Callable[[Path, Path], Mapping[str, str]]
    """SUMO's options for a run's folder and the network's file."""


@dataclass(frozen=True)
class Evaluation:
    """The runs to make: each contestant with each seed."""

    scenario: Scenario
    contestants: Sequence[Contestant]
    seeds: Sequence[int]
    timing: Timing = field(default_factory=Timing)
    emissions: bool = False
    """Compute CO2 and fuel, which makes SUMO about a third slower."""
    keep: Path | None = None
    """The folder for SUMO's own outputs: keep/CONTROLLER/seed-N/{tripinfo,statistics,tls_states}.xml."""
    recording: Recording | None = None
    """Further outputs to keep; only with `keep`, without `corridor`."""
    store: Path | None = None
    """The folder where finished runs are kept and found again: store/CONTROLLER/seed-N/."""
    details: bool = False
    """Record queues, signal states and passages as well; only with `store`."""
    corridor: Corridor | None = None
    """Record trajectories along it in the first seed's runs; only with `details`."""
    event_log: bool = False
    """Write a signal controller's event log as well; only with `details`."""
    faults: DetectorFaults = field(default_factory=DetectorFaults)
    """Detector faults, for the controllers that use detectors."""
    tls_ids: Sequence[str] | None = None
    """The signals that the contestants control; None for all that can be. The others keep their programs."""
    versions: Mapping[str, str] = field(default_factory=versions)
    """Versions of the packages that a run depends on. A kept run is used only with the same ones."""

    @cached_property
    def _files(self) -> dict[str, str]:
        """The scenario's hashes, for which all of its files are read: once, and not for each run."""
        return self.scenario.hashes()

    def _drawn(self, seed: int) -> bool:
        """Whether the report draws this seed's runs."""
        return self.corridor is not None and seed == self.seeds[0]

    def corridor_for(self, seed: int) -> Corridor | None:
        """Where a run with this seed records trajectories; None: nowhere."""
        return self.corridor if self._drawn(seed) else None

    def digest(self, contestant: Contestant, seed: int) -> str:
        """The digest of everything that determines a run."""
        scenario = self.scenario
        return digest_of(
            {
                "scenario": [scenario.name, scenario.demand, scenario.begin_s, scenario.end_s, scenario.options],
                "files": self._files,
                "timing": dataclasses.asdict(self.timing),
                "faults": dataclasses.asdict(self.faults),
                "tls_ids": None if self.tls_ids is None else sorted(self.tls_ids),
                "controller": [contestant.name, contestant.identity],
                "seed": seed,
                "tables": [
                    self.emissions,
                    self.details,
                    self._drawn(seed),
                    self.event_log,
                    self.recording and self.recording.files,
                ],
                "versions": dict(self.versions),
                "code": code_sha256(),
            }
        )


@dataclass(frozen=True)
class RunResult:
    """One run."""

    controller: str
    seed: int
    metrics: RunMetrics
    vehicles: pl.DataFrame
    stored: StoredRun | None = None
    findings: Findings = field(default_factory=Findings)


class Job(NamedTuple):
    """One run to make."""

    contestant: Contestant
    seed: int
    place: Path
    """CONTROLLER/seed-N: its folder below `keep` and `store`."""
    digest: str = ""
    """Digest of everything that determines the run; empty where it is not stored."""


def without_invisible(name: str) -> str:
    """The name with a mark (U+FFFD) for each character that does not show, such as a line's end."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name)


def label_of(name: str) -> str:
    """A name short and plain enough for a path, a table and a figure."""
    text = without_invisible(name)
    if text == name and len(text) <= MOST_CHARACTERS:
        return name
    return f"{text[: MOST_CHARACTERS - 9]}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def _whole_name(name: str) -> str:
    """The whole path as one folder name."""
    plain = name.strip(os.sep)
    if plain in (".", ".."):
        plain = str(Path(name).resolve()).strip(os.sep)
    return plain.replace(os.sep, "-")


def folder_names(contestants: Sequence[Contestant]) -> dict[str, str]:
    """A folder name for each, which is its label in a report, too: a run directory's last part (of an ensemble, each
    one's), or all of it where two end alike; what is long or does not show is cut.

    Raises:
        InputError: two would share a name, or one is no text.
    """
    names = [c.name for c in contestants]
    for name in names:
        check_text(name)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"controller {twice!r} is given twice; name each once")
    last = {
        name: "+".join(
            Path(part).resolve().name if os.sep in part or part in (".", "..") else part for part in name.split("+")
        )
        for name in names
    }
    ends = list(last.values())
    folders = {name: label_of(last[name] if ends.count(last[name]) == 1 else _whole_name(name)) for name in names}
    for name, folder in folders.items():
        same = next((other for other in names if other != name and folders[other] == folder), None)
        if same is not None:  # such as a directory with and without a slash at its end
            raise InputError(f"controllers {name!r} and {same!r} would share the folder {folder!r}; name each once")
    return folders
