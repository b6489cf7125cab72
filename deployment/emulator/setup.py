"""A controller's tables as a NEMA plan fills them: every instance of every table object, by OID.

Derived from NTCIP 1202. Used by permission.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from deployment.emulator.settings import TICKS_PER_S, Detector, Separation, mask
from deployment.nema import oids
from signals.intersection import Intersection
from signals.loops import LoopPlan
from signals.nema import NemaPlan

Value = int | bytes | oids.Oid
Values = dict[oids.Oid, Value]

PATTERNS, SPLITS, SEQUENCES, ACTIONS = 48, 32, 16, 48
SCHEDULES, DAY_PLANS, DAY_PLAN_EVENTS = 16, 16, 16
MOST_PREEMPTS = 4
BACKUP_S, REPORT_PERIOD_S = 10, 60
EXTENDS_BIT, CALLS_BIT = 1 << 4, 1 << 7
"""Of vehicleDetectorOptions."""
_OPTIONS = 1 << 10 | 1 << 13  # dual entry, rest in walk


ENTERPRISE = b"\x80\x00\x04\xb6\x04"  # NEMA's number, 1206, and a text (RFC 3411, SnmpEngineID)


def engine_id_for(scenario: str, tls_id: str) -> bytes:
    """The engine id of the emulator of this signal, the same at each start: 17 octets."""
    return ENTERPRISE + hashlib.sha256(f"{scenario}/{tls_id}".encode()).digest()[:12]


@dataclass(frozen=True)
class Installation:
    """One controller at one intersection: the plan that it is set up with, and its detectors."""

    plan: NemaPlan
    detectors: tuple[Detector, ...]
    separations: dict[int, tuple[Separation, ...]] = field(default_factory=dict)

    @property
    def preempts(self) -> tuple[int, ...]:
        """Per preempt, the mask of the phases that it dwells in: those of the policy's first phases."""
        return tuple(mask(action) for action in self.plan.actions[:MOST_PREEMPTS])

    @staticmethod
    def of(plan: NemaPlan, item: Intersection, loops: LoopPlan) -> Installation:
        """What belongs to an intersection."""
        return Installation(plan, detectors_of(plan, item, loops), separations_of(plan, item))


def separations_of(plan: NemaPlan, item: Intersection) -> dict[int, tuple[Separation, ...]]:
    """Per phase, what it must not start into the tail of although both may be on together.

    Phases that exclude each other need none: their red clearance is long enough.
    """
    found = {}
    for phase in plan.phases:
        over = [o for o in plan.overlaps if phase.number in o.phases]
        starting = {*phase.links, *phase.crossings, *(i for o in over for i in o.links)}
        sources = [("phase", p.number, p.links) for p in plan.phases if p.number in phase.concurrent]
        sources += [("walk", p.number, p.crossings) for p in plan.phases if p.number in phase.concurrent]
        sources += [("overlap", o.number, o.links) for o in plan.overlaps if o not in over]
        rows = []
        for kind, number, ended in sources:
            needed = [item.times.clearance_s(i, j) for i in ended for j in starting if item.table.conflicts[i, j]]
            if needed:
                rows.append(Separation(kind, number, math.ceil(max(needed) * TICKS_PER_S - 1e-9)))
        found[phase.number] = tuple(rows)
    return found


def detectors_of(plan: NemaPlan, item: Intersection, loops: LoopPlan) -> tuple[Detector, ...]:
    """The detectors of an intersection, in the order of `signals.loops.LoopReader.ids`: detector 1 first.

    A stop-bar loop calls and extends the NEMA phases that its lane needs, an advance loop extends them.
    """
    stop_bar = dict.fromkeys(loops.stop_bar)
    ids = dict.fromkeys([*stop_bar, *(name for group in loops.advance for name, _ in group)])
    lanes = [zone.lane_id for zone in item.zones]
    wanted: dict[str, tuple[int, int]] = {}
    for lane, stop, advance in zip(lanes, loops.stop_bar, loops.advance, strict=True):
        needed, served = _phases_of_lane(plan, item, lane)
        for name in dict.fromkeys((stop, *(name for name, _ in advance))):
            calls, extends = wanted.get(name, (0, 0))
            wanted[name] = (calls | (mask(needed) if name in stop_bar else 0), extends | mask(served))
    return tuple(
        Detector(number, *wanted[name], lane=loops.places[name][0], loop=name)
        for number, name in enumerate(ids, start=1)
    )


def _phases_of_lane(plan: NemaPlan, item: Intersection, lane: str) -> tuple[list[int], list[int]]:
    """The fewest NEMA phases that let every link of a lane go, and all that let any."""
    links = {
        link.index
        for link in item.table.links
        if not link.pedestrian and any(c.from_lane == lane for c in link.connections)
    }
    shown = {
        phase.number: links
        & {*phase.links, *(i for over in plan.overlaps if phase.number in over.phases for i in over.links)}
        for phase in plan.phases
    }
    served = [number for number, own in shown.items() if own]
    open_links, needed = set().union(*shown.values()), []
    while open_links:
        best = max(served, key=lambda n: (len(shown[n] & open_links), -n))
        needed.append(best)
        open_links -= shown[best]
    return needed, served


