"""COP: it asks for the phase whose best plan costs least, and stays where none is better."""

from __future__ import annotations

import numpy as np
import pytest

from controllers.cop import Cop, CopOnDetectors
from controllers.registry import make
from signals.planner import compiled
from tests.test_planner import compiled as signals_of
from tests.test_planner import only_in, ready, stand


def cop() -> Cop:
    """Reset for the signals of `ready("cologne3")`."""
    controller = Cop()
    controller.reset(*signals_of("cologne3"), 0)
    return controller


def test_it_asks_for_a_queue_on_red_once_it_may() -> None:
    _, snapshot, layout = ready("cologne3")
    controller = cop()
    stand(layout, snapshot, only_in(layout, 2), 6)
    asked = snapshot.mask[0].copy()
    snapshot.mask[0, 1:] = False
    assert controller.decide(snapshot).tolist() == [0, 0, 0], "least green"
    snapshot.mask[0], snapshot.time_s[0] = asked, 5.0
    assert controller.decide(snapshot).tolist() == [2, 0, 0]
    assert np.argmax(controller.last_scores[0]) == 2
    assert controller.last_scores[0, 2] == 0.0, "how much worse than the best"


def test_it_stays_where_nobody_is_there() -> None:
    _, snapshot, _ = ready("cologne3")
    controller = cop()
    snapshot.phase[:] = 1, 0, 1
    assert controller.decide(snapshot).tolist() == [1, 0, 1]


def test_it_stays_where_there_is_no_plan_and_goes_where_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    _, snapshot, _ = ready("cologne3")
    controller = cop()
    snapshot.phase[:] = 1, 0, 1
    monkeypatch.setattr("signals.planner.planner.first_costs", lambda of: np.full(of.mask.shape, np.inf))
    assert controller.decide(snapshot).tolist() == [1, 0, 1]
    snapshot.mask[0, 1] = False
    asked = controller.decide(snapshot)
    assert snapshot.mask[np.arange(3), asked].all()
    assert asked[0] != 1


def test_its_options_are_the_planners() -> None:
    controller = make("cop", horizon_s=30, saturation_flow_vph=1500)
    assert isinstance(controller, Cop)
    assert (controller.horizon_s, controller.saturation_flow_vph) == (30, 1500)


def test_it_decides_the_same_without_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    _, snapshot, layout = ready("cologne3")
    random, one, two = np.random.default_rng(0), cop(), cop()
    chosen = set()
    for moment in range(6):
        snapshot.time_s[0], snapshot.phase[:] = 5.0 * moment, random.integers(0, 3, 3)
        snapshot.lanes[:2] = random.integers(0, 9, len(layout.lanes))
        snapshot.arriving[:] = random.random(snapshot.arriving.shape) < 0.1
        expected = one.decide(snapshot).tolist()
        with monkeypatch.context() as without:
            without.setattr(compiled, "library", lambda: None)
            assert two.decide(snapshot).tolist() == expected
        assert np.array_equal(one.last_scores, two.last_scores)
        chosen.update(expected)
    assert len(chosen) > 1


def test_on_detectors_it_asks_for_the_queue_that_is_estimated_and_not_for_the_true_one() -> None:
    _, snapshot, layout = ready("cologne3")
    controller = CopOnDetectors()
    controller.reset(*signals_of("cologne3"), 0)
    stand(layout, snapshot, only_in(layout, 2), 6)
    assert controller.decide(snapshot)[0] == 0, "nobody that loops tell of"
    snapshot.queue_veh[only_in(layout, 2)] = 6.0
    assert controller.decide(snapshot)[0] == 2


def test_on_detectors_a_share_of_the_usual_flow_is_reckoned_with() -> None:
    _, snapshot, layout = ready("cologne3")
    snapshot.arriving[:] = 0.2
    costs = []
    for expected in (0.0, 0.5, 1.0):
        controller = make("cop_detectors", expected=expected)
        assert isinstance(controller, CopOnDetectors)
        controller.reset(*signals_of("cologne3"), 0)
        costs.append(controller.planner(layout).costs(snapshot)[0, 0])
    assert costs[0] == 0.0
    assert 0.0 < costs[1] < costs[2]
