"""The objects of a signal controller that this project reads or writes, by name: NTCIP 1202 (actuated controllers),
NTCIP 1201 (global objects), a few of MIB-II and of RFC 3411. Bits of a group are numbered from its first phase or
detector.

Derived from NTCIP 1202 and NTCIP 1201. Used by permission.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Oid = tuple[int, ...]
ASC: Oid = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 1)
GLOBAL: Oid = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 6)
SYSTEM: Oid = (1, 3, 6, 1, 2, 1, 1)
GROUP_SIZE = 8
"""Phases, overlaps or detectors that one group object holds."""

# unitControlStatus
SYSTEM_CONTROL, SYSTEM_STANDBY, BACKUP_MODE, MANUAL_CONTROL, TIMEBASE_CONTROL = 2, 3, 4, 5, 6
# unitFlashStatus
NOT_FLASHING, AUTOMATIC_FLASH, MANUAL_FLASH, FAULT_FLASH, MMU_FLASH, STARTUP_FLASH, PREEMPT_FLASH = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
)
# systemPatternControl; 1 to 253 name a pattern
STANDBY, MOST_PATTERN, FREE, FLASH = 0, 253, 254, 255
# splitMode
SPLIT_NONE, SPLIT_MIN_RECALL, SPLIT_MAX_RECALL, SPLIT_PED_RECALL, SPLIT_MAX_PED_RECALL, SPLIT_OMIT = 2, 3, 4, 5, 6, 7
# preemptState
PREEMPT_NOT_ACTIVE, PREEMPT_NOT_ACTIVE_WITH_CALL, PREEMPT_ENTRY, PREEMPT_TRACK, PREEMPT_DWELL, PREEMPT_EXIT = (
    2, 3, 4, 5, 6, 8,
)  # fmt: skip
# dbCreateTransaction, and dbVerifyStatus
DB_NORMAL, DB_TRANSACTION, DB_VERIFY, DB_DONE = 1, 2, 3, 6
VERIFY_NOT_DONE, VERIFY_ERROR, VERIFY_NO_ERROR = 1, 2, 3

Area = Literal["status", "control", "plan", "timing", "database"]


@dataclass(frozen=True, slots=True)
class Object:
    """One object type."""

    name: str
    oid: Oid
    """Without index, and without a scalar's final 0."""
    kind: Literal["scalar", "column"]
    access: Literal["ro", "rw"]
    area: Area
    """"status": read only. "control": written from moment to moment, any write restarts the backup timer. "plan":
    patterns, splits, sequences, actions and day plans. "timing": phases, rings, overlaps, detectors and unit. Plan
    and timing are written inside a database transaction only. "database": the transaction itself."""
    syntax: Literal["integer", "octets", "oid", "ticks"] = "integer"
    low: int = 0
    high: int = 255
    """Of the integer."""
    indices: int = 1
    """How many numbers name a row; a scalar has none."""

    def at(self, *index: int) -> Oid:
        """The OID of an instance: `SPLIT_TIME.at(split, phase)`; a scalar takes no index."""
        expected = 0 if self.kind == "scalar" else self.indices
        if len(index) != expected:
            raise ValueError(f"{self.name} takes {expected} indices, got {index}")
        return self.oid + (index or (0,))


OBJECTS: dict[str, Object] = {}
"""By name."""


def _scalar(name: str, oid: Oid, area: Area, low: int = 0, high: int = 255, syntax: str = "integer") -> Object:
    return _add(name, oid, "scalar", area, low, high, syntax, 0)


def _column(
    name: str, oid: Oid, area: Area, low: int = 0, high: int = 255, syntax: str = "integer", indices: int = 1
) -> Object:
    return _add(name, oid, "column", area, low, high, syntax, indices)


def _add(name: str, oid: Oid, kind: str, area: Area, low: int, high: int, syntax: str, indices: int) -> Object:
    access = "ro" if area == "status" else "rw"
    made = Object(name, oid, kind, access, area, syntax, low, high, indices)  # type: ignore[arg-type]
    OBJECTS[name] = made
    return made


SYS_DESCR = _scalar("sysDescr", (*SYSTEM, 1), "status", syntax="octets")
SYS_UP_TIME = _scalar("sysUpTime", (*SYSTEM, 3), "status", high=2**32 - 1, syntax="ticks")
SYS_NAME = _scalar("sysName", (*SYSTEM, 5), "status", syntax="octets")
SNMP_ENGINE_ID = _scalar("snmpEngineID", (1, 3, 6, 1, 6, 3, 10, 2, 1, 1), "status", syntax="octets")
"""RFC 3411: 5 to 32 octets, another at each agent. SNMPv3 derives its keys from it."""

