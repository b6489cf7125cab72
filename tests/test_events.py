"""The event log: what it says of a run, and that an independent package makes of it what we do."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

import evaluate
from controllers.programs import Actuated
from evaluation.channels import channels_of, displays
from evaluation.details.events import DAY, EventPlan, longest_greens, termination
from evaluation.runs import Contestant, Evaluation, run_all
from scenarios.loading import load
from scenarios.netfile import read_programs
from scenarios.scenario import Scenario
from signals.network import Program, ProgramRow

END_S = 26100  # of cologne3: fifteen minutes, one bin of the independent package
CONTROLLERS = ("fixed_time", "actuated", "greedy")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Scenario]:
    out = tmp_path_factory.mktemp("logged")
    words = ["--scenario", "cologne3", "--end", str(END_S), "--controllers", *CONTROLLERS, "--seeds", "1"]
    assert evaluate.main([*words, "--event-log", "--keep-sumo-output", "--out", str(out)]) == 0
    return out, load("cologne3", end_s=END_S)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["single", "cologne3", "grid4x4", "ingolstadt21"])
def test_channels_cover_every_link_once(name: str) -> None:
    network = load(name).network
    for tls_id, connections in network.controlled.items():
        channels = channels_of(network, tls_id)
        vehicles = [c for c in channels if not c.pedestrian]
        assert len({c.number for c in vehicles}) == len(vehicles)
        of_vehicles = {c.link_index for c in connections if network.lanes[c.from_lane].vehicles}
        assert {link for c in vehicles for link in c.links} == of_vehicles
        lanes = [lane for c in vehicles for lane in c.lanes]
        assert len(lanes) == len(set(lanes))


def test_why_a_green_ended() -> None:
    rows = (
        ProgramRow(30, "Gr", 5.0, 20.0),
        ProgramRow(3, "yr"),
        ProgramRow(30, "rG", 5.0),  # no greatest length
        ProgramRow(30, "GG", None, 40.0),
        ProgramRow(6, "Gy"),
    )
    longest_s = longest_greens(Program("J", "0", "actuated", 0.0, rows))
    assert longest_s == {"Gr": 20.0, "rG": math.inf, "GG": 40.0}
    assert longest_greens(Program("J", "0", "static", 0.0, rows)) == {}
    assert termination([(0, 19, "Gr")], longest_s) == 4
    assert termination([(0, 20, "Gr")], longest_s) == 5
    assert termination([(0, 500, "rG")], longest_s) == 4
    assert termination([(0, 20, "Gr"), (20, 55, "GG"), (55, 61, "Gy")], longest_s) == 4
    assert termination([(0, 10, "Gr"), (10, 50, "GG"), (50, 56, "Gy")], longest_s) == 5
    assert termination([(0, 60, "Gr")], {}) == 6


@pytest.mark.wide
def test_sumo_ends_no_green_beyond_what_is_taken_as_its_longest(tmp_path: Path) -> None:
    """SUMO's own account of the bounds, and a run: it is the rows' own maxima, not a common one, that end greens."""
    scenario = load("single", end_s=900, demand="scaled:2")
    controller = Actuated(max_green_s=17.0)
    contestant = Contestant("short", lambda: controller)
    path = tmp_path / "runs"
    (run,) = run_all(Evaluation(scenario, [contestant], [5], store=path, details=True, event_log=True))
    assert run.stored is not None
    why = Counter(run.stored.table("events").filter(pl.col("EventId").is_in([4, 5, 6]))["EventId"].to_list())
    assert why[5] > 5, "with a common maximum of 50 s, none would be a max-out"
    file = tmp_path / "program.add.xml"
    file.write_text(controller.additional_xml(scenario))
    program = read_programs(file)[0]
    script = "import libsumo, sys; libsumo.start(['sumo', '--no-warnings', '-n', sys.argv[1], '-a', sys.argv[2]]);"
    script += "logics = libsumo.trafficlight.getAllProgramLogics(sys.argv[3]);"
    script += "print([(p.state, p.minDur, p.maxDur) for p in logics[-1].phases])"
    words = [sys.executable, "-c", script, str(scenario.net_file), str(file), program.tls_id]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    bounds = {state: most for state, least, most in ast.literal_eval(said) if most > least}
    assert longest_greens(program) == bounds
    assert set(bounds.values()) == {17.0}


def events_of(out: Path, controller: str) -> pl.DataFrame:
    frame = pl.read_parquet(out / "runs" / controller / "seed-10001" / "events.parquet")
    assert frame["TimeStamp"].is_sorted()
    return frame.with_columns(((pl.col("TimeStamp") - DAY).dt.total_microseconds() / 1e6).alias("time_s"))


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_the_log_is_what_sumo_showed(logged: tuple[Path, Scenario], controller: str) -> None:
    """Second by second, the phases that the log has green are those with a green link in SUMO's own recording."""
    out, scenario = logged
    events = events_of(out, controller).filter(pl.col("EventId").is_in([1, 7]))
    path = out / "sumo" / controller / "seed-10001" / "tls_states.xml"
    channels = {tls_id: channels_of(scenario.network, tls_id) for tls_id in scenario.network.controlled}
    green: set[tuple[str, int]] = set()
    rows = iter(events.select("time_s", "DeviceId", "EventId", "Parameter").rows())
    following = next(rows, None)
    shown: dict[float, set[tuple[str, int]]] = {}
    for element in ElementTree.parse(path).getroot().findall("tlsState"):
        of = element.attrib
        now = {(of["id"], c.number) for c in channels[of["id"]] if set("Gg") & {of["state"][n] for n in c.links}}
        shown.setdefault(float(of["time"]), set()).update(now)
    assert len(shown) == scenario.horizon_s
    for time_s, expected in shown.items():
        ended: list[tuple[str, int]] = []
        while following is not None and following[0] <= time_s:
            key = (following[1], following[3])
            if following[2] == 1:
                green.add(key)
            else:
                ended.append(key)
                green.discard(key)
            following = next(rows, None)
        assert green == expected, time_s


