"""The timing sheet as engineers hand it over: per NEMA phase what the controller's tables hold, the plan, the rings.

What is on it is here; `deployment.bundle.make.sheet_page` and `deployment.bundle.make.sheet_pdf` draw it.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployment.bundle.contents import BACKUP_S, Subject, loop_ids
from deployment.nema.safety import lit
from signals.nema import NemaPhase
from signals.network import Point
from signals.phases import is_green

COLUMNS = (
    ("phase", "Phase"),
    ("movement", "Movement"),
    ("ring", "Ring"),
    ("min_green", "Min green"),
    ("max_green", "Max green"),
    ("extension", "Vehicle extension"),
    ("yellow", "Yellow"),
    ("all_red", "All-red"),
    ("walk", "Walk"),
    ("dont_walk", "Flashing don't walk"),
    ("recall", "Recall"),
    ("split", "Split"),
    ("concurrent", "May run with"),
)
UNITS = {"min_green", "max_green", "extension", "yellow", "all_red", "walk", "dont_walk", "split"}
"""Columns in seconds."""


@dataclass(frozen=True)
class Path2D:
    """One way over the junction, as it is drawn."""

    points: tuple[Point, ...]
    """Within 0 and 1, y downwards."""
    kind: str
    """"go", "yield", "walk" or "rest"."""


@dataclass(frozen=True)
class Sketch:
    """The junction with what one action lets go."""

    title: str
    paths: tuple[Path2D, ...]


@dataclass(frozen=True)
class Block:
    """A NEMA phase in the ring-and-barrier diagram, in seconds of the cycle."""

    phase: int
    name: str
    ring: int
    begin_s: float
    split_s: float


@dataclass(frozen=True)
class Sheet:
    """Everything on the sheet, in words and shapes."""

    title: str
    facts: tuple[tuple[str, str], ...]
    rows: tuple[dict[str, str], ...]
    overlaps: tuple[tuple[str, str, str], ...]
    """Letter, NEMA phases, and the ways that are green with any of them."""
    cycle_s: float
    blocks: tuple[Block, ...]
    barriers_s: tuple[float, ...]
    sketches: tuple[Sketch, ...]
    detectors: tuple[tuple[str, str, str, str], ...]
    """Number, kind, lane, metres from the lane's beginning."""
    notes: tuple[str, ...]


def timing_sheet(subject: Subject, scenario: str, validity: str) -> Sheet:
    """The sheet of this signal."""
    item, plan, fallback = subject.intersection, subject.plan, subject.fallback
    begin: dict[int, float] = {}
    barriers, at = [], 0.0
    for group in fallback.groups:
        longest = 0.0
        for ring in fallback.sequence:
            within = at
            for n in (n for n in ring if n in group):
                begin[n] = within
                within += fallback.split_s(n)
            longest = max(longest, within - at)
        at += longest
        barriers.append(at)
    sequence = " / ".join(
        f"ring {r}: {' '.join(map(str, ring))}" for r, ring in enumerate(fallback.sequence, start=1)
    )
    return Sheet(
        title=f"Timing sheet: signal {item.tls_id}",
        facts=(
            ("Signal", item.tls_id),
            ("Network", scenario),
            ("Valid", validity),
            ("Cycle (fixed-time plan)", f"{fallback.cycle_s:g} s"),
            ("Offset", f"{fallback.offset_s:g} s"),
            ("Reference phase", f"{fallback.reference_phase}, beginning of green"),
            ("Sequence", sequence),
            ("Decision interval of the policy", f"{subject.timing.decision_interval_s:g} s"),
            ("Backup time", f"{BACKUP_S:g} s"),
        ),
        rows=tuple(_row(subject, phase) for phase in plan.phases),
        overlaps=tuple(
            (chr(ord("A") + overlap.number - 1), " + ".join(map(str, overlap.phases)), _ways(subject, overlap.links))
            for overlap in plan.overlaps
        ),
        cycle_s=fallback.cycle_s,
        blocks=tuple(
            Block(p.number, p.name, p.ring, begin[p.number], fallback.split_s(p.number)) for p in plan.phases
        ),
        barriers_s=tuple(barriers) if len(fallback.sequence) > 1 else (at,),
        sketches=_sketches(subject),
        detectors=_detectors(subject),
        notes=(
            "All times in seconds. Yellow: t + V/(2a + 2Gg) by the approach's speed limit, 3 to 6 s.",
            "All-red: (W + L)/V by geometry. Pedestrian clearance at 3.5 ft/s, yellow and all-red counted in.",
            "Recall: none while a policy or the controller's own detectors call; max in the fixed-time plan.",
            "The policy chooses among the actions by hold, force-off and calls; the controller times every interval.",
            "Without a write for the backup time the controller leaves the policy and runs by its own tables.",
            "Emulator-verified: no real cabinet has run this. An engineer checks and signs it before use.",
        ),
    )


def _ways(subject: Subject, links: tuple[int, ...]) -> str:
    table = subject.intersection.table
    ways = (f"{c.from_edge} to {c.to_edge}" for i in links for c in table.links[i].connections)
    return "; ".join(dict.fromkeys(ways))


def _row(subject: Subject, phase: NemaPhase) -> dict[str, str]:
    walks = bool(phase.crossings)
    return {
        "phase": str(phase.number),
        "movement": phase.name,
        "ring": str(phase.ring),
        "min_green": f"{phase.min_green_s:g}",
        "max_green": f"{phase.max_green_s:g}",
        "extension": f"{phase.passage_s:.1f}",
        "yellow": f"{phase.yellow_change_s:.1f}",
        "all_red": f"{phase.red_clearance_s:.1f}",
        "walk": f"{phase.walk_s:g}" if walks else "–",
        "dont_walk": f"{phase.pedestrian_clearance_s:g}" if walks else "–",
        "recall": "none",
        "split": f"{subject.fallback.split_s(phase.number):g}",
        "concurrent": ", ".join(map(str, phase.concurrent)) or "–",
    }


def _sketches(subject: Subject) -> tuple[Sketch, ...]:
    """One per action, all in the same place and scale."""
    item, plan = subject.intersection, subject.plan
    points = [p[:2] for link in item.table.links for path in link.paths for p in path]
    if not points:
        return ()
    left, top = min(p[0] for p in points), max(p[1] for p in points)
    size = max(max(p[0] for p in points) - left, top - min(p[1] for p in points), 1e-6)
    found = []
    for phase, action in zip(item.phases, plan.actions, strict=True):
        green = lit(plan, action)
        paths = []
        for link in item.table.links:
            kind = "rest"
            if link.index in green and is_green(phase.state[link.index]):
                gives_way = phase.state[link.index] in "go"
                kind = "walk" if link.pedestrian else "yield" if gives_way else "go"
            for path in link.paths:
                drawn = tuple(((p[0] - left) / size, (top - p[1]) / size) for p in path)
                paths.append(Path2D(drawn, kind))
        paths.sort(key=lambda p: p.kind != "rest")
        found.append(Sketch(f"Action {phase.index}: NEMA {' + '.join(map(str, action))}", tuple(paths)))
    return tuple(found)


def _detectors(subject: Subject) -> tuple[tuple[str, str, str, str], ...]:
    loops = subject.loops
    if loops is None:
        return ()
    stop = set(loops.stop_bar)
    rows = []
    for number, name in enumerate(loop_ids(loops), start=1):
        lane, at_m = loops.places[name]
        rows.append((str(number), "stop bar" if name in stop else "advance", lane, f"{at_m:.1f}"))
    return tuple(rows)
