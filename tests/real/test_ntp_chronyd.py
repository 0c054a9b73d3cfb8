"""The NTP client against real chronyd servers whose time is known exactly: this host's wall clock, plus a shift."""

from __future__ import annotations

import contextlib
import os

import pytest

import skewguard
from skewguard.clocks import system
from skewguard.interval import SECOND, Interval, vote
from skewguard.sources.ntp import NtpSource
from tests.real.chronyd import Chronyd, chronyd

CLOCKS = system()
SAMPLES = int(os.environ.get("SKEWGUARD_NTP_SAMPLES", "1000"))


def ask(daemon: Chronyd) -> Interval:
    """Measure a daemon that serves its own clock."""
    return NtpSource(daemon.host, daemon.port, allow_local=True).measure(CLOCKS, CLOCKS.read().steady + 2 * SECOND)


def offsets(daemon: Chronyd) -> list[skewguard.Offset]:
    """Measure many times with the public API, and return the wall clock's offsets."""
    source = NtpSource(daemon.host, daemon.port, allow_local=True, min_poll=0)
    found = []
    with skewguard.install(sources=[source], learn_from_responses=False):
        for _ in range(SAMPLES):
            status = skewguard.measure(timeout=5)
            assert [result.error for result in status.sources] == [None]
            found.append(status.offset)
    return found


@pytest.mark.parametrize(
    ("shift", "chain"),
    [(0, False), (1200, False), (-180, False), (0, True), (1200, True)],
    ids=["honest", "20 min ahead", "3 min behind", "chain of two", "chain of two, 20 min ahead"],
)
def test_offset_is_within_its_bound(shift: int, chain: bool) -> None:
    """The offset of `skewguard.measure` is true within its bound, every time."""
    with contextlib.ExitStack() as ending:
        daemon = ending.enter_context(chronyd(shift))
        if chain:
            daemon = ending.enter_context(chronyd(upstream=daemon))
        found = offsets(daemon)
    errors = sorted(abs(offset.seconds - shift) for offset in found)
    bounds = sorted(offset.error_bound for offset in found)
    middle = SAMPLES // 2
    print(
        f"error {errors[middle] * 1e6:.0f} µs, at the most {errors[-1] * 1e6:.0f}; bound {bounds[middle] * 1e6:.0f} µs"
    )
    assert [offset for offset in found if abs(offset.seconds - shift) > offset.error_bound] == []
    assert bounds[middle] < (0.1 if chain else 0.001)


def test_truth_is_one_of_three_that_agree() -> None:
    """Two honest servers and one that is 20 min ahead: the honest ones win the vote."""
    with chronyd() as one, chronyd() as two, chronyd(1200) as liar:
        intervals = [ask(daemon) for daemon in (one, two, liar)]
    now = CLOCKS.read()
    verdict = vote(intervals, now.steady)
    assert verdict.interval.earliest <= now.wall <= verdict.interval.latest
    assert [interval.source for interval in verdict.falsetickers] == [intervals[2].source]
