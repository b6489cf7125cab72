"""What somebody on the network may do: another controller at the same address, answers without sense, noise."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto.api import v2c
from pysnmp.proto.rfc1905 import NoSuchInstance, NoSuchObject

import control
from deployment.bundle.manifest import Identity
from deployment.emulator.process import EmulatorProcess
from deployment.field.clock import SteppedClock
from deployment.field.snmp.profile import PROFILES, Credentials
from deployment.field.snmp.read import Reader, Refused, Session, Unreachable, plain
from deployment.field.snmp.transaction import PlanWriter
from deployment.field.snmp.write import Commander
from deployment.nema import oids
from plumbing.errors import LONGEST_QUOTE, InputError
from tests.field import CLOSED, POLICY, admission_for, drive
from tests.policy_runs import exported_bundle
from tests.udp_proxy import UdpProxy


def ask(port: int, who: Credentials, work: Callable[[Session, Commander], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        session = Session("127.0.0.1", port, who, timeout_s=0.3)
        await session.open()
        try:
            return await work(session, Commander(session, PROFILES["standard"], 1, 3))
        finally:
            session.close()

    return asyncio.run(run())


# --- another controller


def long_after(session: Session) -> None:
    """Let pysnmp's clock tick for ten minutes: what it keeps for five is forgotten."""
    engine = session.engine
    ticks = round(600 / engine.transport_dispatcher.get_timer_resolution())
    for n in range(ticks):
        for part in (*engine.message_processing_subsystems.values(), *engine.security_models.values()):
            part.receive_timer_tick(engine, n)


@pytest.mark.wide
def test_under_snmpv3_a_command_goes_to_no_other_engine_than_the_first(
    emulator: EmulatorProcess, other: EmulatorProcess
) -> None:
    before = other.status()["commands"]
    with UdpProxy(emulator.host, emulator.port) as link:

        async def work(session: Session, commander: Commander) -> None:
            octets = dict.fromkeys(commander.controls, 0)
            await commander.command(octets)
            long_after(session)
            link.target = (other.host, other.port)
            for _ in range(2):
                with pytest.raises(Unreachable):
                    await commander.command({**octets, "hold.1": 0x88})
            link.target = (emulator.host, emulator.port)
            await commander.command(octets)

        ask(link.port, POLICY, work)
    assert other.status()["commands"] == before


def test_under_snmpv3_a_restarted_controller_is_known_again(emulator: EmulatorProcess) -> None:
    async def work(session: Session, commander: Commander) -> None:
        await commander.read_controls()
        long_after(session)
        await asyncio.to_thread(emulator.reboot)
        await asyncio.to_thread(emulator.advance, 30.0)
        await commander.command({**dict.fromkeys(commander.controls, 0), "vehicle_call.1": 2})
        assert (await commander.read_controls())["vehicle_call.1"] == 2
        await commander.release()

    ask(emulator.port, POLICY, work)


# --- answers without sense


class Rewriter(UdpProxy):
    """Changes the values of answers by SNMPv2c that name an object."""

    changes: Mapping[oids.Oid, Any] = {}
    """Object type to the value that takes its place."""

    def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        if sock is self._front and self.changes:
            whole, _ = decoder.decode(message, asn1Spec=v2c.Message())
            pdu = v2c.apiMessage.get_pdu(whole)
            varbinds = v2c.apiPDU.get_varbinds(pdu)
            changed = [(oid, self.changes.get(tuple(oid)[:-1], held)) for oid, held in varbinds]
            v2c.apiPDU.set_varbinds(pdu, changed)
            message = encoder.encode(whole)
        super()._pass(sock, message, to)


HOLD = oids.CONTROL_HOLD.oid


SENSELESS = {
    "octets": v2c.OctetString(b"no number"),
    "digits as octets": v2c.OctetString(b"0"),
    "an OID": v2c.ObjectIdentifier((1, 3, 6, 1)),
    "nothing": v2c.Null(""),
    "too much": v2c.Integer32(4000),
    "no such instance": NoSuchInstance(""),
}


def test_a_command_that_is_answered_without_sense_is_refused(emulator: EmulatorProcess) -> None:
    with Rewriter(emulator.host, emulator.port) as link:

        async def work(session: Session, commander: Commander) -> None:
            for value in SENSELESS.values():
                link.changes = {HOLD: value}
                with pytest.raises(Refused, match="not the command"):
                    await commander.release()
                with pytest.raises(Refused, match=r"hold\.1 is .* no octet"):
                    await commander.read_controls()

        ask(link.port, CLOSED, work)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["octets", "no such instance"])
