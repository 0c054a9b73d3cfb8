"""The patches on how botocore judges whether credentials and tokens are still good.

On a wall clock that is wrong, fresh credentials look dead and dead ones alive. botocore reads that clock by
``_local_now`` (`botocore.credentials`) and ``_utc_now`` (`botocore.tokens`), which are bound as default arguments,
kept by living objects and copied by aiobotocore, so that replacing the names would reach none of them. Their code is
replaced instead, inside the functions that all of these hold. ``get_current_datetime`` (`botocore.utils`, where IMDS
credentials are extended) and ``time`` (`botocore.credentials`, where a DPoP proof is dated) are looked up at each use,
so replacing the name suffices.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.config import Settings
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import CodePatch, Group, NamePatch, Patch
from skewguard.timekeeping.timekeeper import Timekeeper

_PART = "judging credentials' expiry"


class ExpiryClock:
    """How far the wall clock is behind true time, for judging expiry."""

    def __init__(self, keeper: Timekeeper, settings: Callable[[], Settings | None]) -> None:
        """Describe the clock. `settings` returns None while nothing is guarded."""
        self._keeper = keeper
        self._settings = settings

    def behind(self) -> int:
        """Return true time minus wall clock, ns; 0 where the wall clock is right, or true time is not known."""
        if self._settings() is None:
            return 0
        signed, wall, _ = self._keeper.signing_time(self._keeper.utc)
        return signed - wall


_clock: ExpiryClock | None = None


def judge_expiry_by(clock: ExpiryClock) -> None:
    """Judge expiry by this clock from now on. What cannot be patched is left alone, with one event each."""
    global _clock
    _clock = clock
    EXPIRY.apply()


def _behind() -> int:
    clock = _clock
    try:
        return 0 if clock is None else clock.behind()
    except Exception as error:
        fail_open(error, "expiry is judged by the wall clock")
        return 0


def _corrected(original: Callable[..., datetime.datetime]) -> Callable[..., datetime.datetime]:
    """Wrap a function that returns the wall clock's time; the result is true time, in the same form."""

    @functools.wraps(original)
    def now(*args: Any, **kwargs: Any) -> datetime.datetime:
        wall = original(*args, **kwargs)
        behind = _behind()
        if not behind:
            return wall
        shift = datetime.timedelta(microseconds=behind // 1000)
        if wall.tzinfo is None:
            return wall + shift
        # By way of UTC, because in a zone of its own an hour more may be two, or none.
        return (wall.astimezone(datetime.timezone.utc) + shift).astimezone(wall.tzinfo)

    return now


class _CorrectedTime:
    """Replaces the ``time`` module in `botocore.credentials`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + _behind() / 1e9


def _bounded_pause(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what decides whether to renew a token, which botocore does once a minute at most.

    The renewal itself may teach the time. A pause that began on a clock hours fast would then last for hours.
    """

    @functools.wraps(original)
    def _should_refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._next_refresh is not None:
                latest = self._time_fetcher() + datetime.timedelta(seconds=self._attempt_timeout)
                self._next_refresh = min(self._next_refresh, latest)
        except Exception as error:
            fail_open(error, "a token is renewed when botocore decides to")
        return original(self, *args, **kwargs)

    return _should_refresh


def _expiry() -> Iterable[Patch]:
    import botocore.credentials
    import botocore.tokens
    import botocore.utils

    token = getattr(botocore.tokens, "DeferredRefreshableToken", None)
    yield CodePatch(_PART, botocore.credentials, "_local_now", _corrected)
    yield CodePatch(_PART, botocore.tokens, "_utc_now", _corrected)
    yield NamePatch(_PART, botocore.utils, library.CLOCK, _corrected)
    yield NamePatch(_PART, botocore.credentials, "time", lambda _: _CorrectedTime(), lambda found: found is time)
    yield NamePatch(_PART, token, "_should_refresh", _bounded_pause)


EXPIRY = Group(_expiry)