def test_detectors_alternate(logged: tuple[Path, Scenario]) -> None:
    out, scenario = logged
    events = events_of(out, "greedy").filter(pl.col("EventId") >= 81)
    assert events.height > 1000
    known = set(EventPlan.of(scenario.network).detectors().select("DeviceId", "Parameter").rows())
    assert set(events.select("DeviceId", "Parameter").rows()) <= known
    for _, part in events.group_by("DeviceId", "Parameter"):
        codes = part["EventId"].to_list()
        assert all(a != b for a, b in pairwise(codes))
        assert codes[0] == 82


Key = tuple[str, int]


def own_figures(
    out: Path, scenario: Scenario, controller: str
) -> tuple[dict[Key, tuple[int, float]], dict[Key, tuple[float, float, int]], Counter[tuple[str, int, str]]]:
    """From the recorded states and the detectors' times, per signal and phase: arrivals and the share on green; mean
    occupancy in green, in the first 5 s of red, and the cycles in which both were at least 80 %; ends of green."""
    stored = out / "runs" / controller / "seed-10001"
    states = pl.read_parquet(stored / "states.parquet")
    events, plan = events_of(out, controller), EventPlan.of(scenario.network)
    arrivals: dict[Key, tuple[int, float]] = {}
    splits: dict[Key, tuple[float, float, int]] = {}
    ends = Counter[tuple[str, int, str]]()
    for channel in (c for c in plan.channels if not c.pedestrian):
        key = (channel.tls_id, channel.number)
        log = events.filter(DeviceId=channel.tls_id)
        spells = displays(channel, states, scenario.end_s)
        greens = [(start, until) for start, until, shown in spells if shown == "G"]
        for start, until in greens:
            if until < scenario.end_s:
                length_s = until - start
                if controller == "actuated":  # that of the last row without yellow, which is the one that SUMO ends
                    shown = states.filter(tls_id=channel.tls_id).sort("time_s").select("time_s", "state").rows()
                    pairs = [(a, b, state) for (a, state), (b, _) in pairwise(shown) if b <= until]
                    length_s = next(b - a for a, b, state in reversed(pairs) if "y" not in state)
                ends[(*key, reason(length_s, controller))] += 1
        own = [loop for loop in plan.loops if (loop.tls_id, loop.phase) == key]
        advance = [loop.number for loop in own if loop.function == "Advance"]
        times = log.filter(pl.col("EventId") == 82, pl.col("Parameter").is_in(advance))["time_s"]
        on_green = sum(any(start <= time_s < until for start, until in greens) for time_s in times)
        if on_green:  # the package leaves out who has none
            arrivals[key] = len(times), on_green / len(times)
        presence = [loop.number for loop in own if loop.function == "Presence"]
        seen = log.filter(pl.col("EventId") >= 81, pl.col("Parameter").is_in(presence))
        if found := cycles(spells, occupied(seen, scenario.end_s), float(seen["time_s"].min() or 1e9)):  # type: ignore[arg-type]
            size = len(found)
            failures = sum(green >= 0.8 and red >= 0.8 for green, red in found)
            splits[key] = sum(g for g, _ in found) / size, sum(r for _, r in found) / size, failures
    return arrivals, splits, ends


