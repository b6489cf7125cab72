"""The safety layer in the real SUMO: whatever is asked for, an independent monitor finds nothing in what was shown.

The monitor reads the states that SUMO recorded and the net file, and shares no code with the signal layer.
"""

from __future__ import annotations

import functools
import math
import random
import re
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import sumo

from controllers.registry import make
from envs.remote import RemoteSimulation
from envs.simulation import make_setup
from envs.worker import WorkerSetup
from evaluation.monitor import Finding, Rules, check, read_states
from scenarios.scenario import Scenario, load, names
from signals.intersection import SignalPlan
from signals.snapshot import Snapshot
from signals.timing import Timing, yellow_change_s

BIN = Path(sumo.SUMO_HOME) / "bin"
SHORT_S, WHOLE_S = 600.0, 3600.0
GARBAGE = (-1, -(2**63), 2**63 - 1, 2**31, 97, 0, 1)

Requests = npt.NDArray[np.int64]
Policy = Callable[[Snapshot, np.random.Generator], Requests]


# --- who asks


def random_policy(snapshot: Snapshot, generator: np.random.Generator) -> Requests:
    """Any allowed phase, as the controller "random" chooses."""
    controller = make("random")
    assert not hasattr(controller, "additional_xml")
    controller._random = generator  # type: ignore[union-attr]
    return controller.decide(snapshot)  # type: ignore[union-attr]


def restless_policy(snapshot: Snapshot, generator: np.random.Generator) -> Requests:
    """Always another phase than the present one, whatever the mask says."""
    width = snapshot.mask.shape[1]
    return (snapshot.phase + generator.integers(1, max(width, 2), snapshot.phase.shape)) % width


def garbage_policy(snapshot: Snapshot, generator: np.random.Generator) -> Requests:
    """Numbers that are no phase, and now and then one that is."""
    return generator.choice(np.array(GARBAGE), snapshot.phase.shape)


def stubborn_policy(snapshot: Snapshot, generator: np.random.Generator) -> Requests:
    """Phase 0 for ever: only max green ends it."""
    return np.zeros_like(snapshot.phase)


POLICIES: dict[str, Policy] = {
    "random": random_policy,
    "restless": restless_policy,
    "garbage": garbage_policy,
    "stubborn": stubborn_policy,
}


# --- what is run


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
        scenario, timing, tls_ids=tls_ids, warm_up_s=warm_up_s, extra_additional=[extra],
        outputs=["--ignore-route-errors", "true"],
    )  # fmt: skip
    simulation, generator, changes = RemoteSimulation(WorkerSetup(setup, reward="", observe=False)), None, 0
    try:
        simulation.begin(seed)
        generator = np.random.default_rng(seed)
        while not simulation.done:
            before = simulation.snapshot.phase.copy()
            simulation.decide(POLICIES[policy](simulation.snapshot, generator))
            changes += int((simulation.snapshot.phase != before).sum())
        simulation.end()
    finally:
        simulation.close()
    return states, setup.plan, changes


def findings(scenario: Scenario, policy: str, folder: Path, **options: object) -> list[Finding]:
    """What the monitor finds in a run, whose signals must have changed at all."""
    states, plan, changes = record(scenario, policy, folder, **options)  # type: ignore[arg-type]
    assert changes > 0, "no signal ever changed: this run shows nothing"
    return check(scenario.net_file, states, tls_ids=plan.tls_ids)


@functools.cache
def window(name: str, seconds: float) -> Scenario:
    """So many seconds from a scenario's begin."""
    whole = load(name)
    return load(name, end_s=min(whole.begin_s + seconds, whole.end_s))


# --- random networks


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


# --- the default part: ten simulated minutes each


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("single", "stubborn"),
        ("tee", "garbage"),
        ("arterial", "random"),
        ("cologne1", "restless"),
        ("cologne3", "garbage"),
        ("ingolstadt7", "random"),
    ],
)
def test_a_scenario_is_safe_under_any_policy(name: str, policy: str, tmp_path: Path) -> None:
    assert findings(window(name, SHORT_S), policy, tmp_path) == []


