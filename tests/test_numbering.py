"""Event log, timing sheet, bundle and plans speak of the same NEMA phases: one rule numbers them for all."""

from __future__ import annotations

import functools
import itertools
import json

import pytest

from deployment.bundle.contents import Subject, documents
from deployment.bundle.make.sheet import timing_sheet
from deployment.nema.codec import decode, encode
from deployment.nema.objects import plan_objects
from deployment.nema.pattern import Event, SignalPlans, timeline
from deployment.plans.display import cycle
from deployment.plans.initial import own_greens, pattern_from_greens
from evaluation.channels import GREEN, Channel, by_approach, channels_of
from scenarios.loading import load, names
from signals.inputs import DETECTORS
from signals.intersection import Intersection, compile_signals
from signals.nema import MOST_PHASES, NemaPlan, barrier_groups, nema_plan
from signals.numbering import Group, phase_numbers


@functools.cache
def signals_of(name: str) -> list[tuple[Intersection, Subject, dict[int, Channel], dict[int, Channel]]]:
    """Each signal, what its bundle is about, and the rows of its event log: vehicles' and crossings'."""
    network = load(name).network
    found = []
    for item in compile_signals(network).intersections:
        subject = Subject.alone(item, network, DETECTORS)
        channels = channels_of(network, item.tls_id)
        vehicles = {c.number: c for c in channels if not c.pedestrian}
        found.append((item, subject, vehicles, {c.number: c for c in channels if c.pedestrian}))
    return found


def rows_of(plan: NemaPlan) -> dict[int, tuple[int, ...]]:
    """What each number of an event log stands for by this plan."""
    rows = {phase.number: phase.links for phase in plan.phases if phase.links}
    return rows | {MOST_PHASES + overlap.number: tuple(sorted(overlap.links)) for overlap in plan.overlaps}


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "grid4x4" else name for name in names()]
)
def test_event_log_and_bundle_number_alike(name: str) -> None:
    for item, subject, vehicles, crossings in signals_of(name):
        read = json.loads(json.dumps(documents(subject)))
        plan = decode(NemaPlan, read["timing.json"]["plan"])
        assert {n: vehicles[n].links for n in rows_of(plan)} == rows_of(plan), item.tls_id
        assert all(n > MOST_PHASES for n in vehicles if n not in rows_of(plan))
        for number, channel in crossings.items():
            walks = set(plan.phase(number).crossings) if number in {p.number for p in plan.phases} else set()
            green = {i for i in channel.links if any(p.state[i] in "Gg" for p in item.phases)}
            assert green <= walks, (item.tls_id, number)
        # whoever reads a bundle numbers its intersection anew
        assert nema_plan(decode(Intersection, json.loads(json.dumps(encode(item))))) == plan


@pytest.mark.wide
@pytest.mark.parametrize("name", names())
def test_the_timing_sheet_describes_the_movements_of_the_event_log(name: str) -> None:
    for item, subject, vehicles, _ in signals_of(name):
        sheet = timing_sheet(subject, name, "")
        assert [row["phase"] for row in sheet.rows] == [str(p.number) for p in subject.plan.phases]
        for row in sheet.rows:
            number = int(row["phase"])
            if number in vehicles:
                named = {part.split(" ")[0] for part in row["movement"].split("; ")}
                assert named == {approach for approach, _ in vehicles[number].ways}, (item.tls_id, number)
        for position, (letter, _, ways) in enumerate(sheet.overlaps, start=1):
            assert letter == "ABCDEFGHIJKLMNOP"[position - 1]
            assert set(ways.split("; ")) == {f"{a} to {b}" for a, b in vehicles[MOST_PHASES + position].ways}


@pytest.mark.parametrize("name", names())
def test_plans_show_what_the_event_log_calls_by_their_numbers(name: str) -> None:
    """While a pattern has a NEMA phase green, the log's row of that number is green, and at no other time."""
    for item, subject, vehicles, _ in signals_of(name):
        plan = subject.plan
        pattern = pattern_from_greens(item, plan, own_greens(item), 90)
        written = plan_objects(SignalPlans(plan, (pattern,)), [Event(0, 1)])
        times = {index[1]: value for what, index, value in written if what == "splitTime"}
        assert times == {split.phase: split.split_s for split in pattern.splits}
        at_s, shown = 0.0, []
        for row in cycle(pattern, plan):
            shown.append((at_s, at_s + row.duration_s, row.state))
            at_s += row.duration_s
        for on in timeline(pattern, plan):
            if on.phase not in vehicles:
                continue
            for begin_s, end_s, state in shown:
                within = on.start_s - 1e-6 <= begin_s and end_s <= on.green_end_s + 1e-6
                assert (vehicles[on.phase].display(state) == GREEN) == within, (item.tls_id, on.phase, begin_s)


