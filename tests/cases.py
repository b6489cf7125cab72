"""The small networks in tests/data/cases, read as the signal layer sees them."""

from __future__ import annotations

import functools
from pathlib import Path

from scenarios.netfile import read_network, read_programs
from signals.intersection import Intersection, SignalPlan, compile_signals
from signals.network import Program, RoadNetwork
from signals.timing import Timing

CASES = Path(__file__).parent / "data" / "cases"


def case_network(net: str, additional: str | None = None) -> RoadNetwork:
    """The network of a file below `CASES`, with the programs of an additional file beside it."""
    path = CASES / net
    network = read_network(path)
    return network.with_programs(read_programs(path.parent / additional)) if additional else network


@functools.cache
def case_plan(net: str, additional: str | None = None, timing: Timing | None = None) -> SignalPlan:
    """What the signal layer makes of it."""
    return compile_signals(case_network(net, additional), timing)


def case_signal(net: str, additional: str | None = None, timing: Timing | None = None) -> Intersection:
    """Its one signal."""
    plan = case_plan(net, additional, timing)
    assert not plan.refusals, plan.refusals
    (item,) = plan.intersections
    return item


def with_program(network: RoadNetwork, program: Program) -> Intersection:
    """The one signal of a network under another program."""
    plan = compile_signals(network.with_programs((program,)))
    assert not plan.refusals, plan.refusals
    (item,) = plan.intersections
    return item


def shown(item: Intersection, old: int, new: int) -> list[tuple[float, str]]:
    """A change, interval by interval."""
    return [(round(i.duration_s, 6), i.state) for i in item.changes[old, new]]
