"""Export a trained policy to controllers: `python export.py runs/single --out bundles/single --key keys/lab`.

What comes out is a bundle, which control.py takes: the policy as ONNX and C, the tables and the timing sheet that an
engineer checks, golden inputs, where it all comes from, and a signature. Or, with --format plan, time-of-day plans
for a controller that runs fixed time; with --format tree, the policy as a decision tree that people can read.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from agents.export import policy_graph, record, reference_scores, scorer_weights
from agents.job import job_of
from agents.named import Named, find_controller
from agents.run import SETTINGS, LearnedController, load_controller, read_settings, run_sha256
from agents.viper import TreeSettings, distil, write_tree
from controllers.base import TIE
from controllers.programs import ProgramControl
from deployment.bundle.contents import Subject, input_highs
from deployment.bundle.golden import LEAST, Golden, Rows, draw_inputs
from deployment.bundle.make.assembly import NotThePolicy, bundle_files, c_files, check_forms
from deployment.bundle.make.card import evaluation_of, provenance
from deployment.bundle.make.sealing import Seal, add_seal_arguments, plan_seal, revoke
from deployment.bundle.manifest import PolicyNeeds, new_key
from deployment.bundle.policy import OPSET
from deployment.bundle.read import BUNDLE, Bundle, read_bundle, read_unsigned_bundle
from deployment.bundle.sealed import check_room, folder_name
from deployment.bundle.sealed_plans import PLAN
from deployment.nema.codec import encode
from deployment.nema.safety import refuse_unsafe
from deployment.plans.files import export_plans
from deployment.plans.optimise import PlanSettings
from envs.sumo.setup import SimulationSetup, make_setup
from envs.sumo.simulation import SimulationError
from evaluation.delays import delays
from evaluation.runs import RunFailed
from plumbing.command import run_command, say
from plumbing.errors import InputError
from plumbing.occupied import occupied
from scenarios.scenario import Scenario, load
from scenarios.seeds import EVALUATION_SEEDS, VALIDATION_SEEDS
from signals.inputs import DETECTORS
from signals.intersection import compile_signals
from signals.layout import build_layout
from signals.loops import DetectorFaults, plan_loops
from signals.timing import Timing, timing_of

FORMATS = ("onnx", "c")
DERIVED = ("plan", "tree")
DRAWN = 2_000
"""Situations at random that ONNX and C are checked on, beside the recorded ones."""
MOST_EPISODES = 40
PACKAGES = ("intergreen", "onnx", "onnxruntime", "torch", "numpy", "cryptography")
EXAMPLES = """examples:
  python export.py --new-key keys/lab              a key pair: keys/lab signs, keys/lab.pub checks
  python export.py runs/single --out bundles/single --key keys/lab --controller engine:800004b604c0ffee
  python export.py runs/city --tls J7 --out bundles/city-J7 --key keys/lab --evaluation runs/city-evaluation
  python export.py runs/city --out bundles/city --key keys/lab --controller J7=engine:80…01 --controller J8=site:5f…
  python export.py --verify bundles/single --public-key keys/lab.pub --scenario single
  python export.py --revoke bundles/single --key keys/lab --out revocations/single
  python export.py runs/single --out plans/single --format plan --plan-windows 3 --plan-budget 300 --key keys/lab
  python export.py runs/single --out trees/single --format tree --tree-leaves 40

Only a policy that was trained with --sensing detectors can be run by a controller. Another one is refused, unless
--simulation-only marks its bundle as one that no controller gets. A run with several signals gives a bundle for
each, DIR/TLS_ID. Without --controller a bundle can only watch. Refused, too, is a network whose program is unsafe,
and timing that is below the calculated values. Before anything is written, ONNX and C answer recorded and random
situations as the trained policy does. docs/deployment.md says what is in a bundle, and how to go on from there.

