"""The chrony source: its URI, its sockets, and the attacks by fake daemons that it withstands."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from skewguard.clocks import Clocks, Reading, system
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval
from skewguard.sources.chrony import ChronySource
from skewguard.sources.chrony_packet import LENGTH, read_pair
from tests.ntp_server import Handler, Server, refusing, serving, silent
from tests.support import nothing_left_open
from tests.test_chrony_packet import SEQUENCE, Report

CLOCKS = system()


def test_bad_options() -> None:
    for options in ({"max_distance": 0}, {"max_distance": 17 * SECOND}, {"address": "/\ud800"}, {"address": ""}):
        with pytest.raises(ConfigError):
            ChronySource(**options)


# ------------------------------------------------------------------------------------------------------- on the wire

SHIFT = 1200 * SECOND


def good(request: bytes) -> Report:
    """The honest answer, now: this host is 20 min slow."""
    (sequence,) = struct.unpack_from("!I", request, 8)
    return Report(sequence=sequence, correction=SHIFT / SECOND, ref_time=time.time_ns() + SHIFT - SECOND)


def honest(server: Server, request: bytes, peer: tuple[str, int]) -> None:
    assert len(request) == LENGTH
    server.send(bytes(good(request)), peer)


def ask(source: ChronySource, seconds: float = 2.0, clocks: Clocks = CLOCKS) -> Interval:
    return source.measure(clocks, clocks.read().steady + int(seconds * SECOND))


def source_of(server: Server) -> ChronySource:
    return ChronySource(f"127.0.0.1:{server.port}")


def check(said: Interval) -> None:
    """Fail unless true time lay in the interval, and that is about as wide as the report says."""
    now = read_pair(CLOCKS)
    truth = now.wall - now.steady + said.at + SHIFT
    assert said.earliest <= truth <= said.latest
    assert 12 * SECOND // 1000 <= said.width < 20 * SECOND // 1000


def test_measures() -> None:
    """The interval holds true time; each request has a number of its own."""
    with serving(honest) as server:
        for _ in range(50):
            check(ask(source_of(server)))
        assert len({request[8:12] for request, _ in server.requests}) == 50


def _forged(**fields: object) -> Handler:
    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        server.send(bytes(replace(good(request), correction=-5.0, **fields)), peer)  # type: ignore[arg-type]
        honest(server, request, peer)

    return handler


def _junk(*datagrams: bytes) -> Handler:
    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        for datagram in datagrams:
            server.send(datagram, peer)
        honest(server, request, peer)

    return handler


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(_forged(sequence=SEQUENCE), id="sequence"),
        pytest.param(_forged(command=34), id="command"),
        pytest.param(_forged(version=5), id="version"),
        pytest.param(_forged(kind=1), id="request"),
        pytest.param(_junk(b"", b"\x06\x02", bytes(LENGTH), bytes(5000), bytes(60_000)), id="sizes"),
        pytest.param(_junk(*(os.urandom(size) for size in range(200))), id="noise"),
    ],
)
def test_what_is_no_reply_is_waited_past(handler: Handler) -> None:
    """Nothing but our own number, repeated in a reply to our command, is an answer."""
    with serving(handler) as server:
        check(ask(source_of(server)))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"status": 2}, "gives no time: chronyd refused"), ({"reply": 1}, "type 1"), ({"leap": 3}, "not synchronized")],
)
def test_useless_answer_ends_the_exchange(fields: dict[str, int], reason: str) -> None:
    """It is chronyd's own word; a better one would be a forgery."""
    with serving(_forged(**fields)) as server:
        source = source_of(server)
        with pytest.raises(SourceError, match=reason) as caught:
            ask(source, 5)
        assert str(caught.value).startswith(source.name)
        assert len(server.requests) == 1


def test_short_reply_ends_the_exchange() -> None:
    """A header in order with too little behind it is broken, not forged."""

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        server.send(bytes(good(request))[:60], peer)

    with serving(handler) as server, pytest.raises(SourceError, match="60 bytes long instead of 104"):
        ask(source_of(server))


@pytest.mark.slow
def test_second_address_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the default's two, one that is refused, or silent for half of the time, gives way to the other."""
    with refusing() as gone, serving(silent) as mute, serving(honest) as well:
        for first in (gone, mute.port):
            source = ChronySource()
            source._peers = (("127.0.0.1", first), ("127.0.0.1", well.port))
            check(ask(source, 2))
        source._peers = (("127.0.0.1", gone), ("127.0.0.1", mute.port))
        with pytest.raises(SourceError, match=r"^chrony cannot be reached: Connection refused$"):
            ask(source, 0.2)


