"""Which detectors tell of the same stretch of road: those between one signal and the next."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from demand.incidents.places import Place
from signals.network import RoadNetwork


@dataclass(frozen=True)
class Group:
    """The detectors of one stretch of road, and what feeds it."""

    name: str
    detectors: tuple[str, ...]
    """From the upstream end to the downstream one."""
    first: tuple[str, ...]
    """Those of them that lie furthest upstream, a row across the road."""
    last: tuple[str, ...]
    """Those that lie furthest downstream; empty where there is only one row."""
    feeding: tuple[str, ...] = ()
    """Detectors of other groups whose traffic comes here next."""
    roads: tuple[str, ...] = ()
    """Its edges, with those before its first detector; empty without a network."""


def groups_of_network(network: RoadNetwork, places: Mapping[str, Place], detectors: Sequence[str]) -> list[Group]:
    """A group for each stretch that leads to a signal: edges joined without a signal between them."""
    known = [places[name] for name in detectors if name in places]
    edge_of = {place.detector: network.lanes[place.lane].edge_id for place in known}
    behind: dict[str, set[str]] = defaultdict(set)
    signalled: dict[str, set[str]] = defaultdict(set)
    for lane, links in network.incoming.items():
        for c in links:
            if network.edges[c.from_edge].function == "normal":
                (behind if c.tls_id is None else signalled)[network.lanes[lane].edge_id].add(c.from_edge)
    ahead = {before for edges in behind.values() for before in edges}
    watched = set(edge_of.values())
    found, taken = [], set[str]()
    for edge in sorted(watched, key=lambda edge: (edge in ahead, edge)):
        chain: list[tuple[str, float]] = [(edge, 0.0)]
        for upstream, length_m in chain:  # grows while it is read
            seen = {name for name, _ in chain}
            further = sorted(behind[upstream] - seen - taken)
            chain += [(name, length_m + network.edge_length_m(upstream)) for name in further]
        at = {edge: length_m for edge, length_m in chain if edge not in taken}
        if edge in taken:
            continue
        taken |= at.keys()
        own = [place for place in known if edge_of[place.detector] in at]
        to_end = {p.detector: at[edge_of[p.detector]] + p.to_end_m for p in own}
        order = sorted(to_end, key=lambda name: (-to_end[name], name))
        rows = {name: round(to_end[name] / 10.0) for name in order}  # loops of one row lie some metres apart
        first = tuple(name for name in order if rows[name] == rows[order[0]])
        last = tuple(name for name in order if rows[name] == rows[order[-1]] and name not in first)
        sources = {up for name in at for up in signalled[name]}
        feeding = tuple(
            p.detector
            for p in known
            if edge_of[p.detector] in sources and p.to_end_m < 20.0 and _leads_into(network, p.lane, at)
        )
        found.append(Group(edge, tuple(order), first, last, feeding, tuple(at)))
    return found


def groups_of_table(table: pl.DataFrame, detectors: Sequence[str]) -> list[Group]:
    """Without a network: a group for each approach of each site, or each detector where that is not known."""
    told = {row["detector"]: row for row in table.iter_rows(named=True)}
    found: dict[str, list[str]] = defaultdict(list)
    for name in detectors:
        of = told.get(name, {})
        near = [of[key] for key in ("site", "approach") if of.get(key)]
        found[" ".join(near) if of.get("approach") else name].append(name)
    return [Group(name, tuple(of), tuple(of), ()) for name, of in found.items()]


def _leads_into(network: RoadNetwork, lane: str, edges: Mapping[str, float]) -> bool:
    return any(c.to_edge in edges for c in network.outgoing.get(lane, ()))
