"""The search for plans: delays counted by hand, bounds by trying everything, and compiled code to the bit."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from native.library import library
from signals.planner import compiled, search
from signals.planner.search import Problem, first_costs
from tests.compiled import needs_library


def problem(queue: list[float], arrivals: list[list[float]] | None = None, steps: int = 6) -> Problem:
    """One signal, a stream per phase, steps of 5 s; half a vehicle per second leaves on green, a change takes 5 s.

    Args:
        arrivals: by step and stream.
    """
    size = len(queue)
    return Problem(
        step_s=5.0,
        stream_first=np.array([0, size]),
        queue_veh=np.array(queue),
        arrivals_veh=np.zeros((size, steps)) if arrivals is None else np.array(arrivals).T,
        rates_vps=0.5 * np.eye(size),
        change_s=5.0 * (1 - np.eye(size))[None],
        least_green_s=np.full((1, size), 5.0),
        greatest_green_s=np.full((1, size), 60.0),
        phase_count=np.array([size]),
        current=np.array([0]),
        green_in_s=np.zeros(1),
        held_s=np.zeros(1),
        left_s=np.full(1, 60.0),
        mask=np.ones((1, size), bool),
    )


def random_problem(random: np.random.Generator) -> Problem:
    """Several signals, unlike ones, some empty; in half of the cases of whole numbers, so that there are ties."""
    signals, phases, steps = int(random.integers(1, 6)), int(random.integers(1, 9)), int(random.integers(2, 26))
    sizes = random.integers(0, 14, signals)
    streams, shape, whole = int(sizes.sum()), (signals, phases), random.random() < 0.5

    def some(low: float, high: float, *size: int) -> np.ndarray:
        drawn = random.uniform(low, high, size)
        return drawn.round() if whole else drawn

    count = random.integers(1, phases + 1, signals)
    least = some(0, 20, *shape)
    greatest = least + some(0, 60, *shape)
    greatest[random.random(shape) < 0.1] = np.inf
    return Problem(
        step_s=float(random.choice([1.0, 2.5, 3.0, 5.0, 7.3])),
        stream_first=np.concatenate([[0], sizes.cumsum()]).astype(np.int64),
        queue_veh=some(0, 9, streams) * (random.random(streams) < 0.6),
        arrivals_veh=some(0, 3, streams, steps) * (random.random((streams, steps)) < 0.2),
        rates_vps=(random.random((streams, phases)) < 0.5) * some(0.6, 1.4, streams, phases) * 0.5,
        change_s=some(0, 9, signals, phases, phases) * (1 - np.eye(phases)),
        least_green_s=least,
        greatest_green_s=greatest,
        phase_count=count,
        current=random.integers(0, count),
        green_in_s=random.choice([0.0, 3.0, 4.5], signals),
        held_s=random.choice([0.0, 6.0, 11.0], signals),
        left_s=some(-5, 60, signals),
        mask=(random.random(shape) < 0.6) & (np.arange(phases) < count[:, None]),
    )


def test_a_first_phase_costs_what_all_wait_until_the_horizon() -> None:
    stays, changes = first_costs(problem([0.0, 10.0]))[0]
    # 10 for 5 s of change; then 10 to 7.5, 7.5 to 5, 5 to 2.5 and 2.5 to 0 in 5 s each
    assert changes == pytest.approx(50 + 43.75 + 31.25 + 18.75 + 6.25)
    # one step more of a green that nobody wants, and one less until the horizon
    assert stays == pytest.approx(50 + 50 + 43.75 + 31.25 + 18.75 + 6.25)


def test_a_phase_serves_its_own_queue_first_where_the_other_is_short() -> None:
    stays, changes = first_costs(problem([5.0, 1.0], steps=8))[0]
    # 5 to 2.5 to 0 in 10 s; the other one waits for these, 5 s of change, and goes within a step
    assert stays == pytest.approx(18.75 + 6.25 + 10 + 5 + 2.5)
    # 5 of change with all waiting and 2.5 for the other to go; change back; then the first queue as above
    assert changes == pytest.approx((30 + 27.5) + 25 + 18.75 + 6.25)


def test_a_phase_from_which_two_changes_lead_to_the_queue_costs_more() -> None:
    stays, detour, straight = first_costs(problem([0.0, 0.0, 4.0], steps=8))[0]
    assert straight < stays < detour
    # 5 s of change to it, 5 s of its least green, and only then the way to the queue
    assert detour - straight == pytest.approx(4.0 * 10.0)


def test_an_empty_junction_costs_nothing_whatever_it_shows() -> None:
    assert first_costs(problem([0.0, 0.0, 0.0])).tolist() == [[0.0, 0.0, 0.0]]


def test_who_is_seen_coming_counts() -> None:
    soon, late = np.zeros((12, 2)), np.zeros((12, 2))
    soon[1, 0] = late[8, 0] = 6.0
    stays, changes = first_costs(problem([0.0, 1.0], soon.tolist(), 12))[0]
    assert stays < changes, "a platoon is let through before one vehicle is served"
    stays, changes = first_costs(problem([0.0, 1.0], late.tolist(), 12))[0]
    assert changes < stays, "there is time to serve it and come back"


def test_bounds_are_kept_and_only_what_is_wanted_is_costed() -> None:
    waiting = problem([0.0, 10.0])
    held = replace(waiting, held_s=np.array([12.0]), mask=np.array([[True, False]]))
    # three steps more of what is green, then the change and as much of the queue as is served until the horizon
    assert first_costs(held).tolist() == [[3 * 50 + 50 + 43.75 + 31.25, np.inf]]
    later = replace(waiting, current=np.array([1]), green_in_s=np.array([5.0]), held_s=np.array([10.0]))
    assert first_costs(later)[0, 1] == first_costs(waiting)[0, 1], "a change that is under way already"
    free = problem([50.0, 1.0], steps=8)
    short = replace(free, greatest_green_s=np.full((1, 2), 10.0), left_s=np.array([10.0]))
    assert first_costs(short)[0, 0] > first_costs(free)[0, 0], "at the maximum it has to serve the other"
    alone = replace(short, queue_veh=np.array([50.0, 0.0]))
    assert first_costs(alone)[0, 0] == first_costs(replace(free, queue_veh=np.array([50.0, 0.0])))[0, 0]


def test_every_phase_that_may_come_first_gets_a_plan() -> None:
    """However late the round in which the first plan reaches the horizon."""
    of = problem([3.0, 4.0, 5.0, 6.0, 7.0, 8.0], steps=30)
    short = replace(of, greatest_green_s=np.full((1, 6), 5.0), left_s=np.full(1, 5.0), held_s=np.full(1, 5.0))
    assert np.isfinite(first_costs(short)).all()
    alone = replace(problem([3.0]), rates_vps=np.zeros((1, 1)), left_s=np.array([10.0]))
    assert first_costs(alone).tolist() == [[np.inf]], "one phase alone, that has to end"


def cost(of: Problem, shown: tuple[int, ...]) -> float:
    """The delay of asking for these phases, one per step; infinite where a green is shorter than allowed."""
    queue, total, last, lead, lasted = of.queue_veh.copy(), 0.0, int(of.current[0]), 0.0, 99
    for n, phase in enumerate(shown):
        if phase != last:
            if lasted * of.step_s < 10.0:  # change and least green
                return np.inf
            last, lead, lasted = phase, 5.0, 0
        lasted += 1
        green = np.clip(lasted * of.step_s - lead, 0.0, of.step_s)
        after = np.maximum(queue + of.arrivals_veh[:, n] - green * of.rates_vps[:, phase], 0.0)
        total += 0.5 * of.step_s * float((queue + after).sum())
        queue = after
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_cost_is_below_the_best_of_all_plans_and_hardly_any_much_above(seed: int) -> None:
    random = np.random.default_rng(seed)
    arrivals = random.integers(0, 3, (8, 2)).astype(float)
    of = problem(random.integers(0, 8, 2).astype(float).tolist(), arrivals.tolist(), 8)
    found = first_costs(of)[0]
    every = {shown: cost(of, shown) for shown in itertools.product((0, 1), repeat=8)}
    for first in (0, 1):
        best = min(value for shown, value in every.items() if shown[0] == first)
        assert best - 1e-6 <= found[first] <= 1.1 * best


def test_signals_do_not_influence_each_other() -> None:
    one, two = problem([0.0, 10.0]), problem([9.0, 1.0])
    names = [name for name in vars(one) if name not in ("step_s", "stream_first")]
    both = Problem(
        step_s=5.0,
        stream_first=np.array([0, 2, 4]),
        **{name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in names},
    )
    assert first_costs(both).tolist() == [*first_costs(one).tolist(), *first_costs(two).tolist()]


@needs_library
def test_compiled_costs_are_the_same_to_the_bit() -> None:
    assert library() is not None
    plans = 0
    for seed in range(60):
        of = random_problem(np.random.default_rng(seed))
        expected = search.first_costs(of)
        assert np.array_equal(compiled.first_costs(of), expected)
        plans += int(np.count_nonzero(np.isfinite(expected) & (expected > 0)))
    assert plans > 200


def test_without_a_library_the_same_comes_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    of = problem([3.0, 10.0, 1.0])
    expected = compiled.first_costs(of)
    monkeypatch.setattr(compiled, "library", lambda: None)
    asked: list[Problem] = []
    monkeypatch.setattr(search, "first_costs", lambda of: asked.append(of) or first_costs(of))
    assert np.array_equal(compiled.first_costs(of), expected)
    assert asked == [of]