SEEDS_WITH_ALL = (3, 8, 15)  # between them: crossings, trams, joined signals, shared link indices


@pytest.mark.parametrize("seed", SEEDS_WITH_ALL)
def test_a_random_network_is_safe(seed: int, tmp_path: Path) -> None:
    assert findings(random_network(tmp_path, seed), "restless", tmp_path, seed=seed) == []


def test_the_random_networks_hold_what_is_hard(tmp_path: Path) -> None:
    """Else the test above would pass for want of it."""
    found = set()
    for seed in SEEDS_WITH_ALL:
        network = random_network(tmp_path, seed).network
        found |= {edge.function for edge in network.edges.values()}
        found |= {"tram" for lane in network.lanes.values() if lane.rail}
        for connections in network.controlled.values():
            ends = {network.edges[c.from_edge].to_junction for c in connections if not c.from_edge.startswith(":")}
            found |= {"joined"} if len(ends) > 1 else set()
            found |= {"shared"} if len({c.link_index for c in connections}) < len(connections) else set()
    assert {"crossing", "tram", "joined", "shared"} <= found


@pytest.mark.parametrize(
    "timing",
    [
        Timing(sim_step_s=0.5, decision_interval_s=1.0),
        Timing(sim_step_s=0.1, decision_interval_s=0.5, min_green_s=1.0),
        Timing(decision_interval_s=1.0, min_green_s=1.0),
        Timing(sim_step_s=2.0, decision_interval_s=10.0),
    ],
    ids=lambda t: f"step {t.sim_step_s:g} decision {t.decision_interval_s:g} min green {t.min_green_s:g}",
)
def test_other_clocks_are_safe(timing: Timing, tmp_path: Path) -> None:
    """On cologne1, which begins at 25,200 s, so that the clock's rounding counts, too."""
    scenario = window("cologne1", 180.0)
    states, plan, changes = record(scenario, "restless", tmp_path, timing=timing)
    assert changes > 5
    assert read_states(states).step_s == timing.sim_step_s
    rules = Rules(min_green_s=timing.min_green_s)
    assert check(scenario.net_file, states, rules, plan.tls_ids) == []


def test_a_warm_up_is_safe_and_recorded(tmp_path: Path) -> None:
    scenario = window("single", 400.0)
    states, plan, _ = record(scenario, "restless", tmp_path, warm_up_s=200.0)
    (shown,) = read_states(states).intervals.values()
    assert shown[0].start_ms == 0
    assert shown[-1].end_ms == 400_000
    assert len({interval.state for interval in shown if interval.end_ms <= 200_000}) > len(
        plan.intersections[0].phases
    )
    assert check(scenario.net_file, states) == []


def test_the_signals_that_are_not_chosen_keep_their_program(tmp_path: Path) -> None:
    scenario = window("cologne3", SHORT_S)
    chosen, *others = sorted(scenario.network.programs)
    states, plan, _ = record(scenario, "restless", tmp_path, tls_ids=(chosen,))
    assert plan.tls_ids == (chosen,)
    assert check(scenario.net_file, states, tls_ids=[chosen]) == []
    recorded = read_states(states).intervals
    for tls_id in others:
        program = scenario.network.programs[tls_id][-1]
        assert {interval.state for interval in recorded[tls_id]} <= {row.state for row in program.rows}
        cycle_s = sum(row.duration_s for row in program.rows)
        first = recorded[tls_id][1]  # the first one that is recorded whole
        again = [i for i in recorded[tls_id] if i.start_ms == first.start_ms + round(1000 * cycle_s)]
        assert [i.state for i in again] == [first.state]


# --- the monitor finds each fault that is put into a recording of ours

