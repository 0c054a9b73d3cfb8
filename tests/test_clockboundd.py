"""The source for daemons of ClockBound 0.1.x: its URI, the protocol, and what a hostile daemon can and cannot do."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.clocks import BRACKET_NS, Clocks, Reading, system
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources import clockboundd
from skewguard.sources.clockboundd import REQUEST, ClockBounddSource, parse
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.testing import FakeClocks
from tests.patience import PATIENCE, in_threads
from tests.support import nothing_left_open

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")

MS = 1_000_000
ZERO = 1_800_000_000 * SECOND
CLOCKS = system()
abstract_names = pytest.mark.skipif(sys.platform != "linux", reason="needs socket names that are no files")


def answer(
    earliest: int = ZERO, latest: int = ZERO + 2 * MS, *, version: int = 1, command: int = 1, flag: int = 0
) -> bytes:
    return struct.pack("!BBBxQQ", version, command, flag, earliest, latest)


Handler = Callable[[socket.socket, bytes, "str | bytes"], None]


def replying(*datagrams: bytes, delay: float = 0) -> Handler:
    def handle(sock: socket.socket, _: bytes, sender: str | bytes) -> None:
        time.sleep(delay)
        for datagram in datagrams:
            sock.sendto(datagram, sender)

    return handle


class Daemon:
    """A daemon on a thread; `requests` are what it was sent, `senders` from where."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self.requests: list[bytes] = []
        self.senders: list[str | bytes] = []
        self._handler = handler
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(str(path))
        self._sock.settimeout(0.05)
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.source = ClockBounddSource(str(path))

    def _serve(self) -> None:
        while not self._stop:
            try:
                request, sender = self._sock.recvfrom(100)
            except TimeoutError:
                continue
            self.requests.append(request)
            self.senders.append(sender)
            with contextlib.suppress(OSError):  # the source may be gone
                self._handler(self._sock, request, sender)

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._sock.close()
        self.path.unlink()

    def ask(self, seconds: float = 2.0, clocks: Clocks = CLOCKS) -> Interval:
        return self.source.measure(clocks, clocks.read().steady + int(seconds * SECOND))


def ask(path: Path, seconds: float = 1.0) -> Interval:
    """Measure by a new source."""
    return ClockBounddSource(str(path)).measure(CLOCKS, CLOCKS.read().steady + int(seconds * SECOND))


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket can be: tmp_path may be too long."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "d.sock")


