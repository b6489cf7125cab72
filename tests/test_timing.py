"""The formulas of the change interval, and the settings that are refused."""

from __future__ import annotations

import math

import pytest

from plumbing.errors import InputError
from signals.clearance import FOOT_M, pedestrian_clearance_s, red_clearance_s, yellow_change_s
from signals.timing import Timing

MPH_45 = 45 * 0.44704  # [m/s]


def test_the_formulas_give_the_published_example() -> None:
    """45 mph, level, W = 80 ft: Y = 4.3 s and R = 1.5 s."""
    assert yellow_change_s(MPH_45) == pytest.approx(4.3, abs=1e-9)
    assert red_clearance_s(80 * FOOT_M, MPH_45) == pytest.approx(100 * FOOT_M / MPH_45)
    assert round(red_clearance_s(80 * FOOT_M, MPH_45), 1) == 1.5
    assert pedestrian_clearance_s(35 * FOOT_M) == pytest.approx(10.0)


@pytest.mark.parametrize(("speed_mps", "yellow_s"), [(0.0, 3.0), (5.0, 3.0), (12.192, 3.0), (60.0, 6.0)])
def test_yellow_is_bounded(speed_mps: float, yellow_s: float) -> None:
    assert yellow_change_s(speed_mps) == pytest.approx(yellow_s)


def test_yellow_is_longer_downhill() -> None:
    assert yellow_change_s(15.0, grade=-0.05) > yellow_change_s(15.0) > yellow_change_s(15.0, grade=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sim_step_s": 0.0}, {"sim_step_s": math.nan}, {"sim_step_s": 1 / 3}, {"sim_step_s": 2.0},
        {"sim_step_s": 1e-9}, {"min_green_s": math.inf, "max_green_s": math.inf}, {"walk_s": math.inf},
        {"decision_interval_s": 0.25}, {"decision_interval_s": math.inf}, {"yellow_change_s": 2.9},
        {"yellow_change_s": 6.1}, {"yellow_change_s": math.nan}, {"min_green_s": 0.5}, {"min_green_s": math.nan},
        {"max_green_s": 4.0}, {"red_clearance_s": -1.0}, {"change_interval": "none"}, {"walking_speed_mps": 0.0},
    ],
    ids=str,
)  # fmt: skip
def test_timing_refuses(wrong: dict[str, float]) -> None:
    name = next(iter(wrong))
    with pytest.raises(InputError, match=name):
        Timing(**wrong)  # type: ignore[arg-type]
