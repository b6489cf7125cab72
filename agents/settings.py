"""What can be set about an agent, with the bounds and the source of each default."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from plumbing.errors import InputError, did_you_mean, printable
from plumbing.yamlfile import read_yaml
from signals.observations import ObservationShape


def setting(
    default: Any, *, least: float | None = None, most: float | None = None, words: tuple[str, ...] = ()
) -> Any:
    """A field of settings with bounds of its own.

    Args:
        least: by default it has to be above 0.
        most: by default a million, of counts a thousand million.
        words: what a setting that is a text may be.
    """
    return field(default=default, metadata={"least": least, "most": most, "words": words})


@dataclass(frozen=True)
class ValueSettings:
    """What the algorithms have in common that learn values, from a replay buffer."""

    units: int = setting(64, most=4096)
    """Width of each layer."""
    gamma: float = setting(0.98, least=0.0, most=1.0)
    """Discount per decision: a horizon of some 50 decisions, about two cycles."""
    learning_rate: float = 1e-3
    """Adam's step at the start; it falls linearly."""
    learning_rate_end: float = setting(5e-5, least=0.0)
    batch_size: int = setting(128, most=1_000_000)
    buffer_size: int = setting(50_000, most=100_000_000)
    """Decisions that are remembered, of all signals together."""
    learning_starts: int = setting(500, least=0)
    """Decisions of all signals, each counted, before the first gradient step."""
    train_freq: int = setting(2, most=10_000)
    """Moments of decision between gradient steps."""
    gradient_steps: int = 1
    """At each training."""
    target_update_interval: int = 1000
    """Decisions of all signals together between copies to the target network (Mnih et al. 2015 copy every 10,000 of
    50 M frames)."""
    exploration_fraction: float = setting(0.4, least=0.0, most=1.0)
    """Share of the training over which exploration falls from its start to its end."""
    exploration_start: float = setting(1.0, least=0.0, most=1.0)
    exploration_end: float = setting(0.02, least=0.0, most=1.0)
    max_grad_norm: float = 10.0
    reward_scale: float = 0.01
    """Brings returns to the order of one to ten, where the Huber loss is still quadratic."""


@dataclass(frozen=True)
class DQNSettings(ValueSettings):
    """Double DQN (van Hasselt et al. 2016) with parameters shared over all signals."""

    learning_rate: float = 2e-3
    train_freq: int = setting(3, most=10_000)
    """As of `ValueSettings`. A step is left out if no signal has had a choice since the last."""
    averaging_steps: int = 1000
    """Gradient steps over which the weights that a controller gets are averaged (Polyak & Juditsky 1992): from one
    step to the next a policy jumps between phases of almost equal value."""
    greedy_exploration: float = setting(0.5, least=0.0, most=1.0)
    """Share of exploring decisions that take the phase with the most vehicles, or the planner's where the observation
    has one; the rest are uniform."""
    plan_start: float = setting(0.1, least=0.0)
    """Where a planner is part of the observation: by how much the untrained network values a phase less per 50 veh s
    that the planner would lose by it, in scaled rewards."""


@dataclass(frozen=True)
class ActorCriticSettings:
    """What the algorithms have in common that learn a policy and the value of situations."""

    units: int = setting(64, most=4096)
    """Width of each layer."""
    gamma: float = setting(0.97, least=0.0, most=1.0)
    """As for DQN."""
    gae_lambda: float = setting(0.95, least=0.0, most=1.0)
    """Schulman et al. 2017, table 3."""
    learning_rate: float = 7e-4
    """At the start; it falls linearly."""
    learning_rate_end: float = setting(5e-5, least=0.0)
    reward_scale: float = 0.02
    greedy_start: float = setting(5.0, least=0.0)
    """How strongly the untrained policy prefers a phase that serves more: in log-odds per 20 vehicles, 0 for not at
    all. Phases drawn evenly jam a network, which takes long to simulate and teaches little.
    A network from outside begins as it is made."""
    plan_start: float = setting(2.0, least=0.0)
    """The same where a planner is part of the observation: how strongly the untrained policy prefers what the planner
    does, in log-odds per 50 veh s."""


@dataclass(frozen=True)
class ClippedSettings(ActorCriticSettings):
    """Proximal policy optimisation (Schulman et al. 2017), in whatever form."""

    rollout: int = setting(1440, least=2, most=10_000_000)
    """Decisions of one signal between two updates, over all signals and workers."""
    batch_size: int = setting(120, least=2, most=1_000_000)
    n_epochs: int = 8
    clip_range: float = 0.2
    ent_coef: float = setting(0.005, least=0.0)
    vf_coef: float = setting(0.5, least=0.0)
    max_grad_norm: float = 0.5


@dataclass(frozen=True)
class PPOSettings(ClippedSettings):
    """PPO with parameters shared over all signals, which learns from free choices."""

    averaging_updates: int = 10
    """Updates over which the weights that a controller gets are averaged, as for DQN."""


