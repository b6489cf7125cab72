"""One signal, compiled: its links, phases, change intervals and approaches, ready to be controlled.

`compile_signals` takes a network apart into the signals that can be controlled and the ones that are left to
their own program, each with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from plumbing.errors import InputError, did_you_mean
from signals.approaches import DETECTION_M, Zone, controlled_lanes, zone
from signals.green_phases import green_phases
from signals.intergreen import ChangeTimes, Interval, change_intervals, settling_s
from signals.links import LinkTable, link_table
from signals.metering import metered_phases
from signals.nema_program import ordinary_program
from signals.network import Program, RoadNetwork
from signals.phases import RANK, STATE_CHARACTERS, Phase, PhaseSet, is_green
from signals.timing import Timing

log = logging.getLogger("intergreen.signals")
UNCONTROLLABLE_TYPES = {
    "railSignal": "a rail signal",
    "railCrossing": "a level crossing",
    "off": "switched off",
}


@dataclass(frozen=True, slots=True)
class Movement:
    """From an approach to an exit."""

    from_edge: str
    to_edge: str
    links: tuple[int, ...]
    lanes: tuple[str, ...]
    exit_lanes: tuple[str, ...]
    direction: str
    pedestrian: bool


@dataclass(frozen=True)
class Intersection:
    """Everything that is known of one controllable signal. Immutable; built by `compile_signals`."""

    tls_id: str
    program: Program
    table: LinkTable
    phases: tuple[Phase, ...]
    movements: tuple[Movement, ...]
    zones: tuple[Zone, ...]
    """Per controlled lane, where its vehicles are seen."""
    changes: dict[tuple[int, int], tuple[Interval, ...]]
    """Per ordered pair of phases, what is shown between them."""
    settling_s: dict[tuple[int, int], tuple[float, ...]]
    """Per ordered pair of phases, how long after the second has begun each phase may begin at the earliest."""
    times: ChangeTimes
    notes: tuple[str, ...]

    @cached_property
    def lanes(self) -> tuple[str, ...]:
        """The controlled lanes, in order of their first link."""
        return tuple(z.lane_id for z in self.zones)

    def intergreen_s(self, old: int, new: int) -> float:
        """Time from the end of one phase's green to the start of another's [s]."""
        return sum(interval.duration_s for interval in self.changes.get((old, new), ()))

    def serves(self, phase: int, movement: Movement) -> float:
        """How a phase serves a movement: 1 with priority, 0.5 yielding, 0 not at all."""
        state = self.phases[phase].state
        return {3: 1.0, 2: 0.5}.get(max(RANK[state[i]] for i in movement.links), 0.0)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A signal that is left to its own program, and why."""

    tls_id: str
    reason: str

    def __str__(self) -> str:
        return f"tls {self.tls_id} keeps its own program: {self.reason}"


@dataclass(frozen=True)
class SignalPlan:
    """The signals of one network: what can be controlled and what cannot."""

    intersections: tuple[Intersection, ...]
    refusals: tuple[Refusal, ...]

    @property
    def tls_ids(self) -> tuple[str, ...]:
        return tuple(i.tls_id for i in self.intersections)

    def only(self, tls_ids: Collection[str] | None) -> SignalPlan:
        """The same plan with just these signals controlled; None for all.

        Raises:
            InputError: an id is not that of a controllable signal.
        """
        if tls_ids is None:
            return self
        reasons = {refusal.tls_id: refusal.reason for refusal in self.refusals}
        for tls_id in tls_ids:
            if tls_id in reasons:
                raise InputError(f"tls {tls_id!r} cannot be controlled: {reasons[tls_id]}; choose another")
            if tls_id not in self.tls_ids:
                raise InputError(
                    f"tls {tls_id!r} is not in the network; it has {', '.join(self.tls_ids[:8]) or 'none'}."
                    f"{did_you_mean(tls_id, self.tls_ids)}"
                )
        return SignalPlan(tuple(i for i in self.intersections if i.tls_id in tls_ids), self.refusals)


def compile_signals(
    network: RoadNetwork, timing: Timing | None = None, *, detection_m: float = DETECTION_M
) -> SignalPlan:
    """Take every signal of the network apart. A signal that cannot be controlled is refused, not the network."""
    timing = timing or Timing()
    intersections, refusals = [], []
    for tls_id in sorted(network.programs):
        compiled = compile_signal(network, tls_id, timing, detection_m)
        if isinstance(compiled, Refusal):
            refusals.append(compiled)
            log.info("tls %r is left to its own program: %s", tls_id, compiled.reason)
        else:
            intersections.append(compiled)
    return SignalPlan(tuple(intersections), tuple(refusals))