_PHASE, _STATUS, _CONTROL = (*ASC, 1, 2, 1), (*ASC, 1, 4, 1), (*ASC, 1, 5, 1)
MAX_PHASES = _scalar("maxPhases", (*ASC, 1, 1), "status")
PHASE_NUMBER = _column("phaseNumber", (*_PHASE, 1), "status")
PHASE_WALK = _column("phaseWalk", (*_PHASE, 2), "timing")  # [s]
PHASE_PEDESTRIAN_CLEAR = _column("phasePedestrianClear", (*_PHASE, 3), "timing")  # [s]
PHASE_MINIMUM_GREEN = _column("phaseMinimumGreen", (*_PHASE, 4), "timing")  # [s]
PHASE_PASSAGE = _column("phasePassage", (*_PHASE, 5), "timing")  # [0.1 s]
PHASE_MAXIMUM_1 = _column("phaseMaximum1", (*_PHASE, 6), "timing")  # [s]
PHASE_YELLOW_CHANGE = _column("phaseYellowChange", (*_PHASE, 8), "timing")  # [0.1 s]
PHASE_RED_CLEAR = _column("phaseRedClear", (*_PHASE, 9), "timing")  # [0.1 s]
PHASE_RED_REVERT = _column("phaseRedRevert", (*_PHASE, 10), "timing")  # [0.1 s]
PHASE_OPTIONS = _column("phaseOptions", (*_PHASE, 21), "timing", high=65535)
PHASE_RING = _column("phaseRing", (*_PHASE, 22), "timing")
PHASE_CONCURRENCY = _column("phaseConcurrency", (*_PHASE, 23), "timing", syntax="octets")  # an octet per phase

MAX_PHASE_GROUPS = _scalar("maxPhaseGroups", (*ASC, 1, 3), "status")
STATUS_REDS = _column("phaseStatusGroupReds", (*_STATUS, 2), "status")
STATUS_YELLOWS = _column("phaseStatusGroupYellows", (*_STATUS, 3), "status")
STATUS_GREENS = _column("phaseStatusGroupGreens", (*_STATUS, 4), "status")
STATUS_DONT_WALKS = _column("phaseStatusGroupDontWalks", (*_STATUS, 5), "status")
STATUS_PED_CLEARS = _column("phaseStatusGroupPedClears", (*_STATUS, 6), "status")
STATUS_WALKS = _column("phaseStatusGroupWalks", (*_STATUS, 7), "status")
STATUS_VEH_CALLS = _column("phaseStatusGroupVehCalls", (*_STATUS, 8), "status")
STATUS_PED_CALLS = _column("phaseStatusGroupPedCalls", (*_STATUS, 9), "status")
STATUS_PHASE_ONS = _column("phaseStatusGroupPhaseOns", (*_STATUS, 10), "status")
STATUS_PHASE_NEXTS = _column("phaseStatusGroupPhaseNexts", (*_STATUS, 11), "status")
CONTROL_PHASE_OMIT = _column("phaseControlGroupPhaseOmit", (*_CONTROL, 2), "control")
CONTROL_PED_OMIT = _column("phaseControlGroupPedOmit", (*_CONTROL, 3), "control")
CONTROL_HOLD = _column("phaseControlGroupHold", (*_CONTROL, 4), "control")
CONTROL_FORCE_OFF = _column("phaseControlGroupForceOff", (*_CONTROL, 5), "control")
CONTROL_VEH_CALL = _column("phaseControlGroupVehCall", (*_CONTROL, 6), "control")
CONTROL_PED_CALL = _column("phaseControlGroupPedCall", (*_CONTROL, 7), "control")

