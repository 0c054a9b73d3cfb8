"""The patches on botocore's signers: they sign as of true time where the wall clock is known to be wrong.

The signers read the wall clock by names in their own modules: ``get_current_datetime``, or ``datetime`` before botocore
1.40.2 (`botocore.auth`, `botocore.crt.auth`, `botocore.signers`), ``formatdate`` and ``time`` (`botocore.auth`, the
older signatures). Those names are replaced by what `as_of` has for them. A guarded signing begins in the ``add_auth``
of each signer class, the last moment before the clock is read: any refresh of credentials is over by then, and nested
signings nest.

A request is guarded if its context carries a call, which ``before-sign`` put there. `unrecorded` decides about the
others.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from skewguard._fail_open import fail_open
from skewguard.signing.patches import library, own_correction
from skewguard.signing.patches.as_of import AS_OF, SteeredTime, clock_patch, steered_datetime, steered_formatdate
from skewguard.signing.patches.patching import Absent, Group, NamePatch, Patch
from skewguard.signing.patches.under_way import call_to

KEY = "skewguard"
"""The key of a guarded call in ``request.context``."""

WHO = "skewguard-who"
"""An event of our own: the event handlers of a guarded emitter return their guard."""


class GuardedCall(Protocol):
    """What `KEY` names in a request's context."""

    def begin(self, request: Any) -> int | None:
        """Note that an attempt is being signed; return the time to sign as of (ns), or None for the wall clock."""
        ...

    def leave(self) -> None:
        """Leave this attempt to botocore: it was signed without skewguard, so its answer is not heard."""
        ...


