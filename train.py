"""Train an agent on a scenario: `python train.py --scenario cologne1 --agent dqn --steps 20000 --out runs/first`.

What comes out is a run directory, which evaluate.py takes as a controller.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import math
import shlex
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from agents.code import check_resumable, code_of
from agents.job import Job, job_of, where_words
from agents.job_settings import settings_of
from agents.judgement import Judgement
from agents.learner import Judged, Learner
from agents.recipes import recipe_of
from agents.registry import AGENTS, agent_settings, algorithm, encoder_class, make_learner, needs_arrivals
from agents.resuming import check_unchanged, resumed, take_up
from agents.run import (
    CHECKPOINT,
    SETTINGS,
    LearnedController,
    Network,
    is_run,
    read_settings,
    write_settings,
)
from agents.settings import listed, read_config
from agents.starting import check_room, replacing, start_from
from agents.training import Interrupted, Schedule, train
from agents.updates import TrainingDiverged
from agents.vec_env import SignalsVecEnv
from envs.sumo.setup import add_tls_argument
from envs.sumo.simulation import SimulationError
from envs.workers.client import RemoteSimulation
from envs.workers.engine import add_engine_arguments, check_engine, open_engine
from envs.workers.protocol import SimulationWorker
from envs.workers.server import WorkerSetup
from evaluation.runs import Contestant, Evaluation, RunFailed, run_all
from plumbing.command import given_in, run_command, say
from plumbing.errors import InputError
from plumbing.occupied import occupied
from plumbing.outside import absolute, add_code_argument, is_outside
from scenarios.arguments import (
    add_fault_arguments,
    add_scenario_arguments,
    add_timing_arguments,
    demand_from,
    timing_from,
)
from scenarios.blockers import blocker_line
from scenarios.foresight import Remembered
from scenarios.from_counts import remembered
from scenarios.loading import absolute_demand, absolute_name
from scenarios.provenance import made_up_line
from scenarios.scenario import Scenario
from scenarios.seeds import VALIDATION_SEEDS
from signals.observation_names import foreseeing
from signals.observations import Observation, PhaseObservation
from signals.reward_sum import terms_of, text_of
from signals.rewards import REWARDS
from signals.timing import Timing

if TYPE_CHECKING:
    from envs.workers.cluster import Cluster

EXAMPLES = """examples:
  python train.py --scenario single --agent dqn --steps 20000 --out runs/single
  python train.py --scenario cologne3 --agent ppo --workers 2 --out runs/cologne3-ppo
  python train.py --scenario cologne1 --agent rollout --workers 2 --out runs/forks
  python train.py --scenario mine/city.sumocfg --agent dqn --steps 50000 --out runs/city
  python train.py --out runs/single --resume          goes on exactly where a stopped run was
  python train.py --out runs/single --resume --steps 40000          goes on to 40,000 steps, also with a finished run
  python evaluate.py --scenario single --controllers fixed_time actuated runs/single

A step is one decision of one signal: an hour of a network with three signals has 3 x 720 of them at the default
interval of 5 s. Every tenth of the run the policy is judged on validation seeds (never trained on, never used by
evaluate.py) by its mean delay over all vehicles that were to depart.

rollout learns from forks of the running simulation, in rounds of `round` steps. In each, `samples` choices are tried,
in one fork per phase that follows the base for `horizon_s`. Every round ends with a validation, whatever
--validate-every says (0: none on the way); when it finds nothing better, the training stops. Its time goes by
samples, not by steps: docs/rollout.md.

