"""awscrt's S3 client, which signs in native code: watched, not corrected."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from skewguard.events import Degraded, emit
from skewguard.signing.patches import patching


def watch_crt_transfers(guarded: Callable[[], bool]) -> None:
    """Have it told, once, when s3transfer hands a transfer to awscrt's S3 client, once s3transfer can do that.

    That client signs in native code, as of the wall clock: it overwrites the date of a signing config that it is given.

    Args:
        guarded: Tells, at that time, whether anybody would expect the transfer to be guarded.
    """
    manager = getattr(sys.modules.get("s3transfer.crt"), "CRTTransferManager", None)
    if manager is not None:
        with patching.replacing():
            patching.replace("noticing transfers by awscrt", manager, "__init__", functools.partial(_noticing, guarded))


def _noticing(guarded: Callable[[], bool], original: Callable[..., None]) -> Callable[..., None]:
    told = False

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it stands in for that
        nonlocal told
        if not told and guarded():
            told = True
            reason = "it signs by the wall clock, whatever it is told; preferred_transfer_client='classic' is guarded"
            emit(Degraded("guarding transfers inside awscrt's S3 client", reason))
        original(self, *args, **kwargs)

    return __init__
