"""The tables of a bundle: what each input is, what each action does, timing and conflicts; one JSON document each.

All follows from the intersection, its layout and its loops. Whoever reads a bundle derives the documents again and
compares, so that what an engineer reads is what the policy uses.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from deployment.nema.codec import encode
from deployment.nema.fallback import FixedTimePlan, fallback_plan
from signals.inputs import DETECTORS, PHASES, Input, InputTable
from signals.intersection import Intersection
from signals.layout import Layout, build_layout
from signals.loops import GAP_LIMIT_S, LoopPlan, plan_loops
from signals.nema import NemaPlan, nema_plan
from signals.network import RoadNetwork
from signals.observations import LIMIT, PhaseObservation
from signals.phases import is_green
from signals.timing import Timing

BACKUP_S = 10.0
"""unitBackupTime: so long after the last write, the controller leaves the policy and runs by its own tables."""
_LONGEST_S = 7 * 86_400.0  # a week: no age of a phase is greater where somebody looks after the signal
_MOST_VEH = 100_000.0
_GREATEST_FLOW_VPS = 2.0  # [veh/s] of a lane, four times what traffic reaches: more is a detector that chatters


@dataclass(frozen=True)
class Subject:
    """The signal of a bundle, with its sensing and timing."""

    intersection: Intersection
    layout: Layout
    loops: LoopPlan | None
    """None for a policy that sees every vehicle."""
    timing: Timing
    plan: NemaPlan
    fallback: FixedTimePlan
    inputs: InputTable

    @staticmethod
    def of(
        intersection: Intersection, layout: Layout, loops: LoopPlan | None, sensing: str, observation: str = PHASES
    ) -> Subject:
        """The subject of these parts, with the plans and inputs that follow from them."""
        plan = nema_plan(intersection)
        return Subject(
            intersection,
            layout,
            loops,
            intersection.times.timing,
            plan,
            fallback_plan(intersection, plan),
            InputTable(layout, sensing, observation),
        )

    @staticmethod
    def alone(item: Intersection, network: RoadNetwork, sensing: str, observation: str = PHASES) -> Subject:
        """One signal of a network by itself, sensed and observed like this."""
        loops = plan_loops((item,), network) if sensing == DETECTORS else None
        return Subject.of(item, build_layout((item,), network), loops, sensing, observation)


def loop_ids(loops: LoopPlan) -> tuple[str, ...]:
    """Every loop once; loop n is detector n + 1. The order is that of `signals.loops.LoopReader.ids`."""
    advance = (name for group in loops.advance for name, _ in group)
    return tuple(dict.fromkeys((*loops.stop_bar, *advance)))


def documents(subject: Subject) -> dict[str, Any]:
    """Every table that follows from the subject: file name to content."""
    return {
        "observation.json": observation_document(subject),
        "actions.json": actions_document(subject),
        "timing.json": timing_document(subject),
        "conflicts.json": conflicts_document(subject),
        "fallback_plan.json": encode(subject.fallback),
    }


def observation_document(subject: Subject) -> dict[str, Any]:
    """Every input, and what is needed to compute it: layout, loops, detectors."""
    loops = subject.loops
    numbers = {name: n for n, name in enumerate(loop_ids(loops), start=1)} if loops else {}
    meanings = feature_meanings(subject.inputs.kind)
    rows = []
    for n, i in enumerate(subject.inputs.inputs):
        meaning, unit = meanings[i.block, i.feature]
        row: dict[str, Any] = {"index": n, "name": i.name, "meaning": meaning, "unit": unit}
        row |= {"of": _owner(subject, i), "low": 0.0, "high": _high(subject, i), "limited_at": i.scale * LIMIT}
        row |= {"detectors": _detectors(loops, subject, i, numbers), "nema_phases": list(_nema(subject, i))}
        rows.append(row)
    places = loops.places if loops else {}
    kinds = dict.fromkeys(numbers, "advance") | dict.fromkeys(loops.stop_bar if loops else (), "stop bar")
    return {
        "sensing": subject.inputs.sensing,
        # left out where a bundle of an earlier version has none
        **({} if subject.inputs.observation == PHASES else {"observation": subject.inputs.observation}),
        "inputs": rows,
        "detectors": [
            {"number": number, "kind": kinds[name], "loop": name, "lane": places[name][0], "at_m": places[name][1]}
            for name, number in numbers.items()
        ],
        "loops": None if loops is None else encode(loops),
        "layout": encode(subject.layout),
    }


def feature_meanings(kind: type[PhaseObservation]) -> dict[tuple[str, str], tuple[str, str]]:
    """(block, feature) to meaning and unit, from the tables that define the observation."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    block = ""
    for line in (kind.__doc__ or "").splitlines():
        if " block, for each" in line:
            block = line.strip().split(" ")[0].lower()
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 5 and cells[0].isdigit():
            found[block, cells[1]] = cells[2], cells[3]
    return found


def _owner(subject: Subject, i: Input) -> str:
    item = subject.intersection
    if i.block == "phase":
        return f"phase {i.slot}: {item.phases[i.slot].name}"
    movement = item.movements[i.slot]
    return f"movement {i.slot}: {movement.from_edge} to {movement.to_edge}"


