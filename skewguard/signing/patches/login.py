"""The renewal of `aws login`'s credentials: a call without a signature, but with a dated proof of possession.

A service that finds the proof's date wrong says that the login has expired. It has changed nothing, and its response
tells the time. So the renewal is repeated once, with a new proof.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.events import Retried, emit
from skewguard.interval import SECOND
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch
from skewguard.signing.reply import REFUSALS

_USEFUL = 30 * SECOND  # a proof that is dated by less than this otherwise would be refused again

_behind: Callable[[], int] = int  # 0


def repeat_refused_renewals(behind: Callable[[], int]) -> None:
    """Repeat a renewal that was refused for its date. `behind` returns true time minus the clock that dates proofs."""
    global _behind
    _behind = behind
    for group, module in ((LOGIN, "botocore.credentials"), (AIO_LOGIN, "aiobotocore.credentials")):
        if list(_patches(module)):  # else this botocore came before `aws login`
            group.apply()


def _was_misdated(error: Exception, behind: int) -> bool:
    """Return whether a renewal was refused, and the time has become known that its proof should have carried."""
    try:
        answer = getattr(error.__cause__ or error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        misdated = status in REFUSALS and abs(_behind() - behind) > _USEFUL
    except Exception as ours:
        fail_open(ours, "a renewal is not repeated")
        return False
    if misdated:
        emit(Retried("signin", "CreateOAuth2Token", "skew", "its proof was dated by the wrong clock", 0))
    return misdated


def _repeated(original: Callable[..., Any]) -> Callable[..., Any]:
    def now() -> int:
        try:
            return _behind()
        except Exception as error:
            fail_open(error, "a renewal is not repeated")
            return 0

    @functools.wraps(original)
    def refresh_credentials(*args: Any, **kwargs: Any) -> Any:
        behind = now()
        try:
            return original(*args, **kwargs)
        except Exception as error:
            if not _was_misdated(error, behind):
                raise
        return original(*args, **kwargs)

    @functools.wraps(original)
    async def aio_refresh_credentials(*args: Any, **kwargs: Any) -> Any:
        behind = now()
        try:
            return await original(*args, **kwargs)
        except Exception as error:
            if not _was_misdated(error, behind):
                raise
        return await original(*args, **kwargs)

    return aio_refresh_credentials if inspect.iscoroutinefunction(original) else refresh_credentials


def _patches(module: str) -> Iterable[Patch]:
    start = "Aio" if module.startswith("aio") else ""
    fetcher = library.loaded(module, f"{start}LoginCredentialFetcher")
    if fetcher is not None:
        yield NamePatch("repeating the renewal of `aws login`", fetcher, "refresh_credentials", _repeated)


LOGIN = Group(lambda: _patches("botocore.credentials"))
AIO_LOGIN = Group(lambda: _patches("aiobotocore.credentials"))
