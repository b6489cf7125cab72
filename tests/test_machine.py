"""The state machine: no request, however odd, and no program, however odd, makes it show what is not safe.

Programs and requests are drawn at random; the displays that follow are judged by the independent monitor, which
reads the network file alone.
"""

from __future__ import annotations

import dataclasses
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import sumo
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from evaluation.monitor.check import check
from evaluation.monitor.rules import Rules
from scenarios.netfile import read_network
from signals.intersection import Intersection, compile_signals
from signals.links import LinkTable, link_table
from signals.machine import FOREVER_S, SignalMachine, program_rows
from signals.network import Program, ProgramRow, RoadNetwork
from signals.phases import unsafe_pairs
from signals.timing import Timing
from tests.compiled import CompiledMachine, needs_library

BIN = Path(sumo.SUMO_HOME) / "bin"


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
            state[link] = draw.choice("GGGggsoO")
            if unsafe_pairs("".join(state), table) and draw.random() < 0.97:
                state[link] = "r"
        rows.append((draw.choice((3.0, 8.0, 30.0)), "".join(state)))
        if draw.random() < 0.5:
            rows.append((draw.choice((2.0, 5.0)), "".join("y" if c in "Gg" else c for c in state)))
        if draw.random() < 0.3:
            rows.append((2.0, "r" * size))
    return rows


# --- displays


def displays(machine: SignalMachine, requests: list[int], draw: random.Random, begin_s: float) -> list[str]:
    """What a simulator shows, step by step, that runs the machine's program and is told to jump as it says."""
    (item,), timing = machine.intersections, machine.timing
    step = timing.sim_step_s
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


@needs_library
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), step=st.sampled_from((0.1, 0.5, 1.0)), decision=st.sampled_from((1.0, 5.0)))
@example(seed=6314577, step=0.1, decision=1.0)  # a walk beside a yielding turn that ends goes on by itself
def test_no_program_and_no_request_leads_to_a_finding(
    pair: Path, tmp_path: Path, seed: int, step: float, decision: float
) -> None:
    """Of the compiled machine, and of the plain one, which shows the same."""
    network, draw = read_network(pair), random.Random(seed)
    size = len(network.programs["T"][-1].rows[0].state)
    rows = drawn_program(link_table(network, "T", size), draw)
    network = with_rows(network, rows)
    timing = Timing(sim_step_s=step, decision_interval_s=decision, min_green_s=draw.choice((1.0, 5.0)))
    plan = compile_signals(network, timing)
    if not plan.intersections:
        assert "T" in [refusal.tls_id for refusal in plan.refusals]
        return
    requests = [draw.choice((-1, 2**62, *range(8))) for _ in range(60)]
    compiled, plain = CompiledMachine(plan.intersections, timing, network), SignalMachine(plan.intersections, timing)
    same = random.Random()
    same.setstate(draw.getstate())
    shown = displays(compiled, requests, draw, 57600.0)
    assert shown == displays(plain, requests, same, 57600.0)
    rules = Rules(min_green_s=timing.min_green_s, deceleration_mps2=3.048)
    program = tmp_path / "drawn.add.xml"
    phases = "".join(f'<phase duration="{duration}" state="{state}"/>' for duration, state in rows)
    program.write_text(f'<additional><tlLogic id="T" type="static" programID="drawn">{phases}</tlLogic></additional>')
    assert check(pair, recorded(tmp_path, shown, step, 57600.0), rules, additional=[program]) == []


# --- the machine alone: a random signal of hand-made times


@pytest.fixture(scope="module")
def crossroads(pair: Path) -> Intersection:
    """The pair of crossroads with three phases that exclude each other."""
    network = read_network(pair)
    table = link_table(network, "T", len(network.programs["T"][-1].rows[0].state))
    first = next(i for i in range(60) if table.links[i].used and table.conflicts[i, :60].any())
    foe = next(i for i in range(60) if table.conflicts[first, i])
    states = ["".join("G" if i in greens else "r" for i in range(64)) for greens in ({first}, {foe}, {63})]
    (item,) = compile_signals(with_rows(network, [(20.0, state) for state in states])).intersections
    return item


def machine_of(item: Intersection, timing: Timing, max_green_s: float, begin_s: float = 0.0) -> SignalMachine:
    """A machine of two signals: the second has a phase less, so that one slot is padding."""
    phases = tuple(
        dataclasses.replace(p, min_green_s=timing.min_green_s, max_green_s=max_green_s) for p in item.phases
    )
    machine = SignalMachine(
        [dataclasses.replace(item, phases=phases), dataclasses.replace(item, phases=phases[:2], **_two(item))], timing
    )
    machine.reset(begin_s)
    return machine


def _two(item: Intersection) -> dict[str, object]:
    changes = {pair: shown for pair, shown in item.changes.items() if max(pair) < 2}
    return {"changes": changes, "settling_s": {pair: item.settling_s[pair][:2] for pair in changes}}


CALLS = st.lists(st.booleans(), min_size=6, max_size=6)
WANTED = st.tuples(*[st.one_of(st.integers(-2, 4), st.integers(-(2**63), 2**63 - 1))] * 2)


