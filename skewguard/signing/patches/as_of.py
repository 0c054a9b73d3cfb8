"""What stands in for the clocks that botocore's signers read.

It answers as they do, unless a guarded signing is under way in the same context; then it answers the time that is
signed as of.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from time import struct_time
from typing import Any

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

AS_OF: ContextVar[int | None] = ContextVar("skewguard_as_of", default=None)
"""The time (ns) that is signed as of in this context; None for the wall clock's."""


class SteeredTime:
    """Stands in for the ``time`` module in `botocore.auth`, where SigV2 and S3's query signature read it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """Answer seconds since the Unix epoch."""
        at = AS_OF.get()
        return time.time() if at is None else at // 1000 / 1e6  # never rounded up into the next second

    def gmtime(self, seconds: float | None = None) -> struct_time:
        """Break a time down into its fields."""
        at = AS_OF.get()
        if seconds is None and at is not None:
            seconds = at // 1_000_000_000
        return time.gmtime(seconds)


def reading(original: Callable[..., datetime.datetime]) -> Callable[..., datetime.datetime]:
    """Stand in for a ``get_current_datetime``, and answer in the form that it answers in."""

    @functools.wraps(original)
    def get_current_datetime(*args: Any, **kwargs: Any) -> datetime.datetime:
        wall = original(*args, **kwargs)
        at = AS_OF.get()
        if at is None:
            return wall
        moment = _EPOCH + datetime.timedelta(microseconds=at // 1000)
        return moment.replace(tzinfo=None) if wall.tzinfo is None else moment.astimezone(wall.tzinfo)

    return get_current_datetime


def dating(original: Callable[..., str]) -> Callable[..., str]:
    """Stand in for ``formatdate``."""

    @functools.wraps(original)
    def format_date(timeval: float | None = None, *args: Any, **kwargs: Any) -> str:
        at = AS_OF.get()
        if timeval is None and at is not None:
            timeval = at // 1_000_000_000
        return original(timeval, *args, **kwargs)

    return format_date


@contextlib.contextmanager
def signing_as_of(at: int | None) -> Iterator[None]:
    """Sign as of a time (ns); None leaves the clock as it is."""
    token = AS_OF.set(AS_OF.get() if at is None else at)
    try:
        yield
    finally:
        AS_OF.reset(token)
