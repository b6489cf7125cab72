"""Going on with a run: which options may stand beside `--resume`, and how a run is lengthened."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from agents.job import Job
from agents.registry import AGENTS, agent_settings
from agents.run import read_settings, write_settings
from agents.settings import falling
from plumbing.errors import InputError, printable
from scenarios.arguments import TIMING_OPTIONS, TIMING_WORDS
from scenarios.scenario import Scenario

PLACES = ("scenario", "routes", "additional", "forecast")
"""Where files lie may be said anew: what is in them has to be the same."""
_FREE = frozenset({*PLACES, "steps", "out", "resume", "device", "engine", "address", "allow_code"})
_FIELDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in (
        "agent", "network", "seed", "workers", "sensing", "reward", "observation", "validate_every",
        "validation_runs", "tls_ids", "demand",
    )},
    "begin": ("begin_s",), "end": ("end_s",), "warm_up": ("warm_up_s",), "vary_demand": ("demand_range",),
    "vary_turns": ("vary_turns",), "ignore_junction_blocker": ("ignore_junction_blocker_s",),
    "start": ("started_from",), "config": ("agent_settings",),
    "dropout": ("faults", "dropout"), "stuck_on": ("faults", "stuck_on"), "latency": ("faults", "latency_s"),
    **{option.replace("-", "_"): ("timing", name) for option, (name, _) in TIMING_OPTIONS.items()},
    **{name: ("timing", name) for name in TIMING_WORDS},
}  # fmt: skip
"""Where a job keeps what each option of train.py says, by the name that `parse_args` gives it."""
_SPELT = {"start": "from"}
_FORECAST = "the forecast"


def resumed(stored: Job, asked: Job, given: Collection[str], run: Path) -> Job:
    """The job that a run goes on with.

    Args:
        asked: the job that the command line would begin.
        given: the options that it names.

    Raises:
        InputError: an option contradicts what the run began with.
    """
    for option in sorted(set(given) - _FREE):
        spelt = "--" + _SPELT.get(option, option).replace("_", "-")
        if option not in _FIELDS:
            raise InputError(f"{spelt} does not go with --resume; leave one of them out")
        ours, theirs = _value(stored, option), _value(asked, option)
        if ours != theirs:
            what = (
                "other settings" if option == "config" else f"{_shown(theirs)}, and the run began with {_shown(ours)}"
            )
            raise InputError(
                f"{spelt} asks for {what}: {run} goes on as it began; leave {spelt} out, or train anew into another "
                "--out"
            )
    return replace(stored, **{name: getattr(asked, name) for name in (*PLACES, "steps") if name in given})


def _value(job: Job, option: str) -> Any:
    name, *inner = _FIELDS[option]
    found = getattr(job, name)
    for key in inner:
        found = found.get(key, 0.0)
    if name == "tls_ids" and found:
        return sorted(set(found))  # in whatever order they are named
    return list(found) if isinstance(found, tuple) else found


def _shown(value: Any) -> str:
    if value in (None, ""):
        return "none"
    return printable(" ".join(map(str, value)) if isinstance(value, list) else value)


def check_unchanged(run: Path, job: Job, stored: Job, scenario: Scenario) -> None:
    """Whether a run goes on with the files that it began with.

    Raises:
        InputError: one of them is another.
    """
    settings = read_settings(run)
    before, now = settings.get("scenario", {}).get("files", {}), scenario.hashes()
    if "forecast" in settings:
        before = {**before, _FORECAST: settings["forecast"]["identity"]}
    if scenario.foresight is not None:
        now[_FORECAST] = scenario.foresight.identity
    changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if not changed:
        return
    names = ", ".join(map(printable, changed))
    if any(getattr(job, name) != getattr(stored, name) for name in PLACES):
        raise InputError(
            f"{names}: {printable(scenario.name)} is not what {run} began with; give the same files, wherever they "
            "lie now, by --scenario, --routes, --additional and --forecast"
        )
    raise InputError(
        f"{names} of {printable(scenario.name)} changed since {run} began; bring back what it was, or train anew"
    )


def take_up(run: Path, job: Job, stored: Job, taken: int) -> str:
    """Remember what a run goes on with, before it does; a note where its schedule is not that of one long run.

    Args:
        taken: steps so far.

    Raises:
        InputError: it has taken the steps that are asked for.
    """
    if job == stored:
        return ""
    note = ""
    if job.steps != stored.steps:
        if job.steps <= taken:
            raise InputError(f"--steps is {job.steps}, and {run} has taken {taken} already; give more")
        parts = falling(agent_settings(job.agent, job.agent_settings))
        if parts or job.agent not in AGENTS:
            job = replace(job, stretched=(*stored.stretched, (stored.steps, taken)))
            what = " and ".join(parts) or "what an agent of your own lets fall"
            note = (
                f"note: {what} fall{'s' if len(parts) < 2 else ''} over all steps: for the first {taken:,} as asked "
                f"for {stored.steps:,}, from here on as for {job.steps:,}; the same from the start may end elsewhere"
            )
    write_settings(run, {**read_settings(run), "job": asdict(job)})
    return note
