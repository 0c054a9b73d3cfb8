"""Where botocore's private names are touched, for signing (and `expiry` does, for judging credentials).

botocore's signers read the clock by names in their own modules: ``get_current_datetime`` (`botocore.auth`,
`botocore.crt.auth`, `botocore.signers`), ``formatdate`` and ``time`` (`botocore.auth`, the older signatures). The
seam replaces those names, once, by what `as_of` has for them. A guarded signing begins in the ``add_auth`` of each
signer class, which is the last moment before the clock is read: after any refresh of credentials, so that nested
signings nest.

It is guarded if the request carries a record, which ``before-sign`` put there; `direct` is asked about the others.

A name that is not there, or not where it should be, switches off the part that needs it, with one warning.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Protocol

import botocore
import botocore.auth
import botocore.awsrequest
import botocore.compat
from botocore.exceptions import ClientError

from skewguard.events import logger
from skewguard.signing.patches import patching
from skewguard.signing.patches.as_of import AS_OF, SteeredTime, dating, reading, signing_as_of
from skewguard.signing.report import note_refusal

KEY = "skewguard"
"""Where a guarded call's record stands in ``request.context``."""

WHO = "skewguard-who"
"""An event of our own: the handlers of an emitter that guard it answer with themselves."""

LASTING = frozenset(
    version for version in botocore.auth.AUTH_TYPE_MAPS if version.endswith(("-query", "-presign-post"))
)
"""The signature versions whose signatures are handed out: in URLs and forms."""

TIMELESS = frozenset({botocore.UNSIGNED, "bearer"})
"""The signature versions without a timestamp."""

_WRAPPERS = frozenset({"AwsChunkedWrapper", "AioAwsChunkedWrapper"})


class Call(Protocol):
    """What the seam asks of the record that `KEY` names."""

    def begin(self, request: Any) -> int | None:
        """Note that an attempt is being signed; answer the time to sign as of (ns), or None for the wall clock."""
        ...


class Guardian(Protocol):
    """What the seam asks of whoever answers `WHO`."""

    def lasting_time(self, url: str, auth_path: str | None) -> int | None:
        """Answer the time (ns) to sign something handed out as of, or None for the wall clock."""
        ...


