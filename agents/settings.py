"""What can be set about an agent, with the source of each default."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from plumbing.errors import InputError, did_you_mean, printable
from plumbing.yamlfile import read_yaml


@dataclass(frozen=True)
class DQNSettings:
    """Double DQN (van Hasselt et al. 2016) with parameters shared over all signals."""

    units: int = 64
    """Width of each layer."""
    gamma: float = 0.98
    """Discount per decision: a horizon of some 50 decisions, about two cycles."""
    learning_rate: float = 1e-3
    """Adam's step at the start; it falls linearly."""
    learning_rate_end: float = 5e-5
    batch_size: int = 128
    buffer_size: int = 50_000
    """Decisions of one signal that are remembered."""
    learning_starts: int = 500
    """Decisions before the first gradient step."""
    train_freq: int = 1
    """Decisions (of all signals) between trainings; one is left out where no signal has had a choice since."""
    gradient_steps: int = 1
    """At each training."""
    target_update_interval: int = 1000
    """Decisions of all signals together between copies to the target network (Mnih et al. 2015 copy every 10,000 of
    50 M frames). A gradient step goes with each decision before which a signal had a choice."""
    averaging_steps: int = 1000
    """Gradient steps over which the weights that a controller gets are averaged (Polyak & Juditsky 1992): from one
    step to the next a policy jumps between phases of almost equal value."""
    exploration_fraction: float = 0.4
    """Share of the training over which exploration falls from its start to its end."""
    exploration_start: float = 1.0
    exploration_end: float = 0.02
    greedy_exploration: float = 0.5
    """Share of exploring decisions that take the phase with the most vehicles; the rest are uniform."""
    max_grad_norm: float = 10.0
    reward_scale: float = 0.01
    """Brings returns to the order of one to ten, where the Huber loss is still quadratic."""


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimisation (Schulman et al. 2017) with parameters shared over all signals."""

    units: int = 64
    gamma: float = 0.97
    """As for DQN."""
    gae_lambda: float = 0.95
    """Schulman et al. 2017, table 3."""
    learning_rate: float = 7e-4
    """At the start; it falls linearly."""
    learning_rate_end: float = 5e-5
    rollout: int = 1440
    """Decisions of one signal between two updates, over all signals and workers."""
    batch_size: int = 120
    n_epochs: int = 8
    clip_range: float = 0.2
    averaging_updates: int = 10
    """Updates over which the weights that a controller gets are averaged, as for DQN."""
    ent_coef: float = 0.005
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    reward_scale: float = 0.02
    greedy_start: float = 5.0
    """How strongly the untrained policy prefers a phase that serves more: in log-odds per 20 vehicles, 0 for not at
    all. Phases drawn evenly jam a network, which takes long to simulate and teaches little."""


AGENTS: dict[str, type[DQNSettings] | type[PPOSettings]] = {"dqn": DQNSettings, "ppo": PPOSettings}
AgentSettings = DQNSettings | PPOSettings

SHARES = ("gamma", "gae_lambda", "exploration_fraction", "exploration_start", "exploration_end", "greedy_exploration")
"""They are from 0 to 1."""
LEAST = {
    "dqn": {"learning_starts": 0, "learning_rate_end": 0},
    # the advantages are normalised within a batch
    "ppo": {"learning_rate_end": 0, "ent_coef": 0, "vf_coef": 0, "greedy_start": 0, "rollout": 2, "batch_size": 2},
}
"""All others have to be above 0."""
MOST = {
    "units": 4096,
    "buffer_size": 100_000_000,
    "batch_size": 1_000_000,
    "rollout": 10_000_000,
    "train_freq": 10_000,
}
"""What a machine bears. All others may be up to a million, counts up to a thousand million."""


def agent_settings(agent: str, changes: dict[str, Any] | None = None) -> AgentSettings:
    """An agent's defaults with changes.

    Raises:
        InputError: no such agent or setting, or a value of the wrong kind or out of range.
    """
    if agent not in AGENTS:
        raise InputError(f"unknown agent {agent!r}; choose one of {', '.join(AGENTS)}.{did_you_mean(agent, AGENTS)}")
    settings = AGENTS[agent]()
    known = {f.name: type(getattr(settings, f.name)) for f in fields(settings)}
    checked: dict[str, Any] = {}
    for name, value in (changes or {}).items():
        if name not in known:
            near = did_you_mean(str(name), known)
            raise InputError(f"unknown setting {name!r} of {agent}; known are {', '.join(known)}.{near}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or (known[name] is int and value % 1 != 0):
            kind = "a whole number" if known[name] is int else "a number"
            raise InputError(f"setting {name!r} of {agent} is {_shown(value)}; it must be {kind}")
        if name in SHARES:
            least, most, bound = 0.0, 1.0, "from 0 to 1"
        else:
            least = LEAST[agent].get(name, math.ulp(0.0))
            most = MOST.get(name, 1e9 if known[name] is int else 1e6)
            bound = f"{f'{least} or more' if name in LEAST[agent] else 'above 0'}, and at most {most:g}"
        if not least <= value <= most:
            raise InputError(f"setting {name!r} of {agent} is {_shown(value)}; it must be {bound}")
        checked[name] = known[name](value)
    return replace(settings, **checked)


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, int) else repr(value), 40)


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


def listed(agent: str) -> str:
    """The settings with their defaults, for a help text."""
    return ", ".join(f"{name} {value:g}" for name, value in asdict(AGENTS[agent]()).items())


def as_dict(settings: AgentSettings) -> dict[str, Any]:
    """Plain values, for a run's settings file."""
    return asdict(settings)
