"""From a controller's tables to what its ring logic reads, with everything checked that makes a plan unsafe or
impossible: the database transaction's verification.

Derived from NTCIP 1202. Used by permission.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from deployment.emulator.settings import (
    Detector,
    OverlapTimes,
    Pattern,
    PhaseTimes,
    ScheduleEntry,
    Settings,
    Split,
    mask,
    members,
)
from deployment.emulator.setup import ACTIONS, CALLS_BIT, EXTENDS_BIT, Installation, Values
from deployment.nema import oids

LEAST_YELLOW, MOST_YELLOW = 30, 60
"""[0.1 s] MUTCD 2009 section 4D.26: 3 to 6 s."""
LEAST_WALK = 40
"""[0.1 s] MUTCD 2009 section 4E.06, where it has to be short."""


class VerifyError(ValueError):
    """The tables make no sense; the message names the object and what is wrong with it."""


@dataclass(frozen=True)
class _Tables:
    values: Values

    def number(self, column: oids.Object, *index: int) -> int:
        value = self.values[column.at(*index)]
        assert isinstance(value, int)
        return value

    def octets(self, column: oids.Object, *index: int) -> tuple[int, ...]:
        value = self.values[column.at(*index)]
        assert isinstance(value, bytes)
        return tuple(value)

    def rows(self, column: oids.Object) -> list[int]:
        """The first index of each row."""
        size = len(column.oid)
        return sorted({oid[size] for oid in self.values if oid[:size] == column.oid})


def settings_of(values: Values, installation: Installation) -> Settings:
    """Read the tables.

    Raises:
        VerifyError: something in them contradicts another, or would be unsafe.
    """
    tables = _Tables(values)
    phases = {phase.number: _phase(tables, phase.number) for phase in installation.plan.phases}
    rings = range(1, len(installation.plan.rings) + 1)
    settings = Settings(
        phases,
        {over.number: _overlap(tables, over.number, phases) for over in installation.plan.overlaps},
        {detector.number: _detector(tables, detector, phases) for detector in installation.detectors},
        tables.number(oids.UNIT_BACKUP_TIME) * 10,
        max(tables.number(oids.VOLUME_OCCUPANCY_PERIOD), 1) * 10,
        {
            n: tuple(tables.octets(oids.SEQUENCE_DATA, n, ring) for ring in rings)
            for n in tables.rows(oids.SEQUENCE_DATA)
        },
        {n: _pattern(tables, n) for n in tables.rows(oids.PATTERN_CYCLE_TIME)},
        {n: {p: _split(tables, n, p) for p in phases} for n in tables.rows(oids.SPLIT_TIME)},
        {n: tables.number(oids.TIMEBASE_PATTERN, n) for n in tables.rows(oids.TIMEBASE_PATTERN)},
        tuple(_schedule(tables, n) for n in tables.rows(oids.SCHEDULE_MONTH)),
        {n: _day_plan(tables, n) for n in tables.rows(oids.DAY_PLAN_HOUR)},
        installation.preempts,
        installation.separations,
    )
    _check_timing(settings, installation)
    _check_sequences(settings, installation)
    for n, pattern in settings.patterns.items():
        if pattern.cycle_s:
            _check_pattern(settings, n, pattern)
    _check_days(settings)
    return settings


def _phase(tables: _Tables, n: int) -> PhaseTimes:
    return PhaseTimes(
        n,
        tables.number(oids.PHASE_RING, n),
        mask(tables.octets(oids.PHASE_CONCURRENCY, n)),
        tables.number(oids.PHASE_WALK, n) * 10,
        tables.number(oids.PHASE_PEDESTRIAN_CLEAR, n) * 10,
        tables.number(oids.PHASE_MINIMUM_GREEN, n) * 10,
        tables.number(oids.PHASE_PASSAGE, n),
        tables.number(oids.PHASE_MAXIMUM_1, n) * 10,
        tables.number(oids.PHASE_YELLOW_CHANGE, n),
        tables.number(oids.PHASE_RED_CLEAR, n),
        max(tables.number(oids.PHASE_RED_REVERT, n), tables.number(oids.UNIT_RED_REVERT)),
    )


def _overlap(tables: _Tables, number: int, phases: dict[int, PhaseTimes]) -> OverlapTimes:
    included = mask(tables.octets(oids.OVERLAP_INCLUDED_PHASES, number))
    friends = included
    for n in members(included):
        friends |= phases[n].concurrent
    return OverlapTimes(number, included, mask(phases) & ~friends)


def _detector(tables: _Tables, detector: Detector, phases: Container[int]) -> Detector:
    """As installed, unless the tables name another phase."""
    options = tables.number(oids.DETECTOR_OPTIONS, detector.number)
    phase = tables.number(oids.DETECTOR_CALL_PHASE, detector.number)
    calls, extends = detector.calls, detector.extends
    if phase and phase not in phases:
        raise VerifyError(f"vehicleDetectorCallPhase.{detector.number}: there is no phase {phase}")
    if phase not in members(calls or extends):
        calls = extends = mask([phase] if phase else [])
    return Detector(
        detector.number,
        calls if options & CALLS_BIT else 0,
        extends if options & EXTENDS_BIT else 0,
        detector.lane,
        detector.loop,
    )


def _pattern(tables: _Tables, n: int) -> Pattern:
    return Pattern(
        tables.number(oids.PATTERN_CYCLE_TIME, n),
        tables.number(oids.PATTERN_OFFSET_TIME, n),
        tables.number(oids.PATTERN_SPLIT_NUMBER, n),
        tables.number(oids.PATTERN_SEQUENCE_NUMBER, n),
    )


def _split(tables: _Tables, n: int, phase: int) -> Split:
    return Split(
        tables.number(oids.SPLIT_TIME, n, phase),
        tables.number(oids.SPLIT_MODE, n, phase),
        bool(tables.number(oids.SPLIT_COORD_PHASE, n, phase)),
    )


def _schedule(tables: _Tables, n: int) -> ScheduleEntry:
    columns = (oids.SCHEDULE_MONTH, oids.SCHEDULE_DAY, oids.SCHEDULE_DATE, oids.SCHEDULE_DAY_PLAN)
    return ScheduleEntry(*(tables.number(c, n) for c in columns))


def _day_plan(tables: _Tables, n: int) -> tuple[tuple[int, int], ...]:
    """(minute of the day, action), in order of time."""
    found = []
    size = len(oids.DAY_PLAN_ACTION.oid)
    for oid, value in tables.values.items():
        if oid[:size] == oids.DAY_PLAN_ACTION.oid and oid[size] == n and value != oids.NO_ACTION:
            event = oid[size + 1]
            row = oids.TIMEBASE_ACTION_ROW
            if not (isinstance(value, tuple) and value[:-1] == row and 1 <= value[-1] <= ACTIONS):
                raise VerifyError(
                    f"dayPlanActionNumberOID.{n}.{event}: {value!r} is none of {oids.dotted(row)}.1 to .{ACTIONS}"
                )
            minute = tables.number(oids.DAY_PLAN_HOUR, n, event) * 60 + tables.number(oids.DAY_PLAN_MINUTE, n, event)
            found.append((minute, value[-1]))
    return tuple(sorted(found))


def _check_timing(settings: Settings, installation: Installation) -> None:
    for n, phase in settings.phases.items():
        if not LEAST_YELLOW <= phase.yellow <= MOST_YELLOW:
            raise VerifyError(f"phaseYellowChange.{n}: {phase.yellow / 10:g} s; MUTCD allows 3 to 6 s")
        if phase.min_green < 10:
            raise VerifyError(f"phaseMinimumGreen.{n}: must be at least 1 s")
        if phase.maximum < phase.min_green:
            raise VerifyError(f"phaseMaximum1.{n}: less than the minimum green")
        crossing = bool(installation.plan.phase(n).crossings)
        if crossing and phase.walk < LEAST_WALK:
            raise VerifyError(f"phaseWalk.{n}: {phase.walk / 10:g} s; at least {LEAST_WALK / 10:g} s")
        if phase.walk and not crossing:
            raise VerifyError(f"phaseWalk.{n}: the phase has no crossing")
        planned = installation.plan.phase(n)
        if (phase.ring, phase.concurrent) != (planned.ring, mask(planned.concurrent)):
            raise VerifyError(f"phaseRing.{n}, phaseConcurrency.{n}: not as the intersection was wired")
        if not 0 <= phase.red_clear <= 100:
            raise VerifyError(f"phaseRedClear.{n}: more than 10 s")


def _check_sequences(settings: Settings, installation: Installation) -> None:
    for n, sequence in settings.sequences.items():
        for ring, (order, wired) in enumerate(zip(sequence, installation.plan.rings, strict=True), start=1):
            if sorted(order) != sorted(wired):
                raise VerifyError(
                    f"sequenceData.{n}.{ring}: {list(order)} is not the ring's phases {sorted(wired)}, each once"
                )
    components = settings.components()
    for n, sequence in settings.sequences.items():
        orders = []
        for ring, order in enumerate(sequence, start=1):
            groups = [next(g for g, group in enumerate(components) if group >> p - 1 & 1) for p in order]
            between = list(dict.fromkeys(groups))
            if len(between) != sum(a != b for a, b in zip(groups, [None, *groups[:-1]], strict=True)):
                raise VerifyError(f"sequenceData.{n}.{ring}: {list(order)} crosses a barrier and comes back")
            orders.append(between)
        for a in orders:
            for b in orders:
                if [g for g in a if g in b] != [g for g in b if g in a]:
                    raise VerifyError(f"sequenceData.{n}: its rings cross the barriers in different orders")


def _check_pattern(settings: Settings, n: int, pattern: Pattern) -> None:
    if pattern.offset_s >= pattern.cycle_s:
        raise VerifyError(f"patternOffsetTime.{n}: {pattern.offset_s} s is not less than the cycle")
    if pattern.split not in settings.splits:
        raise VerifyError(f"patternSplitNumber.{n}: there is no split {pattern.split}")
    if pattern.sequence not in settings.sequences:
        raise VerifyError(f"patternSequenceNumber.{n}: there is no sequence {pattern.sequence}")
    split = settings.splits[pattern.split]
    coordinated = [p for p, row in split.items() if row.coordinated]
    if not coordinated:
        raise VerifyError(f"splitCoordPhase.{pattern.split}: no phase is coordinated")
    for p, row in split.items():
        if not oids.SPLIT_NONE <= row.mode <= oids.SPLIT_OMIT:
            raise VerifyError(f"splitMode.{pattern.split}.{p}: {row.mode} is no mode of 2 to 7")
        if row.mode == oids.SPLIT_OMIT:
            if row.coordinated:
                raise VerifyError(f"splitMode.{pattern.split}.{p}: the coordinated phase cannot be omitted")
            continue
        least = settings.phases[p].least_service
        if row.time_s * 10 < least:
            raise VerifyError(
                f"splitTime.{pattern.split}.{p}: {row.time_s} s; its least service takes {least / 10:g} s"
            )
    total, groups = 0, []
    for group in settings.components():
        sums = {
            sum(split[p].time_s for p in order if group >> p - 1 & 1 and split[p].mode != oids.SPLIT_OMIT)
            for order in settings.sequences[pattern.sequence]
            if any(group >> p - 1 & 1 and split[p].mode != oids.SPLIT_OMIT for p in order)
        }
        if len(sums) > 1:
            names = ", ".join(map(str, members(group)))
            raise VerifyError(
                f"splitTime.{pattern.split}: the rings reach the barrier of phases {names} at different times, "
                f"{' and '.join(f'{s} s' for s in sorted(sums))}"
            )
        total += sum(sums)
        groups.append(group)
    if total != pattern.cycle_s:
        raise VerifyError(f"patternCycleTime.{n}: {pattern.cycle_s} s, its splits sum up to {total} s")
    if len({next(g for g in groups if g >> p - 1 & 1) for p in coordinated}) > 1:
        raise VerifyError(f"splitCoordPhase.{pattern.split}: the coordinated phases cannot be on together")


def _check_days(settings: Settings) -> None:
    for n, pattern in settings.actions.items():
        known = pattern in (0, oids.FREE, oids.FLASH)
        if not known and not (pattern in settings.patterns and settings.patterns[pattern].cycle_s):
            raise VerifyError(f"timebaseAscPattern.{n}: there is no pattern {pattern}")
    for n, entry in enumerate(settings.schedule, start=1):
        if entry.day_plan and not settings.day_plans.get(entry.day_plan):
            raise VerifyError(f"timeBaseScheduleDayPlan.{n}: day plan {entry.day_plan} has no event")