--format plan runs the policy over the day, and derives times of day and their plans (cycle, splits, offsets,
sequence) against the simulator: plans.json, plans.md to read, controllers/TLS_ID for each controller (sealed as
bundles are), plans.add.xml for SUMO, plans.utdf.csv. --format tree distils a tree (tree.json, tree.txt), and refuses
it where it is much worse than the policy. Both take any policy: a run of whatever sensing, or a controller's name
with --scenario. docs/plans.md.
exit status: 0 ok, 1 the exported policy is not the trained one (or its tree too much worse), 2 bad input."""


@dataclass(frozen=True)
class Source:
    """What is exported: a run, and the network that it was trained on."""

    run: Path
    settings: Mapping[str, Any]
    controller: LearnedController
    scenario: Scenario
    setup: SimulationSetup

    @property
    def network_sha256(self) -> str:
        return _sha256(self.scenario.net_file)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("run", nargs="?", type=Path, metavar="RUN_DIR", help="a run directory of train.py")
    p.add_argument("--out", type=Path, metavar="DIR", help="the bundle; with several signals, a folder of them")
    p.add_argument("--tls", metavar="ID", help="export this signal only (default: all of the run)")
    p.add_argument(
        "--format", nargs="+", default=list(FORMATS), choices=FORMATS + DERIVED, metavar="FORM",
        help=f"of a bundle, forms of the policy beside ONNX, which is always there: {', '.join(FORMATS)} (default: "
        "all); or plan, tree, or both",
    )  # fmt: skip
    p.add_argument("--simulation-only", action="store_true", help="mark it as one that no controller gets")
    p.add_argument("--evaluation", type=Path, metavar="DIR", help="what evaluate.py --out wrote, for the model card")
    p.add_argument("--overwrite", action="store_true", help="replace a bundle that is in --out already")
    p.add_argument("--verify", type=Path, metavar="BUNDLE", help="check a bundle; needs --public-key")
    p.add_argument("--public-key", type=Path, metavar="FILE.pub", help="with --verify: of whoever may sign")
    p.add_argument("--network", type=Path, metavar="FILE", help="with --verify: the network file it must be for")
    p.add_argument(
        "--scenario",
        metavar="NAME",
        help="with --verify: the scenario it must be for; of plan and tree, instead of the run's",
    )
    p.add_argument("--new-key", type=Path, metavar="FILE", help="make a key pair: FILE and FILE.pub")
    add_seal_arguments(p)
    _add_derived_arguments(p)
    return p


def _add_derived_arguments(p: argparse.ArgumentParser) -> None:
    of, plans, trees = p.add_argument_group("plan and tree"), PlanSettings(), TreeSettings()
    of.add_argument("--begin", type=float, metavar="S", help="begin of the window [s] (default: the scenario's)")
    of.add_argument("--end", type=float, metavar="S", help="end of the window [s]")
    of.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws training seeds and the search (default: 0)"
    )
    of.add_argument("--workers", type=int, metavar="W", help="simulations at a time (default: one per core)")
    of.add_argument(
        "--plan-windows", type=int, default=plans.times, metavar="N",
        help=f"times of day at most (default: {plans.times})",
    )  # fmt: skip
    of.add_argument(
        "--plan-budget", type=int, default=plans.budget, metavar="N",
        help=f"simulated runs for the search (default: {plans.budget})",
    )  # fmt: skip
    of.add_argument(
        "--plan-seeds", type=int, default=5, metavar="N",
        help="evaluation seeds for the table of plan, policy and fixed time (default: 5)",
    )  # fmt: skip
    of.add_argument(
        "--tree-leaves", type=int, default=trees.leaves, metavar="N", help=f"at most (default: {trees.leaves})"
    )
    of.add_argument(
        "--tree-rounds", type=int, default=trees.rounds, metavar="N", help=f"of DAgger (default: {trees.rounds})"
    )
    of.add_argument(
        "--tree-tolerance", type=float, default=trees.tolerance, metavar="X",
        help=f"how much worse its delay may be than the policy's on validation seeds (default: {trees.tolerance:g})",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Export, verify or make a key; returns the exit status."""
    command = parser().parse_args(arguments)
    modes = [name for name in ("run", "verify", "new_key", "revoke") if getattr(command, name) is not None]
    if len(modes) != 1:
        raise InputError("give one of: RUN_DIR --out DIR, --verify BUNDLE, --new-key FILE, --revoke DIR (see --help)")
    if command.new_key is not None:
        say(f"{new_key(command.new_key)} checks what {command.new_key} signs; keep the latter secret")
        return 0
    if command.verify is not None:
        return _verify(command)
    if command.revoke is not None:
        say(revoke(command.revoke, (BUNDLE, PLAN), command.key, command.out))
        return 0
    if command.out is None:
        raise InputError("--out is missing; give the directory that the bundle is to be")
    torch.set_num_threads(1)
    derived = set(command.format) & set(DERIVED)
    if derived and set(command.format) - derived:
        raise InputError("plan and tree are no part of a bundle; export them by themselves, to a folder of their own")
    try:
        with occupied(command.out):
            return _derive(command) if derived else _export(command)
    except (NotThePolicy, SimulationError, RunFailed) as error:
        say(f"failed: {error}; nothing was written", error=True)
        return 1


