"""How a controller is reached: IPv4 and IPv6, by address and by name, and a second try after a failed one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import control
from deployment.emulator.process import EmulatorProcess
from deployment.field.eventlog import EventLog, read_log
from deployment.field.link import address_from
from deployment.field.snmp.profile import Credentials, credentials_from
from deployment.field.snmp.read import Session, Unreachable
from deployment.nema import oids
from plumbing.errors import InputError
from tests.field import V3, start
from tests.policy_runs import exported_bundle
from tests.udp_proxy import UdpProxy

PUBLIC = dict.fromkeys(("community", "user", "auth", "priv"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A signed bundle, and the public key."""
    path = exported_bundle(tmp_path_factory)
    return path, path.parent / "key.pub"


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("single", speed=5.0) as running:
        yield running


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.7.12:161", ("10.1.7.12", 161)),
        ("cabinet-7.example:161", ("cabinet-7.example", 161)),
        ("[::1]:161", ("::1", 161)),
        ("[fe80::7%eth0]:1610", ("fe80::7%eth0", 1610)),
    ],
)
def test_an_address_is_read(text: str, address: tuple[str, int]) -> None:
    assert address_from(text) == address
    assert Session(*address, Credentials("2c")).where == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("::1:161", "brackets go around an IPv6 address"),
        ("2001:db8::7", "brackets go around an IPv6 address"),
        ("[10.1.7.12]:161", "and only there"),
        ("[::1]", "give HOST:PORT"),
        ("[::1:161", "give HOST:PORT"),
        ("[]:161", "give HOST:PORT"),
    ],
)
def test_an_address_that_could_mean_two_things_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        address_from(text)


async def up_time(host: str, port: int, credentials: Credentials) -> Any:
    session = Session(host, port, credentials, timeout_s=1.0)
    await session.open()
    try:
        ((_, value),) = await session.request(session.getter, [((1, 3, 6, 1, 2, 1, 1, 3, 0), None)], 3)
        return int(value), session.ignored
    finally:
        session.close()


def only(family: socket.AddressFamily) -> Any:
    """`getaddrinfo` where `cabinet.test` has addresses of this family, 127.0.0.1 and ::1."""
    plain = socket.getaddrinfo

    def look(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "cabinet.test":
            return plain(host, *args, **kwargs)
        hosts = {socket.AF_INET: ["127.0.0.1"], socket.AF_INET6: ["::1"], socket.AF_UNSPEC: ["::1", "127.0.0.1"]}
        return [found for each in hosts[family] for found in plain(each, *args, **kwargs)]

    return look


@pytest.mark.wide
@pytest.mark.parametrize(
    ("host", "at", "family"),
    [
        ("::1", "::1", socket.AF_UNSPEC),
        ("cabinet.test", "::1", socket.AF_INET6),
        ("cabinet.test", "127.0.0.1", socket.AF_INET),
        ("cabinet.test", "127.0.0.1", socket.AF_UNSPEC),
    ],
)
def test_a_controller_answers_over_ipv6_and_ipv4_by_address_and_by_name(
    host: str, at: str, family: socket.AddressFamily, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", only(family))
    for version in ("1", "2c"):
        with UdpProxy("127.0.0.1", emulator.port, at=at) as link:
            ticks, ignored = asyncio.run(up_time(host, link.port, credentials_from(version, PUBLIC)))
        assert ticks > 0
        assert ignored == 0


def test_over_ipv6_a_stranger_is_not_listened_to(emulator: EmulatorProcess) -> None:
    class Elsewhere(UdpProxy):
        """Answers from another port."""

        def _pass(self, sock: socket.socket, message: bytes, to: Any) -> None:
            if sock is self._front:
                with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other:
                    other.sendto(message, to)
            else:
                super()._pass(sock, message, to)

    async def ask(port: int) -> int:
        session = Session("::1", port, credentials_from("2c", PUBLIC), timeout_s=0.2)
        await session.open()
        try:
            with pytest.raises(Unreachable, match=r"\[::1\]:"):
                await session.request(session.getter, [((*oids.UNIT_BACKUP_TIME.oid, 0), None)], 2)
            return session.ignored
        finally:
            session.close()

    with Elsewhere("127.0.0.1", emulator.port, at="::1") as link:
        assert asyncio.run(ask(link.port)) == 2


@pytest.mark.wide
def test_a_log_that_a_failed_connection_left_makes_room_for_the_next_try(
    bundle: tuple[Path, Path], emulator: EmulatorProcess, tmp_path: Path
) -> None:
    """And the next try is over IPv6, under SNMPv3."""
    log = tmp_path / "log"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("::1", 0))
        target = f"[::1]:{nobody.getsockname()[1]}"
        words = [str(bundle[0]), "--public-key", str(bundle[1]), "--log", str(log), "--target", target]
        for _ in range(2):
            with pytest.raises(InputError) as caught:
                control.main(words)
            assert f"no controller answers at {target}" in str(caught.value)
    assert {record["k"] for record in read_log(log)} == {"start", "event", "end"}
    with UdpProxy("127.0.0.1", emulator.port, at="::1") as link:
        process = start(bundle, link.port, *V3, "--duration", "3", "--speed", "5", "--log", str(log), host="[::1]")
        told, error = process.communicate(timeout=30)
    assert process.returncode == 0, error
    assert f"[::1]:{link.port}" in told
    assert any(record["k"] == "poll" for record in read_log(log))
    with pytest.raises(InputError, match="is there already"):
        control.main(words)


def test_a_log_with_an_answer_in_it_or_of_somebody_else_stays(tmp_path: Path) -> None:
    def written(name: str, *records: dict[str, Any], ended: bool = True) -> Path:
        log = EventLog(tmp_path / name, {"wall": "now"})
        for record in records:
            log.write(record)
        if ended:
            log.close()
        return tmp_path / name

    lost = {"k": "lost", "t": 0.0, "why": "no answer"}
    answered = written("answered", {"k": "poll", "t": 0.0, "v": {}})
    still_open = written("open", lost, ended=False)
    foreign = tmp_path / "foreign"
    foreign.write_text("a letter\n")
    cut = written("cut", lost)
    cut.write_bytes(cut.read_bytes().replace(b"no answer", b"an answer"))
    link = tmp_path / "link"
    link.symlink_to(written("behind", lost))
    for path in (answered, still_open, foreign, cut, link):
        before = path.read_bytes()
        with pytest.raises(InputError, match="is there already"):
            EventLog(path, {"wall": "later"})
        assert path.read_bytes() == before
    EventLog(written("free", lost), {"wall": "later"}).close()
    assert next(read_log(tmp_path / "free"))["wall"] == "later"
