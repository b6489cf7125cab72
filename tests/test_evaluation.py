"""Evaluation: metrics as defined, for every vehicle that was to depart; paired seeds; plain errors."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest

import evaluate
from controllers.heuristics import Greedy
from controllers.programs import Actuated
from controllers.registry import make
from envs.sumo.outputs import Statistics, Trips, read_statistics, read_trips
from envs.sumo.simulation import EpisodeSummary
from evaluation import simulations
from evaluation.measure import is_gridlocked, measure
from evaluation.metrics import METRICS
from evaluation.results.summary import summarise
from evaluation.runs import Contestant, Evaluation, Job, RunFailed, RunResult, folder_names, run_all
from evaluation.statistics import difference, mean_interval, relative_difference
from plumbing.errors import InputError
from plumbing.whole import write_whole
from scenarios.loading import load
from scenarios.seeds import EVALUATION_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS

ROOT = Path(__file__).resolve().parents[1]
BEGIN_S, END_S = 25200, 25500  # of cologne1: five minutes
WINDOW = ["--scenario", "cologne1", "--end", str(END_S), "--seeds", "2"]

TRIP = (
    '<tripinfo id="{id}" depart="{depart}" departDelay="{wait}" arrival="{arrival}" duration="{duration}"'
    ' vType="car" speedFactor="1.00" routeLength="100.00" waitingTime="{halted}" waitingCount="{stops}"'
    ' timeLoss="{loss}"'
    ' vaporized="{vaporized}">{inside}</tripinfo>\n'
)


PERSON = (
    '<personinfo id="{id}" depart="{depart}" duration="{duration}" waitingTime="9" timeLoss="7">{inside}</personinfo>'
)
WALK = '<walk depart="3.00" waitingTime="{}"/>'
RIDE = '<ride depart="-1" waitingTime="{}"/>'


def trip(id: str, **values: Any) -> str:
    base: dict[str, Any] = {"depart": 0, "wait": 0, "arrival": -1, "duration": 0, "halted": 0, "stops": 0}
    base |= {"loss": 0, "vaporized": "", "inside": ""}
    return TRIP.format(id=id, **{**base, **values})


@pytest.fixture
def five_fates(tmp_path: Path) -> Trips:
    """A run from 0 to 100 s: arrived, under way, never inserted (twice), planned for the end, removed."""
    emitted = '<emissions CO2_abs="4000.0" fuel_abs="1000.0"/>'
    rows = [
        trip("arrived", depart=12, wait=2, arrival=62, duration=50, halted=10, stops=2, loss=20, inside=emitted),
        trip("running", depart=50, wait=5, duration=50, halted=30, stops=1, loss=40, vaporized="end", inside=emitted),
        trip("waiting", depart=-1, wait=60),
        trip("overtaken", depart=-1, wait=95.5),
        trip("at the end", depart=-1, wait=0),
        trip("removed", depart=20, arrival=40, duration=20, loss=7, vaporized="collision", inside=emitted),
        PERSON.format(id="p", depart=3, duration=40, inside=WALK.format(10) + RIDE.format(60) + WALK.format(2)),
        PERSON.format(id="q", depart=60, duration=-1, inside=WALK.format(30) + RIDE.format(-1)),
        PERSON.format(id="s", depart=40, duration=-1, inside=RIDE.format(20)),
        '<personinfo id="r" depart="-1" duration="-1" waitingTime="0.00" timeLoss="0.00"/>',
    ]
    path = tmp_path / "tripinfo.xml"
    path.write_text(f"<tripinfos>{''.join(rows)}</tripinfos>")
    return read_trips(path, 100.0)


def test_every_vehicle_that_was_to_depart_counts(five_fates: Trips) -> None:
    vehicles = five_fates.vehicles
    assert vehicles["vehicle_id"].to_list() == ["arrived", "running", "waiting", "overtaken", "removed"]
    assert vehicles["planned_s"].to_list() == [10.0, 45.0, 40.0, 4.5, 20.0]
    assert vehicles["delay_s"].to_list() == [22.0, 45.0, 60.0, 95.5, 7.0]
    found = measure(five_fates, Statistics(3, 1, 2, 3, 4), EpisodeSummary(100.0, 1, 0, 2))
    assert found.delay_s == pytest.approx((22 + 45 + 60 + 95.5 + 7) / 5)
    assert found.delay_s == pytest.approx(found.time_loss_s + found.depart_delay_s)
    assert (found.vehicles, found.arrived_veh, found.running_veh) == (5, 1, 1)
    assert (found.uninserted_veh, found.removed_veh) == (2, 1)
    assert found.travel_time_s == 50.0  # of the arrived one alone
    assert found.waiting_time_s == pytest.approx(40 / 3)
    assert found.stops == 1.0
    assert (found.co2_g, found.fuel_g) == (4.0, 1.0)
    assert (found.persons_arrived, found.persons_unfinished) == (1, 2)
    assert (found.person_waiting_s, found.person_time_loss_s) == ((12.0 + 30.0) / 2, 7.0)
    assert found.person_waiting_max_s == 30.0
    assert found.ride_waiting_s == (60.0 + 20.0) / 2
    assert (found.teleported_veh, found.collisions, found.emergency_stops, found.emergency_brakings) == (1, 2, 3, 4)
    # the last inserted one was planned for 45 s, the never inserted ones before that
    assert found.resco_delay_s == pytest.approx((22 + 45 + 7) / 3)


def test_a_trip_output_that_misses_vehicles_is_refused(five_fates: Trips) -> None:
    with pytest.raises(InputError, match="lists 3 of 4 inserted vehicles"):
        measure(five_fates, Statistics(4, 0, 0, 0, 0), EpisodeSummary())


@pytest.mark.parametrize("read", [lambda path: read_trips(path, 100.0), read_statistics])
def test_a_torn_output_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "torn.xml"
    path.write_text('<tripinfos><tripinfo id="a" dep')
    with pytest.raises(InputError, match="full"):
        read(path)


@pytest.mark.parametrize(
    ("stuck", "running", "expected"), [(4, 10, False), (5, 100, True), (5, 101, False), (60, 1000, True)]
)
def test_gridlock_is_five_vehicles_and_five_percent(stuck: int, running: int, expected: bool) -> None:
    assert is_gridlocked(EpisodeSummary(0.0, running, stuck, 0)) is expected


def test_intervals_hold_the_mean_and_come_again() -> None:
    values = [10.0, 12.0, 11.0, 30.0, 12.5]
    found = mean_interval(values)
    assert found.mean == pytest.approx(15.1)
    assert min(values) <= found.low < found.mean < found.high <= max(values)
    assert mean_interval(values) == found
    assert mean_interval([7.5]).low == mean_interval([7.5]).high == 7.5
    assert math.isnan(mean_interval([1.0, math.nan]).mean)


def test_pairs_cancel_what_a_seed_does_to_both() -> None:
    base = np.array([20.0, 40.0, 90.0, 31.0])
    shifted = difference(base - 3.0, base)
    assert (shifted.mean, shifted.low, shifted.high) == pytest.approx((-3.0, -3.0, -3.0))
    halved = relative_difference(base / 2, base)
    assert (halved.mean, halved.low, halved.high) == pytest.approx((-0.5, -0.5, -0.5))


def test_seeds_of_training_and_evaluation_are_apart() -> None:
    ranges = [EVALUATION_SEEDS, VALIDATION_SEEDS, TRAINING_SEEDS]
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))
    assert evaluate._seeds([3], EVALUATION_SEEDS) == [10_001, 10_002, 10_003]
    assert evaluate._seeds([3, 7], EVALUATION_SEEDS) == [3, 7]


def test_undeparted_vehicles_as_sumo_writes_them(tmp_path: Path) -> None:
    """One vehicle each half second onto a lane that takes one in two seconds; planned up to the end and after."""
    binaries = Path(__import__("sumo").SUMO_HOME) / "bin"
    (tmp_path / "n.xml").write_text('<nodes><node id="a" x="0" y="0"/><node id="b" x="300" y="0"/></nodes>')
    (tmp_path / "e.xml").write_text('<edges><edge id="e" from="a" to="b"/></edges>')
    planned = [0.5 * k for k in range(60)] + [59.7, 60.0, 65.0]
    rows = "".join(f'<vehicle id="v{k}" route="r" depart="{s}"/>' for k, s in enumerate(planned))
    (tmp_path / "r.xml").write_text(f'<routes><route id="r" edges="e"/>{rows}</routes>')

    def run(*words: str) -> None:
        subprocess.run([binaries / words[0], *words[1:]], cwd=tmp_path, check=True, capture_output=True)

    run("netconvert", "-n", "n.xml", "-e", "e.xml", "-o", "net.xml")
    unfinished = [f"--tripinfo-output.write-{kind}" for kind in ("unfinished", "undeparted")]
    run("sumo", "-n", "net.xml", "-r", "r.xml", "-e", "60", "--tripinfo-output", "o.xml", *unfinished)
    vehicles = read_trips(tmp_path / "o.xml", 60.0).vehicles
    assert sorted(vehicles["planned_s"].to_list()) == [s for s in planned if s < 60]
    never = vehicles.filter(pl.col("depart_s").is_null())
    assert never.height > 20
    assert (never["delay_s"] - (60.0 - never["planned_s"])).abs().max() < 1e-6


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What the command prints with --json, and its folder."""
    out = tmp_path_factory.mktemp("judged") / "out"
    return command("--controllers", "fixed_time", "greedy", "random", "--out", str(out), "--keep-sumo-output"), out


