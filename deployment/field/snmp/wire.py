"""The socket, for IPv4 or IPv6, and the SNMPv3 engine of a session: only the controller that was asked is listened
to, and only the SNMP engine that has proved itself first is written to."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from pysnmp.carrier.asyncio.dgram.udp import UdpAsyncioTransport
from pysnmp.carrier.asyncio.dgram.udp6 import Udp6AsyncioTransport
from pysnmp.entity.engine import SnmpEngine
from pysnmp.hlapi.v3arch.asyncio import Udp6TransportTarget, UdpTransportTarget
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


class PeerTransport:
    """Goes before one of pysnmp's sockets: drops what comes from anywhere but its peer, and what makes no sense."""

    peer: tuple[Any, ...] = ()
    """As the system has it: host and port and, of IPv6, flow and scope."""
    ignored = 0
    """Datagrams that were dropped."""

    def datagram_received(self: Any, datagram: bytes, transportAddress: Any) -> None:
        """Hand on what the peer sends."""
        if _socket_address(transportAddress) != self.peer or self._callback_function is None:
            self.ignored += 1
            return
        try:
            self._callback_function(self, self.ADDRESS_TYPE(transportAddress), datagram)
        except Exception:  # pysnmp raises of many types where a datagram is not what it expects
            self.ignored += 1


class _Peer4(PeerTransport, UdpAsyncioTransport):  # type: ignore[misc]
    """Over IPv4."""


class _Peer6(PeerTransport, Udp6AsyncioTransport):  # type: ignore[misc]
    """Over IPv6."""

    def normalize_address(self, transportAddress: Any) -> Any:
        """Where everything goes: pysnmp forgets the scope, without which no link-local address is reached."""
        del transportAddress
        return self.ADDRESS_TYPE(self.peer)


class _ToPeer:
    """Where a session sends to, by a `PeerTransport`."""

    def open_client_mode(self: Any) -> PeerTransport:
        """The socket."""
        transport: PeerTransport = super().open_client_mode()  # type: ignore[misc]
        transport.peer = _socket_address(self.resolved)
        return transport

    async def _resolve_address(self: Any, address: Any) -> Any:
        self.resolved = address
        return address[:2] if len(address) == 2 else (*address[:2], 0, 0)


class _Target4(_ToPeer, UdpTransportTarget):  # type: ignore[misc]
    PROTO_TRANSPORT = _Peer4


class _Target6(_ToPeer, Udp6TransportTarget):  # type: ignore[misc]
    PROTO_TRANSPORT = _Peer6


async def target_of(host: str, port: int) -> Any:
    """Where to send to; of a name with several addresses IPv4 comes first.

    Raises:
        OSError, UnicodeError: there is no such host.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    kinds: dict[Any, Any] = {socket.AF_INET: _Target4, socket.AF_INET6: _Target6}
    known = [(family, address) for family, _, _, _, address in found if family in kinds]
    family, address = min(known, key=lambda each: each[0] == socket.AF_INET6)
    # retries are our own: pysnmp's clock ticks in half seconds
    return await kinds[family].create(address, timeout=5, retries=0)


def _socket_address(address: Any) -> tuple[Any, ...]:
    """Comparable: the scope stands apart from the host."""
    return (str(address[0]).partition("%")[0], *address[1:2], *address[3:4])


def pinnable_engine() -> tuple[SnmpEngine, PinnedModel]:
    """A new SNMP engine, and its model of SNMPv3."""
    engine, model = SnmpEngine(), PinnedModel()
    engine.message_processing_subsystems[PinnedModel.MESSAGE_PROCESSING_MODEL_ID] = model
    return engine, model
