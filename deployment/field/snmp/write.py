"""Commanding a controller by SNMP: one atomic SET per command, of the six phase control groups and nothing else.

Never imported in shadow mode. A command states all groups, so that to send it twice is the same as once; timing,
phase, overlap, ring and unit tables cannot be written from here at all.
"""

from __future__ import annotations

from collections.abc import Mapping

from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.proto.rfc1902 import Integer32, ObjectName

from deployment.field.reading import CONTROLS
from deployment.field.snmp.read import TRIES, NotAllowed, Reader, Refused, on_list, plain
from deployment.nema import oids
from deployment.nema.oids import Oid

WRITABLE = frozenset(item.oid for item in CONTROLS.values()) | {oids.SYSTEM_PATTERN_CONTROL.oid}

_PATTERN = frozenset({oids.SYSTEM_PATTERN_CONTROL.oid})


class Commander(Reader):
    """A reader that can also set the phase control groups, and give the controller back."""

    _setter = cmdgen.SetCommandGenerator()

    async def set(self, values: Mapping[Oid, int], tries: int = TRIES) -> None:
        """One SET of all these values: the controller takes all or none.

        Raises:
            NotAllowed: an OID is off the allow-list, or a value is no octet; nothing has been sent.
            Unreachable, Refused: it is not known to have come through, or was not taken.
        """
        for oid, value in values.items():
            if not on_list(oid, WRITABLE):
                raise NotAllowed(f"{oids.dotted(oid)} is not on the list of what may be written")
            if on_list(oid, _PATTERN) and value not in (oids.STANDBY, oids.FREE):
                raise NotAllowed(
                    f"pattern {value} cannot be chosen from here: only free (254), and to give it back (0)"
                )
            if not 0 <= value <= 255:
                raise NotAllowed(f"{oids.dotted(oid)} = {value} is no octet")
        varbinds = [(ObjectName(oid), Integer32(value)) for oid, value in values.items()]
        answer = await self.session.request(self._setter, varbinds, tries)
        if [(oid, plain(value)) for oid, value in answer] != list(values.items()):
            raise Refused("the answer to a command is not the command")

    async def command(self, octets: Mapping[str, int], tries: int = TRIES) -> None:
        """Set all control groups, by the names that `controls` has; no pattern may meanwhile force phases off.

        Raises:
            NotAllowed: a group is missing or unknown; a command is whole.
        """
        if set(octets) != set(self.controls):
            raise NotAllowed(f"a command sets {sorted(self.controls)}, not {sorted(octets)}")
        free = {self.profile.oid(oids.SYSTEM_PATTERN_CONTROL): oids.FREE}
        await self.set({**{self.controls[name]: value for name, value in octets.items()}, **free}, tries)

    async def release(self, tries: int = TRIES) -> None:
        """Zero every control group, and leave the choice of a pattern to the controller."""
        zeroes = dict.fromkeys(self.controls.values(), 0)
        await self.set({**zeroes, self.profile.oid(oids.SYSTEM_PATTERN_CONTROL): oids.STANDBY}, tries)
