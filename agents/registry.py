"""The algorithms by their names, and those that come from outside."""

from __future__ import annotations

import importlib
from dataclasses import is_dataclass
from typing import Any, cast

from agents.learner import Learner
from agents.network import Encoder, PhaseEncoder
from agents.settings import Settings, checked
from agents.vec_env import SignalsVecEnv
from plumbing.errors import InputError, did_you_mean, printable
from plumbing.outside import is_outside, load_outside

AGENTS = {
    "dqn": "agents.dqn:MaskedDoubleDQN",
    "ppo": "agents.ppo:MaskedPPO",
    "rollout": "agents.forks.learner:RolloutLearner",
    "a2c": "agents.sb3:A2CLearner",
    "maskable_ppo": "agents.sb3:MaskablePPOLearner",
    "trpo": "agents.sb3:TRPOLearner",
    "qrdqn": "agents.sb3:QRDQNLearner",
    "recurrent_ppo": "agents.recurrent:RecurrentPPOLearner",
}
"""Where each is; imported when it is asked for."""


def needs_arrivals(agent: str) -> bool:
    """Whether an agent follows planners while it learns, whatever its network is shown. Raises InputError as
    `algorithm` does."""
    return bool(getattr(algorithm(agent), "arrivals", False))


def algorithm(agent: str) -> type[Learner]:
    """The class of an agent, by its name or `module:Class`.

    Raises:
        InputError: there is none, or it is no `Learner`.
    """
    if is_outside(agent):
        found = load_outside(agent, "agent")
        missing = [part for part in _parts(Learner) if not hasattr(found, part)]
        if not isinstance(found, type) or missing:
            lacks = f"it has no {', '.join(missing)}" if missing else "it is no class"
            raise InputError(
                f"agent {agent!r} is no agents.learner.Learner: {lacks}; docs/extending.md has an example"
            )
        return cast(type[Learner], found)
    if agent not in AGENTS:
        raise InputError(
            f"unknown agent {agent!r}; choose one of {', '.join(AGENTS)}, or module:Class."
            f"{did_you_mean(agent, AGENTS)}"
        )
    module, _, name = AGENTS[agent].partition(":")
    return cast(type[Learner], getattr(importlib.import_module(module), name))


def agent_settings(agent: str, changes: dict[str, Any] | None = None) -> Settings:
    """An agent's defaults with changes.

    Raises:
        InputError: no such agent or setting, or a value of the wrong kind or out of range.
    """
    settings = algorithm(agent).Settings
    try:
        defaults = settings()
    except Exception as error:  # whatever it does
        raise InputError(
            f"agent {printable(agent)!r}: Settings() fails ({printable(error)}); give defaults"
        ) from error
    if not is_dataclass(defaults):
        raise InputError(f"agent {printable(agent)!r}: Settings is no dataclass of numbers; make it one")
    return checked(defaults, agent, changes or {})


def encoder_class(name: str) -> type[Encoder]:
    """The encoder of that name, `module:Class`; ours for "".

    Raises:
        InputError: there is none, or it is no class.
    """
    if not name:
        return PhaseEncoder
    if not is_outside(name):
        raise InputError(f"network {name!r} is not of the form module:Class; docs/extending.md has an example")
    found = load_outside(name, "network")
    if not isinstance(found, type):
        raise InputError(f"network {name!r} is no class; docs/extending.md has an example")
    return cast(type[Encoder], found)


def make_learner(
    agent: str, settings: Settings, env: SignalsVecEnv, seed: int, *, device: str = "cpu", network: str = ""
) -> Learner:
    """The agent on an environment; everything random in it follows from `seed`.

    Raises:
        InputError: what comes from outside fails.
    """
    learner, encoder = algorithm(agent), encoder_class(network)
    try:
        return learner.make(settings, env, seed=seed, device=device, encoder=encoder)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # whatever it does
        if not network and not is_outside(agent):
            raise
        named = f"network {printable(network)!r}" if network else f"agent {printable(agent)!r}"
        raise InputError(
            f"{named} fails ({type(error).__name__}: {printable(error)}); docs/extending.md has an example"
        ) from error


def _parts(protocol: type) -> list[str]:
    """What has to be there when nothing has been made yet."""
    methods = [name for name in vars(protocol) if not name.startswith("_") and callable(getattr(protocol, name))]
    return [*methods, "Settings", "probabilities"]
