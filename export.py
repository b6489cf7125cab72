"""Export a trained policy to controllers: as a signed bundle, as time-of-day plans, or as a decision tree."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.viper import TreeSettings, distil, tree_files, write_tree
from agents.watching import Watching, watching
from controllers.base import TIE
from deployment.bundle.contents import Subject
from deployment.bundle.golden import LEAST, Golden, Rows
from deployment.bundle.make.assembly import NotThePolicy
from deployment.bundle.make.bundle import Made, Trained, make_bundle
from deployment.bundle.make.card import evaluation_of
from deployment.bundle.make.check import check_network
from deployment.bundle.make.sealing import Seal, add_seal_arguments, plan_seal, revoke
from deployment.bundle.manifest import new_key
from deployment.bundle.read import BUNDLE, read_bundle, read_unsigned_bundle
from deployment.bundle.sealed import check_room, folder_name
from deployment.bundle.sealed_plans import PLAN
from deployment.nema.safety import refuse_unsafe
from deployment.plans.files import export_plans
from deployment.plans.optimise import PlanSettings
from envs.sumo.setup import SimulationSetup, make_setup
from envs.sumo.simulation import SimulationError
from evaluation.delays import delays
from evaluation.results.findings import chosen_line
from evaluation.runs import RunFailed
from plumbing.command import run_command, say
from plumbing.digest import file_sha256
from plumbing.errors import InputError
from plumbing.occupied import occupied, occupied_file
from plumbing.outside import add_code_argument
from scenarios.loading import load
from scenarios.scenario import Scenario
from scenarios.seeds import EVALUATION_SEEDS, VALIDATION_SEEDS
from signals.inputs import DETECTORS, EXPORTED, InputTable
from signals.observation_names import is_ours

if TYPE_CHECKING:  # what loads PyTorch is loaded where a policy is: keys and checks do not wait for it
    from agents.run import LearnedController

MOST_EPISODES = 40
"""That are recorded for golden inputs."""
EPILOG = """examples, in the order in which they are needed:
  python export.py key keys/lab
  python export.py bundle runs/single --out bundles/single --key keys/lab --controller engine:800004b604c0ffee
  python export.py verify bundles/single --public-key keys/lab.pub --scenario single
  python export.py revoke bundles/single --key keys/lab --out revocations/single
  python export.py plan runs/single --out plans/single --key keys/lab
  python export.py tree runs/single --out trees/single.json

`python export.py bundle --help` and so on say what each of them takes. docs/deployment.md goes from a bundle to a
controller, docs/plans.md from a policy to plans and trees.
exit status: 0 ok, 1 the exported policy is not the trained one (or its tree too much worse), 2 bad input."""
OF_KEY = """examples:
  python export.py key keys/lab              keys/lab signs; keys/lab.pub checks what it has signed

Keep FILE secret: who has it can command every controller that trusts FILE.pub. No key is ever overwritten."""
OF_BUNDLE = """examples:
  python export.py bundle runs/single --out bundles/single --key keys/lab --controller engine:800004b604c0ffee
  python export.py bundle runs/single --out bundles/single --key keys/lab --with c
  python export.py bundle runs/city --tls J7 --out bundles/city-J7 --key keys/lab --evaluation runs/city-evaluation
  python export.py bundle runs/city --out bundles/city --key keys/lab --controller J7=engine:80…01 \\
        --controller J8=site:5f…

A bundle holds the policy as ONNX, the tables and the timing sheet that an engineer checks, golden inputs, and where
it all comes from. A run with several signals gives a bundle for each, DIR/TLS_ID. Without --key no controller takes
it; without --controller it can only watch.

Only a policy that was trained with --sensing detectors can be run by a controller. Another one is refused, unless
--simulation-only marks its bundle as one that no controller gets. Refused, too, is a network whose program is unsafe,
and timing that is below the calculated values. Before anything is written, each form answers recorded and random
situations as the trained policy does.
exit status: 0 ok, 1 the exported policy is not the trained one, 2 bad input."""
OF_VERIFY = """examples:
  python export.py verify bundles/single --public-key keys/lab.pub
  python export.py verify bundles/single --public-key keys/lab.pub --scenario single