@contextlib.contextmanager
def serving(handler: Handler, parent: str | None = None) -> Iterator[Daemon]:
    """Run a daemon; its path is short, because sockets' paths must be."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        daemon = Daemon(Path(folder, "d.sock"), handler)
        try:
            yield daemon
        finally:
            daemon.close()


# --------------------------------------------------------------------------------------------------------- datagrams


def test_request() -> None:
    """Version 1, command 1, and two bytes that mean nothing."""
    assert REQUEST == b"\1\1\0\0"


def test_answer_is_big_endian() -> None:
    """The two instants stand as the protocol says, most significant byte first."""
    assert parse(b"\1\1\0\0" + (5).to_bytes(8, "big") + (7).to_bytes(8, "big")) == (5, 7)


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (answer(command=0), "reports an error"),
        (answer(command=0)[:4], "reports an error"),
        (answer(command=0, flag=1), "reports an error"),
        (answer(0, 0, command=0), "reports an error"),
        (answer(flag=1), "not synchronized"),
        (answer(ZERO, ZERO - 1), "ends before it begins"),
        (answer(ZERO, ZERO + 2 * MAX_DISTANCE), "within 16.0 s only"),
        (answer(0, 2**64 - 1), "only"),
    ],
)
def test_not_believed(datagram: bytes, reason: str) -> None:
    """An error with a body or without, a clock that is not synchronized, and an absurd interval are refused."""
    with pytest.raises(SourceError, match=reason):
        parse(datagram)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\1\1\0",
        answer()[:4],
        answer()[:5],
        answer()[:19],
        answer() + b"\0",
        answer(command=2),
        answer(command=3),
        answer(version=0),
        answer(version=2),
        answer(version=2, command=0),
        answer(flag=2),
        b"\1\2\0\0\1",
    ],
)
def test_no_answer(datagram: bytes) -> None:
    """What is not of the protocol, or answers another question, proves nothing."""
    assert parse(datagram) is None


@given(st.binary(max_size=40) | st.binary(min_size=16, max_size=16).map(b"\1\1\0\0".__add__))
def test_any_bytes_as_datagram(datagram: bytes) -> None:
    with contextlib.suppress(SourceError):
        said = parse(datagram)
        assert said is None or said[0] <= said[1]


# --------------------------------------------------------------------------------------------------------- a daemon


def test_measure() -> None:
    """True time is not before the earliest, nor after the latest plus all the time since the question."""
    with serving(replying(answer())) as daemon:
        before = CLOCKS.read().steady
        said = daemon.ask()
        after = CLOCKS.read().steady
    assert daemon.requests == [REQUEST]
    assert before <= said.at <= after
    assert said.earliest == ZERO - BRACKET_NS // 2
    assert 2 * MS < said.width <= 2 * MS + 2 * (after - before) + 2 * BRACKET_NS
    assert (said.trust, said.source) == (Trust.WITNESS, daemon.source.name)


def test_slow_answer_is_wider() -> None:
    """When a slow daemon read its clock is not known, so the interval holds all of that time."""
    with serving(replying(answer(), delay=0.05)) as daemon:
        assert daemon.ask().width >= 52 * MS


@abstract_names
def test_reply_address() -> None:
    """Each request has an address of its own that is not a file and cannot be guessed."""
    with serving(replying(answer())) as daemon:
        for _ in range(3):
            daemon.ask()
    assert len(set(daemon.senders)) == 3
    assert all(isinstance(sender, bytes) and sender.startswith(b"\0") and len(sender) > 32 for sender in daemon.senders)


def answering_files(sock: socket.socket, _: bytes, sender: str | bytes) -> None:
    """Reply as a daemon before 0.1.2: only to an address that is a file, which every user may write to."""
    if isinstance(sender, str):
        assert Path(sender).stat().st_mode & 0o002
        assert Path(sender).parent.stat().st_mode & 0o001
        sock.sendto(answer(), sender)


@abstract_names
def test_daemon_that_answers_files_alone(tmp_path: Path) -> None:
    """A daemon too old for names that are no files is asked from a file; then that is known, and nothing is left."""
    with serving(answering_files) as daemon:
        assert daemon.ask()
        assert [type(sender) for sender in daemon.senders] == [bytes, str]
        assert daemon.ask()
        assert [type(sender) for sender in daemon.senders] == [bytes, str, str]
    for sender in daemon.senders[1:]:
        assert isinstance(sender, str)
        assert not Path(sender).parent.exists()


@pytest.mark.slow
@abstract_names
def test_late_answer_to_the_first_question() -> None:
    """A daemon that is merely slow may answer the first question while the second is under way."""
    with serving(replying(answer(), delay=0.25)) as daemon:
        said = daemon.ask()
    assert said.width >= 250 * MS


def test_system_without_abstract_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a socket can only be a file, it is one from the beginning."""
    real = socket.socket

    class Plain(real):
        def bind(self, address: object) -> None:
            if isinstance(address, str) and address.startswith("\0"):
                raise FileNotFoundError(2, "No such file or directory")
            super().bind(address)  # type: ignore[arg-type]

    with serving(answering_files) as daemon:
        monkeypatch.setattr(socket, "socket", Plain)
        assert daemon.ask()
        monkeypatch.undo()
    assert [type(sender) for sender in daemon.senders] == [str]


