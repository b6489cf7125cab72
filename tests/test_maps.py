"""Maps: what is read of one, what netconvert makes of it, what is guessed and made up, and how that is said."""

from __future__ import annotations

import bz2
import gzip
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from plumbing.errors import InputError
from plumbing.held import scratch
from scenarios.__main__ import main
from scenarios.loading import load
from scenarios.maps import elements
from scenarios.maps.assumption import PER_LANE_VEH_H, WALKERS_PER_CROSSING_H, Assumption, per_lane_veh_h
from scenarios.maps.convert import convert
from scenarios.maps.driving_side import driving_side
from scenarios.maps.extract import read_extract
from scenarios.maps.guesses import guesses
from scenarios.maps.made_up import Departure, thinned
from scenarios.maps.rim import rim, weights
from scenarios.maps.trial import LEAST_ARRIVED, MOST_OUTSIDE, Trial
from scenarios.picture import legend, svg
from scenarios.streets import numbered, read_streets
from signals.intersection import compile_signals
from signals.timing import Timing
from tests.osm import LEFT, TRAM, TWO, converted

SMALL = """<osm version="0.6">
<node id="1" lat="48.0" lon="2.0"/><node id="2" lat="48.001" lon="2.0">{signal}</node>
<node id="3" lat="48.002" lon="2.0"/>
<way id="7"><nd ref="1"/><nd ref="2"/><nd ref="3"/><tag k="highway" v="{kind}"/>{tags}</way></osm>"""
SIGNAL = '<tag k="highway" v="traffic_signals"/>'


def small(folder: Path, signal: str = SIGNAL, kind: str = "primary", tags: str = "") -> Path:
    """A map of one road."""
    file = folder / "small.osm"
    file.write_text(SMALL.format(signal=signal, kind=kind, tags=tags), encoding="utf-8")
    return file


def test_a_map_is_the_same_in_every_format(tmp_path: Path) -> None:
    import osmium

    expected = read_extract(TWO)
    assert len(expected.ways) == 15
    assert len(expected.signal_nodes) == 5
    text = TWO.read_bytes()
    files = [tmp_path / name for name in ("map.osm.gz", "map.osm.bz2", "named-otherwise", "map.osm.pbf")]
    files[0].write_bytes(gzip.compress(text))
    files[1].write_bytes(bz2.compress(text))
    files[2].write_bytes(text)
    with osmium.SimpleWriter(str(files[3])) as writer:
        for item in osmium.FileProcessor(str(TWO)):
            writer.add(item)
    for file in files:
        found = read_extract(file)
        assert found.ways == expected.ways
        assert found.nodes == expected.nodes


@pytest.mark.parametrize("packed", ["half.osm", "half.osm.gz", "half.osm.bz2", "half.osm.pbf"])
def test_half_a_map_is_one_clear_line(tmp_path: Path, packed: str) -> None:
    import osmium

    data = TWO.read_bytes()
    if packed.endswith("pbf"):
        whole = tmp_path / "whole.osm.pbf"
        with osmium.SimpleWriter(str(whole)) as writer:
            for item in osmium.FileProcessor(str(TWO)):
                writer.add(item)
        data = whole.read_bytes()
    pack = {"gz": gzip.compress, "bz2": bz2.compress}.get(packed.rpartition(".")[2], bytes)
    data = pack(data)
    (tmp_path / packed).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=rf"map .*{packed} cannot be read: .*; is it a whole extract") as caught:
        read_extract(tmp_path / packed)
    assert "\n" not in str(caught.value)