@settings(max_examples=80, deadline=None)
@given(
    asked=st.lists(st.tuples(WANTED, CALLS), min_size=1, max_size=60),
    step=st.sampled_from((0.1, 0.5, 1.0)),
    steps=st.integers(1, 10),
    begin_s=st.sampled_from((0.0, 57600.0, 86399.9)),
    max_green_s=st.sampled_from((5.0, 12.0, 60.0)),
)
def test_the_machine_keeps_its_word(
    crossroads: Intersection,
    asked: list[tuple[tuple[int, int], list[bool]]],
    step: float,
    steps: int,
    begin_s: float,
    max_green_s: float,
) -> None:
    """Min green, whole changes, max green where somebody waits, and nothing that the mask forbids."""
    timing = Timing(sim_step_s=step, decision_interval_s=step * steps, min_green_s=5.0)
    machine = machine_of(crossroads, timing, max_green_s, begin_s)
    for wanted, waiting in asked:
        calls, phase = np.array(waiting).reshape(2, 3), machine.phase.copy()
        mask, since = machine.mask(calls), machine.green_since_s.copy()
        age = machine.now_s - since
        assert mask.any(axis=1).all()
        assert not mask[1, 2]
        rows = dict(machine.request(np.array(wanted), calls))
        for s in range(2):
            changed = machine.phase[s] != phase[s]
            assert mask[s, machine.phase[s]]
            assert changed == (s in rows)
            if 0 <= wanted[s] < 3 and mask[s, wanted[s]]:
                assert machine.phase[s] == wanted[s]
            if changed:
                assert age[s] >= 5.0 - 1e-6, "min green or a change was cut"
                shown = crossroads.changes[phase[s], machine.phase[s]]
                first = shown[0].state if shown else crossroads.phases[machine.phase[s]].state
                assert machine.rows[s][rows[s]].state == first
                change_s = crossroads.intergreen_s(phase[s], machine.phase[s])
                assert machine.green_since_s[s] == pytest.approx(machine.now_s + change_s)
            else:
                assert machine.green_since_s[s] == since[s]
                others = [p for p in range(machine.phase_count[s]) if p != phase[s] and calls[s, p]]
                over = age[s] >= 5.0 and age[s] + timing.decision_interval_s > max_green_s + 1e-6
                assert not (over and others), "max green was not honoured"
        machine.advance(machine.now_s + timing.decision_interval_s)


def test_a_program_row_leads_to_the_next_until_the_phase_stands(crossroads: Intersection) -> None:
    rows, entries = program_rows(crossroads)
    for (old, new), row in entries.items():
        walked, total_s = [], 0.0
        while row >= len(crossroads.phases):
            walked.append(rows[row].state)
            total_s += rows[row].duration_s
            row = rows[row].next
        assert row == new
        assert walked == [interval.state for interval in crossroads.changes[old, new]]
        assert total_s == pytest.approx(crossroads.intergreen_s(old, new))


def test_a_phase_waits_for_what_ended_two_phases_ago(crossroads: Intersection) -> None:
    """0 lets walkers cross, 1 meets nobody, 2 meets the walkers: however short 1 is, they have time to cross."""
    settling = dict.fromkeys(crossroads.settling_s, (0.0, 0.0, 0.0)) | {(0, 1): (0.0, 0.0, 30.0)}
    timing, calls = Timing(), np.zeros((1, 3), bool)
    machine = SignalMachine([dataclasses.replace(crossroads, settling_s=settling)], timing)
    machine.reset(0.0)
    machine.advance(60.0)
    machine.request(np.array([1]), calls)
    begun_s, change_s = machine.green_since_s[0], crossroads.intergreen_s(1, 2)
    while machine.phase[0] != 2:
        machine.advance(machine.now_s + 1.0)
        machine.request(np.array([2]), np.ones((1, 3), bool))
        assert machine.now_s < 200
    assert begun_s + 30 <= machine.green_since_s[0] < begun_s + 31 + change_s


def test_at_max_green_the_called_phase_that_has_waited_longest_is_served(crossroads: Intersection) -> None:
    machine, calls = SignalMachine([crossroads], Timing(max_red_s=1e3)), np.array([[False, True, True]])
    machine.reset(0.0)
    order = []
    for decision in range(60):
        machine.advance(5.0 * decision)
        if machine.request(np.array([-1]), calls):
            order.append(int(machine.phase[0]))
    assert order[:4] == [1, 2, 1, 2]


def test_numbers_that_are_no_phase_leave_the_green_alone(crossroads: Intersection) -> None:
    machine = SignalMachine([crossroads], Timing())
    machine.reset(0.0)
    machine.advance(20.0)
    for wanted in (-1, 3, 2**62, -(2**63), 0):
        assert machine.request(np.array([wanted]), np.zeros((1, 3), bool)) == []
    assert machine.request(np.array([np.nan]), np.zeros((1, 3), bool)) == []
    assert machine.green_age_s.tolist() == [20.0]


def test_a_machine_without_signals_decides_nothing() -> None:
    """As under the network's own programs."""
    machine = SignalMachine([], Timing())
    machine.reset(0.0)
    calls = np.zeros((0, 1), bool)
    assert machine.mask(calls).shape == (0, 1)
    assert machine.request(np.zeros(0, np.int64), calls) == []
