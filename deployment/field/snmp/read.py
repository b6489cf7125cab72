"""Reading a controller by SNMP: NTCIP 1202 objects off an allow-list, and nothing that writes.

`Reader` can only read; what writes is in `deployment.field.snmp.write`, which shadow mode does not even import.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pyasn1.type import univ
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.hlapi.v3arch.asyncio import (
    CommunityData,
    UsmUserData,
    usmAesCfb128Protocol,
    usmAesCfb192Protocol,
    usmAesCfb256Protocol,
    usmHMAC128SHA224AuthProtocol,
    usmHMAC192SHA256AuthProtocol,
    usmHMAC256SHA384AuthProtocol,
    usmHMAC384SHA512AuthProtocol,
    usmHMACSHAAuthProtocol,
)
from pysnmp.hlapi.v3arch.asyncio.lcd import CommandGeneratorLcdConfigurator
from pysnmp.proto.rfc1902 import Null, ObjectName

from deployment.field.reading import CONTROLS, PHASE_GROUPS, SCALARS, Reading
from deployment.field.snmp.profile import Credentials, Profile
from deployment.field.snmp.wire import PeerTransport, pinnable_engine, target_of
from deployment.nema import oids
from deployment.nema.oids import Object, Oid, groups
from plumbing.errors import InputError, printable
from signals.nema import NemaPlan

TIMEOUT_S, TRIES = 0.4, 3
MOST_BACKUP_S = 60
"""[s] The longest unitBackupTime with which a controller may be commanded. Until it is over, the last command of a
program that has failed still holds or omits phases; road users take a red of more than a minute for a fault."""
STILL_S = 0.5
"""A request that took so much longer than its tries' time is not sent again."""
READABLE = frozenset(
    item.oid for item in oids.OBJECTS.values() if item.area in ("status", "control", "timing", "plan", "database")
)
"""Object types that may be read: those of `deployment.nema.oids`, nothing else."""
_AUTH = {
    "SHA": usmHMACSHAAuthProtocol,
    "SHA-224": usmHMAC128SHA224AuthProtocol,
    "SHA-256": usmHMAC192SHA256AuthProtocol,
    "SHA-384": usmHMAC256SHA384AuthProtocol,
    "SHA-512": usmHMAC384SHA512AuthProtocol,
}
_PRIVACY = {"AES-128": usmAesCfb128Protocol, "AES-192": usmAesCfb192Protocol, "AES-256": usmAesCfb256Protocol}
Value = int | bytes | Oid | None


class NotAllowed(RuntimeError):
    """An OID off the allow-list; nothing has been sent."""


class Unreachable(RuntimeError):
    """No answer within the time allowed."""


class Refused(RuntimeError):
    """The controller answered with an error."""


def on_list(oid: Oid, listed: frozenset[Oid]) -> bool:
    """Whether an OID is an instance of one of the object types of a list."""
    return any(oid[:length] in listed for length in range(len(oid), 6, -1))


class Session:
    """Requests and answers. A late answer to a request that was given up is dropped."""

    def __init__(self, host: str, port: int, credentials: Credentials, *, timeout_s: float = TIMEOUT_S) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        """In one word, as `--target` has it."""
        self.engine, self._v3 = pinnable_engine()
        self._transport: PeerTransport | None = None
        self._credentials = credentials
        self._getter = cmdgen.GetCommandGenerator()
        self._address = ""
        self.repeated = 0
        """Requests that were sent again since no answer came in time."""

    async def open(self) -> None:
        """Resolve the address.

        Raises:
            InputError: there is no such host.
        """
        try:
            target = await target_of(self.host, self.port)
        except Exception as error:  # pysnmp's own, without a common base
            raise InputError(f"--target: cannot resolve {self.host!r} ({error}); give HOST:PORT") from error
        who = self._credentials
        data: Any
        if who.version == "3":
            data = UsmUserData(
                who.user, who.auth_key, who.privacy_key,
                authProtocol=_AUTH[who.auth], privProtocol=_PRIVACY[who.privacy],
            )  # fmt: skip
        else:
            data = CommunityData(who.community, mpModel=0 if who.version == "1" else 1)
        self._address, _ = CommandGeneratorLcdConfigurator().configure(self.engine, data, target)
        self._transport = target.transport

    @property
    def ignored(self) -> int:
        """Datagrams that were dropped: from elsewhere than the controller, or no SNMP."""
        return self._transport.ignored if self._transport is not None else 0

    async def request(self, generator: Any, varbinds: Sequence[tuple[Any, Any]], tries: int) -> list[tuple[Oid, Any]]:
        """Send until an answer comes, which for a SET is the same as once: it states values, not changes.

        Under SNMPv3 the first answer that is authenticated pins the controller's engine id for the whole session: to
        another controller everything that follows is of no use, and what it answers is no answer.

        Raises:
            Unreachable, Refused: see there.
        """
        failure, began = "no answer", time.monotonic()
        for attempt in range(tries):
            if time.monotonic() - began > (attempt + 1) * self.timeout_s + STILL_S:
                failure = "this program stood still"  # what was right then need not be so now
                break
            self.repeated += attempt > 0
            future: asyncio.Future[tuple[Any, int, int, Any]] = asyncio.get_running_loop().create_future()
            try:
                generator.send_varbinds(self.engine, self._address, None, b"", varbinds, _answered, future)
                indication, status, index, answer = await asyncio.wait_for(future, self.timeout_s)
            except TimeoutError:
                continue
            except Exception as error:  # pysnmp raises several types without a common base
                failure = f"{type(error).__name__}: {error}"
                continue
            if indication:
                failure = str(indication)
                if "imeout" in failure or "imeWindow" in failure.replace(" ", "") or "engineID" in failure:
                    continue
                raise Refused(failure)
            if status:
                name = oids.dotted(tuple(varbinds[index - 1][0])) if 0 < index <= len(varbinds) else "?"
                raise Refused(f"{_status(status)} at {name}")
            self._v3.pinned = True
            return [(tuple(oid), value) for oid, value in answer]
        raise Unreachable(f"{self.where}: {failure} after {tries} tries of {self.timeout_s:g} s")

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(Exception):
            self.engine.close_dispatcher()

    @property
    def getter(self) -> Any:
        return self._getter