def initial_values(installation: Installation, backup_s: int = BACKUP_S) -> Values:
    """Every writable table object's instances, and the fixed sizes."""
    plan = installation.plan
    values: Values = {
        oids.MAX_PHASES.at(): 8,
        oids.MAX_PHASE_GROUPS.at(): 1,
        oids.MAX_VEHICLE_DETECTORS.at(): len(installation.detectors),
        oids.MAX_DETECTOR_STATUS_GROUPS.at(): len(oids.groups(len(installation.detectors))),
        oids.VOLUME_OCCUPANCY_PERIOD.at(): REPORT_PERIOD_S,
        oids.UNIT_BACKUP_TIME.at(): backup_s,
        oids.UNIT_RED_REVERT.at(): max(_tenths(p.red_revert_s) for p in plan.phases),
        oids.MAX_PATTERNS.at(): PATTERNS,
        oids.MAX_SPLITS.at(): SPLITS,
        oids.MAX_TIMEBASE_ACTIONS.at(): ACTIONS,
        oids.MAX_PREEMPTS.at(): len(installation.preempts),
        oids.MAX_RINGS.at(): len(plan.rings),
        oids.MAX_SEQUENCES.at(): SEQUENCES,
        oids.MAX_SCHEDULE_ENTRIES.at(): SCHEDULES,
        oids.MAX_DAY_PLANS.at(): DAY_PLANS,
        oids.MAX_DAY_PLAN_EVENTS.at(): DAY_PLAN_EVENTS,
    }
    for phase in plan.phases:
        n = phase.number
        values |= {
            oids.PHASE_NUMBER.at(n): n,
            oids.PHASE_WALK.at(n): math.ceil(phase.walk_s),
            oids.PHASE_PEDESTRIAN_CLEAR.at(n): math.ceil(phase.pedestrian_clearance_s),
            oids.PHASE_MINIMUM_GREEN.at(n): math.ceil(phase.min_green_s),
            oids.PHASE_PASSAGE.at(n): _tenths(phase.passage_s),
            oids.PHASE_MAXIMUM_1.at(n): math.ceil(phase.max_green_s),
            oids.PHASE_YELLOW_CHANGE.at(n): _tenths(phase.yellow_change_s),
            oids.PHASE_RED_CLEAR.at(n): _tenths(phase.red_clearance_s),
            oids.PHASE_RED_REVERT.at(n): _tenths(phase.red_revert_s),
            oids.PHASE_OPTIONS.at(n): 1 | _OPTIONS,
            oids.PHASE_RING.at(n): phase.ring,
            oids.PHASE_CONCURRENCY.at(n): bytes(phase.concurrent),
        }
    for overlap in plan.overlaps:
        values[oids.OVERLAP_INCLUDED_PHASES.at(overlap.number)] = bytes(overlap.phases)
    for detector in installation.detectors:
        options = (EXTENDS_BIT if detector.extends else 0) | (CALLS_BIT if detector.calls else 0)
        first = detector.calls or detector.extends
        values[oids.DETECTOR_OPTIONS.at(detector.number)] = options
        values[oids.DETECTOR_CALL_PHASE.at(detector.number)] = (first & -first).bit_length()
    return values | _plan_values(plan.rings, [phase.number for phase in plan.phases])


def _plan_values(rings: Sequence[Sequence[int]], phases: Iterable[int]) -> Values:
    values: Values = {}
    for n in range(1, PATTERNS + 1):
        values |= {
            oids.PATTERN_CYCLE_TIME.at(n): 0,
            oids.PATTERN_OFFSET_TIME.at(n): 0,
            oids.PATTERN_SPLIT_NUMBER.at(n): min(n, SPLITS),
            oids.PATTERN_SEQUENCE_NUMBER.at(n): 1,
        }
    for n in range(1, SPLITS + 1):
        for phase in phases:
            values[oids.SPLIT_TIME.at(n, phase)] = 0
            values[oids.SPLIT_MODE.at(n, phase)] = oids.SPLIT_NONE
            values[oids.SPLIT_COORD_PHASE.at(n, phase)] = 0
    for n in range(1, SEQUENCES + 1):
        for ring, order in enumerate(rings, start=1):
            values[oids.SEQUENCE_DATA.at(n, ring)] = bytes(order)
    for n in range(1, ACTIONS + 1):
        values[oids.TIMEBASE_PATTERN.at(n)] = 0
    for n in range(1, SCHEDULES + 1):
        values |= {
            oids.SCHEDULE_MONTH.at(n): 0,
            oids.SCHEDULE_DAY.at(n): 0,
            oids.SCHEDULE_DATE.at(n): 0,
            oids.SCHEDULE_DAY_PLAN.at(n): 0,
        }
    for n in range(1, DAY_PLANS + 1):
        for event in range(1, DAY_PLAN_EVENTS + 1):
            values |= {
                oids.DAY_PLAN_HOUR.at(n, event): 0,
                oids.DAY_PLAN_MINUTE.at(n, event): 0,
                oids.DAY_PLAN_ACTION.at(n, event): oids.NO_ACTION,
            }
    return values


def _tenths(seconds: float) -> int:
    return math.ceil(seconds * 10 - 1e-9)
