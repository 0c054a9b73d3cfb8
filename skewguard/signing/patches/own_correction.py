"""Noticing that botocore corrects the time of a request by itself, as other AWS SDKs do.

They add the offset that they have learned to the clock, inside the signer. What is signed as of true time would be
corrected twice, and refused, for good. So the time of every corrected signing is read: if it is not the one handed out,
the request is restored, and signed as without skewguard. What botocore does not correct, such as a presigned URL, stays
corrected.
"""

from __future__ import annotations

import calendar
import time
from functools import lru_cache
from typing import Any, NamedTuple

from skewguard._fail_open import fail_open
from skewguard.events import Degraded, emit_once
from skewguard.interval import SECOND
from skewguard.signing.patches import library

_DAY = 86_400  # s
_NEAR = 2  # s; a timestamp is in whole seconds, and what botocore adds only matters beyond this
_FIELDS, _POLICY = "s3-presign-post-fields", "s3-presign-post-policy"


class Unsigned(NamedTuple):
    """What signing changes of a request, as it was before, except for headers, which are replaced by a signing."""

    url: str
    data: Any
    params: Any
    fields: dict[str, Any] | None = None
    conditions: list[Any] | None = None


def remember(request: Any) -> Unsigned | None:
    """Return what signing will change of a request; None if it is of an unknown kind."""
    try:
        context = request.context
        context.pop("timestamp", None)
        plain = Unsigned(request.url, request.data, request.params)
        if _FIELDS not in context and _POLICY not in context:
            return plain
        fields, policy = context.get(_FIELDS), context.get(_POLICY)
        return plain._replace(
            fields=None if fields is None else dict(fields),
            conditions=None if policy is None else list(policy["conditions"]),
        )
    except Exception as error:
        fail_open(error, "a signing cannot be repeated")
        return None


def carries_another_time(request: Any, at: int) -> bool:
    """Return whether a signed request carries another time than `at`, ns since the Unix epoch."""
    try:
        text = request.context.get("timestamp") or request.headers.get("X-Amz-Date")
        text = text or request.url.partition("X-Amz-Date=")[2][:16]
        if not text:
            return False  # a signature of an older kind
        day, second = divmod(at // SECOND, _DAY)
        if text[:8] != _date(day):
            # Perhaps for midnight's sake.
            parts = (text[:4], text[4:6], text[6:8], "0", "0", "0")
            second -= calendar.timegm(tuple(map(int, parts))) - day * _DAY
        return abs(int(text[9:11]) * 3600 + int(text[11:13]) * 60 + int(text[13:15]) - second) > _NEAR
    except Exception as error:
        fail_open(error, "a signature's time was not read")
        return False


@lru_cache(maxsize=8)
def _date(day: int) -> str:
    """Return the date of a day since the Unix epoch, as in a timestamp."""
    return time.strftime("%Y%m%d", time.gmtime(day * _DAY))


def restore(request: Any, unsigned: Unsigned) -> None:
    """Make a request what it was before it was signed, and tell why, once."""
    try:
        request.url, request.data, request.params = unsigned.url, unsigned.data, unsigned.params
        if unsigned.fields is not None:
            fields = request.context[_FIELDS]  # the caller has this very object
            fields.clear()
            fields.update(unsigned.fields)
        if unsigned.conditions is not None:
            request.context[_POLICY]["conditions"][:] = unsigned.conditions
        reason = f"this botocore ({library.VERSION}) corrects their time by itself"
        emit_once(Degraded("correcting requests", reason))
    except Exception as error:
        fail_open(error, "a request is signed twice")