def _answered(engine: Any, handle: Any, indication: Any, status: Any, index: Any, varbinds: Any, future: Any) -> None:
    del engine, handle
    if not future.done():  # given up in the meantime
        future.set_result((indication, int(status or 0), int(index or 0), varbinds))


def _status(status: int) -> str:
    names = {
        1: "tooBig", 2: "noSuchName", 3: "badValue", 4: "readOnly", 5: "genErr", 6: "noAccess", 7: "wrongType",
        8: "wrongLength", 9: "wrongEncoding", 10: "wrongValue", 11: "noCreation", 12: "inconsistentValue",
        13: "resourceUnavailable", 14: "commitFailed", 15: "undoFailed", 16: "authorizationError",
        17: "notWritable", 18: "inconsistentName",
    }  # fmt: skip
    return names.get(status, str(status))


def plain(value: Any) -> Value:
    """The value of an answer; None where the controller does not have the object."""
    if isinstance(value, univ.Null):  # pyasn1 counts it among the octet strings
        return None
    if isinstance(value, univ.OctetString):  # even where its octets are digits
        return bytes(value)
    return tuple(value) if isinstance(value, univ.ObjectIdentifier) else int(value)


class Reader:
    """What may be asked of a controller. It has no way to write."""

    def __init__(self, session: Session, profile: Profile, phase_groups: int, detector_groups: int) -> None:
        self.session, self.profile = session, profile
        self.phase_groups, self.detector_groups = phase_groups, detector_groups
        fast = {
            f"{name}.{group}": profile.oid(item, group)
            for name, item in PHASE_GROUPS.items()
            for group in range(1, phase_groups + 1)
        }
        fast |= {f"detectors.{g}": profile.oid(oids.DETECTOR_ACTIVE, g) for g in range(1, detector_groups + 1)}
        fast |= {f"{name}.0": profile.oid(item) for name, item in SCALARS.items()}
        slow: dict[str, Oid] = {}
        if "preemptState" not in profile.absent:
            fast |= {f"preempt.{n}": profile.oid(oids.PREEMPT_STATE, n) for n in range(1, profile.preempts + 1)}
        if "vehicleDetectorStatusGroupAlarms" not in profile.absent:
            slow |= {f"alarms.{g}": profile.oid(oids.DETECTOR_ALARMS, g) for g in range(1, detector_groups + 1)}
        self.fast, self.slow = fast, slow
        self.controls = {
            f"{name}.{group}": profile.oid(item, group)
            for name, item in CONTROLS.items()
            for group in range(1, phase_groups + 1)
        }
        self._prepared: dict[tuple[Oid, ...], list[tuple[Any, Any]]] = {}

    async def get(self, wanted: Mapping[str, Oid], tries: int = TRIES) -> dict[str, Value]:
        """The values of these instances, by the names given; None for one that the controller does not have.

        Raises:
            NotAllowed: an OID is off the allow-list; nothing has been sent.
            Unreachable, Refused: see there.
        """
        for name, oid in wanted.items():
            if not on_list(oid, READABLE):
                raise NotAllowed(f"{name} ({oids.dotted(oid)}) is not on the list of what may be read")
        found: dict[str, Value] = {}
        names = list(wanted)
        for start in range(0, len(names), self.profile.most_varbinds):
            part = names[start : start + self.profile.most_varbinds]
            found |= await self._get_part({name: wanted[name] for name in part}, tries)
        return found

    async def _get_part(self, wanted: dict[str, Oid], tries: int) -> dict[str, Value]:
        key = tuple(wanted.values())
        if key not in self._prepared:
            self._prepared[key] = [(ObjectName(oid), Null("")) for oid in key]
        try:
            answer = await self.session.request(self.session.getter, self._prepared[key], tries)
        except Refused as error:
            # SNMPv1 answers for one unknown name that it knows none
            if "noSuchName" not in str(error) or len(wanted) == 1:
                if "noSuchName" in str(error):
                    return dict.fromkeys(wanted)
                raise
            singly = [await self._get_part({name: oid}, tries) for name, oid in wanted.items()]
            return {name: value for part in singly for name, value in part.items()}
        if [oid for oid, _ in answer] != list(key):
            raise Refused("the answer is not to what was asked")
        return {name: plain(value) for name, (_, value) in zip(wanted, answer, strict=True)}

    async def poll(self, at: Any, *, slow: bool = False, tries: int = TRIES) -> Reading:
        """One reading.

        Args:
            at: called when the answer is there, for its moment.
            slow: whether to ask for what changes slowly, too.
        """
        answer = await self.get(self.fast | self.slow if slow else self.fast, tries)
        return Reading(at(), {name: value for name, value in answer.items() if isinstance(value, int)})

    async def read_controls(self, tries: int = TRIES) -> dict[str, int]:
        """What the control groups hold now, an octet each.

        Raises:
            Unreachable, Refused: see there; or a group is missing or holds something else.
        """
        found: dict[str, int] = {}
        for name, value in (await self.get(self.controls, tries)).items():
            if not isinstance(value, int) or not 0 <= value <= 255:
                raise Refused(f"the control group {name} is {printable(value)}, which is no octet")
            found[name] = value
        return found


