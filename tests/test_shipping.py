"""Where simulations run, as far as it needs no Ray: arguments, files that travel, versions that must agree."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import evaluate
import train
from envs.options import EnvOptions
from envs.workers.batch import SignalBatch
from envs.workers.client import RemoteSimulation
from envs.workers.protocol import SimulationWorker
from envs.workers.shipping import (
    Parcel,
    differences,
    files_of_scenario,
    files_of_setup,
    fingerprint,
    scenario_here,
    setup_here,
)
from plumbing.errors import InputError
from scenarios.loading import load


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "rai"], "Did you mean 'ray'"),
        (["--address", "10.0.0.1:6379"], "add --engine ray"),
        (["--engine", "ray", "--address", "10.0.0.1"], "is not HOST:PORT"),
        (["--engine", "ray", "--address", "ray://10.0.0.1:10001"], "is not HOST:PORT"),
        (["--engine", "ray", "--address", "head:70000"], "is not HOST:PORT"),
    ],
)
def test_both_commands_refuse_a_wrong_engine_before_they_do_anything(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        evaluate.main(["--scenario", "single", *arguments])
    with pytest.raises(InputError, match=said):
        train.main(["--scenario", "single", "--out", str(tmp_path / "run"), *arguments])
    assert not (tmp_path / "run").exists()


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else found(name))
    with pytest.raises(InputError, match=r"pip install .*\[ray\]"):
        evaluate.main(["--scenario", "single", "--engine", "ray"])


def test_a_file_that_is_here_is_used_in_place_and_another_one_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    same, changed, gone = (tmp_path / name / "a.xml" for name in ("same", "changed", "gone"))
    for path in (same, changed, gone):
        path.parent.mkdir()
        path.write_text(f"as sent: {path.parent.name}")
    parcel = Parcel.of([same, changed, gone])
    changed.write_text("this machine's own")
    gone.unlink()
    places = parcel.unpack()
    assert places[str(same)] == str(same)
    for path in (changed, gone):
        copy = Path(places[str(path)])
        assert copy.read_text() == f"as sent: {path.parent.name}"
        assert copy.parts[-2:] == path.parts[-2:]
        assert copy.is_relative_to(tmp_path / "cache")
    assert changed.read_text() == "this machine's own"


def test_a_scenario_and_a_setup_name_all_their_files_and_take_others() -> None:
    scenario = load("cologne1")
    files = files_of_scenario(scenario)
    places = {path: f"/elsewhere/{Path(path).name}" for path in files}
    moved = scenario_here(scenario, places)
    assert files_of_scenario(moved) == list(places.values())
    setup = EnvOptions("cologne1").worker().setup.simulation
    assert set(files) <= set(files_of_setup(setup)), "SUMO's own options file comes with them"
    arguments = " ".join(setup_here(setup, places).sumo_args)
    assert all(place in arguments for place in places.values())
    assert not any(path in arguments for path in files)


def test_another_version_anywhere_is_named() -> None:
    ours = fingerprint()
    assert differences(ours) == ""
    assert {"Python", "libsumo", "intergreen's code"} <= ours.keys()
    assert differences({**ours, "libsumo": "0.1"}) == f"libsumo is {ours['libsumo']} and not 0.1"


def test_a_batch_needs_no_more_of_a_worker_than_the_protocol_says() -> None:
    """A worker that passes nothing else through runs an episode."""
    allowed = {name for name in (*SimulationWorker.__annotations__, *vars(SimulationWorker)) if name[0] != "_"}

    class Only:
        def __init__(self, worker: RemoteSimulation) -> None:
            self.__dict__["_worker"] = worker

        def __getattr__(self, name: str) -> object:
            assert name in allowed, name
            return getattr(self._worker, name)

    batch = SignalBatch([Only(EnvOptions("single", end_s=50.0).worker())], lambda worker, episode: 1)  # type: ignore[list-item]
    try:
        batch.reset()
        turns = [batch.step(batch.masks().argmax(axis=1))[0] for _ in range(10)]
        assert [turn.last is not None for turn in turns] == [False] * 9 + [True]
        assert batch.episodes == [2]
    finally:
        batch.close()
