"""The patches on how botocore judges whether credentials and tokens are still good.

On a wall clock that is wrong, fresh credentials look dead and dead ones alive. But true time may be wrong, too, and an
expiry may be stamped by the wall clock: by this host, or by a store that shares its error. So both clocks judge:

* As soon as credentials are dying by either clock, they are refreshed. If that fails, and by the other clock it was not
  needed, they stay in use.
* Credentials that were just refreshed are dead only if both clocks say so.
* A clock by which they are dying right after a refresh did not stamp them, or their provider has no better ones. That
  clock is not followed for a while, because each call would refresh them.

botocore reads the wall clock by ``_local_now`` (`botocore.credentials`) and ``_utc_now`` (`botocore.tokens`), which are
bound as default arguments, kept by living objects and copied by aiobotocore, so that replacing the names would reach
none of them. Their code is replaced instead, inside the functions that all of these hold. The clock of
`botocore.utils`, where IMDS credentials are extended, and ``time``, where a DPoP proof is dated, are looked up at each
use, so replacing the name suffices.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from skewguard._fail_open import fail_open
from skewguard.config import Settings
from skewguard.interval import SECOND
from skewguard.signing.patches import library
from skewguard.signing.patches.as_of import clock_patch
from skewguard.signing.patches.patching import CodePatch, Group, NamePatch, Patch
from skewguard.timekeeping.timekeeper import Timekeeper

_PART = "judging credentials' expiry"

_MINUTE = 60.0  # s
_DAY = 86_400.0

_T = TypeVar("_T")


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

    def steady(self) -> float:
        """Read the steady clock, s."""
        return self._keeper.clocks.read().steady / SECOND


_clock: ExpiryClock | None = None
_by_wall: ContextVar[bool] = ContextVar("skewguard: expiry is judged by the wall clock", default=False)
_leniently: ContextVar[bool] = ContextVar("skewguard: credentials live while either clock says so", default=False)


def judge_expiry_by(clock: ExpiryClock) -> None:
    """Judge expiry by this clock from now on. What cannot be patched is left alone, with one event each."""
    global _clock
    _clock = clock
    EXPIRY.apply()


def _behind() -> int:
    clock = _clock
    try:
        return 0 if clock is None or _by_wall.get() else clock.behind()
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


def _bounded_wait(original: Callable[..., Any]) -> Callable[..., Any]:
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


def _call_in(mode: ContextVar[bool], function: Callable[..., _T], *args: Any) -> _T:
    """Call a function in a mode, which an interrupt ends, too, because `try` begins before the mode."""
    before = mode.get()  # a fetcher's role may be assumed with another fetcher's credentials
    try:
        mode.set(True)
        return function(*args)
    finally:
        mode.set(before)


def _by_both(judge: Callable[..., _T], *args: Any) -> tuple[_T, _T]:
    """Return what a function returns by true time, and by the wall clock."""
    by_true_time = judge(*args)
    if not _behind():
        return by_true_time, by_true_time
    return by_true_time, _call_in(_by_wall, judge, *args)


def _left(expires: datetime.datetime, now: Callable[[], datetime.datetime]) -> tuple[float, float]:
    """Return the seconds until then by the clock that leaves fewer, and by the other one."""
    times = _by_both(now)
    return (expires - max(times)).total_seconds(), (expires - min(times)).total_seconds()


def _earlier_now() -> datetime.datetime:
    """Return the time by the clock that leaves more."""
    now: Callable[[], datetime.datetime] = library.loaded("botocore.credentials", "_local_now")
    return min(_by_both(now))


class _Pause(NamedTuple):
    """How long the clock that leaves less does not judge some credentials, s."""

    until: float
    length: float


_pauses: WeakKeyDictionary[Any, _Pause] = WeakKeyDictionary()


def _pause(credentials: Any, left: float) -> None:
    """Let the clock that leaves `left` s pause: half of that; if they are dead by it, longer each time."""
    clock = _clock
    if clock is not None:
        last = _pauses.get(credentials)
        growing = _MINUTE if last is None else min(4 * last.length, _DAY)
        length = growing if left <= 0 else max(_MINUTE, left / 2)
        _pauses[credentials] = _Pause(clock.steady() + length, length)


def _pausing(credentials: Any) -> bool:
    clock, pause = _clock, _pauses.get(credentials)
    return clock is not None and pause is not None and clock.steady() < pause.until


def _judged_by_either(original: Callable[..., float]) -> Callable[..., float]:
    """Wrap what returns for how long credentials are still good."""

    @functools.wraps(original)
    def _seconds_remaining(self: Any) -> float:
        try:
            if _behind():
                less, more = _left(self._expiry_time, self._time_fetcher)
                return more if _pausing(self) else less
        except Exception as error:
            fail_open(error, "credentials expire when botocore thinks so")
        return original(self)

    return _seconds_remaining


def _judged_after_refresh(original: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap what decides whether credentials that were just refreshed are dead."""

    @functools.wraps(original)
    def _is_expired(self: Any) -> bool:
        try:
            if self._expiry_time is not None:
                less, more = _left(self._expiry_time, self._time_fetcher)
                if less < self._advisory_refresh_timeout <= more:
                    _pause(self, less)
                else:
                    _pauses.pop(self, None)
                return more < 0
        except Exception as error:
            fail_open(error, "refreshed credentials are dead when botocore thinks so")
        return original(self)

    return _is_expired


