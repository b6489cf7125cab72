"""Observations from outside: as classes and by name, in every environment, and what they read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

import envs
from envs import SignalEnv
from plumbing.errors import InputError
from plumbing.outside import load_outside
from signals.measures import ApproachMeasures
from signals.observation_names import find_observation
from signals.observations import DetectorObservation, PhaseObservation
from tests.windows import window

MINE = '''
import numpy as np
from signals.measures import ApproachMeasures
from signals.observations import DetectorObservation, Observation, PhaseObservation

class Halting(Observation):
    """[P] halting vehicles before each phase, and the time."""
    low, high = -1.0, 1e6

    @classmethod
    def width(cls, layout):
        return layout.shape[1] + 1

    def write(self, snapshot):
        self.rows[:, :-1] = ApproachMeasures(self.layout, snapshot).phases[1]
        self.rows[:, -1] = snapshot.time_s[0]

class WithClock(PhaseObservation):
    """With the minute of the hour."""
    PHASE_FEATURES = (*PhaseObservation.PHASE_FEATURES, "minute")
    PHASE_SCALE = np.append(PhaseObservation.PHASE_SCALE, 60.0)

    def fill(self, snapshot):
        super().fill(snapshot)
        self.phase[:, :, -1] = snapshot.time_s[0] % 3600 / 60

class Calls(DetectorObservation):
    """As it is."""

class Fails(Halting):
    def write(self, snapshot):
        self.rows[:] = [1, 2, 3, 4, 5, 6, 7]

class Late(Halting):
    def write(self, snapshot):
        self.rows[:] = np.nan if snapshot.time_s[0] > 25205 else 0.0

class Blind(Halting):
    sensing = "sonar"

class Half(Observation):
    pass

class Speeds(Halting):
    """It asks SUMO itself."""
    def begin(self, simulation):
        self.sumo = simulation.sumo
    def write(self, snapshot):
        super().write(snapshot)
        self.rows[:, -1] = len(self.sumo.vehicle.getIDList())
'''


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return str(path)


def test_a_flat_observation_is_its_classs_box_and_numbers(mine: str) -> None:
    env = SignalEnv(window("cologne1", 60), observation=f"{mine}:Halting")
    phases = int(env.action_space.n)
    assert env.observation_space == gymnasium.spaces.Box(-1.0, 1e6, (phases + 1,), np.float32)
    env.reset(seed=1)
    observation = env.step(0)[0]
    layout, snapshot = env.layout, env.snapshot
    assert observation[-1] == 25205.0
    assert observation[:-1].tolist() == ApproachMeasures(layout, snapshot).phases[1, 0].tolist()
    check_env(env)
    env.close()


@pytest.mark.wide
def test_an_object_is_the_same_as_its_name(mine: str) -> None:
    found = []
    for given in (f"{mine}:Halting", load_outside(f"{mine}:Halting", "observation")):
        env = SignalEnv(window("cologne1", 60), observation=given)
        env.reset(seed=1)
        found.append([env.step(n % 2)[0].tolist() for n in range(6)])
        env.close()
    assert found[0] == found[1]


@pytest.mark.wide
def test_a_subclass_adds_a_feature_and_keeps_the_others(mine: str) -> None:
    plain, more = (SignalEnv(window("cologne1", 400), observation=name) for name in ("phases", f"{mine}:WithClock"))
    seen = [[env.reset(seed=1)[0], *(env.step(0)[0] for _ in range(30))] for env in (plain, more)]
    phases = int(plain.action_space.n)
    for n, (one, other) in enumerate(zip(*seen, strict=True)):
        block = other[: phases * 15].reshape(phases, 15)
        assert block[:, :14].tobytes() == one[: phases * 14].tobytes()
        assert other[phases * 15 :].tobytes() == one[phases * 14 :].tobytes()
        assert block[:, 14] == pytest.approx(n * 5 / 3600, abs=1e-6)
    plain.close()
    more.close()


@pytest.mark.wide
def test_all_agents_and_all_rows_have_it(mine: str) -> None:
    env = envs.parallel_env(window("cologne3", 20), observation=f"{mine}:Halting")
    observations, _ = env.reset(seed=1)
    assert {observation[-1] for observation in observations.values()} == {25200.0}
    assert all(env.observation_space(a).contains(observation) for a, observation in observations.items())
    env.close()
    vector = envs.vector_env([window("cologne3", 20), window("cologne1", 20)], observation=f"{mine}:Halting")
    rows, _ = vector.reset(seed=1)
    assert rows.shape == (4, 5)
    rows = vector.step(np.zeros(4, np.int64))[0]
    assert rows[:, -1].tolist() == [25205.0] * 4
    for worker, snapshot in enumerate(vector.snapshots):
        layout = vector.layouts[worker]
        own = rows[vector.batch.rows[worker], :-1]
        assert own.tolist() == ApproachMeasures(layout, snapshot).phases[1].tolist()
    vector.close()


@pytest.mark.wide
def test_one_for_detectors_switches_them_on_and_one_for_true_values_refuses_them(mine: str) -> None:
    env = SignalEnv(window("cologne1", 60), observation=f"{mine}:Calls")
    ours = SignalEnv(window("cologne1", 60), sensing="detectors")
    found = [[env.reset(seed=1)[0], *(env.step(1)[0] for _ in range(8))] for env in (env, ours)]
    assert np.array(found[0]).tobytes() == np.array(found[1]).tobytes()
    assert np.array(found[0]).any()
    env.close()
    ours.close()
    for name in (f"{mine}:Halting", "sumo-rl"):
        with pytest.raises(InputError, match="looks at true values, not at detectors; leave sensing out"):
            SignalEnv(window("cologne1", 60), observation=name, sensing="detectors")


def test_one_may_ask_sumo_itself(mine: str) -> None:
    env = SignalEnv(window("cologne1", 100, skipped_s=1000), observation=f"{mine}:Speeds")
    env.reset(seed=1)
    running = [env.step(0)[0][-1] for _ in range(10)]
    assert max(running) > 10
    assert len(set(running)) > 2
    env.close()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Fails", r"observation 'Fails' fails \(ValueError: could not broadcast"),
        ("Late", "observation 'Late' is not finite at 25210 s; write finite values"),
    ],
)
def test_one_that_fails_is_named(mine: str, name: str, says: str) -> None:
    env = SignalEnv(window("cologne1", 60), observation=f"{mine}:{name}")

    def go_on() -> None:
        env.reset(seed=1)
        env.step(0)
        env.step(0)

    with pytest.raises(InputError, match=says):
        go_on()
    env.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "phase",
            "unknown observation 'phase'; choose one of phases, planned, detectors, sumo-rl, .*Did you mean 'phases'",
        ),
        ("os:system", "observation 'os:system' is no subclass of signals.observations.Observation; make it one"),
        (dict, "is no subclass of signals.observations.Observation"),
        ("{mine}:Blind", "sensing is 'sonar'; choose full or detectors"),
    ],
)
def test_what_is_none_is_refused(mine: str, given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_observation(given.format(mine=mine) if isinstance(given, str) else given)


def test_one_without_a_width_says_so(mine: str) -> None:
    with pytest.raises(NotImplementedError, match=r"Half defines no width\(layout\)"):
        SignalEnv(window("cologne1", 60), observation=f"{mine}:Half")


def test_ours_are_found_the_same_way() -> None:
    assert find_observation("phases") is PhaseObservation
    assert find_observation("phases", "detectors") is find_observation("detectors") is DetectorObservation
    assert find_observation("sumo-rl").__name__ == "SumoRlObservation"


class Speeding(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Puts into info how fast the exits move, from the snapshot."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        of: Any = self.unwrapped
        speed = of.layout.lane_speed_mps * (1 - of.snapshot.loss_veh / np.maximum(of.snapshot.vehicles, 1))
        return observation, reward, terminated, truncated, info | {"speed_mps": speed}


def test_a_wrapper_computes_from_the_snapshot() -> None:
    env = Speeding(gymnasium.make("envs:intergreen/Signal-v0", scenario=window("cologne1", 60, skipped_s=1000)))
    env.reset(seed=1)
    for _ in range(4):
        info = env.step(0)[4]
    speed = info["speed_mps"]
    assert (speed >= 0).all()
    assert (speed <= env.unwrapped.layout.lane_speed_mps).all()  # type: ignore[attr-defined]
    assert len(set(speed.tolist())) > 5
    kept, before_s = env.unwrapped.snapshot.copy(), env.unwrapped.snapshot.time_s[0]  # type: ignore[attr-defined]
    env.step(0)
    assert kept.time_s[0] == before_s != env.unwrapped.snapshot.time_s[0]  # type: ignore[attr-defined]
    env.close()
