"""When Amazon MSK's tokens expire, as the wall clock will show it.

The library that makes them, `aws_msk_iam_sasl_signer`, reads it from the date of the token, which is true time. But
Kafka's clients compare it with the wall clock: on one that is fast they would find a new token expired, and on one
that is slow renew it after its end.
"""

from __future__ import annotations

import calendar
import functools
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from skewguard._fail_open import fail_open
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch, WhenImportedPatch

_MODULE, _NAME = "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", "__get_expiration_time_ms"
_OWN = 2  # s; a token whose date is no further from the wall clock is dated by that


def _by_wall_clock(original: Callable[[Any], int]) -> Callable[[Any], int]:
    @functools.wraps(original)
    def expiration_ms(request: Any) -> int:
        expires = original(request)
        try:
            (date,) = parse_qs(urlsplit(request.url).query)["X-Amz-Date"]
            ahead = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - time.time()
            if abs(ahead) > _OWN:
                return expires - round(ahead * 1000)
        except Exception as error:
            fail_open(error, "a token's expiry is told in true time")
        return expires

    return expiration_ms


def _provider() -> Iterable[Patch]:
    if library.loaded(_MODULE, _NAME) is not None:
        yield NamePatch("telling when a token of Amazon MSK expires", sys.modules[_MODULE], _NAME, _by_wall_clock)


MSK = Group(lambda: [WhenImportedPatch(_MODULE, _provider)])