@dataclass(frozen=True)
class RolloutSettings:
    """Multiagent rollout (Bertsekas 2021, Multiagent reinforcement learning: rollout and policy iteration)."""

    units: int = setting(64, most=4096)
    """Width of each layer."""
    base: str = setting("cop", words=("cop", "greedy", "max_pressure", "sotl", "random"))
    """The controller that the first round's forks follow; these need sensing `full`, but for cop, which plans on
    detectors, too. With `--from` that run's network takes its place."""
    round: int = setting(5000, most=1_000_000_000)
    """Decisions of one signal in a round, over all signals and workers: `--steps` has so many rounds at most."""
    samples: int = setting(1500, most=100_000_000)
    """Choices in a round that are tried in forks, at least. Each costs as much simulation as its phases times the
    horizon."""
    samples_per_signal: int = setting(500, least=0, most=100_000_000)
    """The same for each signal: on many signals a fit needs more of them. cologne8, whose planner has 24.4 s in
    validation, came to 30.5 s after a round of 1,500 choices, and to 22.7 s after one of 4,000."""
    horizon_s: float = setting(75.0, most=3600.0)
    """How long a fork goes on [s]."""
    exploration: float = setting(0.1, least=0.0, most=1.0)
    """Share of the choices tried in forks after which the run goes on with a phase drawn by its loss, and not with
    the base's, so that other moments are seen than those that the base gets into."""
    loss_scale: float = 50.0
    """Loss [veh s] that counts as 1, in the fit and where phases are drawn."""
    gradient_steps: int = setting(2000, most=10_000_000)
    """Of each fit, which is made anew from all choices so far."""
    batch_size: int = setting(128, most=1_000_000)
    learning_rate: float = 1e-3
    """AdamW's step (Loshchilov & Hutter 2019) at a fit's begin; it falls to a fiftieth at the fit's end."""
    weight_decay: float = setting(1e-3, least=0.0)
    plan_start: float = setting(1.0, least=0.0)
    """Where a planner is part of the observation: by how much the untrained network scores a phase less per 50 veh s
    that the planner would lose by it. With the `loss_scale` of 50 veh s, 1 takes the planner at its word."""


def start_of(settings: ActorCriticSettings, shape: ObservationShape) -> float:
    """How strongly the untrained policy follows the rule that the observation allows for."""
    return settings.greedy_start if shape.regret is None else settings.plan_start


Settings = Any
"""A frozen dataclass of numbers and words, such as `DQNSettings`; `setting` gives a field its bounds."""


def checked(defaults: Settings, agent: str, changes: dict[str, Any]) -> Settings:
    """Settings with changes.

    Raises:
        InputError: no such setting, or a value of the wrong kind or out of range.
    """
    known = {f.name: f for f in fields(defaults)}
    found: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            near = did_you_mean(str(name), known)
            raise InputError(f"unknown setting {name!r} of {agent}; known are {', '.join(known)}.{near}")
        kind = type(getattr(defaults, name))
        if kind is str:
            found[name] = _word(value, name, agent, known[name].metadata.get("words", ()))
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (kind is int and value % 1 != 0):
            wanted = "a whole number" if kind is int else "a number"
            raise InputError(f"setting {name!r} of {agent} is {_shown(value)}; it must be {wanted}")
        bounds = known[name].metadata
        given, most = bounds.get("least"), bounds.get("most") or (1e9 if kind is int else 1e6)
        least = math.ulp(0.0) if given is None else given
        if not least <= value <= most:
            lower = "above 0" if given is None else f"{given:g} or more"
            bound = "from 0 to 1" if (given, most) == (0.0, 1.0) else f"{lower}, and at most {most:g}"
            raise InputError(f"setting {name!r} of {agent} is {_shown(value)}; it must be {bound}")
        found[name] = kind(value)
    return replace(defaults, **found)


def _word(value: Any, name: str, agent: str, words: tuple[str, ...]) -> str:
    """Raises InputError where a setting that is a text is none of these words."""
    if not isinstance(value, str) or value not in words:
        raise InputError(
            f"setting {name!r} of {agent} is {_shown(value)}; choose one of {', '.join(words)}."
            f"{did_you_mean(str(value), words)}"
        )
    return value


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, int) else repr(value), 40)


def falling(settings: Settings) -> list[str]:
    """What falls over the steps of the whole training, so that a longer one is another from its first step on."""
    named = {name: getattr(settings, name, None) for name in (
        "learning_rate", "learning_rate_end", "exploration_fraction", "exploration_start", "exploration_end",
    )}  # fmt: skip
    found = ["learning rate"] if named["learning_rate"] != (named["learning_rate_end"] or 0.0) else []
    if named["exploration_fraction"] and named["exploration_start"] != named["exploration_end"]:
        found.append("exploration")
    return found


def read_config(path: Path) -> dict[str, Any]:
    """Settings from a YAML file of `name: value` lines.

    Raises:
        InputError: the file is missing or holds something else.
    """
    content = read_yaml(path, "config")
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"config {path} must hold lines of `name: value`, such as `gamma: 0.97`")
    return {name: _number(value) for name, value in content.items()}


def _number(value: Any) -> Any:
    """YAML takes 5e-05, without a point, for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def listed(settings: Settings) -> str:
    """The settings with their values, for a help text."""
    return ", ".join(f"{name} {worded(value)}" for name, value in asdict(settings).items())


def worded(value: float | str) -> str:
    """A setting's value, as a config file has it."""
    return value if isinstance(value, str) else f"{value:g}"
