"""The controller's objects as SNMP sees them: every instance in order, what it reads as, and what a write does.

A SET of several objects is checked as a whole before any of it is done. Plan and timing tables are written inside a
database transaction: dbCreateTransaction to 2, the writes, 3 to verify, then 1 to take them (NTCIP 1201).

Derived from NTCIP 1202 and NTCIP 1201. Used by permission.
"""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Callable, Sequence

from deployment.emulator import rings
from deployment.emulator.cabinet import Cabinet
from deployment.emulator.setup import Value
from deployment.nema import oids
from deployment.nema.oids import Object, Oid, groups

READ_ONLY_TIMING = frozenset(
    {oids.PHASE_RING.name, oids.PHASE_CONCURRENCY.name, oids.OVERLAP_INCLUDED_PHASES.name, oids.PHASE_OPTIONS.name}
)
"""Tables that follow the intersection's wiring."""
_EPOCH = datetime.datetime(1970, 1, 1)
_COMMANDS = {
    oids.CONTROL_PHASE_OMIT.name: "omit",
    oids.CONTROL_PED_OMIT.name: "ped_omit",
    oids.CONTROL_HOLD.name: "hold",
    oids.CONTROL_FORCE_OFF.name: "force_off",
    oids.CONTROL_VEH_CALL.name: "call",
    oids.CONTROL_PED_CALL.name: "ped_call",
    oids.RING_STOP_TIME.name: "stop_time",
}


class SetError(Exception):
    """A SET that is refused, with the error status of SNMPv2 and the place of the object at fault."""

    def __init__(self, status: str, index: int) -> None:
        super().__init__(f"{status} at {index}")
        self.status, self.index = status, index