def _guarded_add_auth(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def add_auth(self: Any, request: Any) -> Any:
        at = None
        try:
            call: GuardedCall | None = request.context.get(KEY)
            if call is not None:
                at = call.begin(request)
            elif _unrecorded_time is not None:
                at = _unrecorded_time(self, request)
        except Exception as error:
            fail_open(error, "the guard failed, so the wall clock is used")
        before = AS_OF.get()
        if at is None and before is None:
            return original(self, request)
        try:
            AS_OF.set(at)
            return original(self, request) if at is None else _sign_as_of(at, original, self, request)
        finally:
            AS_OF.set(before)

    return add_auth


def _sign_as_of(at: int, original: Callable[..., Any], signer: Any, request: Any) -> Any:
    """Sign as of a time; if botocore corrects that by itself, sign again without us."""
    undo = own_correction.undoing(signer, request)
    signed = original(signer, request)
    if not own_correction.carries_another_time(request, at):
        return signed
    AS_OF.set(None)
    undo()
    own_correction.report_once()
    for call in (request.context.get(KEY), call_to(request.url)):
        if call is not None:
            call.leave()
    return original(signer, request)


def _guarded_post(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the presigner of POST forms, which writes its policy's expiration before ``before-sign`` is emitted."""

    @functools.wraps(original)
    def generate_presigned_post(self: Any, request_dict: Any, *args: Any, **kwargs: Any) -> Any:
        before = at = AS_OF.get()
        try:
            guard = guard_of(self._request_signer)
            if guard is not None:
                at = guard.handed_out_time(request_dict["url"], request_dict.get("auth_path"))
        except Exception as error:
            fail_open(error, "the guard failed, so the wall clock is used")
        try:
            AS_OF.set(at)
            return original(self, request_dict, *args, **kwargs)
        finally:
            AS_OF.set(before)

    return generate_presigned_post


def _guarded_aio_post(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap aiobotocore's presigner of POST forms, which awaits."""

    @functools.wraps(original)
    async def generate_presigned_post(self: Any, request_dict: Any, *args: Any, **kwargs: Any) -> Any:
        before = at = AS_OF.get()
        try:
            guard = guard_of(self._request_signer)
            if guard is not None:
                at = await guard.handed_out_time_soon(request_dict["url"], request_dict.get("auth_path"))
        except Exception as error:
            fail_open(error, "the guard failed, so the wall clock is used")
        try:
            AS_OF.set(at)
            return await original(self, request_dict, *args, **kwargs)
        finally:
            AS_OF.set(before)

    return generate_presigned_post


_unrecorded_time: Callable[[Any, Any], int | None] | None = None
_adopt: Callable[[Any], None] | None = None


def guard_unrecorded(time_of: Callable[[Any, Any], int | None], adopt: Callable[[Any], None]) -> None:
    """Guard requests without a call. May be called while `botocore.signers` is being imported.

    Args:
        time_of: Returns, for a signer and a request, the time (ns) to sign as of, or None for the wall clock.
        adopt: Guards the client of a `RequestSigner`, which has no event handlers of ours.
    """
    global _unrecorded_time, _adopt
    if CLOCKS.apply():
        _unrecorded_time, _adopt = time_of, adopt


def leave_unrecorded() -> None:
    """Stop guarding requests without a call."""
    global _unrecorded_time, _adopt
    _unrecorded_time = _adopt = None


def guard_of(request_signer: Any) -> Any:
    """Return the guard of the client of a `RequestSigner`, if it is on. A client without one gets it now."""
    emitter = library.emitter_of(request_signer)
    if _adopt is not None and not _guards(emitter):
        _adopt(request_signer)
    return next((guard for guard in _guards(emitter) if guard is not None), None)


def is_guarded(emitter: Any) -> bool:
    """Return whether an emitter has event handlers of ours, even if they are switched off."""
    return bool(_guards(emitter))


def guards_on(emitter: Any) -> bool:
    """Return whether an emitter has event handlers of ours that are switched on."""
    return any(guard is not None for guard in _guards(emitter))


def _guards(emitter: Any) -> list[Any]:
    """Return what the event handlers of ours on an emitter say of their guard: None if it is off."""
    said = emitter.emit(WHO)
    if inspect.iscoroutine(said):  # aiobotocore's; ours return at once, so it need not be awaited
        try:
            said.send(None)
        except StopIteration as done:
            said = done.value
        else:
            said.close()
            return []
    return [guard for _, guard in said]


def _signing_clocks() -> Iterable[Patch]:
    import botocore.auth

    yield clock_patch("signing", botocore.auth, steered_datetime)
    try:
        crt = library.crt_auth()
    except ImportError as error:
        yield Absent("signing with awscrt", str(error))
    else:
        if crt is not None:
            yield clock_patch("signing with awscrt", crt, steered_datetime)
    stand_ins = {"formatdate": steered_formatdate, "time": lambda _: SteeredTime()}
    for name, known in library.older_clocks().items():
        if getattr(botocore.auth, name, None) is known:  # only the older signatures miss these
            yield NamePatch("signing with older signatures", botocore.auth, name, stand_ins[name], known=bool)
    for signer in library.signer_classes():
        if "add_auth" in vars(signer):
            yield NamePatch("signing", signer, "add_auth", _guarded_add_auth)


def _post_forms() -> Iterable[Patch]:
    signers = sys.modules["botocore.signers"]
    presigner = getattr(signers, "S3PostPresigner", None)
    yield clock_patch("signing POST policies", signers, steered_datetime)
    yield NamePatch("presigning POST forms", presigner, "generate_presigned_post", _guarded_post)


def _aio_post_forms() -> Iterable[Patch]:
    part = "presigning POST forms with aiobotocore"
    signers = sys.modules["aiobotocore.signers"]
    presigner = getattr(signers, "AioS3PostPresigner", None)
    yield clock_patch(part, signers, steered_datetime)
    yield NamePatch(part, presigner, "generate_presigned_post", _guarded_aio_post)


CLOCKS = Group(_signing_clocks)
"""What signs: to be applied when `botocore.auth` is imported."""

POST_FORMS = Group(_post_forms)
"""To be applied when `botocore.signers` is imported."""

AIO_POST_FORMS = Group(_aio_post_forms)
"""To be applied when `aiobotocore.signers` is imported. Its requests are signed by botocore's signers."""
