"""Detectors and movements find their lanes and links."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import sumo

from demand.calibration.hand import hand_text, read_hand
from demand.calibration.matching import bearing_of, match
from demand.calibration.places import Roads
from demand.calibration.projection import to_metres, utm
from plumbing.errors import InputError
from scenarios.loading import load
from scenarios.marks import Mark
from scenarios.netfile import read_network
from scenarios.picture import svg

NOTHING: dict[str, Any] = dict.fromkeys(
    ("kind", "site", "approach", "movement", "lane", "x", "y", "position_m"), None
)
ARMS = {"SB": "N", "WB": "E", "NB": "S", "EB": "W"}  # who drives south comes from the north
LEFT_OF = {"N": "E", "E": "S", "S": "W", "W": "N"}
AHEAD_OF = {"N": "S", "S": "N", "E": "W", "W": "E"}
RIGHT_OF = {"N": "W", "W": "S", "S": "E", "E": "N"}


def row(detector: str, **known: object) -> dict[str, Any]:
    return {**NOTHING, "detector": detector, **known}


def as_given(x: float, y: float) -> tuple[float, float]:
    return x, y


@pytest.fixture(scope="module")
def single() -> Roads:
    return Roads(load("single").network)


@pytest.fixture(scope="module")
def left_hand(tmp_path_factory: pytest.TempPathFactory) -> Roads:
    """A crossroads where one drives on the left, two lanes on each approach."""
    net = tmp_path_factory.mktemp("left") / "left.net.xml"
    words = [
        "--grid",
        "--grid.number",
        "1",
        "--grid.attach-length",
        "200",
        "-L",
        "2",
        "--lefthand",
        "--tls.set",
        "A0",
    ]
    subprocess.run([f"{sumo.SUMO_HOME}/bin/netgenerate", *words, "-o", str(net)], check=True, capture_output=True)
    return Roads(read_network(net))


def test_each_movement_of_each_arm_is_found_by_compass(single: Roads) -> None:
    rows = [row(f"{arm}{kind}", kind="movement", approach=arm, movement=kind) for arm in ARMS for kind in "LTR"]
    found = {place.detector: place for place in match(single, rows, as_given).places}
    for arm, origin in ARMS.items():
        for kind, exits in (("L", LEFT_OF), ("T", AHEAD_OF), ("R", RIGHT_OF)):
            place = found[f"{arm}{kind}"]
            assert (place.edge, place.to_edges) == (f"{origin}_in", (f"{exits[origin]}_out",))
            assert not place.doubts


def test_lanes_count_from_the_right_without_the_pavement(single: Roads) -> None:
    rows = [row(str(lane), kind="detector", approach="EB", lane=lane) for lane in range(3)]
    found = match(single, rows, as_given)
    assert [place.lanes for place in found.places] == [("W_in_1",), ("W_in_2",), ("W_in_3",)]
    beyond = match(single, [row("d", approach="EB", lane=3)], as_given)
    assert not beyond.places
    assert "has 3 lanes" in beyond.missing["d"]


def test_a_tee_has_no_approach_from_the_north() -> None:
    roads = Roads(load("tee").network)
    found = match(roads, [row("a", approach="NB", kind="movement", movement="L"), row("b", approach="SB")], as_given)
    assert [(place.edge, place.to_edges) for place in found.places] == [("S_in", ("W_out",))]
    assert found.missing == {"b": "no approach leads SB"}


def test_driving_on_the_left_the_rightmost_lane_is_still_the_rightmost(left_hand: Roads) -> None:
    west = next(edge for edge in left_hand.approaches["A0"] if abs(left_hand.bearing_deg(edge) - 90) < 1)
    first, second = left_hand.edges[west]
    lanes = left_hand.network.lanes
    assert lanes[first].shape[-1][1] < lanes[second].shape[-1][1], "south of the other, as one drives east"
    north_exit = match(left_hand, [row("d", approach="EB", movement="L", kind="movement")], as_given).places[0]
    end = lanes[left_hand.edges[north_exit.to_edges[0]][0]].shape[-1]
    assert end[1] > lanes[first].shape[-1][1]


def test_a_position_finds_the_lane_and_how_far_back_it_is(single: Roads) -> None:
    (x, y) = single.network.lanes["W_in_2"].shape[-1]
    found = match(single, [row("a", x=x - 40, y=y + 0.5), row("b", x=x - 40, y=y + 200)], as_given)
    assert found.places[0].lanes == ("W_in_2",)
    assert found.places[0].position_m == pytest.approx(40, abs=0.01)
    assert "the nearest lane is" in found.missing["b"]


def test_what_is_doubtful_says_so(single: Roads) -> None:
    (x, y) = single.network.lanes["W_in_1"].shape[-1]
    rows = [
        row("off", x=x - 40, y=y - 8),
        row("twice", approach="SB"),
        row("again", approach="SB"),
        row("wrong lane", approach="EB", lane=0, movement="L"),
        row("skew", approach="NE"),
    ]
    doubts = {place.detector: " ".join(place.doubts) for place in match(single, rows, as_given).doubtful}
    assert "from the middle of its lane" in doubts["off"]
    assert doubts["twice"] == "counts the same as again"
    assert "does not serve L" in doubts["wrong lane"]
    assert "45° off NE" in doubts["skew"]
    assert "leads nearly as much NE" in doubts["skew"]


def test_directions_are_read_as_people_write_them() -> None:
    assert [bearing_of(word) for word in ("NB", "northbound", "S", "sw-bound", "East", "", None)] == [
        0, 0, 180, 225, 90, None, None,
    ]  # fmt: skip
    with pytest.raises(InputError, match="is no direction"):
        bearing_of("up")


def test_longitude_and_latitude_become_utm() -> None:
    # 45° north on a central meridian; the CN Tower, as the article on UTM in Wikipedia has it
    assert utm(9.0, 45.0, 32) == pytest.approx((500_000.0, 4_982_950.40), abs=0.01)
    tower = utm(-(79 + 23 / 60 + 13.7 / 3600), 43 + 38 / 60 + 33.24 / 3600, 17)
    assert tower == pytest.approx((630_084, 4_833_438), abs=1)


def test_a_network_without_a_projection_takes_its_own_metres() -> None:
    assert to_metres(load("single").net_file)(12.5, 3.0) == (12.5, 3.0)


def test_a_hand_file_says_where_detectors_are_and_comes_back_the_same(single: Roads, tmp_path: Path) -> None:
    file = tmp_path / "places.csv"
    file.write_text(
        "detector,edge,lane,from_edge,to_edge,position_m\n"
        "whole,W_in,,,,\nlane,,W_in_2,,,40\nboth,,W_in_1 W_in_2,,,\nturn,,,N_in,E_out,\n"
    )
    names = ["whole", "lane", "both", "turn"]
    places = read_hand(file, single, names)
    assert [place.lanes for place in places] == [
        ("W_in_1", "W_in_2", "W_in_3"), ("W_in_2",), ("W_in_1", "W_in_2"), (),
    ]  # fmt: skip
    assert (places[1].position_m, places[3].to_edges) == (40.0, ("E_out",))
    file.write_text(hand_text(places))
    assert read_hand(file, single, names) == places


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("detector,lane\nd,W_in_9\n", "line 2: the network has no lane 'W_in_9' for cars. Did you mean"),
        ("detector,lane\nd,W_in_0\n", "no lane 'W_in_0' for cars"),  # the pavement
        ("detector,edge\nd,nowhere\n", "no edge 'nowhere'"),
        ("detector,edge,lane\nd,W_in,W_in_1\n", "give either an edge, or lanes"),
        ("detector,from_edge,to_edge\nd,W_in,W_out\n", "does not lead to 'W_out'; it leads to"),
        ("detector,edge\ne,W_in\n", "no counts of a detector 'e'"),
        ("detector,edge\nd,W_in\nd,E_in\n", "has two places"),
        ("detector,edge,position_m\nd,W_in,near\n", "position_m is 'near'"),
        ("detector,edges\nd,W_in\n", "no column is called 'edges'.*Did you mean 'edge'"),
        ("name\nd\n", "no column is called 'name'"),
        ("\xff", "is no CSV in UTF-8"),
    ],
)
def test_a_wrong_hand_file_is_one_clear_line(single: Roads, tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "places.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=complaint) as caught:
        read_hand(file, single, ["d"])
    assert "\n" not in str(caught.value)


def test_the_picture_names_detectors_where_they_are() -> None:
    network = load("single").network
    marks = [Mark("<7> & co", "W_in_1", 5.0), Mark("8", "N_in_1", 1.0, doubtful=True)]
    text = svg(network, marks=marks)
    assert ">&lt;7&gt; &amp; co</text>" in text
    assert ">8?</text>" in text
    assert text.count("<text") == svg(network).count("<text") + 2
