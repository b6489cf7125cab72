"""Runs on several days of traffic: which day a run has follows from its seed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from envs.sumo.setup import make_setup
from envs.workers.shipping import Parcel, files_of_setup, setup_here
from plumbing.errors import InputError
from scenarios.days import day_of, with_day
from scenarios.loading import absolute_demand, load
from scenarios.provenance import Provenance, made_up_of, read_provenance, write_provenance
from scenarios.scenario import Scenario
from scenarios.seeds import EVALUATION_SEEDS

COUNTS = (20, 40, 60)


def days_folder(folder: Path, begin_s: float = 0.0, edges: str = "W_in E_out") -> Path:
    """Three days on tee with 20, 40 and 60 vehicles."""
    folder.mkdir()
    for n, count in enumerate(COUNTS, 1):
        rows = "".join(
            f'<vehicle id="v{k}" depart="{begin_s + k * 2}" departSpeed="max"><route edges="{edges}"/></vehicle>'
            for k in range(count)
        )
        (folder / f"day-2024-05-0{n}.rou.xml").write_text(f"<routes>{rows}</routes>")
    return folder


@pytest.fixture
def three(tmp_path: Path) -> Scenario:
    return load("tee", end_s=300, demand=f"days:{days_folder(tmp_path / 'days')}")


def test_consecutive_seeds_go_through_the_days_in_order() -> None:
    days = ("a", "b", "c")
    assert sorted(day_of(days, seed) for seed in EVALUATION_SEEDS[:3]) == ["a", "b", "c"]
    assert day_of(days, 10_001) == day_of(days, 10_004)
    assert with_day(["sumo", "-r", "a", "-b", "0"], days, 2) == ["sumo", "-r", "c", "-b", "0"]


def test_each_run_has_the_vehicles_of_its_day(three: Scenario) -> None:
    from controllers.registry import make
    from evaluation.runs import Contestant, Evaluation, run_all

    assert [path.name for path in three.days] == [f"day-2024-05-0{n}.rou.xml" for n in (1, 2, 3)]
    seeds = [3, 4, 5]  # the first, second and third day
    judged = Evaluation(three, [Contestant("greedy", lambda: make("greedy"))], seeds)
    found = [run.metrics for run in run_all(judged)]
    assert [m.arrived_veh + m.running_veh + m.uninserted_veh for m in found] == list(COUNTS)


def test_what_is_trained_on_says_so_in_its_hashes_and_can_be_shipped(three: Scenario, tmp_path: Path) -> None:
    assert three.demand == f"days:{tmp_path / 'days'}"
    assert {path.name for path in three.days} <= three.hashes().keys()
    setup = make_setup(three)
    assert {str(path) for path in three.days} <= set(files_of_setup(setup))
    parcel = Parcel.of(files_of_setup(setup))
    moved = dataclasses.replace(setup, days=tuple(f"/elsewhere{day}" for day in setup.days))
    places = {f"/elsewhere{path}": path for path in parcel.contents}
    assert setup_here(moved, places).days == setup.days


def test_bad_folders_of_days_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no day-\*\.rou\.xml"):
        load("tee", demand=f"days:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="nothing departs between 0 and 3600 s"):
        load("tee", demand=f"days:{days_folder(tmp_path / 'late', begin_s=7200)}")
    with pytest.raises(InputError, match="nowhere"):
        load("tee", demand=f"days:{days_folder(tmp_path / 'other', edges='nowhere E_out')}")
    with pytest.raises(InputError, match="'days:FOLDER', or 'generated:MODEL'"):
        load("tee", demand="days:")


def test_the_folder_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days_folder(tmp_path / "days")
    monkeypatch.chdir(tmp_path)
    assert absolute_demand("days:days") == f"days:{tmp_path / 'days'}"
    assert absolute_demand("held-out:3") == "held-out:3"


def test_a_folder_says_what_its_scenarios_are(tmp_path: Path) -> None:
    assert read_provenance(tmp_path) is None
    said = Provenance("town.net.xml", "a town", "CC0", "the town's detectors", "drawn at random", ("drawn.rou.xml",))
    write_provenance(tmp_path, said)
    assert read_provenance(tmp_path) == said
    assert made_up_of([tmp_path / "drawn.rou.xml", tmp_path / "mine.rou.xml"]) == "drawn at random"
    assert made_up_of([tmp_path / "mine.rou.xml"]) == ""
    (tmp_path / "scenario.json").write_text('{"format": "somebody else\'s"}')
    assert read_provenance(tmp_path) is None
    (tmp_path / "scenario.json").write_text('{"format": "intergreen scenario 1", "network": 7}')
    with pytest.raises(InputError, match="network is 7"):
        read_provenance(tmp_path)


@pytest.mark.wide
def test_a_policy_is_trained_and_judged_on_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import evaluate
    import train

    days, run = days_folder(tmp_path / "days"), tmp_path / "run"
    where = ["--scenario", "tee", "--end", "300", "--demand", f"days:{days}"]
    assert train.main([*where, "--steps", "150", "--validate-every", "0", "--out", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"--demand days:{days}" in said, "the command that judges it is on the same days"
    settings = json.loads((run / "settings.json").read_text())
    assert settings["job"]["demand"] == f"days:{days}"
    assert sum(name.startswith("day-") for name in settings["scenario"]["files"]) == 3
    assert evaluate.main([*where, "--controllers", str(run), "--seeds", "3", "--workers", "1", "--json"]) == 0
    (days / "day-2024-05-02.rou.xml").write_text("<routes/>")
    with pytest.raises(InputError, match="nothing departs"):
        train.main(["--out", str(run), "--resume", "--steps", "300"])
