"""The independent monitor finds each fault that is put into a recording of our own signals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evaluation.monitor.check import check, read_states
from evaluation.monitor.rules import Rules
from scenarios.scenario import Scenario
from signals.clearance import yellow_change_s
from tests.safety_runs import SHORT_S, record
from tests.windows import window

Display = tuple[int, str]
"""Duration in ms and state."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, str, tuple[Display, ...]]:
    """Ten minutes of `single` under the restless policy."""
    scenario = window("single", SHORT_S)
    states, plan, _ = record(scenario, "restless", tmp_path_factory.mktemp("recording"))
    (tls_id,) = plan.tls_ids
    shown = read_states(states).intervals[tls_id]
    return scenario, tls_id, tuple((i.end_ms - i.start_ms, i.state) for i in shown)


def shortened_yellow(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and "y" in state)
    shown[at] = (shown[at][0] - 1000, shown[at][1])
    return at


def dropped_red_clearance(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and set(state) == {"r"})
    del shown[at]
    return at - 1


def cut_min_green(shown: list[Display]) -> int:
    at = next(
        n
        for n, (_, state) in enumerate(shown)
        if n > 8 and "G" in state and "y" in shown[n + 1][1] and set(shown[n - 1][1]) == {"r"}
    )
    shown[at] = (4000, shown[at][1])
    return at


def conflicting_greens(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and "G" in state)
    other = next(
        state
        for _, state in shown
        if "G" in state and all(b != "G" or a == "r" for a, b in zip(shown[at][1], state, strict=True))
    )
    both = "".join(b if b == "G" else a for a, b in zip(shown[at][1], other, strict=True))
    shown[at] = (shown[at][0], both)
    return at


def cut_pedestrian_clearance(shown: list[Display]) -> int:
    """The crossings' clearance is the display in which vehicles alone keep the green of the phase."""
    at = next(
        n
        for n, (_, state) in enumerate(shown)
        if n > 8 and "G" in state and state != shown[n - 1][1] and "G" in shown[n - 1][1] and "y" not in state
    )
    del shown[at]
    return at - 1


FAULTS: dict[str, Callable[[list[Display]], int]] = {
    "short_yellow": shortened_yellow,
    "short_red_clearance": dropped_red_clearance,
    "short_min_green": cut_min_green,
    "conflicting_greens": conflicting_greens,
    "short_pedestrian_clearance": cut_pedestrian_clearance,
}


@pytest.mark.parametrize("kind", ["", *FAULTS])
def test_the_monitor_finds_a_fault_in_our_own_recording(
    kind: str, recording: tuple[Scenario, str, tuple[Display, ...]], tmp_path: Path
) -> None:
    scenario, tls_id, displays = recording
    shown = list(displays)
    at = FAULTS[kind](shown) if kind else 0
    ends = np.cumsum([duration for duration, _ in shown])
    seconds = [state for duration, state in shown for _ in range(duration // 1000)]
    file = tmp_path / "states.xml"
    rows = (f'<tlsState time="{n}" id="{tls_id}" state="{state}"/>' for n, state in enumerate(seconds))
    file.write_text("<tlsStates>" + "".join(rows) + "</tlsStates>")
    speeds = [lane.speed_mps for lane in scenario.network.lanes.values() if lane.edge_id.endswith("_in")]
    found = check(scenario.net_file, file, Rules(yellow_s=yellow_change_s(max(speeds))))
    if not kind:
        assert found == []
        return
    assert kind in {finding.kind for finding in found}
    # at the place of the fault, or where what it let go is met again
    assert all(ends[at - 1] <= 1000 * finding.time_s <= ends[at] + 60_000 for finding in found)
