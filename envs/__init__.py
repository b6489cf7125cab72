"""Environments on SUMO: `SignalEnv` (Gymnasium, one signal), `parallel_env` (PettingZoo, all signals) and
`vector_env` (Gymnasium, all signals of several simulations in parallel processes).

Importing this module registers `intergreen/Signal-v0`, so that
`gymnasium.make("envs:intergreen/Signal-v0", scenario="cologne1")` works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plumbing.interpreter import runs

if TYPE_CHECKING:
    from envs.network_env import NetworkEnv, parallel_env
    from envs.signal_env import SignalEnv
    from envs.vectorised import SignalsVectorEnv, vector_env

__all__ = ["NetworkEnv", "SignalEnv", "SignalsVectorEnv", "parallel_env", "vector_env"]

if not (runs("envs.workers.server") or runs("deployment.emulator")):  # these processes start faster without Gymnasium
    import gymnasium

    if "intergreen/Signal-v0" not in gymnasium.registry:
        gymnasium.register("intergreen/Signal-v0", entry_point="envs.signal_env:SignalEnv")


def __getattr__(name: str) -> Any:
    """Load the environments on first use: a worker process needs neither."""
    if name == "SignalEnv":
        from envs.signal_env import SignalEnv

        return SignalEnv
    if name in ("NetworkEnv", "parallel_env"):
        from envs import network_env

        return getattr(network_env, name)
    if name in ("SignalsVectorEnv", "vector_env"):
        from envs import vectorised

        return getattr(vectorised, name)
    raise AttributeError(f"module 'envs' has no attribute {name!r}")
