"""The safety layer in the real SUMO: whatever is asked for, an independent monitor finds nothing in what was shown.

The monitor reads the states that SUMO recorded and the net file, and shares no code with the signal layer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation.monitor.check import check, read_states
from evaluation.monitor.rules import Finding, Rules
from scenarios.loading import names
from scenarios.scenario import Scenario
from signals.timing import Timing
from tests.safety_runs import SHORT_S, random_network, record
from tests.windows import window

WHOLE_S = 3600.0
BY_SPEED = Rules(deceleration_mps2=10 * 0.3048)
"""Yellow not of 3 s alone, but as long as each approach's speed limit asks for."""


def findings(scenario: Scenario, policy: str, folder: Path, **options: object) -> list[Finding]:
    """What the monitor finds in a run, whose signals must have changed at all."""
    states, plan, changes = record(scenario, policy, folder, **options)  # type: ignore[arg-type]
    assert changes > 0, "no signal ever changed: this run shows nothing"
    return check(scenario.net_file, states, BY_SPEED, plan.tls_ids)


# --- the default part: ten simulated minutes each


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("single", "stubborn"),
        ("tee", "garbage"),
        ("cologne1", "restless"),
        ("cologne3", "garbage"),
        ("ingolstadt7", "random"),
        pytest.param("arterial", "random", marks=pytest.mark.slow),
    ],
)
def test_a_scenario_is_safe_under_any_policy(name: str, policy: str, tmp_path: Path) -> None:
    assert findings(window(name, SHORT_S), policy, tmp_path) == []


SEEDS_WITH_ALL = (3, 8, 15)  # between them: crossings, trams, joined signals, shared link indices


@pytest.mark.wide
@pytest.mark.parametrize("seed", SEEDS_WITH_ALL)
def test_a_random_network_is_safe(seed: int, tmp_path: Path) -> None:
    assert findings(random_network(tmp_path, seed), "restless", tmp_path, seed=seed) == []


@pytest.mark.wide
def test_the_random_networks_hold_what_is_hard(tmp_path: Path) -> None:
    """Else the test above would pass for want of it."""
    found = set()
    for seed in SEEDS_WITH_ALL:
        network = random_network(tmp_path, seed).network
        found |= {edge.function for edge in network.edges.values()}
        found |= {"tram" for lane in network.lanes.values() if lane.rail}
        for connections in network.controlled.values():
            ends = {network.edges[c.from_edge].to_junction for c in connections if not c.from_edge.startswith(":")}
            found |= {"joined"} if len(ends) > 1 else set()
            found |= {"shared"} if len({c.link_index for c in connections}) < len(connections) else set()
    assert {"crossing", "tram", "joined", "shared"} <= found


@pytest.mark.wide
@pytest.mark.parametrize(
    "timing",
    [
        Timing(sim_step_s=0.5, decision_interval_s=1.0),
        Timing(sim_step_s=0.1, decision_interval_s=0.5, min_green_s=1.0),
        Timing(decision_interval_s=1.0, min_green_s=1.0),
        Timing(sim_step_s=2.0, decision_interval_s=10.0),
    ],
    ids=lambda t: f"step {t.sim_step_s:g} decision {t.decision_interval_s:g} min green {t.min_green_s:g}",
)
def test_other_clocks_are_safe(timing: Timing, tmp_path: Path) -> None:
    """On cologne1, which begins at 25,200 s, so that the clock's rounding counts, too."""
    scenario = window("cologne1", 180.0)
    states, plan, changes = record(scenario, "restless", tmp_path, timing=timing)
    assert changes > 5
    assert read_states(states).step_s == timing.sim_step_s
    rules = Rules(min_green_s=timing.min_green_s)
    assert check(scenario.net_file, states, rules, plan.tls_ids) == []


def test_a_warm_up_is_safe_and_recorded(tmp_path: Path) -> None:
    scenario = window("single", 400.0)
    states, plan, _ = record(scenario, "restless", tmp_path, warm_up_s=200.0)
    (shown,) = read_states(states).intervals.values()
    assert shown[0].start_ms == 0
    assert shown[-1].end_ms == 400_000
    assert len({interval.state for interval in shown if interval.end_ms <= 200_000}) > len(
        plan.intersections[0].phases
    )
    assert check(scenario.net_file, states) == []


@pytest.mark.wide
def test_the_signals_that_are_not_chosen_keep_their_program(tmp_path: Path) -> None:
    scenario = window("cologne3", SHORT_S)
    chosen, *others = sorted(scenario.network.programs)
    states, plan, _ = record(scenario, "restless", tmp_path, tls_ids=(chosen,))
    assert plan.tls_ids == (chosen,)
    assert check(scenario.net_file, states, tls_ids=[chosen]) == []
    recorded = read_states(states).intervals
    for tls_id in others:
        program = scenario.network.programs[tls_id][-1]
        assert {interval.state for interval in recorded[tls_id]} <= {row.state for row in program.rows}
        cycle_s = sum(row.duration_s for row in program.rows)
        first = recorded[tls_id][1]  # the first one that is recorded whole
        again = [i for i in recorded[tls_id] if i.start_ms == first.start_ms + round(1000 * cycle_s)]
        assert [i.state for i in again] == [first.state]


# --- the sweep


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["restless", "random"])
@pytest.mark.parametrize("name", names())
def test_a_whole_scenario_is_safe(name: str, policy: str, tmp_path: Path) -> None:
    assert findings(window(name, WHOLE_S), policy, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_random_networks_are_safe(seed: int, tmp_path: Path) -> None:
    scenario = random_network(tmp_path, seed)
    policy = ("restless", "random", "garbage")[seed % 3]
    assert findings(scenario, policy, tmp_path, seed=seed) == []