def test_single_has_the_numbers_that_engineers_give() -> None:
    """The main street is the one with more lanes, from west to east."""
    ((_, _, vehicles, crossings),) = signals_of("single")
    assert {number: channel.name for number, channel in vehicles.items()} == {
        1: "westbound left", 2: "eastbound", 3: "southbound left", 4: "northbound",
        5: "eastbound left", 6: "westbound", 7: "northbound left", 8: "southbound",
    }  # fmt: skip
    assert sorted(crossings) == [2, 4, 6, 8]


@pytest.mark.parametrize("name", names())
def test_two_rings_follow_the_eight_phase_picture(name: str) -> None:
    for item, subject, _, _ in signals_of(name):
        plan = subject.plan
        if len(plan.rings) < 2:
            continue
        assert set(plan.rings[0]) <= {1, 2, 3, 4}
        assert set(plan.rings[1]) <= {5, 6, 7, 8}
        turns = {p.number: turns_of(item, p.links) for p in plan.phases}
        edges = {p.number: edges_of(item, p.links) for p in plan.phases}
        for even, left, opposed in ((2, 5, 6), (6, 1, 2), (4, 7, 8), (8, 3, 4)):
            if turns.get(left) == {"l"} and {even, opposed} <= set(turns):
                assert edges[left] <= edges[even], (item.tls_id, left)
        for numbers in barrier_groups(plan):
            sides = {(n - 1) % 4 // 2 for n in numbers}
            assert len(sides) == 1, (item.tls_id, numbers)


def turns_of(item: Intersection, links: tuple[int, ...]) -> set[str]:
    return {c.direction.lower() for i in links for c in item.table.links[i].connections}


def edges_of(item: Intersection, links: tuple[int, ...]) -> set[str]:
    return {c.from_edge for i in links for c in item.table.links[i].connections}


def group(column: set[int], edge: str, turns: str, lanes: int, heading: tuple[float, float]) -> Group:
    named = frozenset(f"{edge}_{turns}_{n}" for n in range(lanes))
    return Group(frozenset(column), (0,), frozenset({edge}), named, frozenset(turns), 13.9, heading)


def test_the_main_street_is_the_wider_one_however_links_are_ordered() -> None:
    """North–south has three lanes, east–west one; all eight groups in every order of the streets."""
    north, south, east, west = (0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0)
    groups = {
        2: group({0}, "S", "sr", 3, north), 6: group({0}, "N", "sr", 3, south),
        5: group({1}, "S", "l", 1, north), 1: group({1}, "N", "l", 1, south),
        4: group({2}, "W", "sr", 1, east), 8: group({2}, "E", "sr", 1, west),
        7: group({3}, "W", "l", 1, east), 3: group({3}, "E", "l", 1, west),
    }  # fmt: skip
    for order in itertools.islice(itertools.permutations(groups), 0, None, 997):
        assert phase_numbers([groups[n] for n in order]) == list(order)


def test_three_streets_share_what_two_leave_free() -> None:
    """A side street whose approaches are served one after the other has phases 4 and 3."""
    groups = [
        group({0}, "W", "srl", 2, (1.0, 0.0)), group({0}, "E", "srl", 2, (-1.0, 0.0)),
        group({1}, "S", "srl", 1, (0.0, 1.0)), group({2}, "N", "srl", 1, (0.0, -1.0)),
    ]  # fmt: skip
    numbers = phase_numbers(groups)
    assert numbers is not None
    assert numbers[:2] == [2, 6]
    assert set(numbers[2:]) == {3, 4}


def test_three_groups_at_once_are_no_two_rings() -> None:
    groups = [group({0}, edge, "s", 1, (1.0, 0.0)) for edge in "ABC"]
    assert phase_numbers(groups) is None


@pytest.mark.parametrize("name", ["single", "cologne3", "ingolstadt21"])
def test_a_row_of_several_approaches_comes_apart_without_a_rest(name: str) -> None:
    network = load(name).network
    for _, _, vehicles, _ in signals_of(name):
        for channel in vehicles.values():
            parts = by_approach(network, channel)
            assert {part.number for part in parts} == {channel.number}
            assert all(len({approach for approach, _ in part.ways}) == 1 for part in parts)
            assert sorted(lane for part in parts for lane in part.lanes) == sorted(channel.lanes)
            assert frozenset().union(*(part.ways for part in parts)) == channel.ways
            assert {link for part in parts for link in part.links} == set(channel.links)