@pytest.mark.parametrize("folder", ["nowhere", "x" * 100])
def test_temporary_directory_of_no_use(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place to write, or one with a path too long for a socket, is an error only where the other way fails too."""
    if folder != "nowhere":
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
    with serving(replying(answer(), delay=0.2), "/tmp") as daemon:
        assert daemon.ask()
        daemon.source._file_first = True
        with pytest.raises(SourceError, match=r"cannot be asked: (No such file|AF_UNIX path too long)"):
            daemon.ask()


# ----------------------------------------------------------------------------------------------------- a hostile one


def test_no_daemon(tmp_path: Path) -> None:
    """Where no daemon listens, the error comes at once; also for a path too long for a socket, or none."""
    file = tmp_path / "file"
    file.touch()
    for path in (tmp_path / "none", file, tmp_path, tmp_path / ("x" * 200)):
        with pytest.raises(SourceError, match=r"^clockboundd:/.* cannot be asked: "):
            ask(path)


def test_dead_daemon(path: Path) -> None:
    """A socket left behind by a daemon that died is refused at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
    with pytest.raises(SourceError, match="refused"):
        ask(path)


@pytest.mark.slow
def test_silence_ends_at_the_deadline() -> None:
    """A daemon that never answers costs the deadline and no more, whatever the clocks do, and leaves nothing open."""
    with serving(replying()) as daemon:
        for clocks in (CLOCKS, FakeClocks()):
            began = time.monotonic()
            with nothing_left_open(), pytest.raises(SourceError, match=r"did not answer within 0\.3 s$"):
                daemon.ask(0.3, clocks)
            assert 0.1 < time.monotonic() - began < PATIENCE


def test_no_time() -> None:
    with pytest.raises(SourceError, match="no time to answer"):
        ClockBounddSource().measure(CLOCKS, CLOCKS.read().steady)


def test_full_queue(path: Path) -> None:
    """A daemon that has stopped reading blocks no caller."""
    unix = (socket.AF_UNIX, socket.SOCK_DGRAM)
    with socket.socket(*unix) as deaf, socket.socket(*unix) as stuffing:
        deaf.bind(str(path))
        stuffing.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                stuffing.sendto(b"", str(path))
        with pytest.raises(SourceError):
            ask(path)


def test_junk_is_ignored() -> None:
    """What is no answer is passed over, and the answer behind it taken."""
    junk = (b"", b"\0" * 20, answer(version=9), answer(command=2), os.urandom(3), b"x" * 1000)
    with serving(replying(*junk, answer())) as daemon:
        assert daemon.ask().earliest == ZERO - BRACKET_NS // 2


def test_junk_alone() -> None:
    """Junk does not put off the deadline, and what came is said."""
    with serving(replying(b"junk!")) as daemon, pytest.raises(SourceError, match=r"within 0\.3 s .* ignored: [12]"):
        daemon.ask(0.3)


def test_flood() -> None:
    """A daemon that floods us is left, whatever the deadline, and even where a test's clocks stand still."""

    def flood(sock: socket.socket, _: bytes, sender: str | bytes) -> None:
        with contextlib.suppress(OSError):
            for _ in range(100_000):
                sock.sendto(b"", sender)

    with serving(flood) as daemon, pytest.raises(SourceError, match="sends datagrams that are no reply"):
        daemon.ask(3600, FakeClocks())


@pytest.mark.parametrize("datagram", [answer(command=0), answer(command=0)[:4], answer(flag=1)])
def test_errors_are_not_waited_upon(datagram: bytes) -> None:
    """A daemon that says no is believed at once, under the source's name."""
    began = time.monotonic()
    with (
        serving(replying(datagram)) as daemon,
        pytest.raises(SourceError, match=f"^{daemon.source.name} (reports|says)"),
    ):
        daemon.ask(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


@abstract_names
def test_a_stranger_cannot_answer() -> None:
    """The kernel drops datagrams of other programs, even if they know the address."""
    outcome: list[str] = []

    def betray(sock: socket.socket, _: bytes, sender: str | bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            try:
                stranger.sendto(answer(5, 6), sender)
            except PermissionError:
                outcome.append("refused")
        sock.sendto(answer(), sender)

    with serving(betray) as daemon:
        assert daemon.ask().earliest == ZERO - BRACKET_NS // 2
    assert outcome == ["refused"]


def test_sleep_during_the_question() -> None:
    """An answer that took longer than any daemon needs tells of a sleeping host, not of the time."""

    class Sleepy(FakeClocks):
        steps = 0

        def read(self) -> Reading:
            self.steps += 1
            return Reading(self.steps * 3 * SECOND, ZERO)

    with serving(replying(answer())) as daemon, pytest.raises(SourceError, match="too long to give the time"):
        daemon.ask(3600, Sleepy())


@pytest.mark.slow
def test_daemon_that_dies_during_the_question(path: Path) -> None:
    """A daemon that goes away without an answer is an error, and no later than the deadline."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))

    def die() -> None:
        sock.recv(10)
        sock.close()

    thread = threading.Thread(target=die)
    thread.start()
    with pytest.raises(SourceError):
        ask(path, 0.5)
    thread.join()


def test_threads_share_a_source() -> None:
    """Threads that ask at the same time do not hear each other's answers."""
    with serving(replying(answer())) as daemon:
        answers: list[Interval] = []
        in_threads(8, lambda: answers.append(daemon.ask(10)))
    assert len(answers) == 8


def test_default_path() -> None:
    """The default socket is where the daemon's manual says."""
    assert clockboundd.PATH == "/run/clockboundd/clockboundd.sock"
