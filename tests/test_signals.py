"""The pure signal layer on a network small enough to check by hand: conflicts, phases, changes, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from plumbing.errors import InputError
from signals.clearance import pedestrian_clearance_s, red_clearance_s
from signals.intersection import Intersection, Refusal, SignalPlan, compile_signals, explain
from signals.links import LinkTable, link_table
from signals.network import Connection, Edge, Junction, Lane, Point, Program, ProgramRow, RoadNetwork
from signals.phases import unsafe_pairs
from signals.timing import Timing

MPH_45 = 45 * 0.44704  # [m/s]
TENTHS = Timing(sim_step_s=0.1)

# Four ways over one junction: 0 northbound straight, 1 eastbound straight, 2 southbound left, 3 a crossing of
# 16 m over the east leg, after 1 and 2 have passed the junction. 2 yields to 0 and to 3.
PATHS: tuple[tuple[Point, ...], ...] = (
    ((0.0, -15.0), (0.0, 15.0)),
    ((-15.0, 0.0), (15.0, 0.0)),
    ((-3.2, 15.0), (-2.0, 2.0), (15.0, 0.0)),
    ((14.0, -8.0), (14.0, 8.0)),
)
SPEEDS_MPS = (MPH_45, 10.0, 10.0, 1.4)
FOES, RESPONSE = ("0110", "1101", "1011", "0110"), ("0000", "0000", "1001", "0000")


def _beyond(inner: Point, end: Point) -> Point:
    """The other end of a straight road of 90 m that goes on from a path's end."""
    length = math.dist(inner, end)
    return end[0] + 90 * (end[0] - inner[0]) / length, end[1] + 90 * (end[1] - inner[1]) / length


def network(
    *states: str | tuple[float, str],
    kind: str = "static",
    indices: tuple[int | None, ...] = (0, 1, 2, 3),
    tls_ids: tuple[str | None, ...] = ("T",) * 4,
    foes: tuple[str, ...] = FOES,
    response: tuple[str, ...] = RESPONSE,
    rail: bool = False,
    directions: str = "ssls",
) -> RoadNetwork:
    """The four ways under a program of these rows, 20 s each unless they say otherwise."""
    lanes: dict[str, Lane] = {}
    edges: dict[str, Edge] = {}
    connections = []

    def lane(edge: str, shape: tuple[Point, ...], speed: float, function: str, ends: tuple[str, str]) -> None:
        length = sum(math.dist(a, b) for a, b in itertools.pairwise(shape)) or 1.0
        name = f"{edge}_0"
        riders = frozenset({"tram" if rail else "passenger"})
        classes = riders if function in ("normal", "internal") else frozenset()
        lanes[name] = Lane(name, edge, 0, length, speed, 3.2, shape, classes)
        edges[edge] = Edge(edge, function, *ends, (name,))

    for way, (path, speed) in enumerate(zip(PATHS, SPEEDS_MPS, strict=True)):
        walk = way == 3
        lane(
            f"in{way}",
            (_beyond(path[1], path[0]), path[0]),
            speed,
            "walkingarea" if walk else "normal",
            ("", "J"),
        )
        lane(f"out{way}", (path[-1], _beyond(path[-2], path[-1])), speed, "normal", ("J", ""))
        inside = ":J_c0" if walk else f":J_{way}"
        lane(inside, path, speed, "crossing" if walk else "internal", ("", ""))
        target, via = (inside, None) if walk else (f"out{way}", f"{inside}_0")
        link = (tls_ids[way], indices[way])
        direction = directions[way]
        connections.append(Connection(f"in{way}_0", f"{target}_0", f"in{way}", target, via, direction, *link))
    inside_lanes = (":J_0_0", ":J_1_0", ":J_2_0", ":J_c0_0")
    junction = Junction("J", "traffic_light", tuple(f"in{w}_0" for w in range(4)), inside_lanes, foes, response)
    rows = tuple(ProgramRow(20.0, row) if isinstance(row, str) else ProgramRow(*row) for row in states)
    programs = {tls: (Program(tls, "0", kind, 0.0, rows),) for tls in dict.fromkeys(tls_ids) if tls is not None}
    return RoadNetwork(lanes, edges, tuple(connections), {"J": junction}, programs)


