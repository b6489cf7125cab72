"""The SNMP agent: v1 and v2c by community, v3 by users, all in front of one `Mib`.

Access is decided here, once per object and before anything is done (`access`), since pysnmp leaves it to whoever
replaces its tables.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from pyasn1.type import univ
from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.proto.api import v2c

from deployment.emulator.access import Access, Grant
from deployment.emulator.mib import Mib, SetError
from deployment.emulator.setup import Value
from deployment.nema.oids import Object
from plumbing.errors import InputError

BULK_MOST = 200
"""Objects in one answer to GETBULK."""
Varbind = tuple[Any, Any]


class Agent:
    """An agent that listens from `open` until `close`; it needs a running asyncio loop."""

    def __init__(self, mib: Mib, access: Access, host: str, port: int, changed: Callable[[], None]) -> None:
        self.mib, self.access, self.host, self.port, self.changed = mib, access, host, port, changed
        """`changed` is called after every SET that was done."""
        self.engine: Any = None

    def open(self) -> None:
        """Start to answer.

        Raises:
            InputError: the port is taken.
        """
        self._probe()
        self.engine = engine = SnmpEngine(rfc1902.OctetString(self.mib.cabinet.engine_id))
        transport = udp.UdpTransport().open_server_mode((self.host, self.port))
        config.add_transport(engine, udp.DOMAIN_NAME, transport)
        for name in self.access.communities:
            config.add_v1_system(engine, f"community-{name}", name, securityName=name)
        for user in self.access.users:
            config.add_v3_user(
                engine, user.name,
                config.USM_AUTH_HMAC192_SHA256, user.auth_key, config.USM_PRIV_CFB128_AES, user.priv_key,
            )  # fmt: skip
        where = context.SnmpContext(engine)
        for responder in (_Get, _Next, _Bulk, _Set):
            responder(engine, where, self)

    def _probe(self) -> None:
        """Say that the port is taken, where pysnmp would only log it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise InputError(
                    f"cannot listen for SNMP on {self.host}:{self.port} ({error.strerror}); choose another --port"
                ) from error

    def close(self) -> None:
        """Stop to answer."""
        if self.engine is not None:
            self.engine.close_dispatcher()
            self.engine = None

    def reboot(self, boots: int) -> None:
        """Tell v3 peers that the engine has started anew, so that they synchronise."""
        (symbol,) = self.engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineBoots")
        symbol.syntax = symbol.syntax.clone(int(symbol.syntax) + boots)

    def grant(self) -> Grant | None:
        """What the sender of the message at hand is granted; there is only the default context."""
        sender = self.engine.observer.get_execution_context("rfc3412.receiveMessage:request")
        if len(sender["contextName"]):
            return None
        return self.access.grant(
            int(sender["securityModel"]), str(sender["securityName"]), int(sender["securityLevel"])
        )


class _Responder:
    """What the four kinds of request share."""

    def __init__(self, engine: Any, where: Any, agent: Agent) -> None:
        self.agent = agent
        super().__init__(engine, where)  # type: ignore[call-arg]

    def _answer(self, engine: Any, reference: Any, status: str, index: int, varbinds: list[Varbind]) -> None:
        self.send_varbinds(engine, reference, status, index, varbinds)  # type: ignore[attr-defined]
        self.release_state_information(reference)  # type: ignore[attr-defined]

    def _refused(self, engine: Any, reference: Any, varbinds: list[Varbind]) -> bool:
        if self.agent.grant() is not None:
            return False
        self._answer(engine, reference, "authorizationError", 1, varbinds)
        return True


class _Get(_Responder, cmdrsp.GetCommandResponder):  # type: ignore[misc]
    def handle_management_operation(self, snmpEngine: Any, stateReference: Any, contextName: Any, PDU: Any) -> None:
        asked = v2c.apiPDU.get_varbinds(PDU)
        if self._refused(snmpEngine, stateReference, asked):
            return
        mib = self.agent.mib
        found = []
        for name, _ in asked:
            oid = tuple(name)
            item = mib.object_at(oid)
            missing = rfc1905.noSuchInstance if mib.knows(oid) else rfc1905.noSuchObject
            found.append((name, missing if item is None else encode(item, mib.read(oid))))
        self._answer(snmpEngine, stateReference, "noError", 0, found)