def _nema(subject: Subject, i: Input) -> tuple[int, ...]:
    plan = subject.plan
    if i.block == "phase":
        return plan.actions[i.slot]
    links = set(subject.intersection.movements[i.slot].links)
    own = [p.number for p in plan.phases if links & {*p.links, *p.crossings}]
    return tuple(sorted({*own, *(n for o in plan.overlaps if links & set(o.links) for n in o.phases)}))


def _lanes(subject: Subject, i: Input) -> list[tuple[int, float]]:
    """The controlled lanes that an input sums over, with the greatest weight that each may have."""
    layout = subject.layout
    gather = layout.phase_streams if i.block == "phase" else layout.movement_streams
    found: dict[int, float] = {}
    for b, weight in zip(gather.index[0, i.slot].tolist(), gather.weight[0, i.slot].tolist(), strict=True):
        if weight:  # a stream may have all of its lane's vehicles, but several of one lane have no more than these
            c = int(layout.stream_lane[b])
            found[c] = max(found.get(c, 0.0), weight)
    return list(found.items())


def _detectors(loops: LoopPlan | None, subject: Subject, i: Input, numbers: dict[str, int]) -> list[int]:
    lanes = [c for c, _ in _lanes(subject, i)]
    if loops is None or i.feature == "call":
        return []
    if i.feature in ("occupied", "occupancy", "gap", "healthy"):
        return sorted({numbers[loops.stop_bar[c]] for c in lanes})
    if i.feature in ("arrivals", "new_arrivals", "flow", "backed_up"):
        return sorted({numbers[name] for c in lanes for name, _ in loops.advance[c]})
    if i.feature in ("queue", "expected"):
        return sorted({numbers[name] for c in lanes for name in (loops.stop_bar[c], *dict(loops.advance[c]))})
    return sorted(numbers.values()) if i.feature in ("regret", "plan_cost") else []


def input_highs(subject: Subject) -> tuple[float, ...]:
    """[N] the greatest value of each input that is physically possible."""
    return tuple(_high(subject, i) for i in subject.inputs.inputs)


def _high(subject: Subject, i: Input) -> float:
    """The greatest value that is physically possible."""
    lanes = sum(weight for _, weight in _lanes(subject, i))
    match i.feature:
        case "selectable" | "current" | "changing" | "healthy" | "call":
            return 1.0
        case "green_age" | "since_served":
            return _LONGEST_S
        case "change":
            return float(subject.layout.change_s[0, :, i.slot].max())
        case "occupied" | "occupancy" | "backed_up" if subject.loops is not None:
            return lanes
        case "gap":
            return lanes * GAP_LIMIT_S
        case "flow" if subject.loops is not None:
            advance = subject.loops.advance
            loops = sum(w * sum(share for _, share in advance[c]) for c, w in _lanes(subject, i))
            return loops * _GREATEST_FLOW_VPS * subject.timing.decision_interval_s
        case _:
            return _MOST_VEH


def actions_document(subject: Subject) -> dict[str, Any]:
    """What each phase of the policy shows, and everything else that the intersection is made of."""
    item, plan = subject.intersection, subject.plan
    return {
        "actions": [
            {"action": p.index, "name": p.name, "state": p.state, "nema_phases": list(plan.actions[p.index])}
            for p in item.phases
        ],
        "changes": [
            {"from": old, "to": new, "shown": [[i.duration_s, i.state] for i in shown]}
            for (old, new), shown in item.changes.items()
        ],
        "intersection": encode(item),
    }


def timing_document(subject: Subject) -> dict[str, Any]:
    """What the controller's tables have to hold, and the clocks of the policy."""
    return {
        "unit": "s",
        "decision_interval_s": subject.timing.decision_interval_s,
        "backup_time_s": BACKUP_S,
        "plan": encode(subject.plan),
    }


def conflicts_document(subject: Subject) -> dict[str, Any]:
    """Which links, and which NEMA phases, may never be green together."""
    table, plan = subject.intersection.table, subject.plan
    numbers = [phase.number for phase in plan.phases]
    pairs = [(a, b) for a, b in itertools.combinations(numbers, 2) if b in plan.phase(a).concurrent]
    return {
        "links": [
            {
                "link": link.index,
                "pedestrian": link.pedestrian,
                "ways": [[c.from_lane, c.to_lane] for c in link.connections],
                "green_in_actions": [p.index for p in subject.intersection.phases if is_green(p.state[link.index])],
            }
            for link in table.links
        ],
        "conflicts": _rows(table.conflicts),
        "gives_way": _rows(table.yields),
        "nema_pairs_allowed": [list(pair) for pair in pairs],
        "nema_pairs_forbidden": [[a, b] for a, b in itertools.combinations(numbers, 2) if (a, b) not in pairs],
    }


def _rows(matrix: np.ndarray[Any, np.dtype[np.bool_]]) -> list[str]:
    """A row per link, a character per other link, from link 0 on."""
    return ["".join("1" if cell else "0" for cell in row) for row in matrix.tolist()]