_DETECTOR = (*ASC, 2)
MAX_VEHICLE_DETECTORS = _scalar("maxVehicleDetectors", (*_DETECTOR, 1), "status")
DETECTOR_OPTIONS = _column("vehicleDetectorOptions", (*_DETECTOR, 2, 1, 2), "timing")  # bit 4 extends, bit 7 calls
DETECTOR_CALL_PHASE = _column("vehicleDetectorCallPhase", (*_DETECTOR, 2, 1, 4), "timing")
MAX_DETECTOR_STATUS_GROUPS = _scalar("maxVehicleDetectorStatusGroups", (*_DETECTOR, 3), "status")
DETECTOR_ACTIVE = _column("vehicleDetectorStatusGroupActive", (*_DETECTOR, 4, 1, 2), "status")
DETECTOR_ALARMS = _column("vehicleDetectorStatusGroupAlarms", (*_DETECTOR, 4, 1, 3), "status")
VOLUME_OCCUPANCY_SEQUENCE = _scalar("volumeOccupancySequence", (*_DETECTOR, 5, 1), "status")
VOLUME_OCCUPANCY_PERIOD = _scalar("volumeOccupancyPeriod", (*_DETECTOR, 5, 2), "timing")  # [s]
DETECTOR_VOLUME = _column("detectorVolume", (*_DETECTOR, 5, 4, 1, 1), "status")
DETECTOR_OCCUPANCY = _column("detectorOccupancy", (*_DETECTOR, 5, 4, 1, 2), "status")  # [0.5 %]
VEHICLE_DETECTOR_ACTUATION = _column("vehicleDetectorControlGroupActuation", (*_DETECTOR, 12, 1, 2), "control")
PEDESTRIAN_DETECTOR_ACTUATION = _column("pedestrianDetectorControlGroupActuation", (*_DETECTOR, 13, 1, 2), "control")

UNIT_BACKUP_TIME = _scalar("unitBackupTime", (*ASC, 3, 3), "timing", high=65535)  # [s]; 0 disables it
UNIT_RED_REVERT = _scalar("unitRedRevert", (*ASC, 3, 4), "timing")  # [0.1 s]
UNIT_CONTROL_STATUS = _scalar("unitControlStatus", (*ASC, 3, 5), "status")
UNIT_FLASH_STATUS = _scalar("unitFlashStatus", (*ASC, 3, 6), "status")

_COORD = (*ASC, 4)
MAX_PATTERNS = _scalar("maxPatterns", (*_COORD, 5), "status")
PATTERN_CYCLE_TIME = _column("patternCycleTime", (*_COORD, 7, 1, 2), "plan")  # [s]
PATTERN_OFFSET_TIME = _column("patternOffsetTime", (*_COORD, 7, 1, 3), "plan")  # [s]
PATTERN_SPLIT_NUMBER = _column("patternSplitNumber", (*_COORD, 7, 1, 4), "plan")
PATTERN_SEQUENCE_NUMBER = _column("patternSequenceNumber", (*_COORD, 7, 1, 5), "plan")
MAX_SPLITS = _scalar("maxSplits", (*_COORD, 8), "status")
SPLIT_TIME = _column("splitTime", (*_COORD, 9, 1, 3), "plan", indices=2)  # .split.phase [s]
SPLIT_MODE = _column("splitMode", (*_COORD, 9, 1, 4), "plan", indices=2)
SPLIT_COORD_PHASE = _column("splitCoordPhase", (*_COORD, 9, 1, 5), "plan", high=1, indices=2)
COORD_PATTERN_STATUS = _scalar("coordPatternStatus", (*_COORD, 10), "status")
LOCAL_FREE_STATUS = _scalar("localFreeStatus", (*_COORD, 11), "status")
COORD_CYCLE_STATUS = _scalar("coordCycleStatus", (*_COORD, 12), "status", high=510)  # [s] left of the cycle
SYSTEM_PATTERN_CONTROL = _scalar("systemPatternControl", (*_COORD, 14), "control")

MAX_TIMEBASE_ACTIONS = _scalar("maxTimebaseAscActions", (*ASC, 5, 2), "status")
TIMEBASE_PATTERN = _column("timebaseAscPattern", (*ASC, 5, 3, 1, 2), "plan")  # 0: none
TIMEBASE_ACTION_STATUS = _scalar("timebaseAscActionStatus", (*ASC, 5, 4), "status")

MAX_PREEMPTS = _scalar("maxPreempts", (*ASC, 6, 1), "status")
PREEMPT_STATE = _column("preemptState", (*ASC, 6, 2, 1, 16), "status")
PREEMPT_CONTROL_STATE = _column("preemptControlState", (*ASC, 6, 3, 1, 2), "control", high=1)

MAX_RINGS = _scalar("maxRings", (*ASC, 7, 1), "status")
MAX_SEQUENCES = _scalar("maxSequences", (*ASC, 7, 2), "status")
SEQUENCE_DATA = _column("sequenceData", (*ASC, 7, 3, 1, 3), "plan", syntax="octets", indices=2)  # .sequence.ring
RING_STOP_TIME = _column("ringControlGroupStopTime", (*ASC, 7, 5, 1, 2), "control")

