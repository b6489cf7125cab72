"""Real networks that nothing here was tuned on: every rule beside fixed time, and whether a link starves.

Each network that the installed packages hold (`benchmarks.network_list`) gets traffic at the level that fixed time
just carries (`benchmarks.made_traffic`). Every controller runs with the same seeds. SUMO's own recordings then tell,
with the net file and by the independent monitor's reading, which links were red for too long while a vehicle waited,
which were never green although the network's program serves them, and what was shown that is not safe.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.made_traffic import Made, at_level, unfinished_share
from benchmarks.network_list import NETWORKS, Network
from benchmarks.network_page import page, table
from controllers.programs import ProgramControl
from controllers.registry import CONTROLLERS, make
from evaluation.contest import Contestant, Evaluation, Recording, RunFailed, RunResult, folder_names
from evaluation.monitor.check import check
from evaluation.monitor.files import MonitorInputError
from evaluation.monitor.rules import Rules
from evaluation.monitor.waiting import POSITIONS, ROUTES, longest_reds, never_green, waiting_options
from evaluation.progress import RunProgress
from evaluation.results.gridlock import signals_at
from evaluation.runs import cores_here, run_all
from plumbing.command import run_command
from plumbing.errors import InputError, did_you_mean
from plumbing.held import scratch
from plumbing.plain import finite_or_none
from plumbing.whole import write_whole
from scenarios.seeds import EVALUATION_SEEDS
from signals.intersection import SignalPlan, compile_signals
from signals.timing import Timing

RULES = ("fixed_time", "actuated", "max_pressure", "greedy", "sotl", "cop")
QUICK = ("RiLSA-2", "2way-single-intersection", "hiking")
HORIZON_S = 1200.0
BY_SPEED = Rules(deceleration_mps2=10 * 0.3048)
"""The monitor asks for yellow by the speed limit, as calculated intervals have it."""

EXAMPLES = f"""networks:
  {" ".join(NETWORKS)}

examples:
  python benchmarks/networks.py --quick
  python benchmarks/networks.py --networks DRT Nguyen --controllers fixed_time greedy cop --seeds 1 --json
  python benchmarks/networks.py --out benchmarks/NETWORKS.md

exit status: 0 ok, 1 a run failed, 2 bad input"""


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    options = parser().parse_args(arguments)
    if options.quick:
        options.networks, options.seeds = list(QUICK), 1
    check_options(options)
    words = sys.argv[1:] if arguments is None else arguments
    rows: list[dict[str, Any]] = []
    left_out = False
    for name in options.networks:
        try:
            rows.append(measure(NETWORKS[name], options))
        except RunFailed as error:  # of fixed time, before anything could be compared with it
            tell(f"{name} is left out: {error}")
            left_out = True
            continue
        if not options.json:
            print(table(rows[-1:], options.controllers, head=len(rows) == 1), flush=True)
        if options.out is not None:  # after each network, since all of them take hours
            text = page(rows, options.controllers, options.seeds, options.horizon, words)
            write_whole(options.out, functools.partial(_write, text))
    if options.json:
        print(json.dumps({"networks": rows}, indent=2))
    return 1 if left_out or any(row["failed"] for row in rows) else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    of = argparse.ArgumentParser(
        prog="benchmarks/networks.py", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    of.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME", help="default: all")
    of.add_argument(
        "--controllers", nargs="+", default=list(RULES), metavar="NAME", help=f"default: {' '.join(RULES)}"
    )
    of.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of each controller (default: 3)")
    of.add_argument("--horizon", type=float, default=HORIZON_S, metavar="S", help=f"default: {HORIZON_S:g} s")
    of.add_argument("--workers", type=int, metavar="W", help="simulations at a time (default: one per core)")
    of.add_argument(
        "--change-interval", default=Timing().change_interval, choices=("calculated", "fixed"),
        help="of our controllers; fixed: 3 s of yellow where the program has no longer one (default: calculated)",
    )  # fmt: skip
    of.add_argument("--quick", action="store_true", help=f"one seed on {', '.join(QUICK)}")
    of.add_argument("--json", action="store_true", help="print the figures for machines")
    of.add_argument("--out", type=Path, metavar="FILE", help="write the page (Markdown) there")
    return of


def check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot be measured.

    Raises:
        InputError: a number or a name is wrong.
    """
    for what, names, known in (
        ("networks", options.networks, NETWORKS),
        ("controllers", options.controllers, CONTROLLERS),
    ):
        for name in names:
            if name not in known:
                raise InputError(
                    f"--{what}: {name!r} is unknown; known are {', '.join(known)}.{did_you_mean(name, known)}"
                )
        if len(set(names)) < len(names):
            raise InputError(f"--{what}: a name is given twice; name each once")
    if "fixed_time" not in options.controllers:
        raise InputError("--controllers: fixed_time is missing, which all are compared with; add it")
    if not 1 <= options.seeds <= len(EVALUATION_SEEDS):
        raise InputError(f"--seeds is {options.seeds}; give 1 to {len(EVALUATION_SEEDS)}")
    if not 100.0 <= options.horizon <= 86_400.0:
        raise InputError(f"--horizon is {options.horizon:g}; give 100 to 86400 s")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"--workers is {options.workers}; give at least 1")


