"""The head of a queue is found from its tail, and a circle of junctions is told from a queue."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sumo

from envs.sumo.gridlock import Head, head_of
from envs.sumo.outputs import PERSON_COLUMNS, VEHICLE_COLUMNS, Statistics, Trips
from envs.sumo.setup import make_setup
from envs.sumo.simulation import EpisodeSummary
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from evaluation.contest import RunResult
from evaluation.measure import measure
from evaluation.results.gridlock import gridlock_lines
from scenarios.loading import load
from scenarios.netfile import read_network

BIN = Path(sumo.SUMO_HOME) / "bin"


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A street A B C D with a signal at C, which a side street joins at B; apart from it a ring P Q R S with a signal
    at R, and a street at each of its corners."""
    folder = tmp_path_factory.mktemp("jam")
    at = {"A": (0, 0), "B": (60, 0), "C": (120, 0), "D": (300, 0), "b": (60, -300)}
    ring = {"P": (500, 0), "Q": (550, 0), "R": (550, 50), "S": (500, 50)}
    outside = {"p": (400, 0), "q": (550, -100), "r": (650, 50), "s": (500, 150)}
    signals = {"C": ' type="traffic_light"', "R": ' type="traffic_light"'}
    nodes = "".join(
        f'<node id="{name}" x="{x}" y="{y}"{signals.get(name, "")}/>'
        for name, (x, y) in {**at, **ring, **outside}.items()
    )
    ways = ["AB", "BC", "CD", "bB", "PQ", "QR", "RS", "SP", "Pp", "pP", "Qq", "qQ", "Rr", "rR", "Ss", "sS"]
    edges = "".join(f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="1" speed="13.9"/>' for a, b in ways)
    (folder / "n.nod.xml").write_text(f"<nodes>{nodes}</nodes>")
    (folder / "e.edg.xml").write_text(f"<edges>{edges}</edges>")
    file = folder / "jam.net.xml"
    command = [BIN / "netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "-o", file, "--no-turnarounds"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return file


def _end_of(net: Path, vehicles: str, states: list[tuple[float, str]], folder: Path) -> EpisodeSummary:
    """How 500 s end with these vehicles, where both signals show these characters, for so long each."""
    routes, programs = folder / "jam.rou.xml", folder / "jam.add.xml"
    routes.write_text(f"<routes>{vehicles}</routes>")
    logics = (
        f'<tlLogic id="{tls}" programID="x" type="static">'
        + "".join(f'<phase duration="{duration}" state="{state * links}"/>' for duration, state in states)
        + "</tlLogic>"
        for tls, links in (("C", 1), ("R", 3))
    )
    programs.write_text(f"<additional>{''.join(logics)}</additional>")
    scenario = load(str(net), routes=[routes], begin_s=0, end_s=500)
    setup = make_setup(scenario, controlled=False, extra_additional=[programs])
    with RemoteSimulation(WorkerSetup(setup, reward="", observation="")) as simulation:
        simulation.begin(0)
        while not simulation.done:
            simulation.decide(np.zeros(0, np.int64))
        return simulation.end()


STREET = "".join(
    f'<flow id="{name}" begin="0" end="120" period="5" departPos="last"><route edges="{edges}"/></flow>'
    for name, edges in (("main", "AB BC CD"), ("side", "bB BC CD"))
)
SIDES = ("PQ", "QR", "RS", "SP")


def _around(first: int, out: int, count: int = 5) -> str:
    """Vehicles that fill one side of the ring, and go along so many further ones and out."""
    sides = [SIDES[(first + n) % 4] for n in range(out + 1)]
    edges = " ".join([*sides, sides[-1][1] + sides[-1][1].lower()])
    return "".join(
        f'<vehicle id="{first}.{n}" depart="0" departPos="{7.5 * n + 6:.1f}" departSpeed="0" insertionChecks="none">'
        f'<route edges="{edges}"/></vehicle>'
        for n in reversed(range(count))
    )


def test_a_queue_is_followed_to_the_signal_at_its_head(net: Path, tmp_path: Path) -> None:
    """It reaches back from C over B, which has no signal, to A and b. Those at C have driven up one place since."""
    end = _end_of(net, STREET, [(120, "r"), (2, "G"), (9999, "r")], tmp_path)
    assert end.stuck_since_s < 120
    assert end.stuck_veh > 20
    assert (end.stuck_at, end.stuck_circle) == ("C", 0)


def test_a_queue_that_a_junction_without_signal_holds_up(net: Path, tmp_path: Path) -> None:
    """The signal is green, but a vehicle has broken down before B."""
    stop = '<stop lane="AB_0" startPos="40" endPos="50" duration="9999"/>'
    broken = f'<vehicle id="x" depart="0"><route edges="AB BC CD"/>{stop}</vehicle>'
    end = _end_of(net, broken + STREET.partition("</flow>")[0] + "</flow>", [(9999, "G")], tmp_path)
    assert end.stuck_veh > 3
    assert (end.stuck_at, end.stuck_circle) == ("B", 0)


class OneAfterTheOther:
    """SUMO as far as it is asked: a vehicle on `t_0`, a lane that leads to T, wants to `m_0`, a full one to M."""

    def __init__(self) -> None:
        self.lanes = {"t_0": ["tail"], "m_0": ["last", "first"]}
        self.at_m = {"tail": 90.0, "last": 6.0, "first": 90.0}

    def __getattr__(self, name: str) -> Callable[[str], Any]:
        return {
            "vehicle_getLaneID": lambda vehicle: next(lane for lane, on in self.lanes.items() if vehicle in on),
            "vehicle_getLanePosition": self.at_m.get,
            "vehicle_getNextLinks": lambda vehicle: [("m_0", True, True, False, "")] if vehicle == "tail" else [],
            "lane_getLastStepVehicleIDs": lambda lane: self.lanes[lane],
            "lane_getEdgeID": lambda lane: lane[0],
            "edge_getToJunction": str.upper,
        }.get(name, lambda vehicle: {"vehicle_getSpeed": 0.0, "vehicle_getLength": 5.0}.get(name, 2.5))


@pytest.mark.parametrize(
    ("stuck", "head"),
    [
        ({"tail": 900.0, "last": 400.0, "first": 400.0}, "M"),
        ({"tail": 900.0}, "T"),  # the queue before M moves, if slowly
    ],
)
def test_only_who_is_stuck_is_followed(stuck: dict[str, float], head: str) -> None:
    assert head_of(OneAfterTheOther(), stuck) == Head(head)


def test_junctions_that_wait_for_each_other_are_a_circle(net: Path, tmp_path: Path) -> None:
    end = _end_of(net, "".join(_around(first, 2) for first in range(4)), [(9999, "G")], tmp_path)
    assert end.stuck_veh >= 16
    assert end.stuck_at in "PQRS"
    assert end.stuck_circle == 4


def test_a_ring_whose_queue_has_a_head_is_no_circle(net: Path, tmp_path: Path) -> None:
    """All wait for R, whose signal is red, and the side before it has room behind its queue."""
    vehicles = "".join(_around(first, 2, count) for first, count in ((3, 5), (0, 5), (1, 5)))
    end = _end_of(net, vehicles, [(9999, "r")], tmp_path)
    assert end.stuck_veh >= 10
    assert (end.stuck_at, end.stuck_circle) == ("R", 0)


@pytest.mark.parametrize(
    ("junction", "circle", "said"),
    [
        ("C", 0, "gridlock at signal C: greedy, seed 7 from 40 s on"),
        ("B", 0, "gridlock at junction B, which no signal controls: greedy, seed 7 from 40 s on"),
        ("R", 4, "gridlock in a circle of 4 junctions, among them signal R: greedy, seed 7 from 40 s on"),
        ("P", 3, "gridlock in a circle of 3 junctions, among them junction P, which no signal controls: greedy, "),
    ],
)
def test_what_is_said_of_it(net: Path, junction: str, circle: int, said: str) -> None:
    trips = Trips(*(pl.DataFrame(schema=dict(columns)) for columns in (VEHICLE_COLUMNS, PERSON_COLUMNS)))
    summary = EpisodeSummary(400.0, 6, 6, 0, stuck_at=junction, stuck_since_s=40.0, stuck_circle=circle)
    run = RunResult("greedy", 7, measure(trips, Statistics(0, 0, 0, 0, 0), summary), trips.vehicles)
    (line,) = gridlock_lines([run], read_network(net))
    assert line.startswith(said)
