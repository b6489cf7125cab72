"""Running a replay's decisions again: to prove it, to branch off from it, or to watch it in sumo-gui."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from controllers.base import Controller
from envs.sumo.gui import render_setup
from envs.sumo.simulation import SimulationError
from playback.codec import Tracks
from playback.play import (
    ControllerDecider,
    Decider,
    Episode,
    Played,
    ProgramDecider,
    RecordedDecider,
    open_simulation,
    play,
    run_through,
)
from playback.replay_file import SUMO, Replay, Source, result_of, sections_of, versions
from plumbing.errors import InputError
from scenarios.from_counts import as_wanted

Progress = Callable[[float], None]
CLOSED = "connection closed"
"""TraCI's message after the window of sumo-gui was closed."""


@dataclass(frozen=True)
class Verdict:
    """Whether a run of the same decisions was the same, and how far off it was where not."""

    identical: bool
    differing: tuple[str, ...]
    """Which outputs: of vehicles, persons, signals and trips."""
    shown_otherwise: tuple[str, ...]
    """The sections that differ from the run although the outputs are the same: the file was changed."""
    recorded_sumo: str
    sumo: str
    positions: int
    """How many positions were compared."""
    first_difference_s: float | None
    """Simulation time of the first position that differs by more than its rounding."""
    max_position_m: float
    """Greatest distance between the same vehicle or person in both runs, at moments at which it was in both."""
    only_in_one: int
    """Positions that one run has and the other has not."""
    recorded_delay_s: float
    delay_s: float


def again(replay: Replay) -> Decider:
    """The replay's own decisions."""
    return RecordedDecider(replay.decisions) if replay.programs is None else ProgramDecider()


def verify(replay: Replay, source: Source | None = None, on_progress: Progress = lambda share: None) -> Verdict:
    """Run the decisions again, without the controller, and compare what SUMO prints.

    Raises:
        InputError: the scenario is not the recorded one, or SUMO refuses it.
        SimulationError: SUMO failed on the way.
    """
    episode = replay.episode(source)
    played = play(episode, again(replay), on_progress)
    differing = tuple(name for name, digest in played.digests.items() if replay.digests.get(name) != digest)
    otherwise = () if differing else _shown_otherwise(replay, episode, played)
    first_step, far_m, only = math.inf, 0.0, 0
    if differing:
        vehicles = replay.content("vehicles")["ids"], replay.vehicle_tracks
        persons = replay.content("persons")["ids"], replay.person_tracks
        for (ids, tracks), motion in ((vehicles, played.vehicles), (persons, played.persons)):
            step, distance_m, missing = _compare(ids, tracks, list(motion.ids), motion.tracks())
            first_step, far_m, only = min(first_step, step), max(far_m, distance_m), only + missing
    step_s = episode.timing.sim_step_s
    return Verdict(
        identical=not differing and not otherwise,
        differing=differing,
        shown_otherwise=otherwise,
        recorded_sumo=str(replay.head["versions"].get(SUMO, "unknown")),
        sumo=versions().get(SUMO, "unknown"),
        positions=len(played.vehicles.step) + len(played.persons.step),
        first_difference_s=None if math.isinf(first_step) else episode.scenario.begin_s + first_step * step_s,
        max_position_m=far_m,
        only_in_one=only,
        recorded_delay_s=replay.delay_s,
        delay_s=played.trips.delay_s,
    )


def _shown_otherwise(replay: Replay, episode: Episode, played: Played) -> tuple[str, ...]:
    """Digests prove the run; this, that the file shows that run: its positions, states, trips and figures."""
    sections = {**replay.sections, **sections_of(episode, played)}
    now = Replay({**replay.head, "result": result_of(played)}, sections, replay.path)
    shown = {name: (replay.content(name), now.content(name)) for name in ("signals", "vehicles", "persons", "curves")}
    shown |= {
        "result": (replay.head["result"], now.head["result"]),
        "decisions": (replay.decisions, now.decisions),
        "vehicle_tracks": (vars(replay.vehicle_tracks), vars(now.vehicle_tracks)),
        "person_tracks": (vars(replay.person_tracks), vars(now.person_tracks)),
    }
    return tuple(name for name, (then, again) in shown.items() if not _same(then, again))


