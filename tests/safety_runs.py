"""What the safety tests run: policies that ask for anything, a recorded run, and random networks."""

from __future__ import annotations

import math
import random
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import sumo

from controllers.base import Controller
from controllers.registry import make
from envs.sumo.setup import SimulationOptions, make_setup
from envs.workers.client import RemoteSimulation
from envs.workers.server import WorkerSetup
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.intersection import SignalPlan
from signals.snapshot import Snapshot
from signals.timing import Timing

BIN = Path(sumo.SUMO_HOME) / "bin"
SHORT_S = 600.0
GARBAGE = (-1, -(2**63), 2**63 - 1, 2**31, 97, 0, 1)

Policy = Callable[[Snapshot, np.random.Generator], npt.NDArray[np.int64]]


def restless(snapshot: Snapshot, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Always another phase than the present one, whatever the mask says."""
    width = snapshot.mask.shape[1]
    other: npt.NDArray[np.int64] = snapshot.phase + generator.integers(1, max(width, 2), snapshot.phase.shape)
    return other % width


def garbage(snapshot: Snapshot, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Numbers that are no phase, and now and then one that is."""
    return generator.choice(np.array(GARBAGE), snapshot.phase.shape)


def stubborn(snapshot: Snapshot, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Phase 0 for ever: only max green ends it."""
    return np.zeros_like(snapshot.phase)


POLICIES: dict[str, Policy] = {"restless": restless, "garbage": garbage, "stubborn": stubborn}
"""Beside the registry's controllers."""


def record(
    scenario: Scenario,
    policy: str,
    folder: Path,
    *,
    timing: Timing | None = None,
    seed: int = 0,
    tls_ids: tuple[str, ...] | None = None,
    warm_up_s: float = 0.0,
) -> tuple[Path, SignalPlan, int]:
    """Run a policy to the scenario's end: what SUMO recorded, the controlled signals, changes of phase seen."""
    states, extra = folder / "states.xml", folder / "record.add.xml"
    extra.write_text(f'<additional><timedEvent type="SaveTLSStates" dest="{states}"/></additional>')
    setup = make_setup(
        scenario, SimulationOptions(timing=timing or Timing(), warm_up_s=warm_up_s, tls_ids=tls_ids),
        extra_additional=[extra], outputs=["--ignore-route-errors", "true"],
    )  # fmt: skip
    simulation, changes = RemoteSimulation(WorkerSetup(setup, reward="", observation="")), 0
    ask, generator = POLICIES.get(policy), np.random.default_rng(seed)
    if ask is None:
        controller = cast(Controller, make(policy))
        controller.reset(setup.plan.intersections, setup.layout, seed)
    try:
        simulation.begin(seed)
        while not simulation.done:
            before = simulation.snapshot.phase.copy()
            seen = simulation.snapshot
            simulation.decide(ask(seen, generator) if ask else controller.decide(seen))
            changes += int((simulation.snapshot.phase != before).sum())
        simulation.end()
    finally:
        simulation.close()
    return states, setup.plan, changes


def random_network(folder: Path, seed: int, duration_s: float = SHORT_S) -> Scenario:
    """A network that netgenerate draws, with crossings, turn lanes, trams or joined signals, and some traffic."""
    draw = random.Random(seed)
    base, net, routes = (folder / f"random-{seed}{suffix}" for suffix in ("", ".net.xml", ".rou.xml"))
    shape, trams = draw.choice(("rand", "grid", "spider")), draw.random() < 0.4
    command: list[str | Path] = [BIN / "netgenerate", "--seed", str(seed), "--plain-output-prefix", base]
    command += ["--default.lanenumber", str(draw.choice((1, 2, 3))), "--default-junction-type", "traffic_light"]
    command += ["--default.speed", draw.choice(("8.33", "13.89", "22.22"))]
    if shape == "rand":
        command += ["--rand", "--rand.iterations", "18", "--rand.max-distance", "160"]
        command += ["--rand.min-distance", draw.choice(("40", "80")), "--rand.min-angle", draw.choice(("25", "45"))]
        command += ["--random-lanenumber"] if draw.random() < 0.5 else []
    elif shape == "grid":
        command += ["--grid", "--grid.number", "3", "--grid.length", draw.choice(("45", "120"))]
        command += ["--grid.attach-length", "120"]
    else:
        command += ["--spider", "--spider.arm-number", str(draw.choice((5, 6))), "--spider.circle-number", "2"]
        command += ["--spider.space-radius", draw.choice(("50", "110"))]
    if shape != "rand" and draw.random() < 0.4:
        command += ["--turn-lanes", "1", "--turn-lanes.length", "25"]
    run([*command, "--no-turnarounds"], folder)
    nodes, edges = Path(f"{base}.nod.xml"), Path(f"{base}.edg.xml")
    if trams:
        edges.write_text(_with_trams(edges.read_text(), draw))
    if draw.random() < 0.6:
        _join_signals(nodes, draw)
    convert: list[str | Path] = [BIN / "netconvert", "-n", nodes, "-e", edges, "-o", net, "--no-turnarounds"]
    convert += ["--tls.layout", draw.choice(("opposites", "incoming", "alternateOneWay"))]
    pavements = draw.random() < 0.6
    convert += ["--sidewalks.guess", "--crossings.guess"] if pavements else []
    convert += ["--no-internal-links"] if not pavements and draw.random() < 0.2 else []
    convert += ["--bikelanes.guess"] if draw.random() < 0.2 else []
    convert += ["--tls.default-type", draw.choice(("static", "actuated", "delay_based"))]
    convert += ["--tls.group-signals"] if draw.random() < 0.2 else []
    convert += ["--tls.allred.time", "2"] if draw.random() < 0.3 else []
    run(convert, folder)
    routes.write_text(_traffic(net, draw, duration_s))
    return load(net, routes=[routes], begin_s=0.0, end_s=duration_s)


def _join_signals(nodes: Path, draw: random.Random) -> None:
    """One tls for some junctions that lie next to each other."""
    tree = ET.parse(nodes)
    free = [node for node in tree.getroot().iter("node") if node.get("type") == "traffic_light"]
    for number in range(2):
        if len(free) < 3:
            break
        first = draw.choice(free)
        x, y = float(first.attrib["x"]), float(first.attrib["y"])
        free.sort(key=lambda node: math.hypot(float(node.attrib["x"]) - x, float(node.attrib["y"]) - y))
        count = draw.choice((2, 2, 3))
        for node in free[:count]:
            node.set("tl", f"joined-{number}")
        free = free[count:]
    tree.write(nodes)


def _with_trams(text: str, draw: random.Random) -> str:
    """Some edges' leftmost lane becomes a tram's; single lanes get one beside them."""

    def lanes(match: re.Match[str]) -> str:
        if draw.random() < 0.5:
            return match[0]
        count = max(int(match[2]), 2)
        return f'{match[1]}numLanes="{count}"{match[3]}><lane index="{count - 1}" allow="tram"/></edge>'

    return re.sub(r'(<edge [^>]*?)numLanes="(\d+)"([^>]*?)/>', lanes, text)


def _traffic(net: Path, draw: random.Random, duration_s: float) -> str:
    """Trips between any two edges of the network."""
    edges = [
        edge.attrib["id"]
        for edge in ET.parse(net).getroot().iter("edge")
        if edge.get("function", "normal") == "normal"
    ]
    trips = []
    for number in range(int(duration_s / 2)):
        start, end = draw.sample(edges, 2)
        trips.append(f'<trip id="{number}" depart="{2 * number}" from="{start}" to="{end}"/>')
    return "<routes>\n" + "\n".join(trips) + "\n</routes>\n"


def run(command: list[str | Path], folder: Path) -> None:
    """A tool of SUMO's."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
