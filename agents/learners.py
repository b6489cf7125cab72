"""The agents, made from their settings."""

from __future__ import annotations

import copy
from typing import Any

from stable_baselines3.common.type_aliases import Schedule

from agents.dqn import MaskedDoubleDQN
from agents.exploration import Explorer
from agents.policies import PhaseActorCriticPolicy, PhaseDQNPolicy
from agents.ppo import MaskedPPO
from agents.replay import DecisionBuffer
from agents.settings import AgentSettings, DQNSettings, PPOSettings
from agents.vec_env import SignalsVecEnv

Learner = MaskedDoubleDQN | MaskedPPO


def make_learner(settings: AgentSettings, env: SignalsVecEnv, seed: int, tensorboard: str | None) -> Learner:
    """The agent on an environment; everything random in it follows from `seed`."""
    shape = env.workers[0].setup.observation_shape
    policy: dict[str, Any] = {"shape": shape, "units": settings.units}
    common: dict[str, Any] = {
        "env": env,
        "seed": seed,
        "device": "cpu",
        "learning_rate": linear(settings.learning_rate, settings.learning_rate_end),
        "gamma": settings.gamma,
        "max_grad_norm": settings.max_grad_norm,
        "batch_size": settings.batch_size,
        "policy_kwargs": policy,
        "tensorboard_log": tensorboard,
    }
    if isinstance(settings, PPOSettings):
        steps = max(2, round(settings.rollout / env.num_envs))  # nothing is learned from the last one
        common["batch_size"] = min(settings.batch_size, steps * env.num_envs)
        ppo = MaskedPPO(
            PhaseActorCriticPolicy,
            **common,
            n_steps=steps,
            n_epochs=settings.n_epochs,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.ent_coef,
            vf_coef=settings.vf_coef,
        )
        if settings.greedy_start:
            ppo.actor.begin_greedy(settings.greedy_start)
        ppo.average, ppo.averaging = copy.deepcopy(ppo.actor), 1.0 / settings.averaging_updates
        return ppo
    assert isinstance(settings, DQNSettings)
    common["policy_kwargs"]["optimizer_kwargs"] = {"fused": True}
    learner = MaskedDoubleDQN(
        PhaseDQNPolicy,
        **common,
        buffer_size=settings.buffer_size,
        replay_buffer_class=DecisionBuffer,
        replay_buffer_kwargs={"shape": shape, "gamma": settings.gamma},
        learning_starts=settings.learning_starts,
        train_freq=settings.train_freq,
        gradient_steps=settings.gradient_steps,
        # SB3 takes agent steps here, and makes of them the decisions of all signals that it counts
        target_update_interval=settings.target_update_interval * env.num_envs,
        exploration_fraction=settings.exploration_fraction,
        exploration_initial_eps=settings.exploration_start,
        exploration_final_eps=settings.exploration_end,
    )
    learner.average = copy.deepcopy(learner.q_net.q_net)  # type: ignore[assignment]
    learner.averaging = 1.0 / settings.averaging_steps
    learner.explorer = Explorer(shape, settings.greedy_exploration, [seed, 0xE])
    return learner


def linear(start: float, end: float) -> Schedule:
    """From `start` to `end` as the remaining share of the training goes from 1 to 0."""

    def rate(remaining: float) -> float:
        return end + (start - end) * remaining

    return rate