def _verify(command: argparse.Namespace) -> int:
    if command.public_key is None:
        raise InputError("--verify needs --public-key FILE.pub, of whoever may sign")
    bundle = read_bundle(command.verify, public_key=command.public_key, simulation=True)
    checked = _check_network(command, bundle)
    found = bundle.manifest
    say(f"{command.verify}: policy for signal {found.tls_id!r} of {found.scenario}, sensing {bundle.needs.sensing}")
    say(f"signed; every file is as it was; valid from {found.not_before} to {found.not_after}")
    say(f"serial {found.serial}; {'for one controller' if found.controller else 'for none: it can only watch'}")
    say(f"policy.onnx answers {len(bundle.golden.phases)} golden inputs as the trained policy did")
    say(f"network: {checked or 'not compared; give --network FILE or --scenario NAME'}")
    if bundle.needs.simulation_only:
        say("for simulation only: no controller gets it")
    return 0


def _check_network(command: argparse.Namespace, bundle: Bundle) -> str:
    """How the network was found to be the right one; empty where none was given."""
    scenario = load(command.scenario) if command.scenario else None
    for file in filter(None, (command.network, scenario and scenario.net_file)):
        if _sha256(file) != bundle.manifest.network_sha256:
            raise InputError(
                f"bundle {bundle.path} is for another network than {file}: their SHA-256 differ; "
                f"train and export for this one"
            )
    if scenario is not None:
        compiled = compile_signals(scenario.network, bundle.timing).only([bundle.manifest.tls_id]).intersections[0]
        if encode(compiled) != encode(bundle.intersection):
            raise InputError(
                f"bundle {bundle.path}: signal {bundle.manifest.tls_id!r} of scenario {scenario.name} has another "
                f"program by now; train and export again"
            )
    return "the same, by its SHA-256" if command.network or scenario else ""


def _export(command: argparse.Namespace) -> int:
    source = _source(command)
    wanted = source.setup.plan if command.tls is None else source.setup.plan.only([command.tls])
    several = len(wanted.intersections) > 1
    subjects = {item.tls_id: _subject(source, item.tls_id) for item in wanted.intersections}
    places = {tls_id: command.out / folder_name(tls_id) if several else command.out for tls_id in subjects}
    for tls_id, subject in subjects.items():
        refuse_unsafe(subject)
        check_room(places[tls_id], BUNDLE, command.overwrite)
    seal = Seal.of(command, tuple(subjects), source.scenario, source.network_sha256)
    digest, network = run_sha256(source.run), source.network_sha256
    evaluation = evaluation_of(command.evaluation, source.run, digest, network) if command.evaluation else None
    say(f"recording {source.scenario.name} under the policy, for golden inputs", error=True)
    recording = record(source.controller, source.setup, VALIDATION_SEEDS[:MOST_EPISODES], LEAST)
    weights = scorer_weights(source.controller) if "c" in command.format else {}
    ready = []  # nothing is written unless all signals' forms hold
    for tls_id, subject in subjects.items():
        table = subject.inputs
        recorded = _golden(source, subject, recording.inputs(source.setup.plan.tls_ids.index(tls_id), table))
        drawn = _golden(source, subject, draw_inputs(table, input_highs(subject), DRAWN, seed=0))
        golden = recorded.thinned()
        graph = policy_graph(source.controller, table)
        c = c_files(weights, subject, golden) if "c" in command.format else None
        checks = check_forms(graph, c, recorded, drawn, len(subject.intersection.phases))
        about = provenance(source.settings, digest, recording.seeds, checks, _versions(), evaluation)
        files = bundle_files(
            subject, graph, c, golden, about,
            scenario=f"{source.scenario.name}, network SHA-256 {network[:16]}…",
            validity=seal.text, simulation_only=command.simulation_only,
        )  # fmt: skip
        needs = PolicyNeeds(table.sensing, command.simulation_only, OPSET)
        ready.append((tls_id, needs, files, checks))
    for tls_id, needs, files, checks in ready:
        out = places[tls_id]
        seal.write(out, BUNDLE, tls_id, needs, files, overwrite=command.overwrite, check=read_unsigned_bundle)
        _tell(out, subjects[tls_id], asdict(checks), seal.told(tls_id))
    return 0


def _source(command: argparse.Namespace) -> Source:
    run: Path = command.run
    settings, controller = read_settings(run), load_controller(run)
    if controller.sensing != DETECTORS and not command.simulation_only:
        raise InputError(
            f"run {run} was trained with --sensing {controller.sensing}: it sees every vehicle, which no controller "
            f"does; train with --sensing detectors, or export with --simulation-only"
        )
    job, files = job_of(settings, run / SETTINGS), settings.get("scenario", {}).get("files", {})
    scenario = job.load()
    if _sha256(scenario.net_file) not in files.values():
        raise InputError(
            f"run {run} was trained on another {scenario.net_file.name} than there is now (SHA-256 differ); "
            f"train again on this one, or bring back the other"
        )
    timing, faults = timing_of(job.timing), DetectorFaults(**job.faults)
    setup = make_setup(scenario, timing, sensing=controller.sensing, faults=faults, warm_up_s=job.warm_up_s)
    return Source(run, settings, controller, scenario, setup)


