"""The files that derived plans are handed over as, each written whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from controllers.base import Controller
from controllers.programs import GivenPrograms, ProgramControl
from deployment.bundle.sealed_plans import plan_files
from deployment.nema.pattern import PlanSet, clock, plan_set_from_json, plan_set_json
from deployment.plans.optimise import Derivation, Derived, Judge, PlanSettings, released
from deployment.plans.program import plans_xml
from deployment.plans.report import page, sheet
from deployment.plans.utdf import utdf_text
from plumbing.errors import InputError
from plumbing.plain import json_bytes, parse
from plumbing.whole import write_whole
from scenarios.scenario import Scenario
from signals.intersection import Intersection, compile_signals
from signals.timing import Timing

PLANS, PROGRAMS, UTDF, PAGE = "plans.json", "plans.add.xml", "plans.utdf.csv", "plans.md"
Sealer = Callable[[str, Mapping[str, bytes]], Path]
"""(tls id, files) to the folder in which they are sealed."""


def write_plans(
    out: Path,
    derived: Derived,
    scenario: Scenario,
    items: Mapping[str, Intersection],
    delay_s: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    provenance: Mapping[str, Any],
    seal: Sealer,
) -> list[Path]:
    """All files, and a sealed folder per signal; where each is. Nothing is written unless everything can be.

    UTDF holds one timing plan per file: the first pattern is plans.utdf.csv, the n-th plans-n.utdf.csv.

    Raises:
        InputError: a file cannot be made or written.
    """
    plans = derived.plans
    sealed = {signal.nema.tls_id: plan_files(signal, plans.day) for signal in plans.signals}
    judged = {"seeds": list(seeds), "delay_s": {name: list(values) for name, values in delay_s.items()}}
    stored = {
        **plan_set_json(plans),
        "judged": judged,
        "derivation": derived.record,
        "provenance": dict(provenance),
        "sheets": [sheet(signal, plans.day) for signal in plans.signals],
    }
    texts = {
        PLANS: json_bytes(stored).decode(),
        PROGRAMS: plans_xml(plans, items, scenario.begin_s, scenario.end_s),
        PAGE: page(plans, derived.record, delay_s, seeds, f"{scenario.name}, {_window(scenario)}"),
    }
    numbers = sorted({event.pattern for event in plans.day})
    try:
        for number in numbers:
            name = UTDF if number == numbers[0] else f"plans-{number}.utdf.csv"
            texts[name] = utdf_text(plans, number, items, scenario.network)
    except InputError as error:
        texts[PAGE] += f"\nNo UTDF: {error}.\n"
    for name, text in texts.items():
        write_whole(out / name, lambda path, text=text: path.write_text(text, encoding="utf-8"))  # type: ignore[misc]
    return [out / name for name in texts] + [seal(tls_id, files) for tls_id, files in sealed.items()]


def export_plans(
    out: Path,
    policy: Callable[[], Controller],
    scenario: Scenario,
    timing: Timing,
    judge: Judge,
    settings: PlanSettings,
    seeds: Sequence[int],
    provenance: Mapping[str, Any],
    seal: Sealer,
    on_progress: Callable[[int, int, str], object] = lambda done, total, what: None,
    tls_ids: Collection[str] | None = None,
) -> tuple[list[Path], dict[str, list[float]]]:
    """Derive plans from a policy, judge them, and write the files; where these are, and the delays.

    Args:
        judge: who runs simulations, with the policy's timing and signals.
        seeds: for the judgement, none of them a training seed.
        tls_ids: the signals that get plans; None for all.

    Raises:
        InputError: there is nothing to derive, the budget is too small, or a file cannot be written.
    """
    plan = compile_signals(scenario.network, timing).only(tls_ids)
    items = {item.tls_id: item for item in plan.intersections}
    derivation = Derivation(scenario, list(items.values()), judge, settings, on_progress)
    derived = derivation.derive(policy)
    makers = {
        name: partial(GivenPrograms, plans_xml(plans, items, scenario.begin_s, scenario.end_s))
        for name, plans in (("plan", derived.plans), ("own_greens", derivation.own_plans()))
    }
    contest = judge(scenario, {"policy": policy, "fixed_time": ProgramControl}, seeds)
    planned = released(scenario, [signal.nema.tls_id for signal in derived.plans.signals])
    judged = {**contest, **judge(planned, makers, seeds)}
    delay_s = {name: list(judged[name]) for name in ("policy", "plan", "own_greens", "fixed_time")}
    return write_plans(out, derived, scenario, items, delay_s, seeds, provenance, seal), delay_s


def read_plans(path: Path) -> PlanSet:
    """The plans of a plans.json.

    Raises:
        InputError: it is missing or none.
    """
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no plans ({error}); derive them with export.py plan") from error
    return plan_set_from_json(content)


def _window(scenario: Scenario) -> str:
    return f"{clock(scenario.begin_s / 60 % 1440)} to {clock(scenario.end_s / 60 % 1440)}"
