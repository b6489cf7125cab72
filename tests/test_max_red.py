"""The bound on every red: whoever decides, and however the calls stand, no link that a phase serves waits longer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plumbing.errors import InputError
from scenarios.loading import load
from signals.intersection import Intersection, compile_signals
from signals.machine import SignalMachine
from signals.max_red import MaxRed, groups, max_red, overdue
from signals.phases import RANK
from signals.timing import Timing

NAMES = ("single", "cologne1", "cologne8", "ingolstadt7", "grid4x4")
Random = np.random.Generator
Asks = Callable[[SignalMachine, Random], npt.NDArray[np.int64]]
POLICIES: dict[str, Asks] = {
    "stays": lambda machine, random: machine.phase,
    "draws": lambda machine, random: random.integers(0, machine.exists.shape[1], len(machine.phase)),
    "two alone": lambda machine, random: (machine.phase == 0).astype(np.int64),
    "the latest": lambda machine, random: np.argmax(np.where(machine.exists, machine.served_until_s, -1), axis=1),
    "nonsense": lambda machine, random: np.full(len(machine.phase), -1),
}


@cache
def items(name: str, timing: Timing) -> tuple[Intersection, ...]:
    return compile_signals(load(name).network, timing).intersections


def longest_reds_s(
    machine: SignalMachine, asks: Asks, calls: float, decisions: int, seed: int, blocked: float = 0.0
) -> list[float]:
    """Per signal, the longest time from the end of a link's green to the begin of its next, by its phases' states.

    Args:
        calls, blocked: shares of the phases that are called, and that the spillback guard finds of no use.
    """
    random, shape = np.random.default_rng(seed), machine.exists.shape
    machine.reset(0.0)
    ended = [dict.fromkeys(range(len(i.phases[0].state)), 0.0) for i in machine.intersections]
    longest = [0.0] * len(ended)

    def look(s: int, phase: int, from_s: float, until_s: float) -> None:
        for link, character in enumerate(machine.intersections[s].phases[phase].state):
            if RANK[character] > 0:
                longest[s] = max(longest[s], from_s - ended[s][link])
                ended[s][link] = until_s

    for _ in range(decisions):
        before, since_s = machine.phase.copy(), machine.green_since_s.copy()
        machine.block(machine.exists & (random.random(shape) < blocked))
        called = random.random(shape) < calls
        assert machine.mask(called).any(axis=1).all()
        machine.request(asks(machine, random), called)
        for s in np.flatnonzero(machine.phase != before).tolist():
            look(s, int(before[s]), float(since_s[s]), machine.now_s)
        machine.advance(machine.now_s + machine.timing.decision_interval_s)
    for s, item in enumerate(machine.intersections):
        look(s, int(machine.phase[s]), float(machine.green_since_s[s]), machine.now_s)
        served = {i for phase in item.phases for i, c in enumerate(phase.state) if RANK[c] > 0}
        longest[s] = max(longest[s], *(machine.now_s - ended[s][i] for i in served))
    return longest


@pytest.mark.parametrize("name", NAMES)
@given(
    policy=st.sampled_from(sorted(POLICIES)),
    calls=st.sampled_from((0.0, 0.2, 1.0)),
    decision_s=st.sampled_from((1.0, 5.0)),
    max_green_s=st.sampled_from((30.0, 1e5)),
    blocked=st.sampled_from((0.0, 0.5, 1.0)),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=12, deadline=None)
def test_no_link_is_red_for_longer_than_max_red(
    name: str, policy: str, calls: float, decision_s: float, max_green_s: float, blocked: float, seed: int
) -> None:
    timing = Timing(decision_interval_s=decision_s, max_green_s=max_green_s)
    machine = SignalMachine(items(name, timing), timing)
    found = longest_reds_s(machine, POLICIES[policy], calls, int(1200 / decision_s), seed, blocked)
    bounds = [max_red(item, timing).bound_s for item in machine.intersections]
    assert all(red <= bound for red, bound in zip(found, bounds, strict=True)), list(zip(found, bounds, strict=True))


@given(data=st.data(), policy=st.sampled_from(sorted(POLICIES)), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_whatever_phases_share(data: st.DataObject, policy: str, seed: int) -> None:
    """Any phases over four links of which none conflict: they need no changes, so only min green is between them."""
    size = data.draw(st.integers(2, 8))
    states = data.draw(st.lists(st.text("rG", min_size=size, max_size=size), min_size=2, max_size=7, unique=True))
    (item,) = items("single", Timing())
    phases = tuple(dataclasses.replace(item.phases[0], index=n, state=state) for n, state in enumerate(states))
    pairs = [(a, b) for a in range(len(states)) for b in range(len(states)) if a != b]
    table = dataclasses.replace(item.table, links=item.table.links[:size])
    made = dataclasses.replace(
        item, phases=phases, table=table,
        changes=dict.fromkeys(pairs, item.changes[0, 1]),
        settling_s={pair: (0.0,) * len(states) for pair in pairs},
    )  # fmt: skip
    machine = SignalMachine([made], Timing())
    (found,) = longest_reds_s(machine, POLICIES[policy], 0.2, 240, seed)
    assert found <= max_red(made, Timing()).bound_s


def test_without_the_bound_such_a_policy_would_starve_somebody() -> None:
    """The check above can fail."""
    timing = Timing(max_red_s=1e6)
    machine = SignalMachine(items("cologne8", timing), timing)
    assert max(longest_reds_s(machine, POLICIES["stays"], 0.0, 240, 0)) == 1200.0


def test_the_bound_is_two_cycles_at_least_three_minutes_and_what_the_phases_need() -> None:
    (item,) = items("single", Timing())
    cycle_s = sum(row.duration_s for row in item.program.rows)
    assert max_red(item, Timing()).bound_s == max(180.0, 2 * cycle_s)
    assert max_red(item, Timing(max_red_s=400.0)).bound_s == 400.0
    slow = max_red(item, Timing(decision_interval_s=60.0))
    assert slow.bound_s == slow.least_s >= len(item.phases) * 60.0


def test_a_phase_comes_next_once_there_is_only_time_for_those_that_have_waited_longer() -> None:
    serves = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 0]], bool)
    red = MaxRed(bound_s=200.0, least_s=120.0, change_s=20.0, round_s=25.0, serves=serves)
    assert overdue(np.array([150.0, 120.0, 0.0]), serves, red) is None
    assert overdue(np.array([156.0, 0.0, 0.0]), serves, red) == 0
    assert overdue(np.array([156.0, 1.0, 0.0]), serves, red) == 2, "which serves the second, too"
    assert overdue(np.array([154.0, 131.0, 0.0]), serves, red) == 2, "131, one round before it and its own"
    assert overdue(np.array([100.0, 129.0, 130.0]), serves, red) is None, "the first has its round with the second"
    assert overdue(np.array([106.0, 129.0, 130.0]), serves, red) == 1, "but may lose it to a free choice"
    assert overdue(np.zeros(3), serves, red) is None


def test_a_policy_is_free_until_only_just_enough_time_is_left() -> None:
    timing = Timing()
    machine = SignalMachine(items("cologne1", timing), timing)
    calls, free = np.zeros(machine.exists.shape, bool), 0
    machine.reset(0.0)
    while machine.mask(calls)[0, machine.phase[0]]:
        machine.advance(machine.now_s + 5.0)
        free += 1
    bound = max_red(machine.intersections[0], timing)
    rounds = (bound.bound_s - 5.0 * free - bound.change_s) / bound.round_s
    assert 0 < rounds <= min(bound.serves.shape) + 1, "no more rounds are left than it may take"
    assert machine.mask(calls).sum() == 1


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="max_red_s"):
        Timing(max_red_s=value)


def test_a_row_of_hours_makes_no_bound_of_hours() -> None:
    (item,) = items("single", Timing())
    held = dataclasses.replace(item.program.rows[0], duration_s=10_000.0)
    program = dataclasses.replace(item.program, rows=(held, *item.program.rows[1:]))
    bound = max_red(dataclasses.replace(item, program=program), Timing())
    assert bound.bound_s == max(600.0, bound.least_s)


def test_a_turn_on_red_counts_as_served_and_is_served() -> None:
    assert groups(["Gsr", "rrG", "Grr"]) == [(True, False, True), (True, False, False), (False, True, False)]


def test_a_phase_that_is_only_announced_serves_nobody() -> None:
    """A controller in the field may name a phase during the yellow and then show another one."""
    timing = Timing()
    machine = SignalMachine(items("single", timing), timing)
    machine.reset(0.0)
    now_s = 0.0
    while now_s < 300.0:
        for shown, announced in ((0, 2), (1, 3)):
            machine.follow(0, shown, now_s)
            now_s += 10.0
            machine.advance(now_s)
            machine.follow(0, announced, now_s + 5.0)
            now_s += 1.0
            machine.advance(now_s)
            now_s += 3.0
            machine.advance(now_s)
    served = machine.max_red[0].serves
    unseen = served[:, 2:4].any(axis=1) & ~served[:, 0:2].any(axis=1)
    assert unseen.any()
    assert (machine.red_s[0][unseen] == now_s).all()
    assert (machine.red_s[0][~unseen & served[:, 0]] < 60.0).all()
