"""Rewards: weighted sums, code from outside, and the terms in info, in every environment."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs
from envs import SignalEnv
from plumbing.errors import InputError
from signals.layout import Layout
from signals.reward_sum import RewardSum, Term, outside_names, terms_of, text_of
from signals.rewards import REWARDS, queue, time_loss
from signals.snapshot import Snapshot
from tests.windows import window

MINE = """
import numpy as np

def comfort(layout, before, after):
    return -(after.time_s[0] - before.time_s[0]) * np.arange(1, len(layout.tls_ids) + 1)

def late(layout, before, after):
    return np.full(len(layout.tls_ids), np.nan if after.time_s[0] > 25220 else 0.0)

def short(layout, before, after):
    return np.zeros(len(layout.tls_ids) + 1)

def fails(layout, before, after):
    return 1 / 0

def two(layout, snapshot):
    return 0.0

class Steps:
    def __init__(self):
        self.count = 0
    def begin(self, simulation):
        self.count = simulation.now_s
    def __call__(self, layout, before, after):
        self.count += 1
        return np.full(len(layout.tls_ids), float(self.count))

NUMBER = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> str:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return str(path)


def weights(reward: str) -> dict[str, float]:
    return {term.name: term.weight for term in terms_of(reward)}


# --- what is written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("time_loss", {"time_loss": 1.0}),
        ("time_loss + 0.1*pressure_veh", {"time_loss": 1.0, "pressure_veh": 0.1}),
        ("  -time_loss-2e-3 * queue ", {"time_loss": -1.0, "queue": -0.002}),
        ("queue-pressure", {"queue": 1.0, "pressure": -1.0}),
        ("diff-waiting-time-average-speed", {"diff-waiting-time": 1.0, "average-speed": -1.0}),
        ("queue_veh+.5*queue_veh", {"queue_veh": 1.5}),
        ("3*'queue'", {"queue": 3.0}),
    ],
)
def test_a_sum_is_read_as_it_is_written(text: str, expected: dict[str, float]) -> None:
    assert weights(text) == pytest.approx(expected)


