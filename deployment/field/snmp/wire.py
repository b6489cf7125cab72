"""The socket and the SNMPv3 engine of a session: only the controller that was asked is listened to, and only the SNMP
engine that has proved itself first is written to."""

from __future__ import annotations

from typing import Any

from pysnmp.carrier.asyncio.dgram.udp import UdpAsyncioTransport
from pysnmp.entity.engine import SnmpEngine
from pysnmp.hlapi.v3arch.asyncio import UdpTransportTarget
from pysnmp.proto.mpmod.base import AbstractMessageProcessingModel
from pysnmp.proto.mpmod.rfc3412 import SnmpV3MessageProcessingModel


class PinnedModel(SnmpV3MessageProcessingModel):  # type: ignore[misc]  # pysnmp has no types
    """SNMPv3 that keeps the engine id of its peer once that is `pinned`.

    pysnmp forgets it after 300 s, and learns it anew from whoever answers first, without authentication. Boots and
    time of the same engine are still synchronised, so that a controller may restart.
    """

    pinned = False

    def receive_timer_tick(self, snmpEngine: Any, timeNow: Any) -> None:
        if self.pinned:  # only what belongs to single requests grows old
            AbstractMessageProcessingModel.receive_timer_tick(self, snmpEngine, timeNow)
        else:
            super().receive_timer_tick(snmpEngine, timeNow)


class PeerTransport(UdpAsyncioTransport):  # type: ignore[misc]
    """A socket that drops what comes from anywhere but its peer, and what makes no sense."""

    peer: tuple[str, int] | None = None
    ignored = 0
    """Datagrams that were dropped."""

    def datagram_received(self, datagram: bytes, transportAddress: Any) -> None:
        if tuple(transportAddress[:2]) != self.peer or self._callback_function is None:
            self.ignored += 1
            return
        try:
            self._callback_function(self, transportAddress, datagram)
        except Exception:  # pysnmp raises of many types where a datagram is not what it expects
            self.ignored += 1


class Target(UdpTransportTarget):  # type: ignore[misc]
    """Where a session sends to, by a `PeerTransport`."""

    PROTO_TRANSPORT = PeerTransport

    def open_client_mode(self) -> PeerTransport:
        transport: PeerTransport = super().open_client_mode()
        transport.peer = tuple(self.transport_address)
        return transport


def pinnable_engine() -> tuple[SnmpEngine, PinnedModel]:
    """A new SNMP engine, and its model of SNMPv3."""
    engine, model = SnmpEngine(), PinnedModel()
    engine.message_processing_subsystems[PinnedModel.MESSAGE_PROCESSING_MODEL_ID] = model
    return engine, model
