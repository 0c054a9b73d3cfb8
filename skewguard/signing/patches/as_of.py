"""Replacements for the clocks that botocore's signers read.

They read the wall clock, unless a guarded signing is under way in the same context; then they read the time to sign
as of.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import time
from collections.abc import Callable
from contextvars import ContextVar
from time import struct_time
from typing import Any, TypeAlias

from skewguard._fail_open import fail_open
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Absent, NamePatch, Patch

Clock: TypeAlias = Callable[..., datetime.datetime]
"""Returns UTC: naive, or with ``remove_tzinfo=False`` aware. So botocore's own ``get_current_datetime`` does."""

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_NAIVE_EPOCH = EPOCH.replace(tzinfo=None)

AS_OF: ContextVar[int | None] = ContextVar("skewguard_as_of", default=None)
"""The time to sign as of in this context, ns since the Unix epoch; None for the wall clock.

Set it within ``try``, and the earlier value in ``finally``. A token would not do: an interrupt may come between ``set``
and its assignment, and the time would stay.
"""


class SteeredTime:
    """Replaces the ``time`` module in `botocore.auth`, where SigV2 and S3's query signature read it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """Return seconds since the Unix epoch."""
        at = AS_OF.get()
        return time.time() if at is None else at // 1000 / 1e6  # never rounded up into the next second

    def gmtime(self, seconds: float | None = None) -> struct_time:
        """Return a time's fields."""
        at = AS_OF.get()
        if seconds is None and at is not None:
            seconds = at // 1_000_000_000
        return time.gmtime(seconds)


class SteeredDatetime:
    """Replaces the class `datetime.datetime`, but reads another clock."""

    def __init__(self, module: Any, wrap: Callable[[Clock], Clock]) -> None:
        """Make the replacement of a module's class. `wrap` makes the clock to read from the wall clock."""
        self._module = module  # not its class, which test libraries replace

        def read(remove_tzinfo: bool = True) -> datetime.datetime:
            now: datetime.datetime = module.datetime.now(datetime.timezone.utc)
            return now.replace(tzinfo=None) if remove_tzinfo else now

        self._now = wrap(read)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module.datetime, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a value, as the class does."""
        return self._module.datetime(*args, **kwargs)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, self._module.datetime)

    def now(self, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        """Return the time in a zone; without one, in this host's, as a naive value."""
        now = self._now(remove_tzinfo=False).astimezone(tz)
        return now if tz else now.replace(tzinfo=None)

    def utcnow(self) -> datetime.datetime:
        """Return UTC as a naive value."""
        return self._now()


class DatetimeModule:
    """Replaces the module ``datetime`` where a module reads the wall clock by it, as botocore's did before 1.40.2."""

    def __init__(self, module: Any, wrap: Callable[[Clock], Clock]) -> None:
        """Make the replacement of a module. `wrap` makes the clock to read from the wall clock."""
        self._module = module
        self.datetime = SteeredDatetime(module, wrap)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def clock_patch(part: str, module: Any, wrap: Callable[[Clock], Clock]) -> Patch:
    """Make the patch on the name by which a module of botocore reads the wall clock."""
    name = library.clock_name()
    if name != "datetime":
        return NamePatch(part, module, name, wrap, known=_is_clock)
    stand_in = functools.partial(DatetimeModule, wrap=wrap)
    return NamePatch(part, module, name, stand_in, known=lambda found: hasattr(found, "datetime"))


def datetime_patch(part: str, module: Any, replace: Callable[[Any], Any]) -> Patch:
    """Make the patch on a module of another library, whose name ``datetime`` is the module or the class."""
    if not hasattr(module, "datetime"):
        return Absent(part, f"{module.__name__} reads the wall clock by another name than datetime")
    return NamePatch(part, module, "datetime", replace, known=bool)


def clock_by(time_of: Callable[[], int | None]) -> Callable[[Clock], Clock]:
    """Return what wraps a wall clock, to read `time_of` (ns) instead unless that returns None or fails."""

    def wrap(original: Clock) -> Clock:
        @functools.wraps(original)
        def now(remove_tzinfo: bool = True) -> datetime.datetime:
            try:
                at = time_of()
            except Exception as error:
                fail_open(error, "the guard failed, so the wall clock is used")
                at = None
            if at is None:
                return original(remove_tzinfo)
            return (_NAIVE_EPOCH if remove_tzinfo else EPOCH) + datetime.timedelta(0, 0, at // 1000)

        return now

    return wrap


def _is_clock(found: Any) -> bool:
    """Return whether a function takes just what `Clock` takes."""
    return callable(found) and list(inspect.signature(found).parameters) == ["remove_tzinfo"]


steered_datetime = clock_by(AS_OF.get)
"""Wraps what reads the wall clock, to read the time to sign as of."""


def steered_formatdate(original: Callable[..., str]) -> Callable[..., str]:
    """Wrap ``formatdate``."""

    @functools.wraps(original)
    def format_date(timeval: float | None = None, *args: Any, **kwargs: Any) -> str:
        at = AS_OF.get()
        if timeval is None and at is not None:
            timeval = at // 1_000_000_000
        return original(timeval, *args, **kwargs)

    return format_date