def compiled(*states: str | tuple[float, str], timing: Timing | None = None, **options: object) -> Intersection:
    plan = compile_signals(network(*states, **options), timing)  # type: ignore[arg-type]
    assert not plan.refusals, plan.refusals
    return plan.intersections[0]


def phases(*states: str | tuple[float, str]) -> list[str]:
    return [phase.state for phase in compiled(*states).phases]


def shown(item: Intersection, old: int, new: int) -> list[tuple[float, str]]:
    return [(round(i.duration_s, 6), i.state) for i in item.changes[old, new]]


# --- conflicts


def table(**options: object) -> LinkTable:
    return link_table(network("GGGG", **options), "T", 4)  # type: ignore[arg-type]


def test_the_junction_tells_who_conflicts_and_who_yields() -> None:
    found = table()
    pairs = {(i, j) for i in range(4) for j in range(4) if found.conflicts[i, j]}
    assert pairs == {(a, b) for x, y in ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3)) for a, b in ((x, y), (y, x))}
    assert {(i, j) for i in range(4) for j in range(4) if found.yields[i, j]} == {(2, 0), (2, 3)}
    assert [link.pedestrian for link in found.links] == [False, False, False, True]


@pytest.mark.parametrize(
    ("state", "pairs"),
    [
        ("GrrG", []), ("GGrr", [(0, 1)]), ("GrGr", [(0, 2)]), ("Grgr", []), ("grgr", []), ("gGrr", [(0, 1)]),
        ("rrgG", []), ("rGrG", [(1, 3)]), ("rrGG", [(2, 3)]), ("Grsr", []), ("Gsrr", [(0, 1)]), ("rsrr", []),
    ],
)  # fmt: skip
def test_greens_are_unsafe_where_neither_gives_way(state: str, pairs: list[tuple[int, int]]) -> None:
    assert unsafe_pairs(state, table()) == pairs


def test_streams_that_go_straight_on_and_cross_never_share_a_green() -> None:
    """Whatever the junction's table says of who would wait if the signal were off."""
    says_so = {"response": ("0000", "1001", "1001", "0010")}  # 1 yields to 0 and to the crossing, which it meets
    straight = table(**says_so)
    for state in ("Ggrr", "ggrr", "Gsrr", "rgrG", "rgrg", "rsrG"):
        assert unsafe_pairs(state, straight), state
    turning = table(**says_so, directions="srls")
    for state in ("Ggrr", "ggrr", "Gsrr", "rgrG", "rsrG"):
        assert unsafe_pairs(state, turning) == [], state
    plan = compile_signals(network("Grrr", "rGrr", "Ggrr", "GGrr", "ggrr", **says_so))  # type: ignore[arg-type]
    assert [p.state for p in plan.intersections[0].phases] == ["Grrr", "rGrr"]


def test_who_bends_off_turns_however_it_is_marked() -> None:
    """A lone branch that leads off at 40 degrees gets an `s` of netconvert: a left turn all the same."""
    whole = network("GGGG", directions="ssss")
    assert table(directions="ssss").links[2].straight == (False,)
    assert link_table(whole, "T", 4).yields[2, 0]


def test_connections_that_share_a_character_have_to_get_along() -> None:
    crossing_streets = link_table(network("Grr", indices=(0, 0, 1, 2)), "T", 3)
    assert unsafe_pairs("Grr", crossing_streets) == [(0, 0)]
    assert unsafe_pairs("grr", crossing_streets) == [(0, 0)]
    yielding = link_table(network("Grr", indices=(0, 1, 0, 2)), "T", 3)
    assert unsafe_pairs("Grr", yielding) == [(0, 0)]
    assert unsafe_pairs("grr", yielding) == []
    # 2 yields to 0, but 1, which shares its character, does not: the character gives way to nobody
    assert not link_table(network("Grr", indices=(0, 1, 1, 2)), "T", 3).yields[1, 0]


