"""Downloading time-of-day plans to a controller: one database transaction, verified by the controller, read back.

It writes patterns, splits, sequences, actions and day plans, never phase, overlap, ring, detector or unit tables; and
nothing takes effect unless the controller has found all of it in order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.proto.rfc1902 import Gauge32, Integer32, ObjectIdentifier, ObjectName, OctetString

from deployment.field.snmp.profile import Profile
from deployment.field.snmp.read import TRIES, NotAllowed, Reader, Refused, Session, Unreachable, on_list
from deployment.nema import oids
from deployment.nema.objects import PlanObject, Value
from deployment.nema.oids import OBJECTS, Oid
from plumbing.errors import InputError, printable

PLAN_OBJECTS = frozenset(item.oid for item in OBJECTS.values() if item.area == "plan")
WRITABLE = PLAN_OBJECTS | {oids.DB_CREATE_TRANSACTION.oid, oids.SYSTEM_PATTERN_CONTROL.oid}
VERIFY_TRIES, VERIFY_PAUSE_S = 50, 0.1
FAILED = (Refused, Unreachable, InputError)
"""What a write raises when it failed, or when its outcome is unknown."""


class PlanWriter(Reader):
    """A reader that can also download plans, and choose one."""

    _setter = cmdgen.SetCommandGenerator()

    def __init__(
        self, session: Session, profile: Profile, phase_groups: int, detector_groups: int,
        stranger: Callable[[Reader], Awaitable[str]],
    ) -> None:  # fmt: skip
        """See the class.

        Args:
            stranger: how the controller that answers differs from the one that is meant, or an empty string, as
                `Admission.stranger`; asked right before every write and before the plans are read back.
        """
        super().__init__(session, profile, phase_groups, detector_groups)
        self._stranger = stranger

    async def download(self, objects: Sequence[PlanObject]) -> int:
        """Write all of these or none; returns how many were read back.

        Raises:
            NotAllowed: an object is no part of a plan; nothing has been sent.
            Refused: the controller is in somebody else's transaction, or found something wrong. This and the next say
                which plans it goes on with, or that nobody knows.
            Unreachable: the link failed; a controller that was not told to take the plans forgets them.
            InputError: another controller answers; nothing is written to it.
        """
        wanted: dict[str, Oid] = {}
        values: dict[Oid, Value] = {}
        for name, index, value in objects:
            item = OBJECTS.get(name)
            if item is None or item.oid not in PLAN_OBJECTS:
                raise NotAllowed(f"{name} is no part of a plan")
            oid = self.profile.oid(item, *index)
            wanted[f"{name}.{'.'.join(map(str, index))}"] = oid
            values[oid] = value
        state = self.profile.oid(oids.DB_CREATE_TRANSACTION)
        found = await self.get({"transaction": state})
        if found["transaction"] != oids.DB_NORMAL:
            raise Refused("somebody else is in the middle of a transaction; end that one first")
        try:
            await self._go_to(oids.DB_TRANSACTION)
            rows = list(values.items())
            for start in range(0, len(rows), self.profile.most_varbinds):
                await self._set(dict(rows[start : start + self.profile.most_varbinds]))
        except BaseException as error:
            with contextlib.suppress(*FAILED):
                await self._go_to(oids.DB_NORMAL)  # what was not verified is forgotten
            if isinstance(error, FAILED):
                raise type(error)(f"{error}; the controller keeps its own plans") from error
            raise
        try:
            await self._go_to(oids.DB_VERIFY, oids.DB_DONE)
            wrong = await self._verdict()
            await self._go_to(oids.DB_NORMAL)
        except FAILED as error:
            raise type(error)(
                f"{error}; whether the controller took the plans is not known: give the command again"
            ) from error
        if wrong:
            raise Refused(f"the controller refuses the plans and keeps its own: {wrong}")
        try:
            await self._expect_the_same()
            held = await self.get(wanted)
        except FAILED as error:
            raise type(error)(f"the controller took the plans, but they were not read back: {error}") from error
        for name, oid in wanted.items():
            if held[name] != values[oid]:
                raise Refused(
                    f"the controller took the plans, but holds others: {name} is {held[name]!r}, {values[oid]!r} was "
                    "written"
                )
        return len(held)

    async def _go_to(self, state: int, *beyond: int) -> None:
        """Lead the transaction on. Where an answer was lost the same is asked twice, and the second time refused, so
        a refusal counts only where the controller is not there."""
        oid = self.profile.oid(oids.DB_CREATE_TRANSACTION)
        try:
            await self._set({oid: state})
        except Refused:
            if (await self.get({"transaction": oid}))["transaction"] not in (state, *beyond):
                raise

    async def select(self, pattern: int) -> None:
        """Let this pattern run now, whatever the day plan says; 0: the day plan decides again.

        Raises:
            NotAllowed: there is no such pattern.
            Refused, Unreachable: it is not known to run.
            InputError: another controller answers; nothing is written to it.
        """
        if not 0 <= pattern <= oids.MOST_PATTERN:
            raise NotAllowed(f"pattern {pattern}: they have numbers 1 to {oids.MOST_PATTERN}, 0 is the day plan's")
        await self._set({self.profile.oid(oids.SYSTEM_PATTERN_CONTROL): pattern})

    async def _verdict(self) -> str:
        """What the controller found wrong, or an empty string."""
        status, error = self.profile.oid(oids.DB_VERIFY_STATUS), self.profile.oid(oids.DB_VERIFY_ERROR)
        for _ in range(VERIFY_TRIES):
            found = await self.get({"status": status})
            if found["status"] == oids.VERIFY_NO_ERROR:
                return ""
            if found["status"] == oids.VERIFY_ERROR:
                told = (await self.get({"error": error}))["error"]
                return printable(told.decode(errors="replace")) if isinstance(told, bytes) else "it does not say why"
            await asyncio.sleep(VERIFY_PAUSE_S)
        return "it has not finished verifying"

    async def _expect_the_same(self) -> None:
        if other := await self._stranger(self):
            where = self.session.where
            raise InputError(f"another controller answers at {where}, check the link: {other}; it was sent nothing")

    async def _set(self, values: Mapping[Oid, Value]) -> None:
        for oid in values:
            if not on_list(oid, WRITABLE):
                raise NotAllowed(f"{oids.dotted(oid)} is not on the list of what may be written")
        await self._expect_the_same()
        await self.session.request(
            self._setter, [(ObjectName(oid), _encoded(value)) for oid, value in values.items()], TRIES
        )


def _encoded(value: Value) -> Any:
    if isinstance(value, bytes):
        return OctetString(value)
    if isinstance(value, tuple):
        return ObjectIdentifier(value)
    return Integer32(value) if value < 2**31 else Gauge32(value)  # NTCIP 1201 has bit masks of 32 bits
