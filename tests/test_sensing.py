"""What detectors tell a controller: sound ones, dead, stuck and late ones."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import numpy as np
import pytest

from envs import SignalEnv
from signals.loops import DetectorFaults
from tests.windows import window


def detector_run(faults: DetectorFaults, decisions: int = 60) -> list[dict[str, Any]]:
    """The detectors' readings at each decision of a run that holds the first phase while it may."""
    (run,) = detector_runs(faults, [0], decisions)
    return run


def detector_runs(faults: DetectorFaults, seeds: list[int], decisions: int) -> list[list[dict[str, Any]]]:
    """The same of several episodes, one after the other."""
    env = SignalEnv(window("cologne1", 5 * decisions), sensing="detectors", faults=faults)
    runs = [readings(env, seed, decisions) for seed in seeds]
    env.close()
    return runs


def readings(env: SignalEnv, seed: int, decisions: int) -> list[dict[str, Any]]:
    """Of one episode."""
    names = (
        "occupied", "occupancy", "gap_s", "share", "arrivals_veh", "flow_veh", "backed_up", "healthy", "time_s",
        "calls",
    )  # fmt: skip
    observation, _ = env.reset(seed=seed)
    found = []
    for step in range(decisions):
        observation = env.step((step // 6) % 4)[0]
        assert env.observation_space.contains(observation)
        found.append({name: getattr(env.snapshot, name).copy() for name in names})
        found[-1]["stream_lane"] = env.layout.stream_lane
    return found


@functools.cache
def sound_run() -> list[dict[str, Any]]:
    """The same without faults."""
    return detector_run(DetectorFaults())


def test_detectors_read_finite_values_in_their_ranges_and_see_the_queues() -> None:
    run = sound_run()
    for reading in run:
        assert all(np.isfinite(values).all() for values in reading.values())
        assert set(reading["occupied"]) <= {0.0, 1.0}
        assert (reading["occupancy"] >= 0).all()
        assert (reading["occupancy"] <= 1).all()
        assert ((reading["gap_s"] >= 0) & (reading["gap_s"] <= 60)).all()
        assert np.array_equal(reading["gap_s"] == 0, reading["occupied"] == 1)
        arrived = reading["flow_veh"][reading["stream_lane"]] * reading["share"]
        assert (reading["arrivals_veh"] >= arrived - 1e-9).all()
        assert reading["healthy"].all()
    assert sum(reading["flow_veh"].sum() for reading in run) > 30
    assert max(reading["occupancy"].max() for reading in run) > 0.99, "a queue stands on its stop bar"
    assert any(reading["calls"].any() for reading in run)


def test_dead_loops_read_empty() -> None:
    last = detector_run(DetectorFaults(dropout=1.0))[-1]
    assert not last["occupied"].any()
    assert not last["occupancy"].any()
    assert not last["flow_veh"].any()
    assert (last["gap_s"] == 60).all()


@pytest.mark.wide
def test_stuck_loops_read_occupied_and_are_found_out() -> None:
    run = detector_run(DetectorFaults(stuck_on=1.0), decisions=250)
    assert run[-1]["occupied"].all()
    assert run[-1]["occupancy"].all()
    assert not run[-1]["flow_veh"].any()
    assert not run[-1]["healthy"].all(), "those stuck for 600 s are not plausible"
    assert run[0]["healthy"].all()


def test_late_readings_are_those_of_an_earlier_moment() -> None:
    # nothing else is decided by them here, so the traffic is the same
    late = detector_run(DetectorFaults(latency_s=2.0))
    sound = sound_run()
    assert any(not np.array_equal(a["gap_s"], b["gap_s"]) for a, b in zip(late, sound, strict=True))
    counted = [sum(reading["flow_veh"].sum() for reading in run) for run in (late, sound)]
    assert abs(counted[0] - counted[1]) < 0.2 * counted[1]


def test_faults_are_drawn_from_the_episodes_seed() -> None:
    runs = detector_runs(DetectorFaults(dropout=0.3, stuck_on=0.3), [1, 2, 1], decisions=30)
    one, other, again = (
        hashlib.sha256(b"".join(v.tobytes() for r in run for v in r.values())).hexdigest() for run in runs
    )
    assert one == again
    assert one != other