def measure(network: Network, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one network."""
    made = at_level(network, options.horizon, tell)
    scenario = made.scenario
    timing = Timing(change_interval=options.change_interval)
    plan = compile_signals(scenario.network, timing)
    names = [name for name in options.controllers if plan.intersections or _is_program(name)]
    row: dict[str, Any] = {
        "network": network.name,
        "town": network.town,
        "signals": len(scenario.network.programs),
        "controlled": len(plan.intersections),
        "left_alone": {refusal.tls_id: refusal.reason for refusal in plan.refusals},
        "level_vph": round(made.level_vph),
        "mark": made.mark,
        "walkers": scenario.demand_counts()[1],
        "failed": {},
        "controllers": {},
    }
    seeds = EVALUATION_SEEDS[: options.seeds]
    tell(f"{network.name}: {len(names)} controllers, {len(seeds)} seeds, {made.level_vph:,.0f} veh/h")
    with RunProgress(len(names) * len(seeds)) as progress:
        for name in names:
            try:
                row["controllers"][name] = judge(
                    made, plan, timing, name, seeds, options.workers or cores_here(), progress
                )
            except (InputError, RunFailed, MonitorInputError) as error:
                row["failed"][name] = str(error)
                tell(f"{network.name}: {name} failed: {error}")
    fixed = row["controllers"].get("fixed_time")
    for of in row["controllers"].values():
        of["ratio_to_fixed_time"] = of["delay_s"] / fixed["delay_s"] if fixed and fixed["delay_s"] else None
    return row


def judge(
    made: Made,
    plan: SignalPlan,
    timing: Timing,
    name: str,
    seeds: Sequence[int],
    workers: int,
    progress: RunProgress,
) -> dict[str, Any]:
    """A controller's runs, and what their recordings tell."""
    contestant = Contestant(name, functools.partial(make, name))
    with scratch("networks") as folder:
        recording = Recording((POSITIONS, ROUTES), waiting_options)
        evaluation = Evaluation(made.scenario, [contestant], seeds, timing, keep=folder, recording=recording)
        results = run_all(evaluation, workers, progress.advance)
        kept = folder / folder_names([contestant])[name]
        recorded = [kept / f"seed-{seed}" for seed in seeds]
        return {
            **delays(results, signals_at(made.scenario.network)),
            **recordings(made, plan, recorded, ours=not _is_program(name)),
        }


def delays(results: Sequence[RunResult], signals: Mapping[str, str]) -> dict[str, Any]:
    """Means over the runs.

    Args:
        signals: the signal of each junction that one controls.
    """
    metrics = [result.metrics for result in results]
    runs = len(metrics)
    return {
        "runs": runs,
        "delay_s": sum(of.delay_s for of in metrics) / runs,
        "delays_s": [of.delay_s for of in metrics],
        "gridlocked_runs": sum(of.gridlocked for of in metrics),
        "gridlocks": [[of.gridlock_at, of.gridlock_at in signals] if of.gridlocked else None for of in metrics],
        "unfinished_share": sum(map(unfinished_share, metrics)) / runs,
        "persons_unfinished": sum(of.persons_unfinished for of in metrics) / runs,
        "person_waiting_s": finite_or_none(sum(of.person_waiting_s for of in metrics) / runs),
    }


def recordings(made: Made, plan: SignalPlan, folders: Sequence[Path], *, ours: bool) -> dict[str, Any]:
    """What SUMO's recordings tell of the signals that can be controlled, over all runs."""
    net, additional, tls_ids = made.scenario.net_file, made.scenario.additional_files, plan.tls_ids
    longest: dict[tuple[str, int], Any] = {}
    unserved: set[tuple[str, int]] = set()
    kinds: dict[str, int] = {}
    for folder in folders:
        for red in longest_reds(net, folder, additional, tls_ids):
            known = longest.get((red.tls_id, red.link))
            if known is None or red.red_s > known.red_s:
                longest[red.tls_id, red.link] = red
        unserved |= set(never_green(net, folder, additional, tls_ids))
        for found in check(net, folder / "tls_states.xml", BY_SPEED, tls_ids) if ours else ():
            kinds[found.kind] = kinds.get(found.kind, 0) + 1
    starving = [red for red in longest.values() if red.starves]
    return {
        "longest_red_s": max((red.red_s for red in longest.values()), default=None),
        "starving": [[red.tls_id, red.link, red.red_s, red.bound_s] for red in starving],
        "never_green": [list(link) for link in sorted(unserved)],
        "findings": kinds if ours else None,
    }


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _is_program(name: str) -> bool:
    return isinstance(make(name), ProgramControl)


def tell(line: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main)