def _derive(command: argparse.Namespace) -> int:
    """Plans, a tree, or both."""
    policy = find_controller(str(command.run))
    scenario, timing = _world(command, policy)
    for option, least in (
        ("seed", 0),
        ("tree_tolerance", 0),
        ("workers", 1),
        ("plan_windows", 1),
        ("plan_seeds", 1),
        ("tree_leaves", 2),
        ("tree_rounds", 1),
    ):
        given = getattr(command, option)
        if given is not None and not given >= least:  # nor is what is no number
            raise InputError(f"--{option.replace('_', '-')} is {given}; give at least {least}")
    judge = partial(delays, timing=timing, workers=command.workers or len(os.sched_getaffinity(0)))
    about = {
        "policy": policy.name,
        "identity": policy.identity,
        "scenario": scenario.name,
        "files_sha256": scenario.hashes(),
        "timing": asdict(timing),
        "python": platform.python_version(),
        "intergreen": importlib.metadata.version("intergreen"),
    }
    said = partial(say, error=True)
    if "plan" in command.format:
        signals = compile_signals(scenario.network, timing).tls_ids
        seal = plan_seal(Seal.of(command, signals, scenario, _sha256(scenario.net_file)), signals, command.out)
        plan = PlanSettings(times=command.plan_windows, budget=command.plan_budget, seed=command.seed)
        seeds = EVALUATION_SEEDS[: command.plan_seeds]
        paths, delay_s = export_plans(
            command.out, policy.make, scenario, timing, judge, plan, seeds, about, seal,  # type: ignore[arg-type]
            lambda done, total, what: said(f"{done} of {total} runs: {what}"),
        )  # fmt: skip
        say("\n".join(map(str, paths)))
        told = ", ".join(f"{name} {fmean(values):.1f} s" for name, values in delay_s.items())
        say(f"mean delay on {len(seeds)} seeds that no plan was tuned on: {told}")
    if "tree" in command.format:
        if not hasattr(policy.make(), "scores"):
            raise InputError(f"{policy.name} does not say what it thinks of each phase; give a run directory")
        tree = TreeSettings(
            rounds=command.tree_rounds, leaves=command.tree_leaves, tolerance=command.tree_tolerance,
            seed=command.seed,
        )  # fmt: skip
        found = distil(policy.make, partial(judge, scenario), tree, said)  # type: ignore[arg-type]
        if not found.offered:
            say(f"failed: {found.verdict}; allow more --tree-leaves or a greater --tree-tolerance", error=True)
            return 1
        say("\n".join(map(str, write_tree(command.out, found, about))))
        say(found.verdict)
    return 0


def _world(command: argparse.Namespace, policy: Named) -> tuple[Scenario, Timing]:
    """Where a policy is watched: on its own scenario, unless another one is named."""
    if isinstance(policy.make(), ProgramControl):
        raise InputError(f"{policy.name} chooses no phases, so there is nothing to derive; give a policy")
    job = job_of(policy.settings[0], Path(policy.name) / SETTINGS) if policy.settings else None
    timing = timing_of(job.timing) if job else Timing()
    if command.scenario is not None:
        return load(command.scenario, begin_s=command.begin, end_s=command.end), timing
    if job is None:
        raise InputError(f"{policy.name} has no scenario of its own; give --scenario")
    return job.load(command.begin, command.end), timing


def _subject(source: Source, tls_id: str) -> Subject:
    network, alone = source.scenario.network, source.setup.plan.only([tls_id]).intersections
    loops = plan_loops(alone, network) if source.setup.sensing == DETECTORS else None
    return Subject.of(alone[0], build_layout(alone, network), loops, source.setup.sensing)


def _golden(source: Source, subject: Subject, inputs: Rows) -> Golden:
    """These situations with what the trained policy says, its phase chosen as `controllers.base.choose` does."""
    scores = reference_scores(source.controller, subject.inputs, inputs)
    favoured = scores.astype(np.float64) + TIE * inputs[:, subject.inputs.current]
    return Golden(inputs, scores, np.argmax(favoured, axis=1))


def _tell(out: Path, subject: Subject, checks: Mapping[str, Any], sealed: str) -> None:
    onnx, c, tls_id = checks["onnx"], checks["c"], subject.intersection.tls_id
    say(f"{out}: signal {tls_id!r}, {len(subject.inputs)} inputs, {len(subject.plan.actions)} actions")
    say(f"  ONNX: the trained policy's phase in {onnx['same_phase']:,} of {onnx['count']:,} situations")
    say(f"  C: {checks['c_note'] or 'the same in {:,} of {:,}'.format(c['same_phase'], c['count'])}")
    say(f"  {sealed}")


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}


if __name__ == "__main__":
    run_command(main)
