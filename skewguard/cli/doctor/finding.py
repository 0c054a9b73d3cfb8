"""One sentence of `doctor`'s, and what all of them go by. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from skewguard.cli.doctor.examination import Report
from skewguard.cli.survey import Known
from skewguard.interval import SECOND
from skewguard.wording import length

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_ROUND = MINUTE  # how far from a whole hour an offset may be that a mix-up of time zones would explain
_QUARTER = 15 * MINUTE


class Level(enum.IntEnum):
    """How bad it is."""

    OK = 0
    NOTE = 1
    WARN = 2
    FAIL = 3


class Finding(NamedTuple):
    """One sentence."""

    level: Level
    text: str

    def __str__(self) -> str:
        return f"[{self.level.name:^4}] {self.text}"


def truth(report: Report) -> Known | None:
    """Say how far the wall clock is off: by the sources, else by an AWS endpoint that was asked."""
    answer = report.endpoint
    if report.survey.known is None and answer is not None and answer.utc and answer.offset is not None:
        return Known(answer.offset, answer.bound, answer.url, authenticated=True)
    return report.survey.known


def whole_hours(offset: int, bound: int, zones: tuple[int, ...]) -> str:
    """Put an offset as a difference of time zones; empty if it is none.

    Args:
        offset: True time minus a clock, ns.
        bound: How sure that is, ns.
        zones: By how much this host's local time is ahead of UTC, in summer and winter, ns.
    """
    slack = _ROUND + bound
    if slack >= _QUARTER // 2 or abs(offset) < 30 * MINUTE - slack or abs(offset) > 14 * HOUR + slack:
        return ""
    for zone in zones:
        if zone and abs(abs(offset) - abs(zone)) <= slack:
            return f"just this host's time zone ({'+' if zone > 0 else '-'}{length(zone)})"
    hours = (abs(offset) + HOUR // 2) // HOUR
    if hours and abs(abs(offset) - hours * HOUR) <= slack:
        return f"{hours} whole hour{'s' if hours > 1 else ''}"
    return ""