What is taken where nothing else is said, by agents/recipes:
{recipes}
What --config can set, one `name: value` a line, with its default; agents/settings.py tells what each is:
"""


def _recipes_help() -> str:
    told = ((agent, recipe_of(agent)) for agent in AGENTS)
    return "".join(
        f"  {agent}: --observation {of.observation} --steps {of.steps} --validation-runs {of.validation_runs}\n"
        for agent, of in told
    )


def _settings_help() -> str:
    told = ((agent, listed(algorithm(agent).Settings())) for agent in AGENTS)
    lines = (textwrap.wrap(f"{agent}: {settings}", 110, subsequent_indent="     ") for agent, settings in told)
    return "".join(f"  {line}\n" for of_agent in lines for line in of_agent)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES.format(recipes=_recipes_help()) + _settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_scenario_arguments(p, required=False)
    add_tls_argument(p)
    p.add_argument(
        "--agent", default="dqn", metavar="NAME|MODULE:CLASS",
        help=f"{', '.join(AGENTS)}; or a class of your own, whose code is run (default: dqn)",
    )  # fmt: skip
    p.add_argument(
        "--network",
        default="",
        metavar="MODULE:CLASS",
        help="an encoder of your own in place of the built-in one; its code is run. docs/extending.md has examples",
    )
    p.add_argument(
        "--device", default="cpu", metavar="auto|cpu|cuda",
        help="where the networks learn: auto takes a GPU where there is one. The built-in network is so small that "
        "the cpu is faster (default: cpu)",
    )  # fmt: skip
    p.add_argument("--steps", type=int, help="decisions of one signal (default: the agent's recipe)")
    p.add_argument("--seed", type=int, default=0, help="of everything random in the training (default: 0)")
    p.add_argument("--workers", type=int, default=1, metavar="W", help="simulations at a time (default: 1)")
    p.add_argument("--sensing", default="full", help="full, or detectors as in the field (default: full)")
    add_fault_arguments(p)
    p.add_argument(
        "--reward", default="time_loss",
        help=f"one of {', '.join(REWARDS)}, package.module:NAME, path/to/file.py:NAME, or a sum such as "
        "'time_loss + 0.1*pressure_veh' (default: time_loss)",
    )  # fmt: skip
    p.add_argument(
        "--observation", metavar="NAME",
        help="what the policy is shown: phases; planned, which adds what the planner expects each phase to cost (all "
        "agents but qrdqn begin as that planner); or detectors, package.module:CLASS, path/to/file.py:CLASS "
        "(default: that of --from, else the agent's recipe)",
    )  # fmt: skip
    p.add_argument(
        "--forecast", default="", metavar="MODEL_DIR",
        help="a folder of python -m demand forecast: the observation also shows the flows that it expects, of what "
        "the simulation has counted so far; the scenario is one of python -m demand calibrate",
    )  # fmt: skip
    p.add_argument("--warm-up", type=float, default=0.0, metavar="S", help="simulated before the first decision")
    p.add_argument(
        "--vary-demand", nargs=2, type=float, default=(1.0, 1.0), metavar=("LEAST", "MOST"),
        help="multiply each episode's traffic by a factor drawn between these, so that the policy has seen lighter "
        "and heavier days than the recorded one (default: 1 1)",
    )  # fmt: skip
    p.add_argument(
        "--vary-turns", type=float, default=0.0, metavar="V",
        help="multiply the traffic from each origin and to each destination by a factor between 1-V and 1+V, drawn "
        "for each episode, so that shares of turns differ between days; at most 0.4 (default: 0)",
    )  # fmt: skip
    p.add_argument("--from", dest="start", metavar="RUN_DIR", help="start from this run's weights")
    p.add_argument("--config", metavar="F.yaml", help="settings of the agent, such as `gamma: 0.98`")
    p.add_argument(
        "--validate-every",
        type=int,
        metavar="N",
        help="steps between two validations (default: a tenth of --steps; 0: one at the end)",
    )
    p.add_argument("--validation-runs", type=int, metavar="N", help="episodes a time (default: the agent's recipe)")
    p.add_argument(
        "--resume", action="store_true",
        help="go on with the run in --out, with its own settings; with --steps, to that many. What falls over all "
        "steps (learning rate, exploration) goes on as for the new number: only where nothing does, the run is to "
        "the bit that of one asked for as many at once",
    )  # fmt: skip
    p.add_argument(
        "--overwrite", action="store_true",
        help="replace a run that is in --out already: it stays as it is until the new one's first checkpoint",
    )  # fmt: skip
    p.add_argument("--out", required=True, metavar="DIR", help="the run directory")
    add_code_argument(p)
    add_engine_arguments(p)
    add_timing_arguments(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Train; returns the exit status."""
    command = parser().parse_args(arguments)
    check_engine(command)
    run = Path(command.out)
    torch.set_num_threads(1)  # the network is small: a second thread costs more than it brings
    device = _device(command.device)
    stored = _stored(run, command.allow_code) if command.resume else None
    if stored is None:
        job = _job(command)
    else:
        given = given_in(parser(), arguments)
        for name in {"scenario", "agent"} - given:
            setattr(command, name, getattr(stored, name))
        job = resumed(stored, _job(command), given, run)
    with occupied(run):
        if not command.resume:
            check_room(run, command.overwrite)
        elif not (run / CHECKPOINT).is_file():
            raise InputError(f"run {run} has no {CHECKPOINT} to resume from; train it anew with --overwrite")
        with open_engine(command, job.workers) as cluster:
            words = sys.argv[1:] if arguments is None else arguments
            return _train(job, run, stored, cluster, words, device)


