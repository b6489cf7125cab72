"""A link that misbehaves: datagrams between client and agent are dropped, delayed, doubled, reordered, or cut off."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType


@dataclass
class Behaviour:
    """What happens to datagrams, each way; probabilities are per datagram."""

    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    """Of being held back for `delay_s`, so that later ones overtake it."""
    delay_s: float = 0.05
    cut: bool = False
    """Nothing passes."""


@dataclass
class Seen:
    """What passed from the client to the agent."""

    requests: list[bytes] = field(default_factory=list)
    dropped: int = 0
    doubled: int = 0
    delayed: int = 0

    @property
    def sets(self) -> list[bytes]:
        """SNMPv2c messages with a SetRequest."""
        return [message for message in self.requests if pdu_tag(message) == 0xA3]


class UdpProxy:
    """Listens on `port`, passes on to the target, in a thread of its own."""

    def __init__(
        self, host: str, port: int, behaviour: Behaviour | None = None, seed: int = 0, at: str = "127.0.0.1"
    ) -> None:
        self.target, self.behaviour, self.seen = (host, port), behaviour or Behaviour(), Seen()
        self._random = random.Random(seed)
        self._front = socket.socket(socket.AF_INET6 if ":" in at else socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind((at, 0))
        self.port: int = self._front.getsockname()[1]
        self._back: dict[tuple[str, int], socket.socket] = {}
        self._clients: dict[socket.socket, tuple[str, int]] = {}
        self._later: list[tuple[float, socket.socket, bytes, tuple[str, int]]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._closing.is_set():
            ready, _, _ = select.select([self._front, *self._clients], [], [], 0.002)
            for sock in ready:
                try:
                    message, sender = sock.recvfrom(65536)
                except OSError:
                    continue
                if sock is self._front:
                    if sender not in self._back:
                        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                        self._back[sender], self._clients[back] = back, sender
                    self.seen.requests.append(message)
                    self._pass(self._back[sender], message, self.target)
                else:
                    self._pass(self._front, message, self._clients[sock])
            now = time.monotonic()
            due = [entry for entry in self._later if entry[0] <= now]
            self._later = [entry for entry in self._later if entry[0] > now]
            for _, sock, message, to in due:
                self._send(sock, message, to)

    def _pass(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        how = self.behaviour
        if how.cut or self._random.random() < how.drop:
            self.seen.dropped += 1
            return
        copies = 2 if self._random.random() < how.double else 1
        self.seen.doubled += copies - 1
        for _ in range(copies):
            if self._random.random() < how.delay:
                self.seen.delayed += 1
                self._later.append((time.monotonic() + how.delay_s, sock, message, to))
            else:
                self._send(sock, message, to)

    def _send(self, sock: socket.socket, message: bytes, to: tuple[str, int]) -> None:
        if not self.behaviour.cut:
            sock.sendto(message, to)

    def __enter__(self) -> UdpProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()
        for sock in (self._front, *self._clients):
            sock.close()


def pdu_tag(message: bytes) -> int:
    """The tag of an SNMPv1 or v2c message's PDU: 0xA0 GET, 0xA3 SET; 0 for SNMPv3, whose PDU is encrypted."""
    at = _skip_header(message, 0)
    version_end = _skip(message, at)
    if message[at + 2] == 3:
        return 0
    return message[_skip(message, version_end)]


def _skip_header(message: bytes, at: int) -> int:
    length = message[at + 1]
    return at + 2 + (length & 0x7F if length & 0x80 else 0)


def _skip(message: bytes, at: int) -> int:
    length = message[at + 1]
    start = _skip_header(message, at)
    if length & 0x80:
        length = int.from_bytes(message[at + 2 : start], "big")
    return start + length