def _guarding(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add_auth(self: Any, request: Any) -> Any:
        at = None
        try:
            call: Call | None = request.context.get(KEY)
            if call is not None:
                at = call.begin(request)
            elif _direct is not None:
                at = _direct(self, request)
        except Exception:
            logger.debug("the wall clock is used: the guarded path failed", exc_info=True)
        if at is None and AS_OF.get() is None:
            return original(self, request)
        token = AS_OF.set(at)
        try:
            return original(self, request)
        finally:
            AS_OF.reset(token)

    return add_auth


def _guarding_post(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the presigner of POST forms, which writes its policy's expiration before ``before-sign`` is heard."""

    @functools.wraps(original)
    def generate_presigned_post(self: Any, request_dict: Any, *args: Any, **kwargs: Any) -> Any:
        at = None
        try:
            for _, guardian in self._request_signer._event_emitter.emit(WHO):
                if guardian is not None:
                    at = guardian.lasting_time(request_dict["url"], request_dict.get("auth_path"))
        except Exception:
            logger.debug("the wall clock is used: the guarded path failed", exc_info=True)
        with signing_as_of(at):
            return original(self, request_dict, *args, **kwargs)

    return generate_presigned_post


def _guarding_aio_post(original: Callable[..., Any]) -> Callable[..., Any]:
    """Do as `_guarding_post` for aiobotocore's presigner, which awaits."""

    @functools.wraps(original)
    async def generate_presigned_post(self: Any, request_dict: Any, *args: Any, **kwargs: Any) -> Any:
        at = None
        try:
            for _, guardian in await self._request_signer._event_emitter.emit(WHO):
                if guardian is not None:
                    at = await guardian.lasting_time_soon(request_dict["url"], request_dict.get("auth_path"))
        except Exception:
            logger.debug("the wall clock is used: the guarded path failed", exc_info=True)
        with signing_as_of(at):
            return await original(self, request_dict, *args, **kwargs)

    return generate_presigned_post


_direct: Callable[[Any, Any], int | None] | None = None


def open_seam() -> None:
    """Replace the names, unless that is done already. What cannot be replaced is told of and left alone."""
    patching.once(_replace_clocks)
    patching.once(_replace_rest)


def guard_direct_use(time_of: Callable[[Any, Any], int | None]) -> None:
    """Have somebody asked about requests without a record. May be called while `botocore.signers` is being imported.

    Args:
        time_of: Answers, for a signer and a request, the time (ns) to sign as of, or None for the wall clock.
    """
    global _direct
    patching.once(_replace_clocks)
    _direct = time_of


def asynchronous(emitter: Any) -> bool:
    """Tell whether whoever emits with this emitter awaits the handlers, as aiobotocore does."""
    return inspect.iscoroutinefunction(getattr(getattr(emitter, "_emitter", emitter), "_emit", None))


def is_guarded(emitter: Any) -> bool:
    """Tell whether an emitter has handlers of ours, be they switched off."""
    answers = emitter.emit(WHO)
    if inspect.iscoroutine(answers):  # aiobotocore's; ours answer at once, so it need not be awaited
        try:
            answers.send(None)
        except StopIteration as done:
            answers = done.value
        else:
            answers.close()
    return bool(answers)


def open_aio_seam() -> None:
    """Replace, once, the names that aiobotocore has bound for itself. Its requests are signed by botocore's signers."""
    if "aiobotocore.signers" in sys.modules:
        patching.once(_replace_aio)


def close_seam() -> None:
    """Put the names back, those of `expiry` too. For tests: in a program, a closed guard already leaves it inert."""
    global _direct
    _direct = None
    patching.put_back()


def _replace_clocks() -> None:
    """Replace the names in the signers' own modules."""
    patching.replace("signing", botocore.auth, "get_current_datetime", reading)
    if botocore.compat.HAS_CRT:
        try:
            crt = importlib.import_module("botocore.crt.auth")
        except ImportError as error:
            patching.degraded("signing with awscrt", str(error))
        else:
            patching.replace("signing with awscrt", crt, "get_current_datetime", reading)
    for name, known, stand_in in (("formatdate", formatdate, dating), ("time", time, lambda _: SteeredTime())):
        if getattr(botocore.auth, name, None) is known:  # only the older signatures miss these
            patching.replace("signing with older signatures", botocore.auth, name, stand_in, known=bool)
    for signer in _signers():
        patching.replace("signing", signer, "add_auth", _guarding)


def _replace_rest() -> None:
    signers = sys.modules["botocore.signers"]
    presigner = getattr(signers, "S3PostPresigner", None)
    patching.replace("signing POST policies", signers, "get_current_datetime", reading)
    patching.replace("presigning POST forms", presigner, "generate_presigned_post", _guarding_post)
    patching.replace("notes on errors", ClientError, "__init__", _noting)


def _replace_aio() -> None:
    part = "presigning POST forms with aiobotocore"
    signers = sys.modules["aiobotocore.signers"]
    presigner = getattr(signers, "AioS3PostPresigner", None)
    patching.replace(part, signers, "get_current_datetime", reading)
    patching.replace(part, presigner, "generate_presigned_post", _guarding_aio_post)


def _noting(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, error_response: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 -- wraps one
        original(self, error_response, *args, **kwargs)
        try:
            note_refusal(self, error_response)
        except Exception:
            logger.debug("an error stays without a note", exc_info=True)

    return __init__


def _signers() -> list[type]:
    """List every class that signs with a timestamp in a method of its own."""
    return [signer for signer in signer_classes() if "add_auth" in vars(signer)]


def signer_classes() -> list[type]:
    """List botocore's classes that sign with a timestamp."""
    found = []
    pending: list[type] = [botocore.auth.BaseSigner]
    while pending:
        signer = pending.pop()
        pending.extend(signer.__subclasses__())
        timeless = signer is botocore.auth.BaseSigner or getattr(signer, "REQUIRES_TOKEN", False)
        if not timeless and signer.__module__.startswith("botocore."):
            found.append(signer)
    return found


def stream_of(body: Any) -> Any:
    """Find the caller's stream in a body that botocore may have wrapped for aws-chunked encoding."""
    return getattr(body, "_raw", body) if type(body).__name__ in _WRAPPERS else body
