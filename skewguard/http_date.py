"""The ``Date`` of an HTTP response, and what it shows of the time. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from skewguard.clocks import Reading
from skewguard.interval import SECOND, Interval, Trust, drift_over

_BEFORE, _AFTER = SECOND // 2, 2 * SECOND  # a header's second may be a cached or rounded one
_LENGTH = len("Sun, 06 Nov 1994 08:49:37 GMT")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_IMF_FIXDATE = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


class Span(NamedTuple):
    """The server's clock when it made its answer: somewhere in [`earliest`, `latest`], ns since the Unix epoch.

    Neither end includes the time that the answer travelled.
    """

    earliest: int
    latest: int


def read_date(headers: Mapping[str, Any]) -> Span | None:
    """Return the ``Date`` header (RFC 9110, §6.6.1), unless it is missing, malformed, ambiguous or a cache's.

    Several equal ones are one. A cache's (``Age`` above 0, ``X-Cache: Hit``, ``Warning: 110``) is old.
    """
    text = headers.get("Date")
    if not isinstance(text, str):
        return None
    once = text[:_LENGTH]
    second = fixdate(once) if set(text.split(f"{once}, ")) in ({once}, {"", once}) else None
    if second is None:
        return None
    age = headers.get("Age")
    if age is not None and str(age).strip() != "0":
        return None
    if str(headers.get("X-Cache", "")).lstrip()[:3].lower() == "hit":
        return None
    if str(headers.get("Warning", "")).lstrip().startswith("110"):
        return None
    return Span(second - _BEFORE, second + _AFTER)


@lru_cache(maxsize=64)
def fixdate(text: str) -> int | None:
    """Parse an IMF-fixdate (RFC 9110, §5.6.7), ns since the Unix epoch; None for anything else."""
    match = _IMF_FIXDATE.fullmatch(text)
    if not match:
        return None
    day, month, year, hour, minute, second = match.groups()
    return utc(int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))


def utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    """Return a moment in UTC, ns since the Unix epoch; None for a date or an hour that no calendar has."""
    if not (1 <= year and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]):
        return None
    if hour > 23 or minute > 59 or second > 60:  # 60 is a leap second, which POSIX time counts as the next second
        return None
    return calendar.timegm((year, month, day, hour, minute, second)) * SECOND


def response_interval(
    earliest: int, latest: int, sent: Reading, received: Reading, trust: Trust, source: str
) -> Interval:
    """Turn the server's clock in an answer into an interval as of its receipt.

    The server read its clock at some moment between sending and receipt, so the answer may be as old as the whole
    exchange. If the wall clock advanced more than the steady one meanwhile, the machine may have been frozen: then the
    answer may be older still; and a clock that is slow counts too little of the exchange.
    """
    elapsed = max(received.steady - sent.steady, received.wall - sent.wall, 0)
    return Interval(received.steady, earliest, latest + elapsed + drift_over(elapsed), trust, source)
