"""The patch on botocore's `ClientError`: a note says what was found out about a refusal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.patches.patching import Group, NamePatch, Patch
from skewguard.signing.report import note_refusal


def _noted_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, error_response: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it wraps one
        original(self, error_response, *args, **kwargs)
        try:
            note_refusal(self, error_response)
        except Exception as error:
            fail_open(error, "an error has no note")

    return __init__


def _errors() -> Iterable[Patch]:
    from botocore.exceptions import ClientError

    yield NamePatch("notes on errors", ClientError, "__init__", _noted_init)


ERRORS = Group(_errors)