TIMES: tuple[tuple[str, Object, float], ...] = (
    ("walk_s", oids.PHASE_WALK, 1.0),
    ("pedestrian_clearance_s", oids.PHASE_PEDESTRIAN_CLEAR, 1.0),
    ("min_green_s", oids.PHASE_MINIMUM_GREEN, 1.0),
    ("passage_s", oids.PHASE_PASSAGE, 0.1),
    ("max_green_s", oids.PHASE_MAXIMUM_1, 1.0),
    ("yellow_change_s", oids.PHASE_YELLOW_CHANGE, 0.1),
    ("red_clearance_s", oids.PHASE_RED_CLEAR, 0.1),
    ("red_revert_s", oids.PHASE_RED_REVERT, 0.1),
)
"""Field of `NemaPhase`, object, seconds per unit."""


async def check_timing(reader: Reader, plan: NemaPlan) -> list[str]:
    """Read the controller's timing tables; what differs from the plan, a line each. Nothing: they are the same.

    Raises:
        Unreachable, Refused: they cannot be read.
    """
    return (await read_timing(reader, plan))[0]


async def read_timing(reader: Reader, plan: NemaPlan, noun: str = "bundle") -> tuple[list[str], NemaPlan]:
    """As `check_timing`, and the plan with the times that the controller holds.

    Args:
        noun: what the plan is from, for the lines.

    Raises:
        Unreachable, Refused: they cannot be read.
    """
    wanted: dict[str, Oid] = {"backup": reader.profile.oid(oids.UNIT_BACKUP_TIME)}
    for phase in plan.phases:
        for field, item, _ in TIMES:
            wanted[f"{phase.number}.{field}"] = reader.profile.oid(item, phase.number)
        wanted[f"{phase.number}.ring"] = reader.profile.oid(oids.PHASE_RING, phase.number)
        wanted[f"{phase.number}.concurrent"] = reader.profile.oid(oids.PHASE_CONCURRENCY, phase.number)
    found = await reader.get(wanted)
    problems: list[str] = []
    backup = found["backup"]
    if not isinstance(backup, int) or not 0 < backup <= MOST_BACKUP_S:
        long = "for so long" if isinstance(backup, int) and backup > 0 else "for good"
        problems.append(
            f"unitBackupTime is {backup!r}: with it the controller would keep the last command {long} if this "
            f"program or the link failed; set it to 10 s at the controller, {MOST_BACKUP_S} s at most"
        )
    held = []
    for phase in plan.phases:
        times: dict[str, Any] = {}
        for field, item, unit in TIMES:
            expected, value = round(getattr(phase, field) / unit), found[f"{phase.number}.{field}"]
            times[field] = value * unit if isinstance(value, int) else math.inf
            if value != expected:
                problems.append(f"{item.name}.{phase.number} is {value!r}, the {noun} has {expected}")
        ring, concurrent = found[f"{phase.number}.ring"], found[f"{phase.number}.concurrent"]
        if ring != phase.ring:
            problems.append(f"phaseRing.{phase.number} is {ring!r}, the {noun} has {phase.ring}")
        listed = sorted(set(concurrent) - {0, phase.number}) if isinstance(concurrent, bytes) else concurrent
        if listed != sorted(phase.concurrent):
            problems.append(
                f"phaseConcurrency.{phase.number} is {listed!r}, the {noun} has {sorted(phase.concurrent)}"
            )
        held.append(dataclasses.replace(phase, **times))
    return problems, dataclasses.replace(plan, phases=tuple(held))


def groups_for(plan: NemaPlan, loops: int) -> tuple[int, int]:
    """Groups of phases and of detectors that have to be polled."""
    return len(groups(max(phase.number for phase in plan.phases))), len(groups(loops))
