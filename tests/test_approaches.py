"""Who is on the way to each stop line, and when they get there."""

from __future__ import annotations

import numpy as np
import pytest

from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation
from signals.snapshot import ARRIVAL_BIN_S
from signals.timing import Timing
from tests.windows import window


@pytest.mark.parametrize("name", ["cologne1", "cologne8", "ingolstadt7", "single"])
def test_whoever_moves_in_a_zone_is_on_the_way(name: str) -> None:
    """Vehicle by vehicle there are as many as by what the lanes tell."""
    setup = make_setup(window(name, 300.0))
    simulation, random, most = Simulation(setup), np.random.default_rng(0), 0.0
    layout, snapshot = setup.layout, simulation.snapshot
    simulation.begin(seed=1)
    while not simulation.done:
        mask = snapshot.mask
        simulation.decide(np.where(mask, random.random(mask.shape), -1.0).argmax(axis=1))
        moving = layout.zone.sum(snapshot.vehicles - snapshot.halting)
        found = np.bincount(layout.stream_lane, snapshot.arriving.sum(axis=1), len(layout.controlled))
        assert found == pytest.approx(moving)
        assert np.bincount(layout.stream_lane, snapshot.share) == pytest.approx(1.0)
        most = max(most, moving.sum())
    simulation.end()
    assert most > 10


def test_vehicles_arrive_when_they_are_expected() -> None:
    """On a green that never ends, to a second or two; who turns slows down and comes up to four seconds later."""
    setup = make_setup(
        window("single", 400.0),
        SimulationOptions(timing=Timing(max_green_s=1e4, max_red_s=1e4, decision_interval_s=1.0)),
    )
    simulation, layout = Simulation(setup), setup.layout
    simulation.begin(seed=1)
    (green,) = {int(p) for p in simulation.snapshot.phase}
    lanes = [c for c in range(len(layout.controlled)) if layout.stream_served[layout.stream_lane == c, green].all()]
    expected: dict[str, list[float]] = {}
    errors = []
    low = simulation.sumo
    while not simulation.done:
        simulation.snapshot.calls[:] = False  # nobody asks for another phase
        simulation.decide(np.array([green]))
        ids = {c: low.lane.getLastStepVehicleIDs(layout.controlled[c]) for c in lanes}
        here = {v for found in ids.values() for v in found}
        errors += [simulation.now_s - at for v in set(expected) - here for at in expected.pop(v)]
        for c, found in ids.items():
            arriving = simulation.snapshot.arriving[layout.stream_lane == c].sum(axis=0)
            bins = np.flatnonzero(arriving)
            if len(found) == 1 and arriving.sum() == 1.0:  # it is this one
                expected.setdefault(found[0], []).append(simulation.now_s + (bins[0] + 0.5) * ARRIVAL_BIN_S)
    simulation.end()
    assert len(errors) > 50
    assert np.median(np.abs(errors)) < 2.0
    assert np.quantile(np.abs(errors), 0.9) < 4.0