class _Next(_Responder, cmdrsp.NextCommandResponder):  # type: ignore[misc]
    def handle_management_operation(self, snmpEngine: Any, stateReference: Any, contextName: Any, PDU: Any) -> None:
        asked = v2c.apiPDU.get_varbinds(PDU)
        if not self._refused(snmpEngine, stateReference, asked):
            found = [following(self.agent.mib, name) for name, _ in asked]
            self._answer(snmpEngine, stateReference, "noError", 0, found)


class _Bulk(_Responder, cmdrsp.BulkCommandResponder):  # type: ignore[misc]
    def handle_management_operation(self, snmpEngine: Any, stateReference: Any, contextName: Any, PDU: Any) -> None:
        asked = v2c.apiPDU.get_varbinds(PDU)
        if self._refused(snmpEngine, stateReference, asked):
            return
        single = min(max(int(v2c.apiBulkPDU.get_non_repeaters(PDU)), 0), len(asked))
        found = [following(self.agent.mib, name) for name, _ in asked[:single]]
        row = list(asked[single:])
        repetitions = max(int(v2c.apiBulkPDU.get_max_repetitions(PDU)), 0)
        while row and repetitions and len(found) + len(row) <= BULK_MOST:
            row = [following(self.agent.mib, name) for name, _ in row]
            found += row
            repetitions -= 1
            if all(value is rfc1905.endOfMibView for _, value in row):
                break
        self._answer(snmpEngine, stateReference, "noError", 0, found)


class _Set(_Responder, cmdrsp.SetCommandResponder):  # type: ignore[misc]
    def handle_management_operation(self, snmpEngine: Any, stateReference: Any, contextName: Any, PDU: Any) -> None:
        asked = v2c.apiPDU.get_varbinds(PDU)
        grant, mib = self.agent.grant(), self.agent.mib
        if grant is None:
            self._answer(snmpEngine, stateReference, "authorizationError", 1, asked)
            return
        try:
            for index, (name, _) in enumerate(asked):
                item = mib.object_at(tuple(name))
                if item is not None and not grant.writes(item):
                    raise SetError("noAccess", index)
                if item is None and not grant.write:
                    raise SetError("noAccess", index)
            mib.write([(tuple(name), decode(value)) for name, value in asked])
        except SetError as error:
            self._answer(snmpEngine, stateReference, error.status, error.index + 1, asked)
            return
        self.agent.changed()
        self._answer(snmpEngine, stateReference, "noError", 0, asked)


def following(mib: Mib, name: Any) -> Varbind:
    """The instance after this one, with its value."""
    oid = mib.following(tuple(name))
    if oid is None:
        return name, rfc1905.endOfMibView
    item = mib.object_at(oid)
    assert item is not None
    return rfc1902.ObjectName(oid), encode(item, mib.read(oid))


def encode(item: Object, value: Value) -> Any:
    """As SNMP carries it."""
    if item.syntax == "ticks":
        return rfc1902.TimeTicks(value)
    if item.syntax == "octets":
        return rfc1902.OctetString(value)
    if item.syntax == "oid":
        return rfc1902.ObjectIdentifier(value)
    return rfc1902.Gauge32(value) if item.high > 2**31 - 1 else rfc1902.Integer32(value)


def decode(value: Any) -> Value | None:
    """An int, bytes, or a tuple of an OID's numbers; None for anything else, which no object takes."""
    if isinstance(value, univ.ObjectIdentifier):  # received ones are not of pysnmp's own class
        return tuple(value)
    if isinstance(value, univ.OctetString):
        return bytes(value.asOctets())
    return int(value) if isinstance(value, univ.Integer) else None