class Mib:
    """All instances of one cabinet."""

    def __init__(self, cabinet: Cabinet) -> None:
        self.cabinet = cabinet
        self._readers: dict[Oid, Callable[[], Value]] = {}
        self._objects: dict[Oid, Object] = {}
        self._by_column = {item.oid: item for item in oids.OBJECTS.values()}
        for oid in cabinet.values:
            self._objects[oid] = self._object_of(oid)
        self._add_status()
        self._add_control()
        self._order = sorted(self._objects)

    def _object_of(self, oid: Oid) -> Object:
        for length in range(len(oid) - 1, 0, -1):
            if found := self._by_column.get(oid[:length]):
                return found
        raise KeyError(oid)

    # reading

    def object_at(self, oid: Oid) -> Object | None:
        """The object type of an instance that exists."""
        return self._objects.get(oid)

    def knows(self, oid: Oid) -> bool:
        """Whether such an object type exists, if not this instance."""
        return any(oid[: len(item)] == item for item in self._by_column)

    def read(self, oid: Oid) -> Value:
        """An instance's value, a draft's inside a transaction.

        Raises:
            KeyError: there is no such instance.
        """
        reader = self._readers.get(oid)
        if reader is not None:
            return reader()
        draft = self.cabinet.draft
        return (self.cabinet.values if draft is None else draft)[oid]

    def following(self, oid: Oid) -> Oid | None:
        """The first instance after this OID; None after the last."""
        place = bisect.bisect_right(self._order, oid)
        return self._order[place] if place < len(self._order) else None

    def instances(self) -> Sequence[Oid]:
        """All, in order."""
        return self._order

    # writing

    def write(self, varbinds: Sequence[tuple[Oid, Value | None]]) -> None:
        """Do all of it, or nothing.

        Raises:
            SetError: an object is no such, cannot be written now, or takes no such value.
        """
        cabinet = self.cabinet
        transaction = cabinet.transaction
        for index, (oid, value) in enumerate(varbinds):
            item = self._objects.get(oid)
            if item is None:
                raise SetError("noCreation" if self.knows(oid) else "notWritable", index)
            if item.access == "ro" or item.name in READ_ONLY_TIMING:
                raise SetError("notWritable", index)
            self._check(item, value, index)
            if item.area == "database":
                transaction = self._next_state(transaction, value, index)
            elif item.area in ("plan", "timing") and transaction != oids.DB_TRANSACTION:
                raise SetError("inconsistentValue", index)
        for oid, value in varbinds:
            assert value is not None  # checked
            self._do(self._objects[oid], oid, value)

    @staticmethod
    def _check(item: Object, value: Value | None, index: int) -> None:
        kinds = {"integer": int, "octets": bytes, "oid": tuple, "ticks": int}
        if not isinstance(value, kinds[item.syntax]):
            raise SetError("wrongType", index)
        if isinstance(value, int) and not item.low <= value <= item.high:
            raise SetError("wrongValue", index)
        if isinstance(value, bytes) and len(value) > 16:
            raise SetError("wrongLength", index)

    @staticmethod
    def _next_state(state: int, wanted: Value | None, index: int) -> int:
        allowed = {
            oids.DB_NORMAL: (oids.DB_NORMAL, oids.DB_TRANSACTION),
            oids.DB_TRANSACTION: (oids.DB_NORMAL, oids.DB_VERIFY),
            oids.DB_DONE: (oids.DB_NORMAL,),
        }
        if wanted not in allowed[state] or not isinstance(wanted, int):
            raise SetError("inconsistentValue", index)
        return oids.DB_DONE if wanted == oids.DB_VERIFY else wanted

    def _do(self, item: Object, oid: Oid, value: Value) -> None:
        cabinet = self.cabinet
        controller = cabinet.controller
        if item.area == "database":
            if value == oids.DB_VERIFY:
                cabinet.verify()
            elif value == oids.DB_TRANSACTION and cabinet.transaction == oids.DB_NORMAL:
                cabinet.begin_transaction()
            elif value == oids.DB_NORMAL:
                cabinet.end_transaction()
        elif item.area in ("plan", "timing"):
            assert cabinet.draft is not None
            cabinet.draft[oid] = value
        else:
            assert isinstance(value, int)
            row = oid[-1]
            controller.written()
            if item.name in _COMMANDS:
                setattr(controller.commands, _COMMANDS[item.name], value)
            elif item is oids.SYSTEM_PATTERN_CONTROL:
                controller.pattern = value
            elif item is oids.PREEMPT_CONTROL_STATE:
                bit = 1 << row - 1
                controller.preempt_commands = controller.preempt_commands & ~bit | (bit if value else 0)
            elif item is oids.VEHICLE_DETECTOR_ACTUATION:
                controller.vehicle_actuations[row] = value
            elif item is oids.PEDESTRIAN_DETECTOR_ACTUATION:
                controller.ped_actuations = value

    # what there is

    def _put(self, item: Object, reader: Callable[[], Value], *index: int) -> None:
        oid = item.at(*index)
        self._objects[oid], self._readers[oid] = item, reader

    def _add_control(self) -> None:
        def command(name: str) -> Callable[[], int]:
            return lambda: int(getattr(self.cabinet.controller.commands, name))

        for name, field in _COMMANDS.items():
            self._put(oids.OBJECTS[name], command(field), 1)
        self._put(oids.SYSTEM_PATTERN_CONTROL, lambda: self.cabinet.controller.pattern)
        self._put(oids.PEDESTRIAN_DETECTOR_ACTUATION, lambda: self.cabinet.controller.ped_actuations, 1)
        for group in groups(len(self.cabinet.installation.detectors)):
            self._put(
                oids.VEHICLE_DETECTOR_ACTUATION,
                lambda group=group: self.cabinet.controller.vehicle_actuations.get(group, 0),  # type: ignore[misc]
                group,
            )
        for n in range(1, len(self.cabinet.installation.preempts) + 1):
            self._put(
                oids.PREEMPT_CONTROL_STATE,
                lambda n=n: self.cabinet.controller.preempt_commands >> n - 1 & 1,  # type: ignore[misc]
                n,
            )

    def _add_status(self) -> None:
        cabinet, plan = self.cabinet, self.cabinet.installation.plan
        numbers = oids.pack(p.number for p in plan.phases)

        def flashing() -> bool:
            return cabinet.controller.flashing != oids.NOT_FLASHING

        def shown(read: Callable[[rings.Rings], int], in_flash: int = 0) -> Callable[[], int]:
            return lambda: in_flash if flashing() else read(cabinet.controller.rings)

        crossings = oids.pack(p.number for p in plan.phases if p.crossings)
        for item, reader in (
            (oids.STATUS_REDS, shown(lambda r: numbers & ~(r.greens() | r.yellows()))),
            (oids.STATUS_YELLOWS, shown(lambda r: r.yellows())),
            (oids.STATUS_GREENS, shown(lambda r: r.greens())),
            (oids.STATUS_DONT_WALKS, shown(lambda r: crossings & ~r.walking() & ~r.walking(rings.PED_CLEAR))),
            (oids.STATUS_PED_CLEARS, shown(lambda r: r.walking(rings.PED_CLEAR))),
            (oids.STATUS_WALKS, shown(lambda r: r.walking())),
            (oids.STATUS_VEH_CALLS, lambda: cabinet.controller.vehicle_calls | cabinet.controller.commands.call),
            (oids.STATUS_PED_CALLS, lambda: cabinet.controller.rings.ped_calls),
            (oids.STATUS_PHASE_ONS, shown(lambda r: r.on())),
            (oids.STATUS_PHASE_NEXTS, shown(lambda r: r.nexts())),
        ):
            self._put(item, reader, 1)
        if plan.overlaps:
            wired = oids.pack(o.number for o in plan.overlaps)

            def lit(level: int) -> Callable[[rings.Rings], int]:
                return lambda r: oids.pack(n for n, lamp in r.overlaps.items() if lamp.shown == level)

            green, yellow = lit(rings.GREEN), lit(rings.YELLOW)
            self._put(oids.OVERLAP_REDS, shown(lambda r: wired & ~(green(r) | yellow(r))), 1)
            self._put(oids.OVERLAP_YELLOWS, shown(yellow), 1)
            self._put(oids.OVERLAP_GREENS, shown(green), 1)
        self._add_detectors()
        self._add_unit()

    def _add_detectors(self) -> None:
        cabinet = self.cabinet
        count = len(cabinet.installation.detectors)
        for group in groups(count):
            shift = (group - 1) * oids.GROUP_SIZE
            self._put(
                oids.DETECTOR_ACTIVE,
                lambda shift=shift: cabinet.controller.detectors >> shift & 0xFF,  # type: ignore[misc]
                group,
            )
            self._put(
                oids.DETECTOR_ALARMS,
                lambda shift=shift: cabinet.alarm_mask >> shift & 0xFF,  # type: ignore[misc]
                group,
            )
        self._put(oids.VOLUME_OCCUPANCY_SEQUENCE, lambda: cabinet.report.sequence)
        for n in range(1, count + 1):
            self._put(oids.DETECTOR_VOLUME, lambda n=n: cabinet.report.volume[n - 1], n)  # type: ignore[misc]
            self._put(oids.DETECTOR_OCCUPANCY, lambda n=n: cabinet.report.occupancy[n - 1], n)  # type: ignore[misc]

    def _add_unit(self) -> None:
        cabinet = self.cabinet

        def cycle_left() -> int:
            coordinator = cabinet.controller.coordinator
            if coordinator is None:
                return 0
            return -(-(coordinator.cycle - coordinator.local(cabinet.controller.now)) // 10)

        name = f"intergreen emulator of {cabinet.installation.plan.tls_id}"
        for item, reader in (
            (oids.SYS_DESCR, lambda: b"intergreen controller emulator (NTCIP 1202); not for the street"),
            (oids.SYS_UP_TIME, lambda: cabinet.up_ticks * 10),
            (oids.SYS_NAME, lambda: name.encode()),
            (oids.SNMP_ENGINE_ID, lambda: cabinet.engine_id),
            (oids.UNIT_CONTROL_STATUS, lambda: cabinet.controller.control_status),
            (oids.UNIT_FLASH_STATUS, lambda: cabinet.controller.flashing),
            (oids.COORD_PATTERN_STATUS, lambda: cabinet.controller.running_pattern),
            (oids.LOCAL_FREE_STATUS, lambda: cabinet.controller.free_status),
            (oids.COORD_CYCLE_STATUS, cycle_left),
            (oids.TIMEBASE_ACTION_STATUS, lambda: cabinet.controller.action),
            (oids.DAY_PLAN_STATUS, lambda: cabinet.controller.day_plan),
            (oids.DB_CREATE_TRANSACTION, lambda: cabinet.transaction),
            (oids.DB_VERIFY_STATUS, lambda: cabinet.verify_status),
            (oids.DB_VERIFY_ERROR, lambda: cabinet.verify_error.encode()[:255]),
            (oids.GLOBAL_TIME, lambda: round((cabinet.controller.moment - _EPOCH).total_seconds())),
        ):
            self._put(item, reader)
        for n in range(1, len(cabinet.installation.preempts) + 1):
            self._put(oids.PREEMPT_STATE, lambda n=n: cabinet.controller.preempt_states[n - 1], n)  # type: ignore[misc]