def compile_signal(
    network: RoadNetwork, tls_id: str, timing: Timing, detection_m: float = DETECTION_M
) -> Intersection | Refusal:
    """Take one signal apart, or say why it cannot be controlled."""
    program = network.programs[tls_id][-1]
    if program.type in UNCONTROLLABLE_TYPES:
        return Refusal(tls_id, f"it is {UNCONTROLLABLE_TYPES[program.type]}")
    if reason := _unreadable(program):
        return Refusal(tls_id, reason)
    if not network.controlled.get(tls_id):
        return Refusal(tls_id, "it controls no link of this network")
    if others := network.sharing.get(tls_id):
        return Refusal(tls_id, f"it shares a junction with tls {others[0]!r}, and neither knows what the other shows")
    try:
        program = ordinary_program(program)
        table = link_table(network, tls_id, len(program.rows[0].state))
    except InputError as error:
        return Refusal(tls_id, str(error).split(": ", 1)[-1])
    met = bool(table.conflicts.any())
    found = green_phases(program, table, timing) if met else metered_phases(program, table, timing)
    if found.lost:
        told = " and ".join(str(i) for i in found.lost)
        return Refusal(
            tls_id,
            f"no phase can serve link {told}: connections that share its index conflict and neither gives way; "
            "give each an index of its own",
        )
    if len(found.phases) < 2:
        return Refusal(tls_id, _too_few(found, met))
    notes = list(found.notes)
    for link in table.links:
        if link.used and not any(is_green(p.state[link.index]) for p in found.phases):
            notes.append(f"link {link.index} is green in no phase")
    times = ChangeTimes(table, program, timing)
    changes = {
        (old.index, new.index): change_intervals(old, new, times)
        for old in found.phases
        for new in found.phases
        if old is not new
    }
    settling = {
        (old, new): tuple(settling_s(found.phases[old], found.phases[new], p, shown, times) for p in found.phases)
        for (old, new), shown in changes.items()
    }
    zones = tuple(zone(network, lane, detection_m) for lane in controlled_lanes(table.links))
    return Intersection(
        tls_id,
        program,
        table,
        found.phases,
        _movements(network, table),
        zones,
        changes,
        settling,
        times,
        tuple(notes),
    )


def _unreadable(program: Program) -> str | None:
    """Why no state of this program can be used, or None."""
    if not program.rows:
        return f"program {program.program_id!r} has no rows"
    sizes = {len(row.state) for row in program.rows}
    if len(sizes) > 1 or 0 in sizes:
        return f"program {program.program_id!r} has states of different lengths ({sorted(sizes)})"
    unknown = {c for row in program.rows for c in row.state} - set(STATE_CHARACTERS)
    if unknown:
        return f"program {program.program_id!r} has unknown signal characters {sorted(unknown)}"
    if all(c in "oO" for row in program.rows for c in row.state):
        return "its program is dark or blinking in every row"
    return None


def _too_few(found: PhaseSet, met: bool) -> str:
    """Why a signal with these phases is left to its program."""
    if not met and found.phases:
        return "none of its links conflict and its program never shows them all red, so there is nothing to decide"
    dropped = f" ({'; '.join(found.notes)})" if found.notes else ""
    count = "only one green phase" if found.phases else "no green phase"
    return f"its program has {count}, so there is nothing to decide{dropped}"


def _movements(network: RoadNetwork, table: LinkTable) -> tuple[Movement, ...]:
    groups: dict[tuple[str, str], list[tuple[int, str, str, str, bool]]] = {}
    for link in table.links:
        for c in link.connections:
            entry = (link.index, c.from_lane, c.to_lane, c.direction, link.pedestrian)
            ends = (c.from_edge, c.to_edge)
            if network.edges[c.from_edge].function == "crossing":  # pedestrians the other way come from its far end
                ends = (c.to_edge, c.from_edge)
            groups.setdefault(ends, []).append(entry)
    return tuple(
        Movement(
            from_edge,
            to_edge,
            links=tuple(dict.fromkeys(e[0] for e in entries)),
            lanes=tuple(dict.fromkeys(e[1] for e in entries)),
            exit_lanes=tuple(dict.fromkeys(e[2] for e in entries)),
            direction=entries[0][3],
            pedestrian=entries[0][4],
        )
        for (from_edge, to_edge), entries in groups.items()
    )


def explain(network: RoadNetwork, timing: Timing | None = None) -> list[str]:
    """Every signal of a network in words: phases, change intervals, what is controllable and why not."""
    plan = compile_signals(network, timing)
    lines = []
    for item in plan.intersections:
        lines += [f"{item.tls_id}: {len(item.phases)} phases, {len(item.lanes)} controlled lanes"]
        vehicle_links = sum(link.used and not link.pedestrian for link in item.table.links)
        crossings = sum(link.pedestrian for link in item.table.links)
        pairs = int(np.triu(item.table.conflicts, 1).sum())
        lines += [f"  links: {vehicle_links} for vehicles, {crossings} crossings; {pairs} conflicting pairs"]
        for phase in item.phases:
            bounds = f"green {phase.min_green_s:g} to {phase.max_green_s:g} s"
            lines += [f"  phase {phase.index}  {phase.state}  {bounds}  {phase.name}"]
        for (old, new), intervals in item.changes.items():
            shown = ", ".join(f"{i.state} {i.duration_s:g} s" for i in intervals) or "none needed"
            lines += [f"  {old} to {new}: {item.intergreen_s(old, new):g} s  {shown}"]
        shortest = min(item.zones, key=lambda z: z.length_m)
        lines += [f"  detection reaches {shortest.length_m:.0f} m or more upstream"]
        lines += [f"  note: {note}" for note in item.notes]
    lines += [f"{r.tls_id}: left to its own program: {r.reason}" for r in plan.refusals]
    return lines