def test_a_packed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "SMALL_BYTES", 1 << 20)
    file = tmp_path / "bomb.osm.bz2"
    file.write_bytes(bz2.compress(b"<osm>" + b" " * (1 << 22)))
    with pytest.raises(InputError, match="unpacks to more than 1 MiB"):
        read_extract(file)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<net/>", "is no extract of OpenStreetMap: its root element is <net>"),
        ("", "cannot be read: no element found"),
        ('<osm><node id="x" lat="1" lon="2"/></osm>', "is damaged: .*'x'"),
        ('<osm><way id="1"><nd/></way></osm>', "is damaged: a <way> without 'ref'"),
        ('<osm version="0.6"></osm>', "has no roads that vehicles use; give an extract of a town"),
        (
            SMALL.format(signal="", kind="footway", tags=""),
            "has no roads .*; it has 1 other ways, such as highway=foot",
        ),
        (SMALL.format(signal="", kind="primary", tags=""), r"1 roads, but no traffic signals .*--guess-signals"),
        (SMALL.format(signal=SIGNAL, kind="primary", tags=""), "none of its 1 points with signals stands at a junc"),
        (SMALL.replace('lat="48.0"', 'lat="948"').format(signal=SIGNAL, kind="primary", tags=""), "nowhere on earth"),
        (
            '<osm><way id="7"><nd ref="1"/><nd ref="2"/><tag k="highway" v="primary"/></way></osm>',
            "lacks the nodes of",
        ),
    ],
)
def test_what_is_no_town_is_one_clear_line_and_leaves_nothing(tmp_path: Path, text: str, expected: str) -> None:
    file, out = tmp_path / "map.osm", tmp_path / "out"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        main(["import", str(file), "--out", str(out)])
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map.osm"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"something else than an imported map, 'thesis\.txt'"):
        main(["import", str(TWO), "--out", str(tmp_path)])
    with pytest.raises(InputError, match=r"map .* does not exist"):
        main(["import", str(tmp_path / "none.osm"), "--out", str(tmp_path / "out")])
    with pytest.raises(InputError, match="give a number from 1 to"):
        main(["import", str(TWO), "--out", str(tmp_path / "out"), "--vehicles-per-hour", "-5"])


def test_deleted_and_unsaved_elements_are_read_as_an_editor_means_them(tmp_path: Path) -> None:
    text = SMALL.format(signal=SIGNAL, kind="primary", tags="").replace('way id="7"', 'way id="-7"')
    text = text.replace("</osm>", '<way id="8" action="delete"><nd ref="1"/><nd ref="2"/></way></osm>')
    file = tmp_path / "edited.osm"
    file.write_text(text)
    (way,) = read_extract(file).ways
    assert way.id > 10**12, "netconvert takes a minus for the opposite direction"


def test_a_way_that_the_rim_cuts_keeps_its_longest_piece(tmp_path: Path) -> None:
    file = small(tmp_path, tags="")
    file.write_text(file.read_text().replace('<nd ref="1"/>', '<nd ref="1"/><nd ref="99"/>'))
    extract = read_extract(file)
    assert extract.ways[0].nodes == (2, 3)
    assert extract.cut == 1


@pytest.mark.parametrize(
    ("lat", "lon", "left"),
    [
        (51.5, -0.1, True), (50.8, -0.14, True), (50.73, 1.6, False), (50.95, 1.85, False), (35.7, 139.7, True),
        (35.1, 129.05, False), (43.1, 131.9, False), (-33.9, 151.2, True), (28.6, 77.2, True), (-34.0, 18.5, True),
        (13.75, 100.5, True), (1.3, 103.8, True), (22.3, 114.17, True), (22.54, 114.06, False), (48.9, 2.3, False),
        (40.7, -74.0, False), (-1.3, 36.8, True), (14.6, 121.0, False), (11.56, 104.9, False), (53.3, -6.3, True),
    ],
)  # fmt: skip
def test_the_place_tells_the_side_where_nothing_else_does(tmp_path: Path, lat: float, lon: float, left: bool) -> None:
    file = small(tmp_path)
    file.write_text(re.sub(r'lat="48\.(\d+)" lon="2.0"', rf'lat="{lat}\1" lon="{lon}"', file.read_text()))
    found = driving_side(read_extract(file))
    assert found.left is left
    assert not found.sure


def test_tags_and_the_user_come_before_the_place(tmp_path: Path) -> None:
    extract = read_extract(small(tmp_path, tags='<tag k="driving_side" v="left"/>'))
    assert driving_side(extract).left
    assert driving_side(extract).why == "1 ways are tagged driving_side=left"
    assert not driving_side(extract, "right").left
    addressed = read_extract(small(tmp_path, signal=f'{SIGNAL}<tag k="addr:country" v="cy"/>'))
    assert driving_side(addressed).left, "Cyprus"
    assert not driving_side(read_extract(TWO)).left
    assert "roundabouts run counter-clockwise" in driving_side(read_extract(TWO)).why
    assert driving_side(read_extract(LEFT)).left


