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

from skewguard.signing.guard import Guard
from skewguard.signing.patches.as_of import Clock, DatetimeModule, SteeredDatetime, clock_by, datetime_patch
from skewguard.signing.patches.patching import Group, Patch
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
    def time_of() -> int | None:
        call = UNDER_WAY.get()
        return guard.time_without_call(_AWS, None, handed_out=False) if call is None else call.begin()

    replace = functools.partial(_replace, clock_by(time_of))
    yield datetime_patch(f"signing by {module}", sys.modules[module], replace)


def _replace(wrap: Callable[[Clock], Clock], original: Any) -> Any:
    """Return the replacement of the module ``datetime``, or of its class."""
    return SteeredDatetime(datetime, wrap) if isinstance(original, type) else DatetimeModule(original, wrap)