def test_a_connection_that_the_table_does_not_hold_conflicts_and_never_yields() -> None:
    whole = network("GGGG")
    junction = dataclasses.replace(whole.junctions["J"], internal_lanes=(":J_0_0", ":J_1_0", "", ""))
    junction = dataclasses.replace(junction, incoming_lanes=("in0_0", "in1_0"))
    found = link_table(dataclasses.replace(whole, junctions={"J": junction}), "T", 4)
    assert found.conflicts[2, :2].all()
    assert not found.yields[2].any()


def test_without_a_table_geometry_tells_who_conflicts() -> None:
    found = table(foes=(), response=())
    assert found.conflicts[0, 1]
    assert not found.conflicts[0, 3]
    assert not found.yields.any()


def test_walkers_the_other_way_use_the_same_crossing() -> None:
    """SUMO's linkIndex2 is a connection that leads off the crossing."""
    one_way = network("GGGGG")
    back = Connection(":J_c0_0", "in3_0", ":J_c0", "in3", None, "s", "T", 4)
    found = link_table(dataclasses.replace(one_way, connections=(*one_way.connections, back)), "T", 5)
    assert found.links[4].pedestrian
    assert found.links[4].crossing_m == pytest.approx(16.0)
    assert found.conflicts[4, :4].tolist() == [False, True, True, False]


# --- phases


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["Grrr", "yrrr", "rrrr", "rGrr", "ryrr"], ["Grrr", "rGrr"]),
        (["Grrr", "rGrr", "Grrr"], ["Grrr", "rGrr"]),
        (["GrrG", "Grrr", "rGrr"], ["GrrG", "rGrr"]),  # the second row only ends the crossing
        (["Grrr", "rurr", "rGrr"], ["Grrr", "rGrr"]),
        (["Grsr", "rGrr"], ["Grsr", "rGrr"]),
        (["Gsrr", "rGrr"], ["Grrr", "rGrr"]),  # a turn on red that yields to nobody
        (["GrGr", "rGrr"], ["Grgr", "rGrr"]),  # of two foes the one that has to gives way
        (["GGrr", "Grrr", "rGrr"], ["Grrr", "rGrr"]),  # neither can: each alone
        (["GGrr", "GGrr"], ["Grrr", "rGrr"]),
        (["Orrr", "rorr"], ["Grrr", "rgrr"]),  # what is switched off at times is lit by us
        (["Grrr", "Orrr", "rGrr"], ["Grrr", "rGrr"]),  # the same greens once
        (["Grrr", "rGrr", "oooo", "OOOO"], ["Grrr", "rGrr"]),  # at night
        (["Grrrrr", "rGrrrr"], ["Grrrrr", "rGrrrr"]),  # characters that nothing uses
    ],
)
def test_phases_are_what_a_program_lets_go(rows: list[str], expected: list[str]) -> None:
    assert phases(*rows) == expected


def test_what_was_changed_is_noted() -> None:
    notes = "\n".join(compiled("GrGr", "GGrr", "rGrr", "rGrr").notes)
    assert "row 0 GrGr is shown as Grgr" in notes
    assert (
        "row 1 GGrr is taken apart into Grrr and rGrr: links 0 and 1 are two through movements that conflict" in notes
    )
    assert "rows 2, 3 let the same go: one green of 40 s" in notes
    again = compiled("Grrr", "yrrr", "Grrr", "rGrr").notes
    assert "row 2 Grrr repeats row 0" in again
    dark = "\n".join(compiled("OrrG", "rGrr", "oOoO").notes)
    assert "row 0 OrrG is shown as GrrG, with its dark signals lit" in dark
    assert "row 2 oOoO is dark or blinking: no phase" in dark
    assert "link 3 is green in no phase" in notes


def test_bounds_of_a_green() -> None:
    whole = network("GrrG", "rGrr")
    rows = (ProgramRow(20, "GrrG"), ProgramRow(20, "rGrr", 9.0, 40.0), ProgramRow(20, "rrGr", 2.0, 3.0))
    program = dataclasses.replace(whole.programs["T"][0], rows=rows)
    found = compile_signals(whole.with_programs((program,))).intersections[0].phases
    assert [(p.min_green_s, p.max_green_s, p.walk) for p in found] == [
        (7.0, 60.0, True),  # the walk
        (9.0, 40.0, False),  # the program's own
        (5.0, 5.0, False),  # never below the least green
    ]


