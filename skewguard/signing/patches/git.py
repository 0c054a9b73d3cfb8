"""Passwords for Git, as CodeCommit's helpers make them: `git-remote-codecommit` and the AWS CLI's credential helper.

They read the wall clock themselves, put it into the request's context, and call the steps of a signer one by one, with
the method ``GIT`` and never ``add_auth``. The password shows the context's time beside the signature. So the time is
replaced there, before it is signed. A process without these helpers signs without this patch.
"""

from __future__ import annotations

import calendar
import functools
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.patches.patching import Group, NamePatch, Patch, WhenImportedPatch

_HELPERS = ("git_remote_codecommit", "awscli.customizations.codecommit")
_FORM = r"(\d{8}T\d{6})(Z?)"
_FORMAT = "%Y%m%dT%H%M%S"
_OWN = 5  # s; a time that is further from the wall clock was chosen by the caller

_time_of: Callable[[str], int | None] | None = None


def date_passwords(time_of: Callable[[str], int | None]) -> None:
    """Date passwords for Git. `time_of` returns, for a URL, the time (ns) to sign as of, or None for the wall clock."""
    global _time_of
    _time_of = time_of
    GIT.apply()


def _dated(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def string_to_sign(self: Any, request: Any, canonical_request: Any) -> Any:
        if request.method == "GIT":
            _date(request)
        return original(self, request, canonical_request)

    return string_to_sign


def _date(request: Any) -> None:
    try:
        found = re.fullmatch(_FORM, request.context["timestamp"])
        at = _time_of(request.url) if found is not None and _time_of is not None else None
        if found is None or at is None:
            return
        read = calendar.timegm(time.strptime(found[1], _FORMAT))
        if abs(read - time.time()) <= _OWN:
            request.context["timestamp"] = time.strftime(_FORMAT, time.gmtime(at // 1_000_000_000)) + found[2]
    except Exception as error:
        fail_open(error, "a password for Git is dated by the wall clock")


def _patches() -> Iterable[Patch]:
    import botocore.auth

    step = NamePatch("dating passwords for Git", botocore.auth.SigV4Auth, "string_to_sign", _dated)
    for helper in _HELPERS:
        yield WhenImportedPatch(helper, lambda: [step])


GIT = Group(_patches)