def command(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "evaluate.py", *WINDOW, "--json", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    content: dict[str, Any] = json.loads(done.stdout)  # nothing else is on stdout
    return content


def test_json(judged: tuple[dict[str, Any], Path]) -> None:
    content, out = judged
    assert (content["scenario"], content["demand"], content["seeds"]) == ("cologne1", "recorded", [10_001, 10_002])
    assert [entry["controller"] for entry in content["controllers"]] == ["fixed_time", "greedy", "random"]
    for entry in content["controllers"]:
        assert (entry["runs"], entry["gridlocked_runs"]) == (2, 0)
        for metric in METRICS:
            of = entry[metric]
            assert list(of) == ["mean", "low", "high"]
            assert of["mean"] is None or of["low"] <= of["mean"] <= of["high"]
    best = min(content["controllers"], key=lambda entry: entry["delay_s"]["mean"])
    assert content["reference"] == best["controller"]
    assert best["versus_reference"] is None
    assert json.loads((out / "summary.json").read_text()) == content


def test_the_population_is_the_route_files(judged: tuple[dict[str, Any], Path]) -> None:
    content, out = judged
    scenario = load("cologne1", end_s=END_S)
    roots = [ElementTree.parse(path).getroot() for path in scenario.route_files]
    planned = {
        v.attrib["id"]
        for root in roots
        for v in root
        if v.tag in ("vehicle", "trip") and BEGIN_S <= float(v.attrib["depart"]) < END_S
    }
    assert scenario.demand_counts() == (len(planned), 0)
    for entry in content["controllers"]:
        assert entry["vehicles"]["mean"] == len(planned)
    vehicles = pl.read_parquet(out / "vehicles.parquet")
    for _, rows in vehicles.group_by("controller", "seed"):
        assert set(rows["vehicle_id"]) == planned
        assert rows.height == len(planned)


def test_kept_output_lets_anyone_check(judged: tuple[dict[str, Any], Path]) -> None:
    content, out = judged
    for entry in content["controllers"]:
        delays = []
        for seed in content["seeds"]:
            folder = out / "sumo" / entry["controller"] / f"seed-{seed}"
            rows = ElementTree.parse(folder / "tripinfo.xml").getroot().findall("tripinfo")
            counted = [r.attrib for r in rows if float(r.attrib["depart"]) >= 0 or float(r.attrib["departDelay"]) > 0]
            delays.append(sum(float(r["timeLoss"]) + float(r["departDelay"]) for r in counted) / len(counted))
            vehicles = ElementTree.parse(folder / "statistics.xml").getroot().find("vehicles")
            assert vehicles is not None
            assert int(vehicles.attrib["inserted"]) == sum(float(r["depart"]) >= 0 for r in counted)
            states = ElementTree.parse(folder / "tls_states.xml").getroot().findall("tlsState")
            assert [float(s.attrib["time"]) for s in states] == list(range(BEGIN_S, END_S))
        assert entry["delay_s"]["mean"] == pytest.approx(sum(delays) / len(delays), abs=1e-9)


def test_fixed_time_is_plain_sumo(judged: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, out = judged
    binary = Path(__import__("sumo").SUMO_HOME) / "bin" / "sumo"
    options = ["--seed", "10001", "--time-to-teleport", "-1", "--tripinfo-output", "o.xml"]
    options += ["--tripinfo-output.write-unfinished", "--tripinfo-output.write-undeparted"]
    arguments = load("cologne1", end_s=END_S).sumo_args()
    subprocess.run([binary, *arguments, *options], cwd=tmp_path, check=True, capture_output=True)
    plain = read_trips(tmp_path / "o.xml", END_S).vehicles
    ours = read_trips(out / "sumo/fixed_time/seed-10001/tripinfo.xml", END_S).vehicles
    assert ours.sort("vehicle_id").equals(plain.sort("vehicle_id"))


@pytest.mark.wide
def test_the_same_seeds_give_the_same_runs(
    judged: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    content, out = judged
    assert evaluate.main([*WINDOW, "--json", "--controllers", "greedy", "random", "--workers", "1"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["controllers"][0]["delay_s"] == content["controllers"][1]["delay_s"]
    assert again["controllers"][1]["delay_s"] == content["controllers"][2]["delay_s"]
    table = pl.read_csv(out / "results.csv")
    assert table.equals(pl.read_parquet(out / "results.parquet").cast(table.schema))
    assert table.select("controller", "seed").unique().height == 6
    assert table["delay_s"].n_unique() == 6


@pytest.mark.wide
def test_few_simulations_wait_however_many_kinds_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulations, "MOST_IDLE", 1)
    kinds = [Contestant(f"gap {gap}", lambda gap=gap: Actuated(max_gap_s=gap)) for gap in (2.0, 3.0, 4.0)]  # type: ignore[misc]
    evaluation = Evaluation(load("cologne1", end_s=BEGIN_S + 60), kinds, [5])
    with contextlib.closing(simulations.SimulationPool(evaluation, tmp_path, threading.Event())) as pool:
        delays = [pool.run(Job(kinds[n], 5, Path("any"))).metrics.delay_s for n in (0, 1, 2, 0)]
        assert len(pool._idle) == 1
    assert delays[0] == delays[3]


@pytest.mark.wide
def test_a_controller_that_breaks_is_named(tmp_path: Path) -> None:
    class Broken(Greedy):
        def decide(self, snapshot: Any) -> Any:
            raise ArithmeticError("the policy's scores are not finite")

    evaluation = Evaluation(load("cologne1", end_s=END_S), [Contestant("mine", Broken)], [5, 6, 7])
    with pytest.raises(RunFailed, match="controller mine, seed 5: the policy's scores are not finite"):
        run_all(evaluation)


def test_gridlocked_runs_stay_in_the_mean(five_fates: Trips) -> None:
    def result(name: str, seed: int, stuck: int) -> RunResult:
        metrics = measure(five_fates, Statistics(3, 0, 0, 0, 0), EpisodeSummary(100.0, 1, stuck, 2))
        return RunResult(name, seed, metrics, five_fates.vehicles)

    summary = summarise([result("a", 1, 9), result("a", 2, 0), result("b", 1, 0), result("b", 2, 0)], ["a"])
    assert [entry.gridlocked_runs for entry in summary.controllers] == [1, 0]
    assert summary.controllers[0].metrics["delay_s"].mean == pytest.approx(45.9)
    assert summary.reference == "a"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controllers", "max_presure"], "Did you mean 'max_pressure'"),
        (["--controllers", "runs/there-is-none"], "does not exist"),
        (["--controllers", "tests"], "is no run directory"),
        (["--controllers", "greedy", "greedy"], "given twice"),
        (["--out", "evaluate.py"], "is a file"),
        (["--out", "evaluate.py/below"], "cannot write"),
        (["--keep-sumo-output"], "--out"),
        (["--event-log"], "--out"),
        (["--stress", "demnad"], "Did you mean 'demand'"),
        (["--stress", "demand", "--demand", "held-out"], "starts from the recorded demand"),
        (["--stress", "demand", "--stress-seeds", "0"], "at least 1"),
        (["--seeds", "0"], "how many"),
        (["--seeds", "4", "4"], "different"),
        (["--workers", "0"], "at least 1"),
        (["--demand", "recoded"], "held-out:SEED"),
        (["--dropout", "0.6", "--stuck-on", "0.6"], "probabilities whose sum is at most 1"),
        (["--controllers", "cop_detectors", "--latency", "9"], "at most the decision interval"),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=message) as caught:
        evaluate.main(["--scenario", "cologne1", "--end", str(END_S), *words])
    assert "\n" not in str(caught.value)


def test_who_drives_nowhere_cannot_be_judged(tmp_path: Path) -> None:
    routes = tmp_path / "nobody.rou.xml"
    routes.write_text("<routes/>")
    with pytest.raises(InputError, match="no vehicle departs between 0 and 60 s, so there is no delay to judge by"):
        evaluate.main(["--scenario", "single", "--routes", str(routes), "--begin", "0", "--end", "60"])


@pytest.mark.wide
def test_exit_status_of_bad_input() -> None:
    done = subprocess.run(
        [sys.executable, "evaluate.py", "--scenario", "cologn1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown scenario 'cologn1'")
    assert done.stderr.count("\n") == 1


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("old")

    def fill_up(partial: Path) -> None:
        partial.write_text("half of")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(InputError, match="No space left"):
        write_whole(path, fill_up)
    assert [p.name for p in tmp_path.iterdir()] == ["results.csv"]
    assert path.read_text() == "old"


def test_each_controller_has_a_folder_of_its_own() -> None:
    def folders(*names: str) -> list[str]:
        return list(folder_names([Contestant(name, lambda: make("greedy")) for name in names]).values())

    assert folders("greedy", "runs/one", "runs/two/") == ["greedy", "one", "two"]
    assert folders("greedy", "runs/greedy") == ["greedy", "runs-greedy"]
    assert folders("here/one+here/two") == ["one+two"]
    assert folders(".") == [Path.cwd().name]
    assert folders("..", "../..") == [Path.cwd().parent.name, Path.cwd().parent.parent.name]
    alike = f"runs/{Path.cwd().parent.name}"
    assert folders("..", alike)[0] == str(Path.cwd().parent).strip(os.sep).replace(os.sep, "-")
    with pytest.raises(InputError, match="'runs/one' and 'runs/one/' would share the folder"):
        folders("runs/one", "runs/one/")


def test_baselines_are_made_anew_for_each_run() -> None:
    assert make("greedy") is not make("greedy")