# --- change intervals

CLEAR_0_1 = red_clearance_s(18.0, MPH_45)  # 15 m to the middle, half a lane's width each, in steps of half a metre
CLEAR_1_0 = red_clearance_s(18.0, 10.0)


def test_yellow_per_link_and_red_clearance_where_paths_conflict() -> None:
    item = compiled("Grrr", "rGrr", timing=TENTHS)
    (yellow, clear), (back, clear_back) = shown(item, 0, 1), shown(item, 1, 0)
    assert yellow == (4.3, "yrrr")
    assert clear == (pytest.approx(CLEAR_0_1, abs=0.11), "rrrr")
    assert back == (3.0, "ryrr")
    assert clear_back == (pytest.approx(CLEAR_1_0, abs=0.11), "rrrr")
    assert item.intergreen_s(0, 1) == pytest.approx(4.3 + clear[0])


def test_durations_are_rounded_up_to_steps() -> None:
    item = compiled("Grrr", "rGrr", timing=Timing(sim_step_s=1.0))
    assert shown(item, 0, 1) == [(5.0, "yrrr"), (2.0, "rrrr")]
    assert shown(item, 1, 0) == [(3.0, "ryrr"), (3.0, "rrrr")]


def test_nothing_is_cleared_for_those_who_never_meet() -> None:
    item = compiled("Grrr", "rrrG", timing=TENTHS)
    assert shown(item, 0, 1) == [(4.3, "yrrr")]
    assert shown(item, 1, 0) == []  # walkers who meet nobody


def test_a_protected_turn_is_ended_before_it_has_to_yield() -> None:
    item = compiled("rrGr", "Grgr", timing=TENTHS)
    (yellow, clear) = shown(item, 0, 1)
    assert yellow == (3.0, "rryr")
    assert clear[1] == "rrrr"
    assert clear[0] > 1.0


def test_a_turn_that_becomes_protected_keeps_its_green() -> None:
    """It yields until its foe is cleared."""
    item = compiled("Grgr", "rrGr", timing=TENTHS)
    assert [state for _, state in shown(item, 0, 1)] == ["yrgr", "rrgr"]
    assert shown(item, 0, 1)[0][0] == 4.3


def test_a_crossing_is_cleared_while_vehicles_keep_their_green() -> None:
    item = compiled("GrrG", "rGrr", timing=TENTHS)
    walk_s = math.ceil(pedestrian_clearance_s(16.0) * 10) / 10
    states = shown(item, 0, 1)
    assert [state for _, state in states] == ["Grrr", "yrrr", "rrrr"]
    assert sum(duration for duration, _ in states) == pytest.approx(walk_s)
    assert states[1][0] == 4.3


def test_a_program_keeps_its_own_longer_times() -> None:
    item = compiled("Grrr", (5.5, "yrrr"), (4.0, "rrrr"), "rGrr", (2.0, "ryrr"), timing=TENTHS)
    assert shown(item, 0, 1) == [(5.5, "yrrr"), (4.0, "rrrr")]
    assert shown(item, 1, 0)[0] == (3.0, "ryrr")  # its own shorter yellow is not


def test_fixed_change_intervals_are_those_of_most_studies() -> None:
    timing = Timing(change_interval="fixed", red_clearance_s=1.0)
    assert shown(compiled("Grrr", (5.0, "yrrr"), "rGrr", timing=timing), 0, 1) == [(3.0, "yrrr"), (1.0, "rrrr")]