def _stored(run: Path, allow_code: bool) -> Job:
    settings = read_settings(run)
    job = job_of(settings, run / SETTINGS)
    check_resumable(settings, allow_code, run / SETTINGS)
    return job


def _job(command: argparse.Namespace) -> Job:
    if not command.scenario:
        raise InputError("--scenario is missing; give a name (python -m scenarios lists them) or a file")
    encoder_class(command.network)
    terms = terms_of(command.reward)
    if not terms:
        raise InputError("--reward is empty: there would be nothing to learn; leave it out for time_loss")
    recipe = recipe_of(command.agent)
    changes = {**recipe.settings, **(read_config(Path(command.config)) if command.config else {})}
    steps = recipe.steps if command.steps is None else command.steps
    every = command.validate_every
    if every is not None and every < 0:
        raise InputError(f"--validate-every is {every}; give 0 or more steps")
    observation = command.observation or recipe.observation
    if command.start:
        shown = str(read_settings(Path(command.start)).get("observation", "phases"))
        # code from outside runs where the command line names it, never because a run directory does
        observation = command.observation or (observation if is_outside(shown) else shown)
    if command.forecast:
        observation = foreseeing(observation, command.sensing)
    return Job(
        scenario=absolute_name(command.scenario),  # it may be resumed from another folder
        routes=tuple(map(absolute_name, command.routes)),
        additional=tuple(map(absolute_name, command.additional)),
        begin_s=command.begin,
        end_s=command.end,
        agent=absolute(command.agent) if is_outside(command.agent) else command.agent,
        agent_settings=asdict(agent_settings(command.agent, changes)),
        steps=steps,
        seed=command.seed,
        workers=command.workers,
        sensing=command.sensing,
        reward=text_of(terms),
        observation=absolute(observation) if is_outside(observation) else observation,
        faults={"dropout": command.dropout, "stuck_on": command.stuck_on, "latency_s": command.latency},
        timing=asdict(timing_from(command)),
        warm_up_s=command.warm_up,
        validate_every=math.ceil(steps / 10) if every is None else every,
        validation_runs=recipe.validation_runs if command.validation_runs is None else command.validation_runs,
        started_from=absolute_name(command.start) if command.start else "",
        demand_range=(command.vary_demand[0], command.vary_demand[1]),
        network=command.network and absolute(command.network),
        tls_ids=tuple(command.tls_ids) if command.tls_ids else None,
        vary_turns=command.vary_turns,
        demand=absolute_demand(demand_from(command)),
        forecast=command.forecast and absolute_name(command.forecast),
        ignore_junction_blocker_s=command.ignore_junction_blocker,
    )


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device is {asked!r}; choose auto, cpu or cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch finds no GPU here; choose auto or cpu")
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"