Display = tuple[int, str]
"""Duration in ms and state."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, str, tuple[Display, ...]]:
    """Ten minutes of `single` under the restless policy."""
    scenario = window("single", SHORT_S)
    states, plan, _ = record(scenario, "restless", tmp_path_factory.mktemp("recording"))
    (tls_id,) = plan.tls_ids
    shown = read_states(states).intervals[tls_id]
    return scenario, tls_id, tuple((i.end_ms - i.start_ms, i.state) for i in shown)


def shortened_yellow(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and "y" in state)
    shown[at] = (shown[at][0] - 1000, shown[at][1])
    return at


def dropped_red_clearance(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and set(state) == {"r"})
    del shown[at]
    return at - 1


def cut_min_green(shown: list[Display]) -> int:
    at = next(
        n
        for n, (_, state) in enumerate(shown)
        if n > 8 and "G" in state and "y" in shown[n + 1][1] and set(shown[n - 1][1]) == {"r"}
    )
    shown[at] = (4000, shown[at][1])
    return at


def conflicting_greens(shown: list[Display]) -> int:
    at = next(n for n, (_, state) in enumerate(shown) if n > 8 and "G" in state)
    other = next(
        state
        for _, state in shown
        if "G" in state and all(b != "G" or a == "r" for a, b in zip(shown[at][1], state, strict=True))
    )
    both = "".join(b if b == "G" else a for a, b in zip(shown[at][1], other, strict=True))
    shown[at] = (shown[at][0], both)
    return at


def cut_pedestrian_clearance(shown: list[Display]) -> int:
    """The crossings' clearance is the display in which vehicles alone keep the green of the phase."""
    at = next(
        n
        for n, (_, state) in enumerate(shown)
        if n > 8 and "G" in state and state != shown[n - 1][1] and "G" in shown[n - 1][1] and "y" not in state
    )
    del shown[at]
    return at - 1


FAULTS: dict[str, Callable[[list[Display]], int]] = {
    "short_yellow": shortened_yellow,
    "short_red_clearance": dropped_red_clearance,
    "short_min_green": cut_min_green,
    "conflicting_greens": conflicting_greens,
    "short_pedestrian_clearance": cut_pedestrian_clearance,
}


@pytest.mark.parametrize("kind", ["", *FAULTS])
def test_the_monitor_finds_a_fault_in_our_own_recording(
    kind: str, recording: tuple[Scenario, str, tuple[Display, ...]], tmp_path: Path
) -> None:
    scenario, tls_id, displays = recording
    shown = list(displays)
    at = FAULTS[kind](shown) if kind else 0
    ends = np.cumsum([duration for duration, _ in shown])
    seconds = [state for duration, state in shown for _ in range(duration // 1000)]
    file = tmp_path / "states.xml"
    rows = (f'<tlsState time="{n}" id="{tls_id}" state="{state}"/>' for n, state in enumerate(seconds))
    file.write_text("<tlsStates>" + "".join(rows) + "</tlsStates>")
    speeds = [lane.speed_mps for lane in scenario.network.lanes.values() if lane.edge_id.endswith("_in")]
    found = check(scenario.net_file, file, Rules(yellow_s=yellow_change_s(max(speeds))))
    if not kind:
        assert found == []
        return
    assert kind in {finding.kind for finding in found}
    # at the place of the fault, or where what it let go is met again
    assert all(ends[at - 1] <= 1000 * finding.time_s <= ends[at] + 60_000 for finding in found)


# --- the sweep


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["restless", "random"])
@pytest.mark.parametrize("name", names())
def test_a_whole_scenario_is_safe(name: str, policy: str, tmp_path: Path) -> None:
    assert findings(window(name, WHOLE_S), policy, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_many_random_networks_are_safe(seed: int, tmp_path: Path) -> None:
    scenario = random_network(tmp_path, seed)
    policy = ("restless", "random", "garbage")[seed % 3]
    assert findings(scenario, policy, tmp_path, seed=seed) == []