def _dead_by_both(original: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap what decides whether a token that was just renewed is dead."""

    @functools.wraps(original)
    def _is_expired(self: Any) -> bool:
        return all(_by_both(original, self))

    return _is_expired


def _dead_by_either(original: Callable[..., bool]) -> Callable[..., bool]:
    """Wrap what decides whether cached credentials must be fetched again."""

    @functools.wraps(original)
    def _is_expired(self: Any, credentials: Any) -> bool:
        verdicts = _by_both(original, self, credentials)
        return all(verdicts) if _leniently.get() else any(verdicts)

    return _is_expired


def _with_a_legacy_token(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what fetches SSO credentials, and raises if the token in the cache is dead."""

    @functools.wraps(original)
    def _get_credentials(self: Any) -> Any:
        if getattr(self, "_time_fetcher", _earlier_now) is library.loaded("botocore.credentials", "_local_now"):
            self._time_fetcher = _earlier_now
        return original(self)

    return _get_credentials


def _optional(
    needless: Callable[..., bool], instead: Callable[..., Any] = lambda *_, **__: None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a wrapper for what refreshes: it fails only if the clock that leaves more demanded it.

    Args:
        needless: Returns whether what failed was not needed by that clock.
        instead: Makes the result after a needless failure, from the original and its arguments.
    """

    def forgive(error: Exception, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            forgiven = _behind() and needless(*args, **kwargs)
        except Exception as ours:
            fail_open(ours, "a refresh fails as botocore's does")
            forgiven = False
        if not forgiven:
            raise error
        fail_open(error, "a refresh failed that only one of two clocks demanded")
        return instead(original, *args, **kwargs)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def refresh(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except Exception as error:
                return forgive(error, original, *args, **kwargs)

        @functools.wraps(original)
        async def aio_refresh(*args: Any, **kwargs: Any) -> Any:
            try:
                return await original(*args, **kwargs)
            except Exception as error:
                found = forgive(error, original, *args, **kwargs)
            return await found if inspect.isawaitable(found) else found

        return aio_refresh if inspect.iscoroutinefunction(original) else refresh

    return wrap


def _credentials_live(credentials: Any, is_mandatory: bool) -> bool:
    if credentials._expiry_time is None:
        return False
    less, more = _left(credentials._expiry_time, credentials._time_fetcher)
    window = credentials._mandatory_refresh_timeout if is_mandatory else credentials._advisory_refresh_timeout
    if more < window:
        return False
    _pause(credentials, max(less, 1))  # as living ones: what failed shows nothing about the clock
    return True


def _token_lives(token: Any) -> bool:
    if token._frozen_token is None:
        return False
    _, more = _left(token._frozen_token.expiration, token._time_fetcher)
    return bool(more >= token._mandatory_refresh_timeout)


def _written_token_lives(provider: Any, token: Any) -> bool:
    expires = library.loaded("botocore.utils", "parse_timestamp")(token["expiresAt"])
    _, more = _left(expires, provider._now)
    return bool(more >= provider._REFRESH_WINDOW)


def _cached_live(fetcher: Any) -> bool:
    return _call_in(_leniently, fetcher._load_from_cache) is not None


def _from_cache(original: Callable[..., Any], fetcher: Any) -> Any:
    if not inspect.iscoroutinefunction(original):
        return _call_in(_leniently, original, fetcher)

    async def load() -> Any:
        before = _leniently.get()
        try:
            _leniently.set(True)
            return await original(fetcher)
        finally:
            _leniently.set(before)

    return load()


def _refreshing(module: str, start: str) -> Iterable[Patch]:
    """Make the patches on what refreshes, which aiobotocore has classes of its own for."""
    credentials, tokens = sys.modules.get(f"{module}.credentials"), sys.modules.get(f"{module}.tokens")

    def patch(owner: Any, name: str, of: str, wrap: Callable[[Any], Any]) -> Patch:
        return NamePatch(_PART, getattr(owner, start + of, None), name, wrap)

    yield patch(credentials, "_protected_refresh", "RefreshableCredentials", _optional(_credentials_live))
    yield patch(credentials, "_get_cached_credentials", "CachedCredentialFetcher", _optional(_cached_live, _from_cache))
    yield patch(credentials, "_get_credentials", "SSOCredentialFetcher", _with_a_legacy_token)
    yield patch(tokens, "_protected_refresh", "DeferredRefreshableToken", _optional(_token_lives))
    yield patch(tokens, "_attempt_create_token", "SSOTokenProvider", _optional(_written_token_lives))


def _expiry() -> Iterable[Patch]:
    import botocore.credentials
    import botocore.tokens
    import botocore.utils

    token = getattr(botocore.tokens, "DeferredRefreshableToken", None)
    yield CodePatch(_PART, botocore.credentials, "_local_now", _corrected)
    yield CodePatch(_PART, botocore.tokens, "_utc_now", _corrected)
    yield clock_patch(_PART, botocore.utils, _corrected)
    for module in library.proof_modules():
        yield NamePatch(_PART, module, "time", lambda _: _CorrectedTime(), lambda found: found is time)
    yield NamePatch(_PART, token, "_should_refresh", _bounded_wait)
    yield NamePatch(_PART, token, "_is_expired", _dead_by_both)
    yield NamePatch(_PART, botocore.credentials.RefreshableCredentials, "_seconds_remaining", _judged_by_either)
    yield NamePatch(_PART, botocore.credentials.RefreshableCredentials, "_is_expired", _judged_after_refresh)
    yield NamePatch(_PART, botocore.credentials.CachedCredentialFetcher, "_is_expired", _dead_by_either)
    yield from _refreshing("botocore", "")


EXPIRY = Group(_expiry)
AIO_EXPIRY = Group(lambda: _refreshing("aiobotocore", "Aio"))
"""To be applied when `aiobotocore.credentials` is imported."""
