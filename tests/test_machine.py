"""The state machine: no request, however odd, and no program, however odd, makes it show what is not safe.

Programs and requests are drawn at random; the displays that follow are judged by the independent monitor, which
reads the network file alone.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sumo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.monitor import Rules, check
from scenarios.netfile import read_network
from signals.intersection import Intersection, compile_signals
from signals.links import LinkTable, link_table
from signals.machine import FOREVER_S, SignalMachine
from signals.network import Program, ProgramRow, RoadNetwork
from signals.phases import unsafe_pairs
from signals.timing import Timing

BIN = Path(sumo.SUMO_HOME) / "bin"
Calls = np.ndarray


# --- networks


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two crossroads 50 m apart under one signal "T", with crossings; one of them has a signal each way."""
    folder = tmp_path_factory.mktemp("pair")
    ends = {"N": (0, 150, "A"), "W": (-150, 0, "A"), "S": (0, -150, "A"), "n": (50, 150, "B"), "e": (200, 0, "B")}
    at = {"A": (0, 0), "B": (50, 0)}
    nodes = [f'<node id="{j}" x="{x}" y="{y}" type="traffic_light" tl="T"/>' for j, (x, y) in at.items()]
    nodes += [f'<node id="{end}" x="{x}" y="{y}"/>' for end, (x, y, _) in ends.items()]
    roads = [(a, b) for end, (_, _, j) in ends.items() for a, b in ((end, j), (j, end))] + [("A", "B"), ("B", "A")]
    edges = [
        f'<edge id="{a}{b}" from="{a}" to="{b}" numLanes="2" speed="{10 + 3 * n}" sidewalkWidth="2"/>'
        for n, (a, b) in enumerate(roads)
    ]
    (folder / "n.nod.xml").write_text(f"<nodes>{''.join(nodes)}</nodes>")
    (folder / "e.edg.xml").write_text(f"<edges>{''.join(edges)}</edges>")
    (folder / "c.con.xml").write_text(
        '<connections><crossing node="A" edges="NA AN" priority="1" linkIndex="60" linkIndex2="62"/>'
        '<crossing node="A" edges="WA AW" priority="1" linkIndex="61"/>'
        '<crossing node="B" edges="eB Be" priority="1" linkIndex="63"/></connections>'
    )
    net = folder / "pair.net.xml"
    command = [BIN / "netconvert", "-n", "n.nod.xml", "-e", "e.edg.xml", "-x", "c.con.xml", "-o", net]
    done = subprocess.run([*command, "--no-turnarounds"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return net


def with_rows(network: RoadNetwork, states: list[tuple[float, str]]) -> RoadNetwork:
    rows = tuple(ProgramRow(duration, state) for duration, state in states)
    return network.with_programs((Program("T", "drawn", "static", 0.0, rows),))


def drawn_program(table: LinkTable, draw: random.Random) -> list[tuple[float, str]]:
    """Rows of random greens, as many as fit together, with rows that need repair and rows that end movements."""
    size = len(table.links)
    rows: list[tuple[float, str]] = []
    for _ in range(draw.randint(2, 6)):
        state = ["r"] * size
        for link in draw.sample(range(size), draw.randint(1, size)):
            state[link] = draw.choice("GGGggs")
            if unsafe_pairs("".join(state), table) and draw.random() < 0.97:
                state[link] = "r"
        rows.append((draw.choice((3.0, 8.0, 30.0)), "".join(state)))
        if draw.random() < 0.5:
            rows.append((draw.choice((2.0, 5.0)), "".join("y" if c in "Gg" else c for c in state)))
        if draw.random() < 0.3:
            rows.append((2.0, "r" * size))
    return rows


# --- displays


def displays(
    item: Intersection, timing: Timing, requests: list[int], draw: random.Random, begin_s: float
) -> list[str]:
    """What a simulator shows, step by step, that runs the machine's program and is told to jump as it says."""
    machine, step = SignalMachine([item], timing), timing.sim_step_s
    machine.reset(begin_s)
    now_s, row, left, shown = begin_s, 0, FOREVER_S, []
    for wanted in requests:
        calls = np.array([[draw.random() < 0.4 for _ in item.phases]])
        assert machine.mask(calls).any(axis=1).all()
        for _, row in machine.request(np.array([wanted]), calls):
            left = machine.rows[0][row].duration_s
        for _ in range(round(timing.decision_interval_s / step)):
            shown.append(machine.rows[0][row].state)
            left -= step
            if left < step / 2:
                row = machine.rows[0][row].next
                left = machine.rows[0][row].duration_s
        now_s += timing.decision_interval_s
        machine.advance(now_s)
    return shown


def recorded(folder: Path, shown: list[str], step_s: float, begin_s: float) -> Path:
    lines = (f'<tlsState time="{begin_s + n * step_s:.3f}" id="T" state="{s}"/>' for n, s in enumerate(shown))
    file = folder / "states.xml"
    file.write_text("<tlsStates>" + "".join(lines) + "</tlsStates>")
    return file


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), step=st.sampled_from((0.1, 0.5, 1.0)), decision=st.sampled_from((1.0, 5.0)))
def test_no_program_and_no_request_leads_to_a_finding(
    pair: Path, tmp_path: Path, seed: int, step: float, decision: float
) -> None:
    network, draw = read_network(pair), random.Random(seed)
    size = len(network.programs["T"][-1].rows[0].state)
    network = with_rows(network, drawn_program(link_table(network, "T", size), draw))
    timing = Timing(sim_step_s=step, decision_interval_s=decision, min_green_s=draw.choice((1.0, 5.0)))
    plan = compile_signals(network, timing)
    if not plan.intersections:
        assert "T" in [refusal.tls_id for refusal in plan.refusals]
        return
    requests = [draw.choice((-1, 2**62, *range(8))) for _ in range(60)]
    shown = displays(plan.intersections[0], timing, requests, draw, 57600.0)
    rules = Rules(min_green_s=timing.min_green_s)
    assert check(pair, recorded(tmp_path, shown, step, 57600.0), rules) == []
