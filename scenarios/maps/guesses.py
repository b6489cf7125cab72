"""What a map does not say and the network has all the same: listed, so that nobody takes a guess for a fact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scenarios.maps.convert import Converted
from scenarios.maps.driving_side import DrivingSide
from scenarios.maps.elements import Way
from scenarios.maps.extract import Extract, length_m
from scenarios.streets import Street
from signals.network import RoadNetwork

_MOST_PLACES = 6


@dataclass(frozen=True)
class Guess:
    """One kind of guess."""

    what: str
    """A few words: "lane counts", "speeds", …"""
    count: int
    of: int
    """Out of how many."""
    text: str
    """The sentence that a person reads."""


def guesses(
    extract: Extract,
    network: RoadNetwork,
    streets: Mapping[str, Street],
    converted: Converted,
    side: DrivingSide,
    guess_signals: bool = False,
) -> list[Guess]:
    """The guesses, found by comparing the map's tags with the network, and from what netconvert says."""
    found = [_side(side), *_untagged(extract), _programs(network), *_signals(extract, network, guess_signals)]
    found += [_crossings(extract, network), _pavements(extract, network, streets)]
    found += [_turns(extract, network, streets), _joined(converted, network, streets), *_missing(extract)]
    return [guess for guess in found if guess.count]


def _side(side: DrivingSide) -> Guess:
    text = f"traffic drives on the {'left' if side.left else 'right'}: {side.why}"
    return Guess("driving side", 1, 1, text if side.sure else f"{text}; --traffic left or right says it for sure")


def _untagged(extract: Extract) -> list[Guess]:
    roads = [way for way in extract.ways if way.tags.get("highway") not in (None, "cycleway")]
    lanes = [w for w in roads if not any(k in w.tags for k in ("lanes", "lanes:forward", "turn:lanes"))]
    speeds = [w for w in roads if not any(k.startswith("maxspeed") for k in w.tags)]
    shares = (
        ("lane counts", lanes, "have no lanes tag and get SUMO's count for their class"),
        ("speeds", speeds, "have no maxspeed tag and get SUMO's speed for their class"),
    )
    return [
        Guess(what, len(some), len(roads), f"{_km(some, extract)} of {_km(roads, extract)} km of road {text}")
        for what, some, text in shares
    ]


def _km(ways: list[Way], extract: Extract) -> str:
    return f"{sum(length_m(way, extract.nodes) for way in ways) / 1000:.1f}"


def _programs(network: RoadNetwork) -> Guess:
    count = len(network.programs)
    text = f"the programs of all {count} signals: no map holds cycle, greens or phases; netconvert made them up"
    return Guess("programs", count, count, text)


def _signals(extract: Extract, network: RoadNetwork, guess_signals: bool) -> list[Guess]:
    count, nodes = len(network.programs), len(extract.signal_nodes)
    text = (
        f"{nodes} points of the map are tagged as signals, and became {count} signals: those of one junction are "
        "one, and those where only a road goes on none"
    )
    moved = [tls_id for tls_id in network.programs if "GS_" in tls_id]
    tracks = len(extract.track_signals)
    found = [
        Guess(
            "signals on tracks", tracks, tracks + nodes,
            f"{tracks} points with signals lie on tracks alone and are left out: elsewhere, trams run on sight",
        ),
        Guess("signals", nodes != count, nodes, text),
        Guess(
            "signals from stop lines", len(moved), count,
            f"{len(moved)} of them stand at junctions that have no tag themselves: their approaches' stop lines have",
        ),
    ]  # fmt: skip
    if guess_signals:
        text = "--guess-signals: SUMO set signals at large junctions without any tag; nobody knows whether they exist"
        found.append(Guess("invented signals", 1, count, text))
    return found


def _crossings(extract: Extract, network: RoadNetwork) -> Guess:
    crossings = [edge for edge in network.edges.values() if edge.function == "crossing"]
    tagged = [node for node in extract.nodes.values() if node.tags.get("highway") == "crossing"]
    over = len(crossings) - len(tagged)
    text = f"{len(crossings)} crossings stand in the network, and {len(tagged)} are tagged in the map on its roads"
    return Guess("crossings", max(0, over), len(crossings), f"{text}: wherever pavements meet, there is one")


def _pavements(extract: Extract, network: RoadNetwork, streets: Mapping[str, Street]) -> Guess:
    tagged = {str(way.id) for way in extract.ways if any(k.startswith("sidewalk") for k in way.tags)}
    have = [
        edge.id
        for edge in network.edges.values()
        if edge.function == "normal" and any(_is_pavement(network, lane) for lane in edge.lane_ids)
    ]
    guessed = [edge for edge in have if edge in streets and not tagged.intersection(streets[edge].origins)]
    text = f"{len(guessed)} of {len(have)} edges with a pavement have no sidewalk tag: their class or speed says so"
    return Guess("pavements", len(guessed), len(have), text)


def _is_pavement(network: RoadNetwork, lane_id: str) -> bool:
    return lane_id in network.lanes and not network.lanes[lane_id].classes


def _turns(extract: Extract, network: RoadNetwork, streets: Mapping[str, Street]) -> Guess:
    tagged = {str(way.id) for way in extract.ways if any(k.startswith("turn:lanes") for k in way.tags)}
    approaches = dict.fromkeys(
        c.from_edge
        for connections in network.controlled.values()
        for c in connections
        if c.from_edge in streets and "passenger" in network.lanes[c.from_lane].classes
    )
    guessed = [edge for edge in approaches if not tagged.intersection(streets[edge].origins)]
    text = f"{len(guessed)} of {len(approaches)} approaches to signals have no turn:lanes tag: who turns is a guess"
    return Guess("turn lanes", len(guessed), len(approaches), text)


def _joined(converted: Converted, network: RoadNetwork, streets: Mapping[str, Street]) -> Guess:
    joined = [nodes for nodes in converted.joined if len(nodes) > 1]
    largest = max((len(nodes) for nodes in joined), default=0)
    text = (
        f"{len(joined)} junctions were joined of several points that stand close together, the largest of {largest}"
    )
    return Guess("joined junctions", len(joined), len(network.junctions), text)


def _missing(extract: Extract) -> list[Guess]:
    names = [f"{count} {kind}" for kind, count in list(extract.left_out.items())[:_MOST_PLACES]]
    left_out, ways = sum(extract.left_out.values()), len(extract.ways)
    more = ", …" if len(extract.left_out) > _MOST_PLACES else ""
    return [
        Guess(
            "left out", left_out, left_out + ways,
            f"{left_out} ways are left out, which carry no traffic at signals: {', '.join(names)}{more}",
        ),
        Guess("cut ways", extract.cut, ways, f"{extract.cut} ways are cut at the rim of the extract"),
    ]  # fmt: skip
