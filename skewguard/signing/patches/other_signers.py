"""The patches on the signers of other libraries, which the option ``other_signers`` names.

Their modules read the wall clock by a global of their own, ``datetime``: the module or the class. It is replaced by one
that shows true time where the wall clock is known to be wrong. They tell no URL, so UTC is assumed; and their answers
are not heard, so nothing but a vote or a proof counts. Within a `SignedCall`, both are known.
"""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.guard import Guard
from skewguard.signing.patches.as_of import EPOCH, Clock, DatetimeModule, SteeredDatetime
from skewguard.signing.patches.patching import Absent, Group, NamePatch, Patch
from skewguard.signing.patches.under_way import UNDER_WAY

_AWS = "https://sts.amazonaws.com/"
"""Any URL of AWS: what is signed is taken for a request to AWS."""

_groups: dict[str, Group] = {}


def patch_signer(module: str, guard: Guard) -> None:
    """Patch a module of `skewguard.config.OTHER_SIGNERS`, which has been imported. Inert while the guard is off."""
    group = _groups.get(module)
    if group is None:
        group = _groups[module] = Group(functools.partial(_patches, module, guard))
    group.apply()


def _patches(module: str, guard: Guard) -> Iterable[Patch]:
    part = f"signing by {module}"
    if not hasattr(sys.modules[module], "datetime"):
        yield Absent(part, f"{module} reads the wall clock by another name than datetime")
        return
    replace = functools.partial(_replace, functools.partial(_steered, guard))
    yield NamePatch(part, sys.modules[module], "datetime", replace, known=bool)


def _replace(wrap: Callable[[Clock], Clock], original: Any) -> Any:
    """Return the replacement of the module ``datetime``, or of its class."""
    return SteeredDatetime(datetime, wrap) if isinstance(original, type) else DatetimeModule(original, wrap)


def _steered(guard: Guard, original: Clock) -> Clock:
    """Wrap what reads the wall clock."""

    def now(remove_tzinfo: bool = True) -> datetime.datetime:
        at = None
        try:
            call = UNDER_WAY.get()
            at = guard.time_without_call(_AWS, None, handed_out=False) if call is None else call.begin()
        except Exception as error:
            fail_open(error, "the guard failed, so the wall clock is used")
        if at is None:
            return original(remove_tzinfo)
        when = EPOCH + datetime.timedelta(microseconds=at // 1000)
        return when.replace(tzinfo=None) if remove_tzinfo else when

    return now