class Stepped:
    """The real clocks, with a wall clock that is set by an hour at the given looks."""

    def __init__(self, *at: int) -> None:
        self.looks = 0
        self.at = at
        self.offset = 0
        self.quick_ns, self.wall_ns = CLOCKS.quick_ns, CLOCKS.wall_ns

    def read(self) -> Reading:
        now = CLOCKS.read()
        self.looks += 1
        self.offset += 3600 * SECOND * (self.looks in self.at)
        return Reading(now.steady, now.wall + self.offset)


def _following(clocks: Callable[[], Stepped]) -> Handler:
    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        shift = SHIFT - clocks().offset
        server.send(bytes(replace(good(request), correction=shift / SECOND)), peer)

    return handler


def test_wall_clock_set_during_the_exchange() -> None:
    """The correction may be to the old time or the new: chronyd is asked again."""
    clocks = Stepped(5)  # looks: ours, the deadline's, before, waiting, after
    with serving(_following(lambda: clocks)) as server:
        check(ask(source_of(server), 2, clocks))
        assert len(server.requests) == 2


def test_wall_clock_set_all_the_time() -> None:
    """Rather no statement than one about a clock that is gone."""
    clocks = Stepped(*range(99))
    with serving(_following(lambda: clocks)) as server:
        with pytest.raises(SourceError, match="is being set at this moment"):
            ask(source_of(server), 2, clocks)
        assert len(server.requests) == 3


# ----------------------------------------------------------------------------------------------------- Unix sockets


@contextlib.contextmanager
def unix_chronyd(directory: Path, *, answers: bool = True) -> Iterator[tuple[str, list[tuple[str, int, int]]]]:
    """A stand-in on a Unix socket; yields the socket's path and what was seen of each client: path, modes."""
    seen: list[tuple[str, int, int]] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = str(directory / "chronyd.sock")
        sock.bind(path)
        sock.settimeout(10)

        def serve() -> None:
            while True:
                datagram, peer = sock.recvfrom(2048)
                if not datagram:
                    return
                try:
                    modes = [found.stat().st_mode & 0o777 for found in (Path(peer), Path(peer).parent)]
                except FileNotFoundError:  # the source has given up
                    continue
                seen.append((peer, modes[0], modes[1]))
                if answers:
                    sock.sendto(bytes(good(datagram)), peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield path, seen
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", path)
            thread.join()


@pytest.fixture
def near() -> Iterator[Path]:
    """A directory whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="chrony-") as made:
        yield Path(made)


def test_unix_socket(near: Path) -> None:
    """Our own socket lies beside the daemon's, can be written to by it, and is gone afterwards."""
    with unix_chronyd(near) as (path, seen):
        for _ in range(3):
            check(ask(ChronySource(path)))
        assert [found.name for found in near.iterdir()] == ["chronyd.sock"]
    assert len({peer for peer, _, _ in seen}) == 3
    assert all(peer.startswith(str(near)) for peer, _, _ in seen)
    assert {(mode, parent) for _, mode, parent in seen} == {(0o666, 0o711)}


def test_unix_socket_is_removed_after_silence(near: Path) -> None:
    with unix_chronyd(near, answers=False) as (path, seen):
        with pytest.raises(SourceError, match=r"did not answer within 0\.2 s"):
            ask(ChronySource(path), 0.2)
        assert len(seen) == 1
        assert [found.name for found in near.iterdir()] == ["chronyd.sock"]


def test_unix_socket_elsewhere(near: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing may be put beside the daemon's socket, ours goes where temporary files go."""
    make = tempfile.mkdtemp

    def refused(*, prefix: str, dir: str | None) -> str:  # noqa: A002
        if dir is not None:
            raise PermissionError(13, "Permission denied")
        return make(prefix=prefix)

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    with unix_chronyd(near) as (path, seen):
        check(ask(ChronySource(path)))
    assert not seen[0][0].startswith(str(near))
    assert not Path(seen[0][0]).parent.exists()


@pytest.mark.parametrize("name", ["gone", "x" * 200])
def test_no_such_unix_socket(near: Path, name: str) -> None:
    """Its absence is a source's failure, and costs no directory."""
    with pytest.raises(SourceError, match="cannot be reached: "):
        ask(ChronySource(str(near / name)))
    assert not list(near.iterdir())


def test_nothing_is_left_open(near: Path) -> None:
    with unix_chronyd(near) as (path, _), nothing_left_open():
        ask(ChronySource(path))
        with pytest.raises(SourceError):
            ask(ChronySource("/gone"))