def test_two_signals_and_a_roundabout(tmp_path: Path) -> None:
    _, network, net = converted(TWO, tmp_path)
    plan = compile_signals(network, Timing())
    assert len(plan.intersections) == 2
    assert not plan.refusals
    moved = [item for item in plan.intersections if item.tls_id.startswith("GS_")]
    assert len(moved) == 1, "its signals are tagged at the stop lines alone"
    protected = [p for item in plan.intersections for p in item.phases if p.name == "-102 left; 101#1 left"]
    assert protected, "where there is a turn lane, left turns have a phase"
    root = ElementTree.parse(net).getroot()
    assert len(root.findall("roundabout")) == 1
    assert {street.name for street in read_streets(net).values()} >= {"Hauptstraße", "Ringstraße", "Kreisel"}


def test_a_tram_and_cycle_lanes_are_kept(tmp_path: Path) -> None:
    _, network, _ = converted(TRAM, tmp_path)
    (item,) = compile_signals(network, Timing()).intersections
    classes = [network.lanes[lane].classes for lane in item.lanes]
    assert sum(of == {"tram"} for of in classes) == 2
    assert sum("bicycle" in of and "passenger" not in of for of in classes) == 4
    assert sum(link.pedestrian for link in item.table.links) >= 4


def test_a_signal_on_a_track_alone_does_not_become_a_railways(tmp_path: Path) -> None:
    """A rail signal keeps a tram out of the next section."""
    text = TRAM.read_text(encoding="utf-8")
    at = ElementTree.fromstring(text).find("way[@id='211']/nd[2]")
    assert at is not None
    node = rf'(<node id="{at.get("ref")}" [^>]*)/>'
    tag = '<tag k="crossing" v="traffic_signals"/><tag k="railway" v="crossing"/>'
    file = tmp_path / "tram.osm"
    file.write_text(re.sub(node, rf"\1>{tag}</node>", text), encoding="utf-8")
    extract, network, _ = converted(file, tmp_path)
    assert len(extract.track_signals) == 1
    assert {junction.type for junction in network.junctions.values()} >= {"traffic_light"}
    assert "rail_signal" not in {junction.type for junction in network.junctions.values()}
    assert set(network.controlled) == set(network.programs)


def test_left_hand_traffic_keeps_left(tmp_path: Path) -> None:
    """The lane next to the pavement is the leftmost one, as seen by those who drive."""
    for lefthand in (True, False):
        _, network, _ = converted(LEFT, tmp_path, lefthand=lefthand)
        for edge in network.edges.values():
            lanes = [network.lanes[lane] for lane in edge.lane_ids]
            if edge.function != "normal" or lanes[0].classes or len(lanes) < 2:
                continue
            (x0, y0), (x1, y1) = lanes[-1].shape[0], lanes[-1].shape[-1]
            px, py = lanes[0].shape[0]
            on_the_left = (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0) > 0
            assert on_the_left is lefthand
        (item,) = compile_signals(network, Timing()).intersections
        assert len({movement.from_edge for movement in item.movements if not movement.pedestrian}) == 5


def test_what_is_guessed_is_listed_and_what_is_tagged_is_not(tmp_path: Path) -> None:
    extract, network, net = converted(TWO, tmp_path)
    side = driving_side(extract)
    with scratch("test") as place:
        said = convert(extract, tmp_path / "again.net.xml", place, lefthand=False)
    assert (tmp_path / "again.net.xml").read_bytes() == net.read_bytes()
    found = {guess.what: guess for guess in guesses(extract, network, read_streets(net), said, side)}
    untagged = [way for way in extract.ways if not any(key.startswith("maxspeed") for key in way.tags)]
    assert found["speeds"].count == len(untagged) == 3
    assert found["joined junctions"].count == 2
    assert found["signals from stop lines"].count == 1
    assert found["programs"].count == 2
    assert found["turn lanes"].count == 7, "of eight approaches, one is tagged"
    assert "left out" not in found, "nothing is"
    extract, network, net = converted(LEFT, tmp_path, lefthand=True)
    found = {g.what: g for g in guesses(extract, network, read_streets(net), said, driving_side(extract))}
    assert "--traffic left or right says it for sure" in found["driving side"].text


