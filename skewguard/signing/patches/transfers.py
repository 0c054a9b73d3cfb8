"""awscrt's S3 client, which signs in native code: watched, not corrected.

It signs as of the wall clock and overwrites the date of a signing config that it is given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from skewguard.events import Degraded, emit_once
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch

_REASON = "it signs by the wall clock, whatever date it is given; preferred_transfer_client='classic' is guarded"

_guarded: Callable[[], bool] = bool  # never


def watch_crt_transfers(guarded: Callable[[], bool]) -> None:
    """Warn once if a transfer that should be guarded goes through awscrt's S3 client; nothing until that is loaded."""
    global _guarded
    if _manager() is not None:
        _guarded = guarded
        TRANSFERS.apply()


def _manager() -> Any:
    return library.loaded("s3transfer.crt", "CRTTransferManager")


def _watched_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it wraps one
        if _guarded():
            emit_once(Degraded("guarding transfers inside awscrt's S3 client", _REASON))
        original(self, *args, **kwargs)

    return __init__


def _transfers() -> Iterable[Patch]:
    yield NamePatch("noticing transfers by awscrt", _manager(), "__init__", _watched_init)


TRANSFERS = Group(_transfers)
