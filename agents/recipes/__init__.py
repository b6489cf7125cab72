"""What train.py takes for each agent where the command line says nothing: the settings that the tables support.

`NAME.yaml` has `observation`, `steps` and `validation_runs`, and what differs from the agent's own defaults under
`settings`. benchmarks/quality has the figures that they lead to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plumbing.yamlfile import read_yaml

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Recipe:
    """How an agent is trained where nothing else is said."""

    observation: str = "phases"
    """In the form of the sensing level."""
    steps: int = 20_000
    """Decisions of one signal."""
    validation_runs: int = 1
    """Episodes of each validation."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the agent, where they differ from its own defaults."""


def recipe_of(agent: str) -> Recipe:
    """The recipe of that name; the plain one for an agent from outside."""
    path = FOLDER / f"{agent}.yaml"
    return Recipe(**read_yaml(path, "recipe")) if agent.isidentifier() and path.is_file() else Recipe()
