"""Limits that several sources share: distances, delays and dates that can be true. Pure; integer nanoseconds."""

from __future__ import annotations

import math
import time
from datetime import date

from skewguard.clocks import BRACKET_NS
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval, plausible

MAX_DISTANCE = 16 * SECOND
"""RFC 5905, MAXDISP: a clock that is further from its reference is not synchronized at all."""

MAX_ROOT_DELAY = SECOND
"""The way to a reference clock and back takes less, even by satellite."""

MAX_DELAY = 5 * SECOND
"""A reply that took longer shows that the host slept or that a queue was replayed; it does not give the time."""

TICK = math.ceil(time.get_clock_info("monotonic").resolution * SECOND)
"""The steady clock's resolution, ns (15.6 ms on old Windows)."""

GRANULARITY = BRACKET_NS // 2 + TICK
"""How far one reading of the steady clock may be off, ns: half its bracket, and the tick."""

LONGEST_WAIT = 3600.0
"""Longer waits for a socket are clamped to this, s; the system's call overflows at some length."""

_DAY = 86_400 * SECOND
_EPOCH = date(1970, 1, 1).toordinal()


def check_max_distance(ns: int) -> int:
    """Return an option `max_distance`; ConfigError unless it is over 0 and at most `MAX_DISTANCE`."""
    if not 0 < ns <= MAX_DISTANCE:
        raise ConfigError(f"max_distance is {ns} ns, but must be over 0 and at most 16 s")
    return ns


def check_date(said: Interval) -> Interval:
    """Return a measurement; SourceError, in one sentence with the source's name, if its date is implausible."""
    if plausible(said):
        return said
    day = said.earliest // _DAY + _EPOCH
    when = str(date.fromordinal(day)) if 1 <= day <= date.max.toordinal() else f"day {day - _EPOCH} of the Unix epoch"
    raise SourceError(f"{said.source} states an implausible date, {when}")