def test_names_from_outside_are_mixed_with_ours(mine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {f"{mine}:comfort": 0.5, "time_loss": 1.0}
    assert weights(f"0.5*{mine}:comfort+time_loss") == found
    monkeypatch.chdir(Path(mine).parent)
    assert weights("0.5*mine.py:comfort + time_loss") == found
    assert weights("time_loss - operator:concat")["operator:concat"] == -1.0


def test_a_path_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "a b+c-d*e" / "mine.py"
    path.parent.mkdir()
    path.write_text(MINE)
    assert weights(f"{path}:comfort") == {f"{path}:comfort": 1.0}
    written = text_of(terms_of(f"2*'{path}:comfort' - time_loss"))
    assert written == f"2.0*'{path}:comfort' - time_loss"
    assert weights(written) == {f"{path}:comfort": 2.0, "time_loss": -1.0}


@given(st.dictionaries(st.sampled_from(sorted(REWARDS)), st.floats(-1e6, 1e6), max_size=4))
def test_what_is_written_down_gives_the_same_terms_again(chosen: dict[str, float]) -> None:
    terms = tuple(Term(name, name, weight, None) for name, weight in chosen.items())
    assert weights(text_of(terms)) == chosen


@given(st.text(alphabet="tqd_-+*.'\" 12e:/py", max_size=30))
def test_any_other_text_is_refused_as_input(text: str) -> None:
    with contextlib.suppress(InputError):
        outside_names(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time_los", r"unknown reward 'time_los'; choose one of .*Did you mean 'time_loss'"),
        ("time_loss +", "it ends without a name; write NAME, package.module:NAME"),
        ("time_loss queue", r"before 'queue' a \+ or - is missing"),
        ("2 time_loss", r"after the weight 2 there is no \*NAME"),
        ("2*", "it ends without a name"),
        ("*time_loss", r"'\*time_loss' is no name"),
        ("1e999*time_loss", "a weight is not finite"),
        ("no_such_module:f", "Python finds no module 'no_such_module'"),
        (
            "math:pi",
            r"reward math:pi is a float, which cannot be called; give a function of \(layout, before, after\)",
        ),
    ],
)
def test_what_is_wrong_is_told(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        terms_of(text)


def test_an_object_has_no_name_to_write_down() -> None:
    with pytest.raises(InputError, match="the reward reward is an object; only one with a name can be written down"):
        text_of(terms_of(lambda layout, before, after: 0.0))


def test_only_those_that_compare_are_given_two_moments() -> None:
    def compares(reward: Any) -> bool:
        return RewardSum(terms_of(reward), None).compares  # type: ignore[arg-type]

    assert not compares("time_loss + queue")
    assert compares("time_loss + waiting_time_saved")
    assert compares(time_loss), "an object may be anything"


# --- in the environments


def run(env: Any, steps: int = 6) -> list[tuple[float, dict[str, float]]]:
    env.reset(seed=3)
    found = []
    for _ in range(steps):
        _, reward, _, _, info = env.step(0)
        found.append((reward, info["reward_terms"]))
    env.close()
    return found


@pytest.mark.wide
def test_a_sum_is_that_of_its_terms_and_the_terms_are_the_rewards_themselves() -> None:
    alone = {name: run(SignalEnv(window("cologne1", 60), reward=name)) for name in ("time_loss", "queue")}
    mixed = run(SignalEnv(window("cologne1", 60), reward="time_loss - 0.25*queue"))
    assert any(reward for reward, _ in mixed)
    for step, (reward, terms) in enumerate(mixed):
        assert terms == {name: alone[name][step][0] for name in ("time_loss", "queue")}
        assert alone["time_loss"][step][1] == {"time_loss": alone["time_loss"][step][0]}
        assert reward == pytest.approx(terms["time_loss"] - 0.25 * terms["queue"])


@pytest.mark.wide
def test_a_callable_is_the_same_as_its_name(mine: str) -> None:
    factor = 2.0

    def twice(layout: Layout, before: Snapshot, after: Snapshot) -> Any:
        return factor * queue(layout, before, after)

    expected = [2.0 * reward for reward, _ in run(SignalEnv(window("cologne1", 60), reward="queue_veh"))]
    assert [reward for reward, _ in run(SignalEnv(window("cologne1", 60), reward=twice))] == expected
    found = run(SignalEnv(window("cologne1", 60), reward=lambda *of: twice(*of)))
    assert found == [(reward, {"reward": reward}) for reward in expected]
    assert run(SignalEnv(window("cologne1", 60), reward=f"{mine}:comfort"))[0] == (-5.0, {"comfort": -5.0})


def test_a_class_is_made_once_a_simulation_and_told_of_each_episode(mine: str) -> None:
    env = SignalEnv(window("cologne1", 60), reward=f"{mine}:Steps")
    for _ in range(2):
        env.reset(seed=1)
        assert [env.step(0)[1] for _ in range(3)] == [25201.0, 25202.0, 25203.0]
    env.close()


@pytest.mark.wide
def test_each_agent_and_each_row_has_its_terms(mine: str) -> None:
    reward = f"time_loss + 0.5*{mine}:comfort"
    env = envs.parallel_env(window("cologne3", 20), reward=reward)
    env.reset(seed=1)
    _, rewards, _, _, infos = env.step({})
    assert [infos[agent]["reward_terms"]["comfort"] for agent in env.possible_agents] == [-5.0, -10.0, -15.0]
    for agent, value in rewards.items():
        terms = infos[agent]["reward_terms"]
        assert value == pytest.approx(terms["time_loss"] + 0.5 * terms["comfort"])
    env.close()

    vector = envs.vector_env([window("cologne3", 10), window("cologne1", 10)], reward=reward)
    vector.reset(seed=1)
    for step in range(2):
        _, values, _, truncated, info = vector.step(np.zeros(4, np.int64))
        terms = info["reward_terms"]
        assert terms["comfort"].tolist() == [-5.0, -10.0, -15.0, -5.0]
        assert values == pytest.approx(terms["time_loss"] + 0.5 * terms["comfort"])
        assert truncated.all() == (step == 1), "also of the step that ends an episode"
    vector.close()


@pytest.mark.wide
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("short", r"reward '.*mine.py:short' gives an array of shape \(2,\); give \[S\], here \(1,\)"),
        ("fails", r"reward '.*mine.py:fails' fails \(ZeroDivisionError: division by zero\)"),
        (
            "two",
            r"fails \(TypeError: two\(\) takes 2 positional arguments but 3 were given\); it is called with \(layout",
        ),
        ("late", r"reward '.*mine.py:late' is not finite for signal GS_.* at 25225 s; give finite values"),
    ],
)
def test_a_reward_that_fails_is_named(mine: str, name: str, says: str) -> None:
    env = SignalEnv(window("cologne1", 60), reward=f"time_loss + {mine}:{name}")
    env.reset(seed=1)
    for _ in range(4 if name == "late" else 0):
        env.step(0)
    with pytest.raises(InputError, match=says):
        env.step(0)
    env.reset(seed=1)
    env.close()


def test_a_batch_does_not_try_a_wrong_reward_again(mine: str) -> None:
    vector = envs.vector_env(window("cologne1", 60), workers=2, reward=f"{mine}:fails")
    vector.reset(seed=1)
    with pytest.raises(InputError, match="ZeroDivisionError"):
        vector.step(np.zeros(2, np.int64))
    assert vector.batch.failures == 0
    vector.close()


def test_a_value_is_refused_that_can_be_no_reward(mine: str) -> None:
    with pytest.raises(InputError, match="which cannot be called"):
        SignalEnv(window("cologne1", 60), reward=f"{mine}:NUMBER")
    lock = threading.Lock()
    env = SignalEnv(window("cologne1", 60), reward=lambda *_: lock)
    with pytest.raises(InputError, match=r"cannot be sent to another process .*cannot pickle '_thread.lock'"):
        env.reset()
    env.close()