def reason(green_s: float, controller: str) -> str:
    if controller == "fixed_time":
        return "ForceOff"
    if controller == "actuated":
        return "MaxOut" if green_s >= 50 else "GapOut"
    return "MaxOut" if green_s >= 60 else "ForceOff"


def cycles(
    spells: list[tuple[float, float, str]], busy: list[tuple[float, float]], first_s: float
) -> list[tuple[float, float]]:
    """Occupancy in green and in the first 5 s of red, of each cycle that is whole and in which the detectors are
    known; where a red is shorter than 5 s, neither its cycle nor the next can be told."""
    found = []
    short = False
    for number, (start, until, shown) in enumerate(spells[:-2]):
        if shown != "G":
            continue
        (_, _, yellow), (red_s, over_s, red) = spells[number + 1], spells[number + 2]
        if (yellow, red) != ("Y", "R"):  # some links of the movement stay green
            short = False
            continue
        before, short = short, over_s - red_s <= 5.0
        if not (before or short) and start > first_s:
            found.append((overlap(busy, start, until) / (until - start), overlap(busy, red_s, red_s + 5.0) / 5.0))
    return found


def occupied(log: pl.DataFrame, end_s: float) -> list[tuple[float, float]]:
    """When any of these detectors was on."""
    spells: list[tuple[float, float]] = []
    count, since = 0, 0.0
    for time_s, code in log.select("time_s", "EventId").rows():
        if code == 82:
            since = time_s if count == 0 else since
            count += 1
        else:
            count -= 1
            if count == 0:
                spells.append((since, time_s))
    return [*spells, (since, end_s)] if count else spells


def overlap(spells: list[tuple[float, float]], start: float, until: float) -> float:
    return sum(max(0.0, min(b, until) - max(a, start)) for a, b in spells)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_an_independent_package_agrees(logged: tuple[Path, Scenario], controller: str) -> None:
    atspm = pytest.importorskip("atspm", reason="atspm is not installed; pip install '.[atspm]'")
    out, scenario = logged
    arrivals, splits, ends = own_figures(out, scenario, controller)
    aggregations = [
        {"name": "arrival_on_green", "params": {"latency_offset_seconds": 0}},
        {
            "name": "split_failures",
            "params": {"red_time": 5, "red_occupancy_threshold": 0.80, "green_occupancy_threshold": 0.80,
                       "by_approach": True, "by_cycle": False},
        },
        {"name": "terminations", "params": {}},
    ]  # fmt: skip
    with atspm.SignalDataProcessor(
        raw_data=str(out / "runs" / controller / "seed-10001" / "events.parquet"),
        detector_config=str(out / "detectors.parquet"),
        bin_size=15, verbose=0, remove_incomplete=False, aggregations=aggregations,
    ) as processor:  # fmt: skip
        processor.load()
        processor.aggregate()
        found = {
            name: processor.conn.query(f"SELECT * FROM {name}").fetchall()
            for name in ("arrival_on_green", "split_failures", "terminations")
        }
    assert {(t, phase): (total, share) for _, t, phase, total, share in found["arrival_on_green"]} == {
        key: (total, pytest.approx(share, abs=1e-6)) for key, (total, share) in arrivals.items()
    }
    assert {(t, phase, why): total for _, t, phase, why, total in found["terminations"]} == ends
    assert {(t, phase): values for _, t, phase, _, *values in found["split_failures"]} == {
        key: [pytest.approx(green, abs=0.002), pytest.approx(red, abs=0.002), failures]
        for key, (green, red, failures) in splits.items()
    }
    assert min(len(arrivals), len(splits)) == 6  # three signals, each with two phases that have lanes
    assert sum(failures for _, _, failures in splits.values()) > 0