def test_numbers_go_through_a_picture_as_a_reader_does(tmp_path: Path) -> None:
    network = load("grid").network
    order = [tls_id for tls_id, _ in sorted(numbered(network).items(), key=lambda item: item[1][0])]
    assert order == [f"r{row}c{column}" for row in (2, 1, 0) for column in (0, 1, 2)]
    drawn = ElementTree.fromstring(svg(network))
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [str(number) for number in range(1, 10)]
    _, network, net = converted(TWO, tmp_path)
    assert [place for _, _, place in legend(network, read_streets(net))] == [
        "Mühlgasse / Hauptstraße",
        "Ringstraße / Hauptstraße",
    ]


def test_the_rim_is_where_roads_end_and_carries_traffic_by_their_class(tmp_path: Path) -> None:
    _, network, net = converted(TWO, tmp_path)
    streets, found = read_streets(net), rim(network, "passenger")
    assert sorted(streets[edge].name for edge in found.entries) == sorted(
        ["Gartenweg", "Hauptstraße", "Hauptstraße", "Mühlgasse", "Mühlgasse", "Nordring", "Ringstraße", "Ringstraße",
         "Südring"]
    )  # fmt: skip
    starts, _ = weights(network, streets, found)
    rates = {streets[edge].name: starts[edge] for edge in found.entries}
    assert rates["Hauptstraße"] == per_lane_veh_h("highway.secondary")
    assert rates["Gartenweg"] == per_lane_veh_h("highway.residential")
    within = sum(starts[edge] for edge in found.inside)
    assert within == pytest.approx(0.1 * sum(starts[edge] for edge in found.entries))


def test_road_classes_are_read_from_netconverts_types() -> None:
    assert per_lane_veh_h("cycleway.lane|highway.secondary") == per_lane_veh_h("highway.secondary")
    assert per_lane_veh_h("highway.primary_link") == per_lane_veh_h("highway.primary") / 2
    assert per_lane_veh_h("highway.busway") == per_lane_veh_h("") == per_lane_veh_h("highway.unclassified")
    assert Assumption("heavy").factor == 1.5
    assert Assumption("own", 300.0).factor == 1.0


def test_the_page_states_the_assumption() -> None:
    page = (Path(__file__).parents[1] / "docs" / "demand.md").read_text(encoding="utf-8")
    for kind, rate in PER_LANE_VEH_H.items():
        assert f"| {kind} | {rate:g} |" in page
    assert f"{WALKERS_PER_CROSSING_H:g} people an hour" in page
    assert f"more than {MOST_OUTSIDE:.0%}".replace("%", " %") in page
    assert f"fewer than {LEAST_ARRIVED:.0%}".replace("%", " %") in page


def test_a_smaller_share_of_the_demand_is_part_of_a_larger_one() -> None:
    cars = [Departure(float(n), f"car{n}", "car", "") for n in range(500)]
    trams = [Departure(float(n), f"tram{n}", "tram", "") for n in range(5)]
    half, most = (thinned([*cars, *trams], share, 0) for share in (0.5, 0.8))
    assert {d.id for d in half} < {d.id for d in most}
    assert 200 < len(half) < 300
    assert sum(d.kind == "tram" for d in half) == 5


@pytest.mark.parametrize(
    ("outside", "arrived", "early", "carried"),
    [(0, 1000, False, True), (50, 990, False, True), (51, 1000, False, False), (0, 989, False, False),
     (0, 1000, True, False)],
)  # fmt: skip
def test_a_demand_is_carried_where_nobody_stays(outside: int, arrived: int, early: bool, carried: bool) -> None:
    assert Trial(1.0, 1000, outside, arrived, 6000.0, early).carried is carried
