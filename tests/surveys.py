"""What the commands find out of this host's clock: for their tests, and as the docs show it."""

from __future__ import annotations

from skewguard.cli.doctor.examination import Examination, Rtc
from skewguard.cli.doctor.machine import Machine
from skewguard.cli.survey import ClockOffset, SourceResult, Survey
from skewguard.host_clock import HostClock
from skewguard.interval import SECOND

WALL = 1_800_000_000 * SECOND


def known(offset: float, bound: float = 0.01, name: str = "ntp://a") -> ClockOffset:
    """Return an offset and its error bound, given in seconds."""
    return ClockOffset(round(offset * SECOND), round(bound * SECOND), name)


def heard(offset: float, bound: float = 0.01, name: str = "ntp://a") -> Survey:
    """Return a survey of one source, which has given the time."""
    said = known(offset, bound, name)
    return Survey(said, (SourceResult(name, said, None, 0),), WALL)


def example(offset: int) -> Examination:
    """Return the examination that the docs show, of a host that is `offset` s slow."""
    return Examination(
        heard(offset + 0.0003, 0.012, "ntp://time.aws.com"),
        HostClock(synchronized=not offset, daemons=("systemd-timesyncd",)),
        Machine("linux", systemd=True),
        rtc=Rtc(offset * SECOND, False),
    )
