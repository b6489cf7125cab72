"""A policy that plans on detectors becomes a bundle, which computes the plans where it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import export
from agents.run import load_controller
from deployment.bundle.contents import Subject, observation_document
from deployment.bundle.manifest import new_key
from deployment.bundle.read import read_unsigned_bundle
from deployment.bundle.simulated import BundleController
from deployment.field.guard import Facts, Guard, Limits, Mode
from deployment.field.pilot import Answer, Pilot
from envs.sumo.setup import SimulationOptions, make_setup
from envs.sumo.simulation import Simulation
from scenarios.loading import load
from signals.intersection import compile_signals
from signals.loops import DetectorFaults
from tests.field import Feed, make_site, values
from tests.policy_runs import SERIAL, write_run
from tests.windows import window


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `run`, `key`, `key.pub` and `bundle`."""
    folder = tmp_path_factory.mktemp("planned")
    new_key(folder / "key")
    run = str(write_run(folder / "run", observation="planned"))
    words = ["--key", str(folder / "key"), "--serial", str(SERIAL)]
    assert export.main(["bundle", run, "--out", str(folder / "bundle"), "--with", "c", *words]) == 0
    return folder


def test_earlier_bundles_describe_their_inputs_as_before() -> None:
    network = load("single").network
    (item,) = compile_signals(network).intersections
    assert "observation" not in observation_document(Subject.alone(item, network, "detectors"))
    planned = observation_document(Subject.alone(item, network, "detectors", "planned"))
    assert planned["observation"] == "planned"
    rows = {row["name"]: row for row in planned["inputs"]}
    assert rows["phase0.regret"]["unit"] == "veh s"
    assert len(rows["phase0.regret"]["detectors"]) == len(planned["detectors"])
    assert 0 < len(rows["movement0.queue"]["detectors"]) < len(planned["detectors"])


@pytest.mark.wide
def test_the_bundle_verifies_and_chooses_as_the_policy(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", str(made / "bundle"), "--public-key", str(made / "key.pub"), "--scenario", "single"]
    assert export.main(words) == 0
    assert "policy.onnx answers" in capsys.readouterr().out
    setup = make_setup(
        window("single", 600.0), SimulationOptions(sensing="detectors", faults=DetectorFaults(0.1, 0.1, 1.0))
    )
    bundle, policy, simulation = BundleController([made / "bundle"]), load_controller(made / "run"), Simulation(setup)
    for one in (bundle, policy):
        one.reset(setup.plan.intersections, setup.layout, 0)
    simulation.begin(3)
    while not simulation.done:
        chosen = bundle.decide(simulation.snapshot)
        assert chosen == policy.decide(simulation.snapshot)
        simulation.decide(chosen)
    simulation.end()


@pytest.mark.wide
def test_the_field_plans_on_what_it_polls(made: Path) -> None:
    bundle = read_unsigned_bundle(made / "bundle")
    pilot = Pilot(make_site(), bundle.inputs, bundle.input_high, Guard(Limits()))
    assert pilot.guard.mode is Mode.SHADOW
    feed, regrets = Feed(pilot), [n for n, i in enumerate(bundle.inputs.inputs) if i.feature == "regret"]
    shown = []
    for second in range(60):
        # the green serves nobody, and on the first lane, which is red, a queue grows
        passing = second % 5 < 1
        feed.hold(values(detectors__1=second > 5, detectors__2=passing << 2), 1.0)
        inputs = pilot.look(feed.now_s, second, Facts())
        scores, phase = bundle.policy(inputs)
        assert not pilot.conclude(Answer(0.001, scores, phase)).record.get("failure")
        shown.append(inputs[regrets])
    regret = np.array(shown)
    assert (regret >= 0).all()
    waiting = next(p for p in range(regret.shape[1]) if bundle.layout.stream_served[0, p])
    assert regret[40, waiting] == 0.0, "the plan is to serve the queue"
    assert regret[40, 0] > 20.0, "and not to stay"
