"""The patches on smithy-python's SDKs: when they date event streams' frames, and when credentials have expired.

Their signers take the date of a request, but not that of a frame. Their modules read the wall clock by a global of
their own, ``datetime``: the module or the class.
"""

from __future__ import annotations

import datetime
import functools
import importlib
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.guard import Guard
from skewguard.signing.patches.as_of import EPOCH, Clock, DatetimeModule, SteeredDatetime
from skewguard.signing.patches.patching import Absent, Group, NamePatch, Patch
from skewguard.signing.patches.under_way import UNDER_WAY

_FRAMES = "signing event streams' frames with smithy-python"
_EXPIRY = "judging credentials' expiry with smithy-python"
_JUDGES = (
    "smithy_core.interfaces.identity",
    "smithy_aws_core.identity.container",
    "smithy_aws_core.identity.imds",
    "smithy_aws_core.identity.process",
)

_guard_of: Callable[[], Guard | None] | None = None


def patch_smithy(guard_of: Callable[[], Guard | None]) -> None:
    """Patch the SDKs' clocks. `guard_of` returns the guard in force, if any; without one, the patches are inert."""
    global _guard_of
    _guard_of = guard_of
    SMITHY.apply()


def _patches() -> Iterable[Patch]:
    module = importlib.import_module("aws_sdk_signers.signers")
    yield _patch(_FRAMES, module, functools.partial(DatetimeModule, wrap=_reading(_frame_time)))
    for name in _JUDGES:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            yield Absent(_EXPIRY, str(error))
        else:
            yield _patch(_EXPIRY, module, lambda _: _ExpiryDatetime(datetime, _reading(_expiry_time)))


def _patch(part: str, module: Any, replace: Callable[[Any], Any]) -> Patch:
    if not hasattr(module, "datetime"):
        return Absent(part, f"{module.__name__} reads the wall clock by another name than datetime")
    return NamePatch(part, module, "datetime", replace, known=bool)


class _ExpiryDatetime(SteeredDatetime):
    """Replaces the class `datetime.datetime`, where an expiry is compared with it; durations are naive there."""

    def now(self, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        now: datetime.datetime = self._module.datetime.now() if tz is None else super().now(tz)
        return now


def _frame_time() -> int | None:
    """Return the time (ns) to sign as of for the call under way; None for the wall clock."""
    call = UNDER_WAY.get()
    return None if call is None else call.begin()


def _expiry_time() -> int | None:
    """Return true time (ns), if the wall clock is known to be wrong; else None.

    While a request is being signed, credentials are good if either clock says so, because it is too late to refresh
    them, and true time may be wrong, too.
    """
    guard = None if _guard_of is None else _guard_of()
    if guard is None or not guard.is_on():
        return None
    signed, wall, _ = guard.keeper.signing_time(guard.keeper.utc)
    if signed == wall or (UNDER_WAY.get() is not None and signed > wall):
        return None
    return signed


def _reading(time_of: Callable[[], int | None]) -> Callable[[Clock], Clock]:
    """Return what wraps a wall clock, to read `time_of` instead unless that is None."""

    def wrap(original: Clock) -> Clock:
        def now(remove_tzinfo: bool = True) -> datetime.datetime:
            at = None
            try:
                at = time_of()
            except Exception as error:
                fail_open(error, "the guard failed, so the wall clock is used")
            if at is None:
                return original(remove_tzinfo)
            when = EPOCH + datetime.timedelta(microseconds=at // 1000)
            return when.replace(tzinfo=None) if remove_tzinfo else when

        return now

    return wrap


SMITHY = Group(_patches)
"""To be applied when an SDK is imported."""