Checks signature, dates, the digest of every file, and the answers to the golden inputs; with --scenario or --network
also that the network is still the one that the policy was trained on.
exit status: 0 ok, 2 it is not to be used."""
OF_REVOKE = """examples:
  python export.py revoke bundles/single --key keys/lab --out revocations/single
  python control.py … --revocation revocations/single

A controller's computer refuses a serial that is older than one that has run there. A revocation, signed with the key
that signed the bundle or plan, withdraws that serial for good and lets the one before it run again."""
OF_PLAN = """examples:
  python export.py plan runs/single --out plans/single --key keys/lab --controller engine:800004b604c0ffee
  python export.py plan runs/single --out plans/single --windows 3 --budget 300 --seeds 5
  python export.py plan max_pressure --scenario cologne3 --out plans/cologne3

Runs the policy over the day, and derives times of day and their plans (cycle, splits, offsets, sequence) against the
simulator. Writes plans.json, plans.md to read, controllers/TLS_ID for each controller (sealed as bundles are),
plans.add.xml for SUMO, plans.utdf.csv. Takes a run of whatever sensing, or a controller's name with --scenario."""
OF_TREE = """examples:
  python export.py tree runs/single --out trees/single.json --leaves 40

Distils a decision tree that people can read: FILE, which evaluate.py takes as a controller, and beside it the same in
words (.txt). Refused where it is much worse than the policy. Needs scikit-learn: pip install -e '.[tree]'.
exit status: 0 ok, 1 the tree is too much worse than the policy, 2 bad input."""


