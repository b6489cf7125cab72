"""Acceptance test 3 of shared facts about controllers: ONNX and C are the policy that was trained."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.export import policy_graph, record, reference_scores
from agents.run import LearnedController, load_controller
from deployment.bundle.golden import Golden, compare
from deployment.bundle.make.c_check import WARNINGS, compiled, compiler
from deployment.bundle.make.drawn import draw_inputs
from deployment.bundle.policy import OnnxPolicy
from deployment.bundle.read import Bundle
from envs.sumo.setup import SimulationOptions, make_setup
from scenarios.loading import load
from signals.inputs import InputTable
from signals.layout import build_layout
from tests.policy_runs import status_of, write_run

NOT_FINITE = (np.nan, np.inf, -np.inf)


def c_compiler() -> str:
    found = compiler()
    if found is None:
        pytest.skip("no C compiler: apt-get install gcc")
    return found


# 3. Each bundle equals the trained policy on golden inputs (ONNX and C).


@pytest.mark.wide
def test_acceptance_03_onnx_and_c_are_the_trained_policy_on_ten_thousand_inputs(sealed: Path, bundle: Bundle) -> None:
    controller = load_controller(sealed.parent / "run")
    drawn = draw_inputs(bundle.inputs, bundle.input_high, 10_000 - len(bundle.golden.phases), seed=1)
    inputs = np.concatenate((bundle.golden.inputs, drawn))
    scores = reference_scores(controller, bundle.inputs, inputs)
    favoured = scores.astype(float) + 1e-9 * inputs[:, bundle.inputs.current]
    trained = Golden(inputs, scores, favoured.argmax(axis=1))
    assert np.array_equal(trained.phases[: len(bundle.golden.phases)], bundle.golden.phases)
    agreement = compare(bundle.policy.raw, trained)
    assert (agreement.same_phase, agreement.count) == (10_000, 10_000)
    assert agreement.worst_difference < 1e-5
    files = {name: (sealed / name).read_bytes() for name in ("policy.c", "policy.h")}
    with compiled(files, len(bundle.intersection.phases), c_compiler()) as policy:
        in_c = compare(policy, trained)
    assert (in_c.same_phase, in_c.count) == (10_000, 10_000)
    assert in_c.worst_difference < 1e-5


@pytest.mark.slow
def test_acceptance_03_the_same_phase_on_ten_thousand_recorded_snapshots(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "cologne8", window=None)
    controller = load_controller(run)
    setup = make_setup(load("cologne8"), SimulationOptions(sensing="detectors"))
    recording = record(controller, setup, range(20_001, 20_011), least=10_000 // len(setup.layout.tls_ids) + 1)
    compared = 0
    for s, item in enumerate(setup.plan.intersections):
        table = InputTable(build_layout((item,), load("cologne8").network), "detectors")
        inputs = recording.inputs(s, table)
        scores = reference_scores(controller, table, inputs)
        favoured = scores.astype(float) + 1e-9 * inputs[:, table.current]
        answer = OnnxPolicy(policy_graph(controller, table)).raw
        found = compare(answer, Golden(inputs, scores, favoured.argmax(axis=1)))
        assert found.same_phase == found.count
        compared += found.count
    assert compared >= 10_000


@pytest.mark.parametrize("form", ["onnx", "c"])
def test_acceptance_03_what_is_not_finite_is_refused_at_each_input(form: str, sealed: Path, bundle: Bundle) -> None:
    files = {name: (sealed / name).read_bytes() for name in ("policy.c", "policy.h")}
    golden = bundle.golden

    def check(answer: Callable[[Any], tuple[Any, int]]) -> None:
        assert answer(golden.inputs[0])[1] == golden.phases[0]
        for n in range(bundle.policy.inputs):
            for value in NOT_FINITE:
                values = golden.inputs[0].copy()
                values[n] = value
                assert answer(values)[1] == -1, (n, value)
                if form == "onnx":
                    with pytest.raises(ArithmeticError, match=f"input {n} is"):
                        bundle.policy(values)

    if form == "onnx":
        check(bundle.policy.raw)
    else:
        with compiled(files, len(bundle.intersection.phases), c_compiler()) as policy:
            check(policy)


def test_acceptance_03_the_c_compiles_without_a_warning_and_tests_itself(sealed: Path, tmp_path: Path) -> None:
    cc = c_compiler()
    for name in ("policy.c", "policy.h"):
        shutil.copy(sealed / name, tmp_path)
    words = [cc, *WARNINGS, "-O2", "-DPOLICY_SELF_TEST", "policy.c", "-o", "policy"]
    built = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")
    ran = subprocess.run([str(tmp_path / "policy")], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    assert ran.stdout.startswith("golden 8 of 8\n")
    unsafe = subprocess.run([cc, "-ffast-math", "-c", "policy.c"], cwd=tmp_path, capture_output=True, check=False)
    assert unsafe.returncode != 0


@pytest.mark.wide
def test_acceptance_03_a_form_that_differs_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", "tee")

    def rounded(controller: LearnedController, table: InputTable) -> bytes:
        weights = {name: weight.half().float() for name, weight in controller.weights.items()}
        return policy_graph(LearnedController(weights, controller.network, controller.observation), table)

    monkeypatch.setattr("agents.export.policy_graph", rounded)
    status, said = status_of(capsys, monkeypatch, "bundle", run, "--out", tmp_path / "out")
    assert status == 1
    assert "failed: ONNX" in said
    assert not (tmp_path / "out").exists()
