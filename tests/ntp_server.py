"""An NTP server on loopback for tests, which answers as honestly or as badly as each of them wants."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import skewguard
from skewguard.clocks import Clocks, system
from skewguard.interval import EARLIEST, SECOND, Interval
from skewguard.sources.ntp import NtpSource

MS = SECOND // 1000
DAY = 86_400 * SECOND
EPOCH_1900 = 2_208_988_800 * SECOND
NONCE = bytes(range(8))
CLOCKS = system()
ZERO = EARLIEST + 30 * DAY  # true time here is this plus the steady clock, whatever the wall clock shows


def to_stamp(unix: int) -> int:
    """True time as an NTP server writes it: 32.32 seconds since 1900, the era left out."""
    return ((unix + EPOCH_1900 << 32) // SECOND) % 2**64


@dataclass(frozen=True)
class Answer:
    """A reply under construction; the defaults are beyond reproach."""

    receive: int = to_stamp(ZERO)
    transmit: int = to_stamp(ZERO + MS)
    origin: bytes = NONCE
    reference: int = to_stamp(ZERO - 60 * SECOND)
    leap: int = 0
    version: int = 4
    mode: int = 4
    stratum: int = 2
    poll: int = 6
    precision: int = -20
    root_delay: int = 655  # 10 ms
    root_dispersion: int = 66  # 1 ms
    refid: bytes = bytes((192, 0, 2, 1))
    tail: bytes = b""

    def __bytes__(self) -> bytes:
        first = self.leap << 6 | self.version << 3 | self.mode
        levels = (self.stratum, self.poll, self.precision)
        head = struct.pack("!BBbbII4s", first, *levels, self.root_delay, self.root_dispersion, self.refid)
        return head + struct.pack("!Q8sQQ", self.reference, self.origin, self.receive, self.transmit) + self.tail


Handler = Callable[["Server", bytes, tuple[str, int]], None]


class Server:
    """A UDP server on loopback that does to each request what the test wants; true time is `ZERO` + steady."""

    def __init__(self, handler: Handler, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.port: int = self.sock.getsockname()[1]
        self.uri = f"ntp://127.0.0.1:{self.port}"
        self.requests: list[tuple[bytes, tuple[str, int]]] = []
        self.failures: queue.SimpleQueue[Exception] = queue.SimpleQueue()
        self.ended = threading.Event()
        self._handler = handler
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                datagram, peer = self.sock.recvfrom(2048)
            except ConnectionError:
                continue  # the client had gone when an answer came
            if self.ended.is_set():
                return
            self.requests.append((datagram, peer))
            try:
                self._handler(self, datagram, peer)
            except Exception as error:
                self.failures.put(error)

    def good(self, request: bytes) -> Answer:
        """The honest answer to a request, now."""
        now = to_stamp(truth(CLOCKS.read().steady))
        return Answer(receive=now, transmit=now, reference=0, origin=request[40:48])

    def send(self, datagram: Answer | bytes, peer: tuple[str, int]) -> None:
        self.sock.sendto(bytes(datagram), peer)

    def close(self) -> None:
        """Stop, and fail the test if the handler had failed."""
        self.ended.set()
        with socket.socket(self.sock.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.sock.getsockname())
        self._thread.join()
        self.sock.close()
        if not self.failures.empty():
            raise self.failures.get()


def truth(steady: int) -> int:
    return ZERO + steady


def ask(source: NtpSource, seconds: float = 2.0, clocks: Clocks = CLOCKS) -> Interval:
    """Measure under a deadline that many seconds away."""
    return source.measure(clocks, clocks.read().steady + int(seconds * SECOND))


def source_of(server: Server, *, min_poll: int = 0, host: str = "127.0.0.1") -> NtpSource:
    """The client of a server; without limit to how often it asks, unless wanted."""
    return NtpSource(host, server.port, min_poll=min_poll)


def check(said: Interval) -> None:
    """Fail unless true time lay in the interval."""
    assert said.earliest <= truth(said.at) <= said.latest


def knows_the_truth() -> bool:
    """Return whether skewguard knows true time. Fail if what it knows is false or too wide."""
    before = truth(CLOCKS.read().steady)
    known = skewguard.now()
    after = truth(CLOCKS.read().steady)
    if known is None:
        return False
    assert known.earliest <= after
    assert before <= known.latest
    assert known.latest - known.earliest < 3 * SECOND
    return True


@contextlib.contextmanager
def serving(handler: Handler, host: str = "127.0.0.1") -> Iterator[Server]:
    server = Server(handler, host)
    try:
        yield server
    finally:
        server.close()


def honest(server: Server, request: bytes, peer: tuple[str, int]) -> None:
    server.send(server.good(request), peer)


def answering(**changed: Any) -> Handler:
    """Make a server whose answers are honest but for these fields."""
    return lambda server, request, peer: server.send(replace(server.good(request), **changed), peer)


def after(wait: Callable[[], object], then: Handler = honest) -> Handler:
    """Make a server that waits before each answer."""

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        wait()
        then(server, request, peer)

    return handler


def silent(server: Server, request: bytes, peer: tuple[str, int]) -> None:
    """Send no reply."""


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """Hold a UDP port that refuses: its socket receives from itself alone, and no other process can have the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        held.connect(held.getsockname())
        yield held.getsockname()[1]


def by_wall(offset: float = 0) -> Handler:
    """Make a server whose clock is the host's wall clock, or `offset` s ahead of it."""

    def answer(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        now = time.time_ns() + round(offset * SECOND)
        reference = to_stamp(now - 60 * SECOND)
        server.send(Answer(to_stamp(now), to_stamp(now), request[40:48], reference), peer)

    return answer


def wall_server(offset: float = 0) -> contextlib.AbstractContextManager[Server]:
    """Run that server."""
    return serving(by_wall(offset))
