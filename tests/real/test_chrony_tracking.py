"""Sources against real chronyd daemons whose true time is known exactly: the wall clock, shifted."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from skewguard.clocks import system
from skewguard.errors import SourceError
from skewguard.interval import SECOND
from skewguard.sources import Source
from skewguard.sources.chrony import ChronySource
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.sources.ntp import NtpSource
from tests.patience import takes_at_most
from tests.real.chronyd import Chronyd, chronyd
from tests.real.exact import APART, exact
from tests.real.starting import free_ports

CLOCKS = system()
SAMPLES = int(os.environ.get("SKEWGUARD_CHRONY_SAMPLES", "1000"))


def by_udp(daemon: Chronyd) -> ChronySource:
    """Return its client over UDP; a chronyd that has only just started may be unsure by seconds, and is right to."""
    host = f"[{daemon.host}]" if ":" in daemon.host else daemon.host
    return ChronySource(f"{host}:{daemon.cmdport}", max_distance=MAX_DISTANCE)


def by_socket(daemon: Chronyd) -> ChronySource:
    """Return its client over the Unix socket."""
    return ChronySource(str(daemon.socket), max_distance=MAX_DISTANCE)


def by_ntp(daemon: Chronyd) -> NtpSource:
    """Return a client of the time that it serves."""
    return NtpSource(daemon.host, daemon.port, min_poll=0)


each_way = pytest.mark.parametrize("way", [by_udp, by_socket, by_ntp], ids=["UDP", "Unix socket", "NTP"])


def misses(source: Source, shift: float) -> tuple[int, list[int]]:
    """Measure many times; return how often the known truth lay outside, and the intervals' widths, sorted, ns."""
    missed, widths = 0, []
    for _ in range(SAMPLES):
        interval = source.measure(CLOCKS, CLOCKS.read().steady + 2 * SECOND)
        now = exact()
        truth = now.wall + int(shift * SECOND) - (now.steady - interval.at)  # at the very instant it is of
        # Some intervals are 2 µs wide on either side, and a busy machine reads the truth no better than that.
        missed += not interval.earliest - APART <= truth <= interval.latest + APART
        widths.append(interval.width)
    return missed, sorted(widths)


@pytest.mark.parametrize("way", [by_udp, by_socket], ids=["UDP", "Unix socket"])
@pytest.mark.parametrize("shift", [0, 1200, -180], ids=["honest", "20 min ahead", "3 min behind"])
def test_interval_contains_the_truth(shift: int, way: Callable[[Chronyd], ChronySource]) -> None:
    """A chronyd that may not set the clock knows the clock's error; every interval holds its server's time."""
    with chronyd(shift) as server, chronyd(upstream=server) as client:
        missed, widths = misses(way(client), shift)
        limit = time.monotonic() + 15
        while widths[0] > SECOND // 100 and time.monotonic() < limit:
            again, widths = misses(way(client), shift)
            missed += again
        assert [found.name for found in client.directory.glob("skewguard-*")] == []
    assert missed == 0
    assert widths[0] <= SECOND // 100  # in time it is sure, and so is the source


@pytest.mark.parametrize("way", [by_udp, by_ntp])
def test_ipv6(way: Callable[[Chronyd], Source]) -> None:
    try:
        free_ports(1, "::1")
    except OSError:
        pytest.skip("this host has no IPv6")
    with chronyd(host="::1") as server, chronyd(upstream=server, host="::1") as client:
        assert "://[::1]:" in way(client).name
        missed, _ = misses(way(client), 0)
    assert missed == 0


@each_way
def test_own_clock_is_refused_unless_allowed(way: Callable[[Chronyd], ChronySource | NtpSource]) -> None:
    """chronyd's reference shows that it follows no other clock; the URI can allow that."""
    with chronyd() as daemon:
        source = way(daemon)
        with pytest.raises(SourceError, match=r"s its own clock, which nothing corrects \(reference 127\.127\.1\.1\);"):
            misses(source, 0)
        allowed = type(source).from_uri(f"{source.name}?allow_local=1")
        allowed._min_poll = 0  # NTP's; else all are of one exchange, which a busy machine may have made slow
        missed, widths = misses(allowed, 0)
    assert missed == 0
    assert widths[0] < SECOND // 1000


@each_way
def test_unsynchronized_is_refused(way: Callable[[Chronyd], Source]) -> None:
    """A chronyd that has found no time yet reports so."""
    with chronyd(synchronized=False) as daemon, pytest.raises(SourceError, match="is not synchronized"):
        misses(way(daemon), 0)


@each_way
def test_daemon_that_ends_is_noticed_at_once(way: Callable[[Chronyd], Source]) -> None:
    """The error comes without waiting for the deadline."""
    with chronyd() as daemon:
        source = way(daemon)

    def refused() -> None:
        with pytest.raises(SourceError, match="cannot be reached: "):
            misses(source, 0)

    takes_at_most(1, refused)
    with pytest.raises(ProcessLookupError):  # it has not outlived its block
        os.kill(daemon.pid, 0)
