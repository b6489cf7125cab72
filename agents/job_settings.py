"""What settings.json says of a training: what it was asked for, of which files, and with which versions."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict
from typing import Any

from agents.code import code_of, sources_of
from agents.job import Job
from envs.workers.allocator import allocator_name
from scenarios.from_counts import remembered
from scenarios.scenario import Scenario

PACKAGES = ("intergreen", "eclipse-sumo", "libsumo", "stable-baselines3", "torch", "numpy", "gymnasium")


def settings_of(job: Job, scenario: Scenario, sensing: str) -> dict[str, Any]:
    """The settings of a new run.

    Args:
        scenario: what the job loads.
        sensing: of the environments; an observation may have switched detectors on.
    """
    forecast = remembered(scenario, job.forecast)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {
        "agent": job.agent,
        "agent_settings": job.agent_settings,
        "network": job.network,
        "sensing": sensing,
        "observation": job.observation,
        "code": sources_of(code_of({"job": asdict(job)}, policy=False)),
        "scenario": {
            "name": scenario.name,
            "files": scenario.hashes(),
            "licence": scenario.licence,
            "made_up": scenario.made_up,
        },
        **({} if forecast is None else {"forecast": asdict(forecast)}),
        "versions": {**versions, "python": platform.python_version()},
        "allocator": allocator_name(),
        "job": asdict(job),
    }
