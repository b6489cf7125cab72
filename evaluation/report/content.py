"""The content of the report, gathered in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from evaluation.details.corridor import Corridor
from evaluation.results.summary import ControllerSummary, Summary
from evaluation.runs import RunResult
from evaluation.store import StoredRun
from evaluation.stress import StressCurve
from scenarios.scenario import Scenario


@dataclass(frozen=True)
class ReportContent:
    """The content of the page; all results are those of one evaluation."""

    scenario: Scenario
    summary: Summary
    results: Sequence[RunResult]
    settings: Mapping[str, Any]
    labels: Mapping[str, str]
    """Per controller, a short name."""
    agents: Mapping[str, Path]
    """Run directories among the controllers, by name."""
    trained_on: Mapping[str, str]
    """Per agent, the scenario that it was trained on."""
    signals: pl.DataFrame
    movements: pl.DataFrame
    trained_by: Sequence[str] = ()
    """The commands that train the agents again."""
    corridor: Corridor | None = None
    stress: Sequence[StressCurve] = field(default_factory=tuple)

    @cached_property
    def ranked(self) -> list[ControllerSummary]:
        """The controllers by mean delay, the least first."""
        return sorted(self.summary.controllers, key=lambda entry: entry.metrics["delay_s"].mean)

    @cached_property
    def reference(self) -> str:
        """The best baseline; without baselines, the first controller."""
        return self.summary.reference

    @cached_property
    def subject(self) -> str:
        """The controller that the report is about: the best agent; without one, the least delay."""
        agents = [entry.controller for entry in self.ranked if entry.controller in self.agents]
        ranked = [entry.controller for entry in self.ranked]
        return agents[0] if agents else next((name for name in ranked if name != "mcts"), ranked[0])

    @cached_property
    def rival(self) -> str | None:
        """The controller shown beside the subject: the best baseline, or the next best."""
        others = [entry.controller for entry in self.ranked if entry.controller != self.subject]
        if self.reference != self.subject:
            return self.reference
        return next((name for name in others if name != "mcts"), others[0] if others else None)

    @cached_property
    def rival_is(self) -> str:
        """The rival's role, in words."""
        if self.rival == "mcts":
            return "which knows the future"
        return f"the {self.summary.reference_is}" if self.rival == self.reference else "the next best"

    @property
    def shown(self) -> list[str]:
        """The controllers with detailed figures: subject and rival."""
        return [self.subject] if self.rival is None else [self.subject, self.rival]

    def entry(self, controller: str) -> ControllerSummary:
        """Its summary."""
        return next(entry for entry in self.summary.controllers if entry.controller == controller)

    def runs(self, controller: str) -> list[RunResult]:
        """Its runs, by seed."""
        return [run for run in self.results if run.controller == controller]

    def drawn(self, controller: str) -> StoredRun | None:
        """Its run with the first seed."""
        return self.runs(controller)[0].stored

    @property
    def drawn_seed(self) -> int:
        """The seed that single runs are drawn of."""
        return int(self.settings["seeds"][0])
