"""What both sources that send datagrams over UDP promise: deadlines that hold, and sockets that are closed."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from skewguard.errors import SourceError
from skewguard.sources import Source
from skewguard.sources.chrony import ChronySource
from skewguard.sources.ntp import NtpSource
from skewguard.testing import FakeClocks
from tests import test_chrony
from tests.ntp_server import Handler, Server, ask, honest, refusing, serving, silent
from tests.patience import PATIENCE, takes_at_most
from tests.support import nothing_left_open

Make = Callable[[int], Source]


def ntp(port: int) -> NtpSource:
    return NtpSource("127.0.0.1", port, min_poll=0)


def chrony(port: int) -> ChronySource:
    return ChronySource(f"127.0.0.1:{port}")


each = pytest.mark.parametrize("make", [ntp, chrony])
HONEST: dict[Make, Handler] = {ntp: honest, chrony: test_chrony.honest}


@each
def test_silence_and_the_deadline(make: Make) -> None:
    """The deadline is kept, and the message says what was waited for."""
    with serving(silent) as server:

        def measure() -> None:
            with pytest.raises(SourceError, match=r"^(ntp|chrony)://127\.0\.0\.1:\d+ did not answer within 0\.3 s$"):
                ask(make(server.port), 0.3)

        takes_at_most(0.6, measure, at_least=0.29)
        requests = len(server.requests)
        with pytest.raises(SourceError, match="was given no time to answer"):
            ask(make(server.port), -1)
        time.sleep(0.05)
        assert len(server.requests) == requests


@each
def test_clocks_that_stand_still_do_not_hang_it(make: Make) -> None:
    """A test's frozen clock never reaches the deadline; the system's own wait does."""
    with serving(silent) as server, pytest.raises(SourceError, match="did not answer"):
        ask(make(server.port), 0.1, FakeClocks())


@each
def test_an_endless_flood_does_not_move_the_deadline(make: Make) -> None:
    """Each datagram is read once, and the clock after each."""
    done = threading.Event()

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        if make is ntp:
            junk = bytes(replace(server.good(request), origin=bytes(8)))
        else:
            junk = bytes(replace(test_chrony.good(request), sequence=test_chrony.SEQUENCE))
        while not done.is_set():
            with contextlib.suppress(OSError):
                server.send(junk, peer)

    with serving(handler) as server:
        began = time.monotonic()
        with pytest.raises(SourceError, match=r"did not answer within 0\.4 s \(a datagram was ignored: it repeats"):
            ask(make(server.port), 0.4)
        took = time.monotonic() - began
        done.set()
        assert len(server.requests) == 1
    assert 0.39 <= took < PATIENCE


@each
def test_a_refusal_is_told_at_once(make: Make) -> None:
    """Where nothing listens, ICMP says so and the source does not wait."""
    began = time.monotonic()
    with refusing() as port, pytest.raises(SourceError, match=rf"^.*:{port} cannot be reached: Connection refused$"):
        ask(make(port), PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2


@each
def test_nothing_is_left_open(make: Make) -> None:
    """After success, silence and refusal."""
    with refusing() as dead, serving(HONEST[make]) as well, serving(silent) as mute, nothing_left_open():
        for port in (dead, well.port, mute.port):
            with contextlib.suppress(SourceError):
                ask(make(port), 0.2)