def _train(
    job: Job,
    run: Path,
    stored: Job | None,
    cluster: Cluster | None = None,
    words: Sequence[str] = (),
    device: str = "cpu",
) -> int:
    scenario, resume = job.load(), stored is not None
    if stored is not None:
        check_unchanged(run, job, stored, scenario)
    settings = agent_settings(job.agent, job.agent_settings)
    worker = replace(job.options(scenario), arrivals=needs_arrivals(job.agent)).setup()
    setup = worker.simulation
    for refusal in setup.plan.refusals:
        say(str(refusal), error=True)
    make_worker: Callable[[WorkerSetup], SimulationWorker] = cluster.worker if cluster else RemoteSimulation
    workers = [make_worker(worker) for _ in range(job.workers)]
    env = SignalsVecEnv(workers, job.seed, getattr(settings, "reward_scale", 1.0))
    network, forecast = Network(job.agent, settings, job.network), remembered(scenario, job.forecast)
    stack = contextlib.ExitStack()

    def restored(taken: int) -> None:
        if stored is not None and (note := take_up(run, job, stored, taken)):
            say(note, error=True)

    try:
        tensorboard = importlib.util.find_spec("tensorboard") is not None
        try:
            learner = make_learner(job.agent, settings, env, job.seed, device=device, network=job.network)
        except MemoryError as error:
            raise InputError(f"there is too little memory for these settings ({error}); lower buffer_size") from error
        if job.started_from and not resume:
            start_from(learner, Path(job.started_from))
        place, arrive = run, None
        if not resume and is_run(run):
            place, arrive = stack.enter_context(replacing(run))
        if not resume:
            write_settings(
                place, {**settings_of(job, scenario, setup.sensing), "command": ["python", "train.py", *words]}
            )
        _announce(job, scenario, len(setup.layout.tls_ids), run, resume)
        progress = train(
            learner,
            env,
            place,
            Schedule(job.steps, job.validate_every),
            controller=lambda trained: _controller(trained, network, worker.observes, forecast),
            validate=lambda controller: _validate(controller, scenario, setup.timing, job),
            resume=resume,
            restored=restored,
            tensorboard=tensorboard,
            arrive=arrive,
        )
    except Interrupted:
        say(f"stopped and saved; go on with: python train.py --out {shlex.quote(str(run))} --resume", error=True)
        return 130
    except (TrainingDiverged, SimulationError, RunFailed) as error:
        say(f"failed: {error}", error=True)
        return 1
    finally:
        env.close()
        stack.close()
    last = progress.last
    if isinstance(learner, Judged):
        early = "stopped before the last step: " if learner.num_timesteps < job.steps else ""
        if learner.settled:
            say(early + learner.status(), error=True)
        last = learner.best_judgement or last
    steps = min(learner.num_timesteps, job.steps)
    told = f"; validation {last}" if last else ""
    say(f"trained {steps:,} steps in {progress.elapsed_s:.0f} s{told}; in {run}")
    judge = ("python", "evaluate.py", *where_words(job), "--controllers", "fixed_time", "actuated", str(run))
    allowed = " --allow-code" if code_of({"job": asdict(job)}, policy=True) else ""
    say(f"judge it: {shlex.join(judge)}{allowed}")
    return 0


def _controller(
    learner: Learner, network: Network, observation: type[Observation] | None, forecast: Remembered | None
) -> LearnedController:
    assert observation is not None
    assert issubclass(observation, PhaseObservation), "SignalsVecEnv has looked"
    weights = {name: weight.detach().cpu().clone() for name, weight in learner.scorer().state_dict().items()}
    return LearnedController(weights, network, observation, forecast)


def _validate(controller: LearnedController, scenario: Scenario, timing: Timing, job: Job) -> Judgement:
    seeds = VALIDATION_SEEDS[: job.validation_runs]
    judged = Evaluation(scenario, [Contestant("policy", lambda: controller)], seeds, timing, tls_ids=job.tls_ids)
    return Judgement.of((run.metrics.gridlocked, run.metrics.delay_s) for run in run_all(judged))


def _announce(job: Job, scenario: Scenario, signals: int, run: Path, resume: bool) -> None:
    plural = "s" if signals > 1 else ""
    doing = "resuming" if resume else "training"
    say(
        f"{doing} {job.agent} on {scenario.name} ({signals} signal{plural}, {scenario.horizon_s:g} s an episode), "
        f"{job.steps:,} steps, {job.workers} worker{'s' if job.workers > 1 else ''}, into {run}",
        error=True,
    )
    for line in (made_up_line(scenario.made_up), blocker_line(scenario.ignore_junction_blocker_s)):
        if line:
            say(line, error=True)


if __name__ == "__main__":
    run_command(main)
