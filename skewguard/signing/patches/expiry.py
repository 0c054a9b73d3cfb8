"""The seam's other half: the names by which botocore judges whether credentials and tokens are still good.

On a wall clock that is wrong, fresh credentials look dead and dead ones alive. botocore reads that clock by
``_local_now`` (`botocore.credentials`) and ``_utc_now`` (`botocore.tokens`), which are bound as default arguments,
kept by living objects and copied by aiobotocore, so that replacing the names would reach none of them. Their code is
replaced instead, inside the functions that everybody holds. ``get_current_datetime`` (`botocore.utils`, where IMDS'
credentials are stretched) and ``time`` (`botocore.credentials`, where a DPoP proof is dated) are looked up at each use,
and replaced as the seam's names are.

The instance's and the container's metadata services hand out credentials without any event. They are listened to
here: on a fresh host they are the first to say what time it is.
"""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable
from types import FunctionType
from typing import Any

import botocore.credentials
import botocore.tokens
import botocore.utils

from skewguard.config import Settings
from skewguard.events import logger
from skewguard.signing.patches import patching
from skewguard.timekeeping.timekeeper import Timekeeper

_PART = "judging credentials' expiry"


class Judge:
    """Says how far the wall clock is behind true time, and hears what the metadata services say of it."""

    def __init__(self, keeper: Timekeeper, settings: Callable[[], Settings | None]) -> None:
        """Prepare.

        Args:
            keeper: The process's.
            settings: Answers the settings in force; None while nothing is guarded.
        """
        self.keeper = keeper
        self._settings = settings

    def behind(self) -> int:
        """Answer true time minus wall clock, ns; 0 where the wall clock is right, or nobody knows better."""
        if self._settings() is None:
            return 0
        # A wrong verdict cannot be retried, so in doubt the wall clock is followed, as for presigned URLs.
        signed, wall, _ = self.keeper.signing_time(self.keeper.utc, True)
        return signed - wall


_judge: Judge | None = None


def open_expiry(judge: Judge) -> None:
    """Have expiry judged on true time from now on. What cannot be replaced is told of and left alone."""
    global _judge
    _judge = judge
    patching.once(_replace_clocks)


def _replace_clocks() -> None:
    _recode(botocore.credentials, "_local_now")
    _recode(botocore.tokens, "_utc_now")
    patching.replace(_PART, botocore.utils, "get_current_datetime", _shifting)
    patching.replace(_PART, botocore.credentials, "time", lambda _: _Clock(), lambda found: found is time)
    token = getattr(botocore.tokens, "DeferredRefreshableToken", None)
    patching.replace(_PART, token, "_should_refresh", _pacing)


def _behind() -> int:
    judge = _judge
    try:
        return 0 if judge is None else judge.behind()
    except Exception:
        logger.debug("expiry is judged by the wall clock", exc_info=True)
        return 0


def _shifting(original: Callable[..., datetime.datetime]) -> Callable[..., datetime.datetime]:
    """Make a function that answers true time where `original` answers the wall clock's, in the same form."""

    @functools.wraps(original)
    def now(*args: Any, **kwargs: Any) -> datetime.datetime:
        wall = original(*args, **kwargs)
        behind = _behind()
        if not behind:
            return wall
        shift = datetime.timedelta(microseconds=behind // 1000)
        if wall.tzinfo is None:
            return wall + shift
        # By way of UTC, for in a zone of its own an hour more may be two, or none.
        return (wall.astimezone(datetime.timezone.utc) + shift).astimezone(wall.tzinfo)

    return now


class _Clock:
    """Stands in for the ``time`` module in `botocore.credentials`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return time.time() + _behind() / 1e9


def _pacing(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what decides whether to renew a token, which it does once a minute at most.

    The renewal itself may be what tells the time. A pause that began by a clock hours fast would last for hours.
    """

    @functools.wraps(original)
    def _should_refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if self._next_refresh is not None:
                latest = self._time_fetcher() + datetime.timedelta(seconds=self._attempt_timeout)
                self._next_refresh = min(self._next_refresh, latest)
        except Exception:
            logger.debug("a token is renewed when botocore says so", exc_info=True)
        return original(self, *args, **kwargs)

    return _should_refresh


def _recode(module: Any, name: str) -> None:
    """Replace the code of a function without arguments, wherever it is held."""
    if patching.is_replaced(module, name):
        return
    found = vars(module).get(name)
    if not isinstance(found, FunctionType) or found.__code__.co_argcount or found.__code__.co_freevars:
        patching.missing(_PART, f"{module.__name__}.{name}()")
        return
    code, defaults = found.__code__, found.__defaults__

    def ask(now: Callable[[], datetime.datetime]) -> datetime.datetime:
        return now()

    def undo() -> None:
        found.__code__, found.__defaults__ = code, defaults

    patching.will_undo(module, name, undo)
    # The default first: a call between the two finds either the old code, which has no use for it, or both.
    found.__defaults__ = (_shifting(FunctionType(code, found.__globals__, name)),)
    found.__code__ = ask.__code__
