"""What plans and trees are derived from: a policy, and the scenario, timing and signals under which it is watched."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.named import Named, find_controller
from controllers.programs import ProgramControl
from plumbing.errors import InputError
from scenarios.clock import timing_for
from scenarios.loading import load
from scenarios.scenario import Scenario
from signals.intersection import SignalPlan, compile_signals
from signals.timing import Timing, timing_of

if TYPE_CHECKING:
    from agents.job import Job


@dataclass(frozen=True)
class Watching:
    """A policy and where it is watched."""

    policy: Named
    scenario: Scenario
    timing: Timing
    tls_ids: tuple[str, ...] | None = None
    """The signals that it controls; None for all that can be. The others keep their programs."""

    @cached_property
    def signals(self) -> SignalPlan:
        """These signals, taken apart. Raises InputError where one of them cannot be controlled."""
        return compile_signals(self.scenario.network, self.timing).only(self.tls_ids)

    def provenance(self) -> dict[str, Any]:
        """Where what is derived comes from, as plain values."""
        return {
            "policy": self.policy.name, "identity": self.policy.identity, "scenario": self.scenario.name,
            "files_sha256": self.scenario.hashes(), "timing": asdict(self.timing),
            "tls_ids": None if self.tls_ids is None else list(self.tls_ids),
            "python": platform.python_version(), "intergreen": importlib.metadata.version("intergreen"),
        }  # fmt: skip


def watching(
    name: str,
    scenario: str | None = None,
    *,
    begin_s: float | None = None,
    end_s: float | None = None,
    tls_ids: Sequence[str] | None = None,
    allow_code: bool = False,
) -> Watching:
    """A policy as its run had it, unless something else is asked for.

    Args:
        name: as of `find_controller`.
        scenario: a name or a file; by default what the run was trained on.
        tls_ids: the signals to control; by default the run's own, where the scenario has them, else all.

    Raises:
        InputError: there is nothing to derive, no scenario, or no such signal.
    """
    policy = find_controller(name, allow_code=allow_code)
    if isinstance(policy.make(), ProgramControl):
        raise InputError(f"{policy.name} chooses no phases, so there is nothing to derive; give a policy")
    if getattr(policy.make(), "forecast", None) is not None:
        raise InputError(f"{policy.name} looks at a forecast, which nothing derived from it has; give another policy")
    job = _job(policy)
    if scenario is not None:
        found = load(scenario, begin_s=begin_s, end_s=end_s)
    elif job is not None:
        found = job.load(begin_s, end_s)
    else:
        raise InputError(f"{policy.name} has no scenario of its own; give --scenario")
    if tls_ids is None and job is not None and job.tls_ids and set(job.tls_ids) <= set(found.signals):
        tls_ids = job.tls_ids
    timing = timing_of(job.timing) if job else timing_for(found)
    of = Watching(policy, found, timing, None if tls_ids is None else tuple(tls_ids))
    of.signals  # noqa: B018  (raises where one cannot be controlled)
    return of


def _job(policy: Named) -> Job | None:
    """The training that a policy comes from, the first of an ensemble; None of what was not trained."""
    if not policy.settings:
        return None
    from agents.job import job_of  # loads PyTorch, which a controller's name does not need
    from agents.run import SETTINGS

    return job_of(policy.settings[0], Path(policy.name) / SETTINGS)