@dataclass(frozen=True)
class Source:
    """What is exported: a run, and the network that it was trained on."""

    settings: Mapping[str, Any]
    controller: LearnedController
    scenario: Scenario
    setup: SimulationSetup
    shown: tuple[str, str]
    """Sensing and name of its observation."""

    def answer(self, table: InputTable, inputs: Rows) -> Golden:
        """What the trained policy says to these situations, its phase chosen as `controllers.base.choose` does."""
        from agents.export import reference_scores

        scores = reference_scores(self.controller, table, inputs)
        favoured = scores.astype(np.float64) + TIE * inputs[:, table.current]
        return Golden(inputs, scores, np.argmax(favoured, axis=1))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="export.py", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = of.add_subparsers(dest="command", required=True, metavar="key|bundle|verify|revoke|plan|tree")

    def command(name: str, what: str, epilog: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=what, description=f"{what[0].upper()}{what[1:]}.", epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip

    key = command("key", "make a key pair that signs bundles and plans", OF_KEY)
    key.add_argument("file", type=Path, metavar="FILE", help="the private key; the public one is FILE.pub")

    bundle = command("bundle", "export a run as a signed bundle for each of its signals", OF_BUNDLE)
    bundle.add_argument("run", type=Path, metavar="RUN_DIR", help="a run directory of train.py")
    bundle.add_argument("--out", required=True, type=Path, metavar="DIR", help="the bundle, or a folder of them")
    bundle.add_argument("--tls", metavar="ID", help="export this signal only (default: all of the run)")
    bundle.add_argument(
        "--with", dest="forms", action="append", default=[], choices=("c",),
        help="another form of the policy beside ONNX: c, as C99 without any library (policy.c, policy.h)",
    )  # fmt: skip
    bundle.add_argument("--simulation-only", action="store_true", help="mark it as one that no controller gets")
    bundle.add_argument("--evaluation", type=Path, metavar="DIR", help="what evaluate.py --out wrote, for the card")
    bundle.add_argument("--overwrite", action="store_true", help="replace a bundle that is in --out already")
    add_code_argument(bundle)
    add_seal_arguments(bundle)

    check = command("verify", "check a bundle as control.py does before it runs one", OF_VERIFY)
    check.add_argument("bundle", type=Path, metavar="BUNDLE")
    check.add_argument("--public-key", required=True, type=Path, metavar="FILE.pub", help="of whoever may sign")
    check.add_argument("--network", type=Path, metavar="FILE", help="the network file that it must be for")
    check.add_argument("--scenario", metavar="NAME", help="the scenario that it must be for")

    gone = command("revoke", "withdraw a bundle or plan on the computers that have run it", OF_REVOKE)
    gone.add_argument("folder", type=Path, metavar="DIR", help="the signed bundle or plan")
    gone.add_argument("--key", required=True, type=Path, metavar="FILE", help="the private key that signed it")
    gone.add_argument("--out", required=True, type=Path, metavar="DIR", help="for control.py --revocation")

    plan = command("plan", "derive time-of-day plans from a policy", OF_PLAN)
    plans = PlanSettings()
    _add_policy(plan)
    plan.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the plans")
    _add_number(plan, "--windows", plans.times, "times of day at most")
    _add_number(plan, "--budget", plans.budget, "simulated runs for the search")
    _add_number(plan, "--seeds", 5, "evaluation seeds for the table of plan, policy and fixed time")
    add_seal_arguments(plan)

    tree = command("tree", "distil a policy into a decision tree that people can read", OF_TREE)
    trees = TreeSettings()
    _add_policy(tree)
    tree.add_argument("--out", required=True, type=Path, metavar="FILE", help="the tree, such as tree.json")
    _add_number(tree, "--leaves", trees.leaves, "leaves at most")
    _add_number(tree, "--rounds", trees.rounds, "rounds of DAgger")
    tree.add_argument(
        "--tolerance", type=float, default=trees.tolerance, metavar="X",
        help=f"share by which its delay on validation seeds may exceed the policy's (default: {trees.tolerance:g})",
    )  # fmt: skip
    return of


def _add_policy(to: argparse.ArgumentParser) -> None:
    """What plans and trees are derived from, and where it is watched."""
    to.add_argument("policy", metavar="RUN_DIR", help="a run directory of train.py, or a controller's name")
    to.add_argument("--scenario", metavar="NAME", help="where it is watched (default: where it was trained)")
    to.add_argument("--begin", type=float, metavar="S", help="begin of the window [s] (default: the scenario's)")
    to.add_argument("--end", type=float, metavar="S", help="end of the window [s] (default: the scenario's)")
    to.add_argument(
        "--tls-ids", nargs="+", metavar="ID",
        help="the signals to control; the others keep their programs (default: those of the run, where the scenario "
        "has them, else all)",
    )  # fmt: skip
    to.add_argument("--workers", type=int, metavar="N", help="simulations at a time (default: one per core)")
    add_code_argument(to)
    _add_number(to, "--seed", 0, "draws training seeds and the search")


def _add_number(to: argparse.ArgumentParser, name: str, default: int, what: str) -> None:
    to.add_argument(name, type=int, default=default, metavar="N", help=f"{what} (default: {default})")


def main(arguments: list[str] | None = None) -> int:
    """Run one of the subcommands; returns the exit status."""
    given = parser().parse_args(arguments)
    try:
        match given.command:
            case "key":
                say(f"{new_key(given.file)} checks what {given.file} signs; keep the latter secret")
            case "verify":
                _verify(given)
            case "revoke":
                say(revoke(given.folder, (BUNDLE, PLAN), given.key, given.out))
            case "tree":
                with occupied_file(given.out):
                    return _tree(given)
            case _:
                with occupied(given.out):
                    (_bundle if given.command == "bundle" else _plan)(given)
    except (NotThePolicy, SimulationError, RunFailed) as error:
        say(f"failed: {error}; nothing was written", error=True)
        return 1
    return 0


def _verify(given: argparse.Namespace) -> None:
    bundle = read_bundle(given.bundle, public_key=given.public_key, simulation=True)
    check_network(bundle, given.network, load(given.scenario) if given.scenario else None)
    found = bundle.manifest
    say(f"{given.bundle}: policy for signal {found.tls_id!r} of {found.scenario}, sensing {bundle.needs.sensing}")
    say(f"signed; every file is as it was; valid from {found.not_before} to {found.not_after}")
    say(f"serial {found.serial}; {'for one controller' if found.controller else 'for none: it can only watch'}")
    say(f"policy.onnx answers {len(bundle.golden.phases)} golden inputs as the trained policy did")
    compared = "the same, by its SHA-256" if given.network or given.scenario else ""
    say(f"network: {compared or 'not compared; give --network FILE or --scenario NAME'}")
    if bundle.needs.simulation_only:
        say("for simulation only: no controller gets it")


def _bundle(given: argparse.Namespace) -> None:
    from agents.export import policy_graph, record, scorer_weights
    from agents.run import run_sha256

    source = _source(given)
    plan = source.setup.plan
    wanted = plan if given.tls is None else plan.only([given.tls])
    several = len(wanted.intersections) > 1
    roads, (sensing, shown) = source.scenario.network, source.shown
    subjects = {item.tls_id: Subject.alone(item, roads, sensing, shown) for item in wanted.intersections}
    places = {tls_id: given.out / folder_name(tls_id) if several else given.out for tls_id in subjects}
    for tls_id, subject in subjects.items():
        refuse_unsafe(subject.intersection, subject.plan, subject.fallback)
        check_room(places[tls_id], BUNDLE, given.overwrite)
    digest, network = run_sha256(given.run), file_sha256(source.scenario.net_file)
    seal = Seal.of(given, tuple(subjects), source.scenario, network)
    evaluation = evaluation_of(given.evaluation, given.run, digest, network) if given.evaluation else None
    say(f"recording {source.scenario.name} under the policy, for golden inputs", error=True)
    recording = record(source.controller, source.setup, VALIDATION_SEEDS[:MOST_EPISODES], LEAST)
    weights = scorer_weights(source.controller) if "c" in given.forms else {}
    graph = partial(policy_graph, source.controller)
    trained = Trained(source.settings, digest, weights, graph, source.answer, recording.seeds)
    made = {  # nothing is written unless all signals' forms hold
        tls_id: make_bundle(
            trained, subject, recording.inputs(plan.tls_ids.index(tls_id), subject.inputs),
            c="c" in given.forms, evaluation=evaluation, validity=seal.text, simulation_only=given.simulation_only,
            scenario=f"{source.scenario.name}, network SHA-256 {network[:16]}…",
        )
        for tls_id, subject in subjects.items()
    }  # fmt: skip
    again, check = given.overwrite, read_unsigned_bundle
    for tls_id, ready in made.items():
        seal.write(places[tls_id], BUNDLE, tls_id, ready.needs, ready.files, overwrite=again, check=check)
        _print_made(places[tls_id], ready, seal.told(tls_id))


def _source(given: argparse.Namespace) -> Source:
    import torch

    from agents.job import job_of
    from agents.run import SETTINGS, load_controller, read_settings

    torch.set_num_threads(1)
    run: Path = given.run
    settings, controller = read_settings(run), load_controller(run, allow_code=given.allow_code)
    if controller.observation not in EXPORTED.values():
        whose = "the observation" if is_ours(controller.observation) else "an observation from outside,"
        raise InputError(
            f"run {run} was trained on {whose} {controller.observation.__name__}, whose inputs "
            "no bundle can describe; train on the detectors' own, or derive a plan or a tree"
        )
    if controller.sensing != DETECTORS and not given.simulation_only:
        raise InputError(
            f"run {run} was trained with --sensing {controller.sensing}: it sees every vehicle, which no controller "
            f"does; train with --sensing detectors, or export with --simulation-only"
        )
    job, files = job_of(settings, run / SETTINGS), settings.get("scenario", {}).get("files", {})
    scenario = job.load()
    if file_sha256(scenario.net_file) not in files.values():
        raise InputError(
            f"run {run} was trained on another {scenario.net_file.name} than there is now (SHA-256 differ); "
            f"train again on this one, or bring back the other"
        )
    setup = make_setup(scenario, dataclasses.replace(job.options(scenario), sensing=controller.sensing))
    shown = next(names for names, kind in EXPORTED.items() if kind is controller.observation)
    return Source(settings, controller, scenario, setup, shown)


def _print_made(out: Path, made: Made, sealed: str) -> None:
    subject, onnx, c = made.subject, made.checks.onnx, made.checks.c
    tls_id, actions = subject.intersection.tls_id, len(subject.plan.actions)
    say(f"{out}: signal {tls_id!r}, {len(subject.inputs)} inputs, {actions} actions")
    say(f"  ONNX: the trained policy's phase in {onnx.same_phase:,} of {onnx.count:,} situations")
    if "policy.c" in made.files:
        say(f"  C: {f'the same in {c.same_phase:,} of {c.count:,}' if c else made.checks.c_note}")
    say(f"  {sealed}")


def _plan(given: argparse.Namespace) -> None:
    _expect_at_least(given, seed=0, workers=1, windows=1, seeds=1)
    watched = _watched(given)
    scenario, signals = watched.scenario, watched.signals.tls_ids
    seal = plan_seal(Seal.of(given, signals, scenario, file_sha256(scenario.net_file)), signals, given.out)
    settings = PlanSettings(times=given.windows, budget=given.budget, seed=given.seed)
    seeds = EVALUATION_SEEDS[: given.seeds]
    paths, delay_s = export_plans(
        given.out, watched.policy.make, scenario, watched.timing,  # type: ignore[arg-type]
        _judge(given, watched), settings, seeds, watched.provenance(), seal,
        lambda done, total, what: say(f"{done} of {total} runs: {what}", error=True), watched.tls_ids,
    )  # fmt: skip
    say("\n".join(map(str, paths)))
    told = ", ".join(f"{name} {fmean(values):.1f} s" for name, values in delay_s.items())
    say(f"mean delay on {len(seeds)} seeds that no plan was tuned on: {told}")


def _tree(given: argparse.Namespace) -> int:
    _expect_at_least(given, seed=0, workers=1, tolerance=0, leaves=2, rounds=1)
    tree_files(given.out)
    watched = _watched(given)
    policy, judge = watched.policy, partial(_judge(given, watched), watched.scenario)
    if not hasattr(policy.make(), "scores"):
        raise InputError(f"{policy.name} does not say what it thinks of each phase; give a run directory")
    settings = TreeSettings(rounds=given.rounds, leaves=given.leaves, tolerance=given.tolerance, seed=given.seed)
    found = distil(policy.make, judge, settings, partial(say, error=True))  # type: ignore[arg-type]
    if not found.offered:
        say(f"failed: {found.verdict}; allow more --leaves or a greater --tolerance", error=True)
        return 1
    say("\n".join(map(str, write_tree(given.out, found, watched.provenance()))))
    say(found.verdict)
    return 0


def _expect_at_least(given: argparse.Namespace, **least: float) -> None:
    for option, value in least.items():
        found = getattr(given, option)
        if found is not None and not found >= value:  # nor is what is no number
            raise InputError(f"--{option} is {found}; give at least {value}")


def _watched(given: argparse.Namespace) -> Watching:
    """A policy and where it is watched."""
    found = watching(
        given.policy, given.scenario, begin_s=given.begin, end_s=given.end, tls_ids=given.tls_ids,
        allow_code=given.allow_code,
    )  # fmt: skip
    if line := chosen_line(found.scenario, found.tls_ids):
        say(f"note: {line}", error=True)
    return found


def _judge(given: argparse.Namespace, watched: Watching) -> Any:
    """What runs simulations and returns their delays."""
    workers = given.workers or len(os.sched_getaffinity(0))
    return partial(delays, timing=watched.timing, workers=workers, tls_ids=watched.tls_ids)


if __name__ == "__main__":
    run_command(main)
