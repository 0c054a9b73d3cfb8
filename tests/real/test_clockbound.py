"""Both ClockBound sources against the real daemons, 2.x and 0.1.x, beside a real chronyd that follows another."""

from __future__ import annotations

import os

from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockboundd import ClockBounddSource
from tests.real.clockbound import clockbound, left_behind, not_vouched_for, vouched_for
from tests.real.need import need


def test_right_clock() -> None:
    """The daemon vouches for a right clock within milliseconds, again and again, and every interval holds the time."""
    with clockbound() as run:
        vouched_for(ClockBoundSource(str(run / "clockbound/shm0")))


def test_wrong_clock() -> None:
    """A clock that chronyd knows to be 20 minutes slow, and may not set, is not vouched for."""
    with clockbound(1200) as run:
        not_vouched_for(ClockBoundSource(str(run / "clockbound/shm0")), "not synchronized")


def test_old_daemon() -> None:
    """0.1.x vouches for a right clock as well, and not for a wrong one."""
    need(os.geteuid() == 0, "root", "ClockBound 0.1.x asks chronyd at a port that is root's")
    with clockbound() as run:
        vouched_for(ClockBounddSource(str(run / "clockboundd/clockboundd.sock")))
    with clockbound(1200) as run:
        source = ClockBounddSource(str(run / "clockboundd/clockboundd.sock"))
        not_vouched_for(source, "not synchronized|reports an error")


def test_daemon_gone() -> None:
    """A segment whose daemon is gone is believed for a while, with a growing bound."""
    first, second = left_behind(clockbound(), 6)  # longer than the daemon's grace
    assert second.width - first.width >= 2 * 6 * 50_000 - 100_000