def _same(then: Any, now: Any) -> bool:
    """In all that both versions of the file know."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        return all(_same(then[name], now[name]) for name in then if name in now)
    if isinstance(now, np.ndarray):
        return bool(np.array_equal(then, now, equal_nan=now.dtype.kind == "f"))
    return bool(then == now)


def _compare(ids: list[str], tracks: Tracks, other_ids: list[str], other: Tracks) -> tuple[float, float, int]:
    """The first step that differs, the greatest distance [m], and how many positions only one of them has."""
    number = {name: n for n, name in enumerate(dict.fromkeys([*ids, *other_ids]))}
    width = int(max([*tracks.steps.tolist(), *other.steps.tolist()], default=0)) + 1
    keys = []
    for names, of in ((ids, tracks), (other_ids, other)):
        owner = np.array([number[name] for name in names], np.int64)
        keys.append(np.repeat(owner[of.thing], of.length) * width + of.steps)
    both, mine, theirs = np.intersect1d(keys[0], keys[1], assume_unique=True, return_indices=True)
    apart_m = np.hypot(tracks.x_dm[mine] - other.x_dm[theirs], tracks.y_dm[mine] - other.y_dm[theirs]) / 10.0
    alone = np.setxor1d(keys[0], keys[1], assume_unique=True)
    off = np.concatenate((both[apart_m > 0.15], alone)) % width  # both are rounded to 0.1 m
    return (
        float(off.min(initial=np.iinfo(np.int64).max)) if off.size else math.inf,
        float(apart_m.max(initial=0.0)),
        len(alone),
    )


def counterfactual(
    replay: Replay,
    controller: Controller,
    from_s: float,
    source: Source | None = None,
    on_progress: Progress = lambda share: None,
) -> tuple[Episode, Played, float]:
    """Run the decisions again up to a moment, then let another controller decide; when it began to [s].

    It has watched from the beginning, so that its memory is that of one that was there.

    Raises:
        InputError: nothing was decided in this replay, the moment is outside of it, or the controller needs
            detectors and there were none.
    """
    if replay.programs is not None:
        raise InputError(
            f"{replay.path} left the signals to SUMO's own programs, so there are no decisions to branch off from; "
            f"record one under a controller that decides, such as max_pressure"
        )
    begin_s, end_s = replay.head["scenario"]["begin_s"], replay.head["scenario"]["end_s"]
    if not begin_s <= from_s < end_s:
        raise InputError(f"--from {from_s:g} is outside of the replay; give {begin_s:g} to {end_s:g} s")
    if controller.sensing == "detectors" != replay.head["sensing"]:  # true counts are there in any case
        raise InputError(
            f"the controller needs detectors, and {replay.path} was recorded without any; choose another controller"
        )
    episode = replay.episode(source)
    episode = dataclasses.replace(episode, scenario=as_wanted(episode.scenario, controller))
    interval_s = episode.timing.decision_interval_s
    number = math.ceil((from_s - begin_s) / interval_s - 1e-9)
    decider = RecordedDecider(replay.decisions, number, ControllerDecider(controller))
    return episode, play(episode, decider, on_progress), begin_s + number * interval_s


def show(replay: Replay, source: Source | None = None, on_progress: Progress = lambda share: None) -> None:
    """Play the decisions in sumo-gui; returns when the run has ended or its window was closed.

    Raises:
        InputError: sumo-gui or a display is missing, or the scenario is not the recorded one.
        SimulationError: SUMO failed on the way.
    """
    render = render_setup("human")
    episode = replay.episode(source)
    with open_simulation(episode, None, render) as simulation:
        try:
            run_through(simulation, again(replay), episode, on_progress)
        except SimulationError as error:
            if CLOSED not in str(error).lower():
                raise