OVERLAP_INCLUDED_PHASES = _column("overlapIncludedPhases", (*ASC, 9, 2, 1, 3), "timing", syntax="octets")
OVERLAP_REDS = _column("overlapStatusGroupReds", (*ASC, 9, 4, 1, 2), "status")
OVERLAP_YELLOWS = _column("overlapStatusGroupYellows", (*ASC, 9, 4, 1, 3), "status")
OVERLAP_GREENS = _column("overlapStatusGroupGreens", (*ASC, 9, 4, 1, 4), "status")

DB_CREATE_TRANSACTION = _scalar("dbCreateTransaction", (*GLOBAL, 2, 1), "database", low=1, high=6)
DB_VERIFY_STATUS = _scalar("dbVerifyStatus", (*GLOBAL, 2, 6), "status")
DB_VERIFY_ERROR = _scalar("dbVerifyError", (*GLOBAL, 2, 7), "status", syntax="octets")

GLOBAL_TIME = _scalar("globalTime", (*GLOBAL, 3, 1), "status", high=2**32 - 1)  # [s] since 1970, UTC
MAX_SCHEDULE_ENTRIES = _scalar("maxTimeBaseScheduleEntries", (*GLOBAL, 3, 3, 1), "status")
SCHEDULE_MONTH = _column("timeBaseScheduleMonth", (*GLOBAL, 3, 3, 2, 1, 2), "plan", high=65535)  # bit 1: January
SCHEDULE_DAY = _column("timeBaseScheduleDay", (*GLOBAL, 3, 3, 2, 1, 3), "plan")  # bit 1: Sunday
SCHEDULE_DATE = _column("timeBaseScheduleDate", (*GLOBAL, 3, 3, 2, 1, 4), "plan", high=2**32 - 1)  # bit 1: the first
SCHEDULE_DAY_PLAN = _column("timeBaseScheduleDayPlan", (*GLOBAL, 3, 3, 2, 1, 5), "plan")
MAX_DAY_PLANS = _scalar("maxDayPlans", (*GLOBAL, 3, 3, 3), "status")
MAX_DAY_PLAN_EVENTS = _scalar("maxDayPlanEvents", (*GLOBAL, 3, 3, 4), "status")
DAY_PLAN_HOUR = _column("dayPlanHour", (*GLOBAL, 3, 3, 5, 1, 3), "plan", high=23, indices=2)  # .plan.event
DAY_PLAN_MINUTE = _column("dayPlanMinute", (*GLOBAL, 3, 3, 5, 1, 4), "plan", high=59, indices=2)
DAY_PLAN_ACTION = _column("dayPlanActionNumberOID", (*GLOBAL, 3, 3, 5, 1, 5), "plan", syntax="oid", indices=2)
"""The OID of a row of the timebase action table; `NO_ACTION` where the event is unused."""
DAY_PLAN_STATUS = _scalar("dayPlanStatus", (*GLOBAL, 3, 3, 6), "status")
TIMEBASE_ACTION_ROW: Oid = (*ASC, 5, 3, 1, 1)
"""timebaseAscActionNumber: a day plan's event names an action as this OID and the action's number."""
NO_ACTION: Oid = (0, 0)


def pack(numbers: Iterable[int], group: int = 1) -> int:
    """One group's octet: bit 0 is the group's first number. `pack({2, 6}) == 0b00100010`.

    Args:
        numbers: phases, overlaps or detectors, from 1; those of other groups are left out.
        group: from 1.
    """
    first = (group - 1) * GROUP_SIZE + 1
    return sum(1 << number - first for number in set(numbers) if first <= number < first + GROUP_SIZE)


def unpack(octet: int, group: int = 1) -> frozenset[int]:
    """The numbers whose bit is set; the inverse of `pack`."""
    first = (group - 1) * GROUP_SIZE + 1
    return frozenset(first + bit for bit in range(GROUP_SIZE) if octet >> bit & 1)


def groups(count: int) -> range:
    """The numbers of the groups that hold `count` phases or detectors."""
    return range(1, -(-count // GROUP_SIZE) + 1)


def dotted(oid: Oid) -> str:
    """An OID in dotted notation."""
    return ".".join(map(str, oid))


def parse(text: str) -> Oid:
    """The inverse of `dotted`; a leading dot is allowed."""
    return tuple(int(part) for part in text.strip().strip(".").split("."))
