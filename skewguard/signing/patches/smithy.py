"""The patches on smithy-python's SDKs: when they date event streams' frames, and when credentials have expired.

Their signers take the date of a request, but not that of a frame. Their modules read the wall clock by a global of
their own, ``datetime``: the module or the class.
"""

from __future__ import annotations

import datetime
import functools
import importlib
from collections.abc import Callable, Iterable

from skewguard.signing.guard import Guard
from skewguard.signing.patches.as_of import DatetimeModule, SteeredDatetime, clock_by, datetime_patch
from skewguard.signing.patches.patching import Absent, Group, Patch
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
    yield datetime_patch(_FRAMES, module, functools.partial(DatetimeModule, wrap=clock_by(_frame_time)))
    for name in _JUDGES:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            yield Absent(_EXPIRY, str(error))
        else:
            yield datetime_patch(_EXPIRY, module, lambda _: _ExpiryDatetime(datetime, clock_by(_expiry_time)))


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


SMITHY = Group(_patches)
"""To be applied when an SDK is imported."""
