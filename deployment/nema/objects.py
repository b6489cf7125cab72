"""Plans as the objects of a controller, to be written in one transaction, and read back.

An object is (name, index, value): the name of `deployment.nema.oids.OBJECTS`, the row, and a whole number, octets, or
an OID. A pattern's split table has the pattern's number. Patterns, splits, sequences and actions that are not named
stay as they are.

Derived from NTCIP 1202 and NTCIP 1201. Used by permission.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deployment.nema import oids
from deployment.nema.oids import OBJECTS, Oid
from deployment.nema.pattern import MODES, Event, Pattern, SignalPlans, Split, check_signal
from plumbing.errors import InputError
from signals.nema import NemaPlan

DAY_PLAN = 1
SCHEDULE = 1
"""Of the schedule, the row that asks for the day plan on every day."""
EVERY_MONTH, EVERY_DAY, EVERY_DATE = 0b1_1111_1111_1110, 0b1111_1110, 0xFFFF_FFFE
MOST_ROW = 255
"""A plan's tables number their rows in one octet."""
Value = int | bytes | Oid
PlanObject = tuple[str, tuple[int, ...], Value]


def plan_objects(plans: SignalPlans, day: Sequence[Event]) -> list[PlanObject]:
    """What is to be written, in order. All or nothing: what cannot be run is refused before anything is listed.

    Raises:
        InputError: a pattern or the day plan is not fit for this controller.
    """
    check_signal(plans, day)
    found: list[PlanObject] = []
    sequences = list(dict.fromkeys(pattern.sequence for pattern in plans.patterns))
    for number, sequence in enumerate(sequences, start=1):
        found += [("sequenceData", (number, ring), bytes(order)) for ring, order in enumerate(sequence, start=1)]
    for pattern in plans.patterns:
        for split in pattern.splits:
            row = (pattern.number, split.phase)
            found += [
                ("splitTime", row, split.split_s),
                ("splitMode", row, MODES[split.mode]),
                ("splitCoordPhase", row, int(split.coordinated)),
            ]
    for pattern in plans.patterns:
        found += [
            ("patternCycleTime", (pattern.number,), pattern.cycle_s),
            ("patternOffsetTime", (pattern.number,), pattern.offset_s),
            ("patternSplitNumber", (pattern.number,), pattern.number),
            ("patternSequenceNumber", (pattern.number,), sequences.index(pattern.sequence) + 1),
        ]
    # an action for each pattern, under its number
    found += [("timebaseAscPattern", (pattern.number,), pattern.number) for pattern in plans.patterns]
    for number, event in enumerate(day, start=1):
        row = (DAY_PLAN, number)
        found += [
            ("dayPlanHour", row, event.minute // 60),
            ("dayPlanMinute", row, event.minute % 60),
            ("dayPlanActionNumberOID", row, (*oids.TIMEBASE_ACTION_ROW, event.pattern)),
        ]
    found += [
        ("timeBaseScheduleMonth", (SCHEDULE,), EVERY_MONTH),
        ("timeBaseScheduleDay", (SCHEDULE,), EVERY_DAY),
        ("timeBaseScheduleDate", (SCHEDULE,), EVERY_DATE),
        ("timeBaseScheduleDayPlan", (SCHEDULE,), DAY_PLAN),
    ]
    return found


def select_pattern(number: int) -> PlanObject:
    """What makes the controller run a pattern now, whatever its day plan says; 0 lets the day plan decide again."""
    if not 0 <= number <= oids.MOST_PATTERN:
        raise InputError(f"pattern {number}: patterns have numbers 1 to {oids.MOST_PATTERN}, 0 is the day plan's")
    return ("systemPatternControl", (), number)


def read_objects(objects: Sequence[PlanObject], nema: NemaPlan) -> tuple[SignalPlans, tuple[Event, ...]]:
    """The plans that these objects hold: the inverse of `plan_objects`, for what a controller reads back.

    Raises:
        InputError: an object is missing or holds what it cannot, or the plans cannot be run.
    """
    values = {(name, index): value for name, index, value in objects}

    def number(name: str, *index: int) -> int:
        value = values.get((name, index))
        if not isinstance(value, int):
            raise InputError(
                f"the controller's {name}.{'.'.join(map(str, index))} is {value!r}; download the plans anew"
            )
        return value

    modes = {code: mode for mode, code in MODES.items()}
    patterns = []
    for n in sorted(index[0] for name, index in values if name == "patternCycleTime"):
        table, order = number("patternSplitNumber", n), number("patternSequenceNumber", n)
        splits = []
        for phase in nema.phases:
            code = number("splitMode", table, phase.number)
            if code not in modes:
                raise InputError(
                    f"the controller's splitMode.{table}.{phase.number} is {code}; download the plans anew"
                )
            coordinated = bool(number("splitCoordPhase", table, phase.number))
            splits.append(Split(phase.number, number("splitTime", table, phase.number), modes[code], coordinated))
        sequence = []
        for ring in range(1, len(nema.rings) + 1):
            octets = values.get(("sequenceData", (order, ring)))
            if not isinstance(octets, bytes):
                raise InputError(f"the controller's sequenceData.{order}.{ring} is missing; download the plans anew")
            sequence.append(tuple(octets))
        cycle_s, offset_s = number("patternCycleTime", n), number("patternOffsetTime", n)
        patterns.append(Pattern(n, cycle_s, offset_s, tuple(sequence), tuple(splits)))
    day = []
    for _, row in sorted(key for key in values if key[0] == "dayPlanHour" and key[1][0] == DAY_PLAN):
        action = values.get(("dayPlanActionNumberOID", row), ())
        if action == oids.NO_ACTION:
            continue
        if not isinstance(action, tuple) or action[:-1] != oids.TIMEBASE_ACTION_ROW:
            raise InputError(f"the controller's day plan event {row[1]} names no action; download the plans anew")
        minute = number("dayPlanHour", *row) * 60 + number("dayPlanMinute", *row)
        day.append(Event(minute, number("timebaseAscPattern", action[-1])))
    plans, events = SignalPlans(nema, tuple(patterns)), tuple(sorted(day, key=lambda event: event.minute))
    check_signal(plans, events)
    return plans, events


def objects_json(objects: Sequence[PlanObject]) -> list[dict[str, Any]]:
    """Plain values, each with its OID: octets as a list of numbers, an OID as a string."""
    found = []
    for name, index, value in objects:
        plain: Any = (
            list(value) if isinstance(value, bytes) else oids.dotted(value) if isinstance(value, tuple) else value
        )
        found.append(
            {"object": name, "index": list(index), "oid": oids.dotted(OBJECTS[name].at(*index)), "value": plain}
        )
    return found


def objects_from_json(content: Sequence[Mapping[str, Any]]) -> list[PlanObject]:
    """The inverse of `objects_json`.

    Raises:
        InputError: an object is unknown or there twice, or its row or value is none that a controller holds.
    """
    found: dict[tuple[str, tuple[int, ...]], Value] = {}
    for entry in content:
        name = str(entry.get("object"))
        if name not in OBJECTS or OBJECTS[name].area != "plan":
            raise InputError(f"object {name!r} is no part of a plan; write the plans anew")
        index, value = entry.get("index"), entry.get("value")
        if not isinstance(index, list) or len(index) != OBJECTS[name].indices or not _whole(index, 1, MOST_ROW):
            raise InputError(f"object {name!r} has no row {index!r}; write the plans anew")
        row = tuple(index)
        if (name, row) in found:
            raise InputError(f"object {name!r} is there twice for row {index}; write the plans anew")
        if entry.get("oid", oids.dotted(OBJECTS[name].at(*row))) != oids.dotted(OBJECTS[name].at(*row)):
            raise InputError(f"object {name!r}, row {index}, is not {entry['oid']!r}; write the plans anew")
        try:
            found[name, row] = _value(OBJECTS[name], value)
        except ValueError as error:
            raise InputError(f"object {name!r}, row {index}, holds {value!r}; write the plans anew") from error
    return [(name, row, value) for (name, row), value in found.items()]


def _value(item: oids.Object, plain: Any) -> Value:
    """A value as the controller holds it; ValueError where it is none."""
    if item.syntax == "integer" and _whole([plain], item.low, item.high):
        return int(plain)
    if item.syntax == "octets" and isinstance(plain, list) and _whole(plain, 0, 255):
        return bytes(plain)
    if item.syntax == "oid" and isinstance(plain, str):
        return oids.parse(plain)
    raise ValueError(plain)


def _whole(numbers: Sequence[Any], low: int, high: int) -> bool:
    return all(type(n) is int and low <= n <= high for n in numbers)
