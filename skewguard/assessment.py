"""Assess how far off a clock is: one rule, and one line, for every check of a monitoring system. Pure.

The line and the codes follow the Monitoring Plugins guidelines (Nagios, Icinga, Sensu).
"""

from __future__ import annotations

from typing import NamedTuple

from skewguard.interval import SECOND
from skewguard.wording import decimal, plain, this_clock

WARN_FROM, FAIL_FROM = 60 * SECOND, 240 * SECOND
"""The offsets beyond which a check warns, and fails, ns. The first AWS services refuse from 300 s on."""

OK, WARNING, CRITICAL, UNKNOWN = range(4)
NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class Outcome(NamedTuple):
    """What a check reports: an exit code, a sentence, and performance data (empty if there is none)."""

    code: int
    text: str
    performance: str = ""

    @property
    def status(self) -> str:
        """The exit code's name, such as ``WARNING``."""
        return NAMES[self.code]

    @property
    def line(self) -> str:
        """The line that a monitoring system reads."""
        text = f"{self.status} - {self.text}".replace("|", "/")  # what follows a | is performance data
        return f"{text} | {self.performance}" if self.performance else text


def severity(offset: int, warning: int = WARN_FROM, critical: int = FAIL_FROM) -> int:
    """Return OK, WARNING or CRITICAL for an offset in ns, either way. A threshold itself is still inside."""
    return CRITICAL if abs(offset) > critical else WARNING if abs(offset) > warning else OK


def assess(
    offset: int, bound: int, source: str, warning: int = WARN_FROM, critical: int = FAIL_FROM, grade: str = ""
) -> Outcome:
    """Assess this host's clock by its offset, true time minus wall clock, and the thresholds. All in ns."""
    ranges = ";".join(f"-{plain(limit)}:{plain(limit)}" for limit in (warning, critical))
    performance = f"offset={decimal(offset)}s;{ranges} bound={decimal(bound)}s;;;0"
    text = this_clock(offset, bound, source, grade=grade)
    return Outcome(severity(offset, warning, critical), text, performance)