def test_control_ends_in_order_when_answers_lose_their_sense(
    name: str, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    with Rewriter(emulator.host, emulator.port) as link:

        def spoil() -> None:
            link.changes = {HOLD: SENSELESS[name]}

        found = drive(
            emulator, 9.0, tmp_path / "log", port=link.port, who=CLOSED, at={5.4: spoil},
            admission=admission_for(tmp_path, Identity(emulator.engine_id, None)),
        )  # fmt: skip
    assert [w["t"] for w in found.of("written") if w["t"] < 5.4]
    assert not [w for w in found.of("written") if w["t"] > 6.5]
    assert "released: the controller refuses a command" in found.told[-1]
    assert not any(emulator.status()["commands"].values())  # it was given back all the same


@pytest.mark.wide
def test_the_release_is_tried_again_whatever_went_wrong(emulator: EmulatorProcess, tmp_path: Path) -> None:
    class Slip(Exception):
        pass

    original, slips = Commander.release, [Slip("a fault of ours")]

    async def release(self: Commander, tries: int = 3) -> None:
        if slips:
            raise slips.pop()
        await original(self, tries)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Commander, "release", release)
        found = drive(emulator, 5.0, tmp_path / "log")
    assert found.tally.writes > 0
    assert any("release failed: Slip: a fault of ours" in event["what"] for event in found.of("event"))
    assert not any(emulator.status()["commands"].values())


def test_octets_are_no_number() -> None:
    assert plain(v2c.OctetString(b"42")) == b"42"
    assert plain(v2c.Integer32(42)) == plain(v2c.TimeTicks(42)) == 42
    assert plain(NoSuchObject("")) is None


def test_what_a_controller_says_of_an_error_is_one_short_line(emulator: EmulatorProcess) -> None:
    with Rewriter(emulator.host, emulator.port) as link:
        told = v2c.OctetString(b"\x1b[2J\n" + b"x" * 2000)
        link.changes = {oids.DB_VERIFY_STATUS.oid: v2c.Integer32(oids.VERIFY_ERROR), oids.DB_VERIFY_ERROR.oid: told}

        async def nobody(_: Reader) -> str:
            return ""

        async def work(session: Session, _: Commander) -> str:
            return await PlanWriter(session, PROFILES["standard"], 1, 3, nobody)._verdict()

        found = ask(link.port, CLOSED, work)
    assert found.startswith(r"\x1b[2J xxx")
    assert found.isprintable()
    assert len(found) <= LONGEST_QUOTE


# --- noise


def test_noise_at_the_socket_is_dropped_and_counted(
    emulator: EmulatorProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = [b"", b"\x00", b"garbage", bytes(range(256)), b"\x30\x82\xff\xff", b"\x30\x03\x02\x01\x01"]

    async def work(session: Session, commander: Commander) -> None:
        await commander.read_controls()
        assert session.ignored == 0
        assert session._transport is not None
        assert session._transport.transport is not None
        port = session._transport.transport.get_extra_info("socket").getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for datagram in noise:
                stranger.sendto(datagram, ("127.0.0.1", port))
        await asyncio.sleep(0.05)
        assert session.ignored == len(noise)
        await commander.read_controls()

    ask(emulator.port, POLICY, work)

    class Noisy(UdpProxy):
        """As if the controller itself sent it."""

        def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
            if sock is self._front:
                for datagram in noise:
                    self._send(sock, datagram, to)
            super()._pass(sock, message, to)

    with Noisy(emulator.host, emulator.port) as link:
        ask(link.port, POLICY, lambda _, commander: commander.read_controls())
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


# --- names


@pytest.mark.wide
def test_acceptance_25_a_name_is_looked_up_once(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It may lead to this machine when it is checked, and to a real controller when it is used."""
    bundle = exported_bundle(tmp_path_factory)
    real, asked = socket.getaddrinfo, []

    def rebinding(host: Any, *rest: Any, **options: Any) -> Any:
        if host != "rebinding.test":
            return real(host, *rest, **options)
        asked.append(host)
        return real("127.0.0.1" if len(asked) == 1 else "192.0.2.1", *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    clock = SteppedClock("http://rebinding.test:8610")
    assert (clock._host, len(asked)) == ("127.0.0.1", 1)
    asked.clear()
    words = ["--target", "rebinding.test:1", "--speed", "2", "--log", str(tmp_path / "log")]
    with pytest.raises(InputError, match=r"no controller answers at 127\.0\.0\.1:1 "):
        control.main([str(bundle), "--public-key", str(bundle.parent / "key.pub"), *words])
    assert len(asked) == 1
