"""Noticing that botocore corrects the time of a request by itself, as other AWS SDKs do.

They add the offset that they have learned to the clock, inside the signer. What is signed as of true time would be
corrected twice, and refused, for good. So the time of every corrected signing is read: if it is not the one handed out,
the request is restored, and signed as without skewguard. What botocore does not correct, such as a presigned URL, stays
corrected.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.events import Degraded, emit_once
from skewguard.interval import SECOND
from skewguard.signing.patches import library

_MINUTE = 60 * SECOND
_NEAR = 2  # s; a timestamp is in whole seconds
_FIELDS, _POLICY = "s3-presign-post-fields", "s3-presign-post-policy"


def undoing(signer: Any, request: Any) -> Callable[[], None]:
    """Return what undoes the signing of a request, except for its headers, which another signing replaces."""
    if not isinstance(signer, library.handed_out_signers()):
        return _nothing
    try:
        context = request.context
        context.pop("timestamp", None)
        url, data, params = request.url, request.data, request.params
        given, policy = context.get(_FIELDS), context.get(_POLICY)
        fields: dict[str, Any] = {} if given is None else given  # the caller has this very object
        conditions: list[Any] = [] if policy is None else policy["conditions"]
        plain_fields, plain_conditions = dict(fields), list(conditions)
    except Exception as error:
        fail_open(error, "a signing cannot be undone")
        return _nothing

    def undo() -> None:
        request.url, request.data, request.params = url, data, params
        fields.clear()
        fields.update(plain_fields)
        conditions[:] = plain_conditions

    return undo


def _nothing() -> None:
    """Undo nothing."""


def carries_another_time(request: Any, at: int) -> bool:
    """Return whether a signed request carries another time than `at`, ns since the Unix epoch."""
    try:
        text = request.context.get("timestamp") or request.headers.get("X-Amz-Date")
        text = text or request.url.partition("X-Amz-Date=")[2][:16]
        if not text or text[:13] == _minute(at // _MINUTE):
            return False  # no timestamp is a signature of an older kind
        parts = (text[:4], text[4:6], text[6:8], text[9:11], text[11:13], text[13:15])
        return abs(calendar.timegm(tuple(map(int, parts))) - at // SECOND) > _NEAR
    except Exception as error:
        fail_open(error, "a signature's time was not read")
        return False


@lru_cache(maxsize=8)
def _minute(count: int) -> str:
    """Return the beginning of the timestamps in a minute since the Unix epoch."""
    return time.strftime("%Y%m%dT%H%M", time.gmtime(60 * count))


def report_once() -> None:
    """Report that botocore corrects the time by itself."""
    reason = f"this botocore ({library.VERSION}) corrects their time by itself"
    emit_once(Degraded("correcting requests", reason))