@pytest.mark.parametrize("walking_speed_mps", [1.0, 100.0])
def test_walkers_and_vehicles_that_share_a_character_both_get_out(walking_speed_mps: float) -> None:
    """The slower of both counts, whichever it is, and the green is a walk."""
    timing = Timing(sim_step_s=0.1, walking_speed_mps=walking_speed_mps)
    item = compiled("Grr", "rGr", indices=(0, 1, 2, 0), timing=timing)
    alone = compiled("Grrr", "rGrr", timing=timing).times.clearance_s(0, 1)
    assert alone > 1.0
    assert item.times.clearance_s(0, 1) >= max(alone, 16.0 / walking_speed_mps)
    assert [p.min_green_s for p in item.phases] == [7.0, 5.0]


def test_a_phase_settles_what_ended_two_phases_ago() -> None:
    """Walkers (3) end into a phase of 0, which they never meet; 1, which they do, has to wait for them."""
    item = compiled("rrrG", "Grrr", "rGrr", timing=TENTHS)
    assert item.settling_s[0, 1][2] == pytest.approx(pedestrian_clearance_s(16.0))
    assert item.settling_s[0, 1][1] == 0.0
    assert item.settling_s[1, 0] == pytest.approx((0.0, 0.0, CLEAR_0_1), abs=0.11)


# --- what is refused, per signal and with the reason


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (network("Grrr", "rGr"), "states of different lengths ([3, 4])"),
        (network("GrrX", "rGrr"), "unknown signal characters ['X']"),
        (network(), "has no rows"),
        (network("oooo", "OOOO"), "dark or blinking in every row"),
        (network("Grrr", "rGrr", kind="railSignal"), "it is a rail signal"),
        (network("Grrr", "rGrr", kind="off"), "it is switched off"),
        (network("Grrr", "yrrr"), "only one green phase"),
        (network("yyrr", "rrrr"), "no green phase"),
        (network("GGrr", "rrrr", indices=(0, 0, 1, 2)), "no phase can serve link 0: connections that share its"),
        (network("Grr", "rGr"), "a state has 3 signals, the network has a link with index 3"),
        (network("Grrr", "rGrr", indices=(0, 1, None, 3)), "has no link index"),
        (network("GGGG", "yyyy", foes=("0000",) * 4, response=("0000",) * 4), "never shows them all red"),
    ],
)
def test_a_signal_is_refused_with_the_reason(refused: RoadNetwork, reason: str) -> None:
    (refusal,) = compile_signals(refused).refusals
    assert refusal.tls_id == "T"
    assert reason in refusal.reason
    assert explain(refused) == [f"T: left to its own program: {refusal.reason}"]


def test_signals_that_share_a_junction_are_both_refused() -> None:
    plan = compile_signals(network("Grrr", "rGrr", tls_ids=("T", "U", "T", "T")))
    assert [refusal.tls_id for refusal in plan.refusals] == ["T", "U"]
    assert "shares a junction with tls 'U'" in plan.refusals[0].reason


def test_one_bad_signal_does_not_spoil_the_network() -> None:
    good = network("Grrr", "rGrr")
    bad = Program("X", "0", "static", 0.0, (ProgramRow(9.0, "Gr"),))
    plan = compile_signals(good.with_programs((bad,)))
    assert plan.tls_ids == ("T",)
    assert plan.refusals == (Refusal("X", "it controls no link of this network"),)
    assert plan.only(["T"]).tls_ids == ("T",)
    with pytest.raises(InputError, match="'X' cannot be controlled: it controls no link"):
        plan.only(["X"])
    with pytest.raises(InputError, match="not in the network"):
        SignalPlan.only(plan, ["Q"])


def test_trams_and_crossings_alone_can_be_controlled() -> None:
    assert len(compiled("Grrr", "rGrr", rail=True).phases) == 2
    walk_only = network("Gr", "rG", indices=(None, 0, None, 1), tls_ids=(None, "T", None, "T"))
    (item,) = compile_signals(walk_only, TENTHS).intersections
    assert [state for _, state in shown(item, 0, 1)] == ["yr", "rr"]
    assert [state for _, state in shown(item, 1, 0)] == ["rr"]


def test_a_change_of_any_length_is_made_at_once() -> None:
    """A program may hold a yellow of years; nobody counts its seconds."""
    item = compiled("Grrr", (1e9, "yrrr"), "rGrr")
    assert shown(item, 0, 1)[0] == (1e9, "yrrr")
