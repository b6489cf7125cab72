"""What defines a training: the job of a run's settings.json, its bounds, and the command that gives it again."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from agents.registry import AGENTS, agent_settings
from agents.settings import worded
from envs.options import EnvOptions
from plumbing.errors import LONGEST_LINE, InputError
from plumbing.plain import Shape, either, listed, misfit, named, number, optional, record, row, text, whole
from scenarios.arguments import TIMING_OPTIONS, TIMING_WORDS
from scenarios.loading import load
from scenarios.loading import names as scenario_names
from scenarios.scenario import Scenario
from scenarios.seeds import VALIDATION_SEEDS
from signals.loops import DetectorFaults
from signals.observations import NAMED, OBSERVATIONS
from signals.reward_sum import outside_names
from signals.timing import Timing, timing_of


@dataclass(frozen=True)
class Job:
    """Everything that defines a training, as it stands in settings.json."""

    scenario: str
    routes: tuple[str, ...]
    additional: tuple[str, ...]
    begin_s: float | None
    end_s: float | None
    agent: str
    agent_settings: dict[str, Any]
    steps: int
    seed: int
    workers: int
    sensing: str
    reward: str
    faults: dict[str, float]
    timing: dict[str, Any]
    warm_up_s: float
    validate_every: int
    validation_runs: int
    started_from: str = ""
    demand_range: tuple[float, float] = (1.0, 1.0)
    network: str = ""
    """The encoder's class, `module:Class`; "" for ours."""
    observation: str = "phases"
    tls_ids: tuple[str, ...] | None = None
    """The signals that it controls; None for all that can be."""
    vary_turns: float = 0.0
    ignore_junction_blocker_s: float | None = None
    """See `scenarios.loading.load`."""
    demand: str = "recorded"
    """See `scenarios.loading.load`."""
    forecast: str = ""
    """The folder of the forecast that it is shown; "" for none."""
    stretched: tuple[tuple[int, int], ...] = ()
    """Where what falls over all of its steps had begun for other ones: how many, and how many it had taken then."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("workers", 1), ("validation_runs", 1), ("seed", 0)):
            if getattr(self, name) < least:
                option = "--" + name.replace("_", "-")
                raise InputError(f"{option} is {getattr(self, name)}; it must be at least {least}")
        if self.seed >= 1 << 32:
            raise InputError(f"--seed is {self.seed}; it must be less than {1 << 32}")
        if self.validation_runs > len(VALIDATION_SEEDS):
            raise InputError(
                f"--validation-runs is {self.validation_runs}; there are {len(VALIDATION_SEEDS)} validation seeds, "
                "so give at most as many"
            )

    def load(self, begin_s: float | None = None, end_s: float | None = None) -> Scenario:
        """What it is trained on, in its window or another. Raises InputError where that cannot be had."""
        begin_s, end_s = self.begin_s if begin_s is None else begin_s, self.end_s if end_s is None else end_s
        return load(
            self.scenario, routes=self.routes, additional=self.additional, begin_s=begin_s, end_s=end_s,
            ignore_junction_blocker_s=self.ignore_junction_blocker_s, demand=self.demand, forecast=self.forecast,
        )  # fmt: skip

    def options(self, scenario: Scenario) -> EnvOptions:
        """The environment that it is trained in. Code from outside that it names is loaded by `EnvOptions.setup`."""
        return EnvOptions(
            scenario,
            timing=timing_of(self.timing),
            sensing=self.sensing,
            faults=DetectorFaults(**self.faults),
            warm_up_s=self.warm_up_s,
            demand_range=(self.demand_range[0], self.demand_range[1]),
            vary_turns=self.vary_turns,
            tls_ids=self.tls_ids,
            observation=self.observation,
            reward=self.reward,
        )


_TEXTS = listed(text(), most=1000)
_TIME_S = number(-1e9, 1e9)
_AGENT = named(either(text(60), number()))


def _fits_timing(value: Any) -> str | None:
    try:
        timing_of(value)
    except InputError as error:
        return f"is none: {error}"
    return None


JOB: Mapping[str, Shape] = {
    "scenario": text(), "routes": _TEXTS, "additional": _TEXTS, "begin_s": optional(_TIME_S),
    "end_s": optional(_TIME_S), "agent": text(), "agent_settings": _AGENT, "steps": whole(1, 10**12),
    "seed": whole(0, 2**32 - 1), "workers": whole(1, 10_000), "sensing": text(60), "reward": text(),
    "faults": record({}, {name: number(0, 1e6) for name in ("dropout", "stuck_on", "latency_s")}),
    "timing": _fits_timing, "warm_up_s": number(0, 1e9), "validate_every": whole(0, 10**12),
    "validation_runs": whole(1, len(VALIDATION_SEEDS)), "started_from": text(),
    "demand_range": row(number(0, 1e6), number(0, 1e6)),
    "network": text(), "observation": text(), "tls_ids": optional(listed(text(), most=100_000)),
    "vary_turns": number(0, 1), "demand": text(), "forecast": text(), "ignore_junction_blocker_s": optional(_TIME_S),
    "stretched": listed(row(whole(1, 10**12), whole(0, 10**12)), most=1000),
}  # fmt: skip
SETTINGS = record(
    {},
    {
        "agent": text(), "network": text(), "agent_settings": _AGENT, "sensing": text(60),
        "job": record({}, JOB), "scenario": record({}, {"name": text(), "files": named(text(64)), "licence": text()}),
        "chosen": text(),
        "forecast": record(dict.fromkeys(("folder", "model", "identity"), text())),
        "versions": named(text(200)), "command": listed(text(), most=1000), "observation": text(),
        "code": listed(record(dict.fromkeys(("what", "name", "file", "sha256"), text())), most=100),
    },
)  # fmt: skip
"""Of a settings.json: what is there is of its kind."""


def job_of(settings: Mapping[str, Any], where: Path) -> Job:
    """The job of a run's settings.

    Raises:
        InputError: it is missing, or is none of train.py's.
    """
    content = settings.get("job")
    try:
        needed = {f.name: JOB[f.name] for f in fields(Job) if f.default is MISSING}
        misfit(record(needed, JOB), content)
        assert isinstance(content, dict)
        known: dict[str, Any] = {f.name: content[f.name] for f in fields(Job) if f.name in content}
        lists = {
            name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
            for name, value in known.items()
            if isinstance(value, list)
        }
        return Job(**{**known, **lists})
    except (ValueError, InputError) as error:
        raise InputError(f"{where} does not say how the run was made ({error}); train it anew") from error


def command_of(settings: Mapping[str, Any], run: str) -> str:
    """The line that trains such a run again, made of the job and not of the words that somebody wrote beside it; a
    remark where the job is none that train.py could have been told."""
    where = Path(run) / "settings.json"
    try:
        line = " && ".join(
            shlex.join(["python", "train.py", *words]) for words in _lines(job_of(settings, where), run)
        )
        changes = _changes(settings["job"])
    except (InputError, ValueError):
        line = ""
    if not line or not line.isprintable() or len(line) > LONGEST_LINE:
        return f"# {shlex.quote(str(where))} does not say in train.py's words how this run was made"
    return f"{line}  # and --config with {changes}" if changes else line


def _lines(job: Job, run: str) -> Iterator[list[str]]:
    """The words of each command that it takes: one, and one for each time that the run was lengthened."""
    if any(taken < asked for asked, taken in job.stretched):
        raise ValueError("no command stops a run there")
    first, *later = [*(asked for asked, _ in job.stretched), job.steps]
    yield [*_words(replace(job, steps=first), run)]
    for steps in later:
        yield ["--out", run, "--resume", "--steps", str(steps)]


def _words(job: Job, run: str) -> Iterator[str]:
    """The options that differ from the defaults. Raises ValueError for what no option can say."""
    plain, timing = Timing(), timing_of(job.timing)
    settable = {name for name, _ in TIMING_OPTIONS.values()}.union(TIMING_WORDS)
    fixed = [f.name for f in fields(Timing) if f.name not in settable]
    if any(getattr(timing, name) != getattr(plain, name) for name in fixed):
        raise ValueError("no option sets this timing")
    # code from outside is no word of ours to repeat: whoever reads the line would run it
    if job.network or job.agent not in AGENTS or job.observation not in NAMED or outside_names(job.reward):
        raise ValueError("code from outside")
    if job.sensing not in OBSERVATIONS:
        raise ValueError("no such sensing")
    names = (job.scenario, *job.routes, *job.additional, *(job.tls_ids or ()), job.started_from, job.forecast, run)
    if any(name.startswith("-") for name in names):
        raise ValueError("a name that reads as an option")
    yield from where_words(job)
    yield from ("--agent", job.agent, "--steps", str(job.steps), "--seed", str(job.seed))
    faults = {"dropout": 0.0, "stuck_on": 0.0, "latency_s": 0.0, **job.faults}
    least, most = job.demand_range
    yield from _differing(
        ("--workers", job.workers, 1), ("--sensing", job.sensing, "full"),
        ("--observation", job.observation, "phases"),
        ("--dropout", faults["dropout"], 0.0), ("--stuck-on", faults["stuck_on"], 0.0),
        ("--latency", faults["latency_s"], 0.0),
        ("--forecast", job.forecast, ""),
        ("--reward", job.reward, "time_loss"), ("--warm-up", job.warm_up_s, 0.0), ("--from", job.started_from, ""),
        ("--validate-every", job.validate_every, math.ceil(job.steps / 10)),
        ("--validation-runs", job.validation_runs, 1), ("--vary-turns", job.vary_turns, 0.0),
    )  # fmt: skip
    if (least, most) != (1.0, 1.0):
        yield from ("--vary-demand", str(least), str(most))
    yield from ("--out", run)


def where_words(job: Job) -> Iterator[str]:
    """The options, the same in every command, that say what a run was trained on and with which timing."""
    plain, timing = Timing(), timing_of(job.timing)
    yield from ("--scenario", job.scenario)
    for option, several in (("routes", job.routes), ("additional", job.additional), ("tls-ids", job.tls_ids)):
        yield from (f"--{option}", *several) if several else ()
    yield from _differing(
        ("--begin", job.begin_s, None),
        ("--end", job.end_s, None),
        ("--ignore-junction-blocker", job.ignore_junction_blocker_s, None),
        ("--demand", job.demand, "recorded"),
        *((f"--{o}", getattr(timing, name), _unsaid(job, name, plain)) for o, (name, _) in TIMING_OPTIONS.items()),
        ("--change-interval", timing.change_interval, plain.change_interval),
    )
    yield from ("--spillback-guard",) if timing.spillback_guard else ()


def _unsaid(job: Job, name: str, plain: Timing) -> float | None:
    """The value that an option of the timing has where nobody gives it; None where a configuration may say so."""
    ours = job.scenario.partition(":")[0] in scenario_names() or job.scenario.endswith((".net.xml", ".net.xml.gz"))
    return None if name == "sim_step_s" and not ours else getattr(plain, name)


def _differing(*words: tuple[str, Any, Any]) -> Iterator[str]:
    """Of options with their value and default, those that differ."""
    for option, value, default in words:
        if value != default:  # a value that begins with a minus would read as an option
            yield from (f"{option}={value}",) if str(value).startswith("-") else (option, str(value))


def _changes(job: Mapping[str, Any]) -> str:
    """The agent's settings that are not the defaults, as a config file has them."""
    given, plain = agent_settings(job["agent"], job["agent_settings"]), agent_settings(job["agent"])
    changed = (f for f in fields(given) if getattr(given, f.name) != getattr(plain, f.name))
    return ", ".join(f"{f.name}: {worded(getattr(given, f.name))}" for f in changed)
