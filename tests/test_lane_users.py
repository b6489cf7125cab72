"""Who may use a lane decides how fast and how long what leaves a junction is, and who meets whom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scenarios.netfile import read_network
from signals.clearance import red_clearance_s
from signals.intersection import compile_signals
from signals.links import conflict_distance_m, link_table
from signals.safe_states import why_apart
from signals.vclasses import RAIL_LENGTHS_M, cycles_only, rail_length_m, rail_only
from tests.cases import CASES, case_network, case_signal, shown
from tests.test_signals import network

TRAM_NET = "tram_lane/my.net.xml"


def opened(case: str, to: str, tmp_path: Path) -> Path:
    """A case's network with its lanes for some open to others, too."""
    path = tmp_path / "open.net.xml"
    allowed = "bicycle" if case.startswith("bike") else "tram"
    path.write_text((CASES / case).read_text().replace(f'allow="{allowed}"', to))
    return path


def test_bicycles_are_cleared_at_twenty_kilometres_an_hour() -> None:
    """A lane of 13.9 m/s for bicycles alone, across six others: 42.6 m and the vehicle at 5.56 m/s need 8.8 s."""
    item = case_signal("bike_clearance/n.net.xml")
    bicycles = item.table.links[2]
    assert bicycles.speed_mps == pytest.approx(20 / 3.6)
    assert bicycles.yellow_speed_mps == 13.9
    assert shown(item, 1, 0) == [(4.0, "rry"), (9.0, "rrr")]
    assert shown(item, 0, 1) == [(4.0, "yyr"), (3.0, "rrr")], "cars end as before"


def test_bicycles_among_cars_are_cleared_at_the_limit(tmp_path: Path) -> None:
    found = read_network(opened("bike_clearance/n.net.xml", 'allow="bicycle passenger"', tmp_path))
    (item,) = compile_signals(found).intersections
    assert item.table.links[2].speed_mps == 13.9
    assert shown(item, 1, 0) == [(4.0, "rry"), (4.0, "rrr")]


@pytest.mark.parametrize(
    ("classes", "cycles", "rail", "length_m"),
    [
        ({"bicycle"}, True, False, 0.0),
        ({"bicycle", "scooter"}, True, False, 0.0),
        ({"bicycle", "bus"}, False, False, 0.0),
        ({"tram"}, False, True, 22.0),
        ({"tram", "rail_urban"}, False, True, 109.5),
        ({"tram", "bus"}, False, False, 0.0),
        (set(), False, False, 0.0),
    ],
)
def test_lanes_are_exclusive_or_shared(classes: set[str], cycles: bool, rail: bool, length_m: float) -> None:
    assert (cycles_only(classes), rail_only(classes), rail_length_m(classes)) == (cycles, rail, length_m)


def test_rail_vehicles_are_as_long_as_sumo_has_them(tmp_path: Path) -> None:
    types = "".join(f'<vType id="{name}" vClass="{name}"/>' for name in RAIL_LENGTHS_M)
    (tmp_path / "types.add.xml").write_text(f"<additional>{types}</additional>")
    script = (
        "import json, libsumo, sys; libsumo.start(['sumo', '--no-step-log', '-n', sys.argv[1], '-a', sys.argv[2]]);"
        "print(json.dumps({n: libsumo.vehicletype.getLength(n) for n in sys.argv[3:]}))"
    )
    words = [CASES / "own_clearance" / "n.net.xml", tmp_path / "types.add.xml", *RAIL_LENGTHS_M]
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout.splitlines()[-1]) == RAIL_LENGTHS_M


def test_who_takes_a_link_may_use_all_of_its_lanes() -> None:
    """Link 10 turns from a lane for all to the tram's."""
    net = case_network(TRAM_NET)
    (turn,) = case_signal(TRAM_NET).table.links[10].connections
    assert not net.lanes[turn.from_lane].rail
    assert net.classes_over(turn) == {"tram"}


def test_trams_are_cleared_with_their_own_length() -> None:
    item = case_signal(TRAM_NET)
    tram, cars = item.table.links[5], item.table.links[8]
    assert (tram.rail_length_m, cars.rail_length_m) == (22.0, 0.0)
    needed_s = red_clearance_s(conflict_distance_m(tram, cars), 13.89, vehicle_length_m=22.0)
    assert item.times.clearance_s(5, 8) == pytest.approx(needed_s)
    assert item.times.clearance_s(5, 8) == pytest.approx(
        red_clearance_s(conflict_distance_m(tram, cars), 13.89) + (22 - 6.096) / 13.89
    )


def test_lanes_side_by_side_do_not_meet_because_one_of_them_says_so(tmp_path: Path) -> None:
    """The table lists 0 as a foe of 10, but not 10 of 0: a right turn beside a tram's left turn."""
    net = case_network(TRAM_NET)
    foes = net.junctions["C"].foes
    assert (foes[0][-1 - 10], foes[10][-1]) == ("1", "0")
    item = case_signal(TRAM_NET)
    assert [p.state for p in item.phases] == ["rrrGGGgrrrrGGg", "GGgrrrrGGggrrr"]
    assert not item.table.conflicts[0, 10]
    assert item.table.conflicts[1, 10], "the table names both, and they meet"
    cars = link_table(read_network(opened(TRAM_NET, 'allow="passenger"', tmp_path)), "C", 14)
    assert cars.conflicts[0, 10], "of cars the table is believed"


def test_what_does_meet_conflicts_though_the_table_says_it_of_one_only() -> None:
    none = "0000"
    ways = network("Grrr", rail=True, foes=("1010", none, none, none), response=(none,) * 4)
    table = link_table(ways, "T", 4)
    assert np.argwhere(np.triu(table.conflicts)).tolist() == [[0, 1]], "0 and 1 cross, 0 and 3 lie apart"


def test_the_rule_that_keeps_two_links_apart_is_named() -> None:
    table = link_table(network("Grrr"), "T", 4)
    assert why_apart(table, 0, 1) == "links 0 and 1 are two through movements that conflict"
    assert why_apart(table, 1, 3) == "links 1 and 3 are a through movement and a crossing that conflict"
    assert why_apart(table, 0, 2) == "links 0 and 2 conflict and neither gives way"
    assert why_apart(table, 2, 2) == "connections of link 2 conflict and neither gives way"
