"""One guarded call: what is kept of it over its attempts, and what about it decides whether another one helps."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from skewguard.interval import SECOND
from skewguard.signing.patches import signers
from skewguard.signing.reply import TOLERANCE, Reply, Span
from skewguard.signing.report import Refusal
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.timekeeper import NEVER, Timekeeper

if TYPE_CHECKING:
    from skewguard.signing.hooks import Hooks

_USEFUL = 30 * SECOND  # a new timestamp closer than this to the refused one would be refused again
_ACCEPTED = 900 * SECOND  # whoever accepts a signature has a clock within this of its timestamp
_PLAIN_BODIES = (dict, bytes, str, bytearray)

Place: TypeAlias = tuple[str, Domain]
"""The beginning of a URL, slash included, and the time domain of whoever answers there."""


class Call:
    """One guarded API call, kept in ``request.context`` over all its attempts."""

    __slots__ = ("hooks", "lasting", "place", "refusal", "retried", "rewindable", "signing", "timeless")

    def __init__(self, hooks: Hooks, signature_version: Any, body: Any, context: Any = ()) -> None:
        self.hooks = hooks
        self.lasting = signature_version in signers.LASTING and _handed_out(context)
        self.timeless = signature_version in signers.TIMELESS  # there is nothing in it that could be wrong
        self.rewindable = type(body) in _PLAIN_BODIES or _rewindable(body)
        self.retried = False
        self.refusal: Refusal | None = None
        self.place = hooks.last  # where the last attempt went, and the clock that is kept there
        self.signing = NEVER  # of the last attempt, once it is signed

    def __deepcopy__(self, memo: object) -> Call:
        return self  # contexts get copied by tracing libraries; a copy is still this call

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (type(None), ())  # and some get pickled; elsewhere, nobody guards the call

    def begin(self, request: Any) -> int | None:
        """Note that an attempt is being signed; answer the time to sign as of (ns), or None for the wall clock."""
        hooks = self.hooks
        url: str = request.url
        place = hooks.last
        if not url.startswith(place[0]):
            place = hooks.find(url, request.auth_path)
        self.place = place
        if self.lasting and not hooks.corrects_presigned():
            return None
        signing = self.signing = hooks.keeper.signing_time(place[1], self.lasting)
        signed = signing[0]
        return None if signed == signing[1] else signed


def _handed_out(context: Any) -> bool:
    """Tell whether what is signed in a lasting way is handed out; a client's own call may be signed in its URL too."""
    return "client_config" not in context or bool(context.get("is_presign_request"))


def fits(heard: Span | None, signed: int, elapsed: int) -> bool:
    """Tell whether a Date can be that of the server which accepted a timestamp, rather than some intermediary's.

    Else a proxy with a clock of its own would break calls that are right.
    """
    if heard is None:
        return True
    return heard.latest >= signed - _ACCEPTED and heard.earliest <= signed + elapsed + _ACCEPTED


def useful(keeper: Timekeeper, call: Call, reply: Reply) -> bool:
    """Tell whether signing again would move the timestamp, and to where the server accepts it if it said where."""
    signed, _, steady = keeper.signing_time(call.place[1])
    elapsed = steady - call.signing[2]
    if abs(signed - call.signing[0] - elapsed) < _USEFUL:
        return False
    heard = reply.heard
    if heard is None:
        return True
    limit = reply.tolerance or TOLERANCE
    return heard.earliest - limit < signed < heard.latest + elapsed + limit


def attempts_left(context: Any, attempts: int) -> bool:
    """Tell whether the caller allows one more attempt."""
    retries = getattr(context.get("client_config"), "retries", None) or {}
    total = retries.get("total_max_attempts") or context.get("retries", {}).get("max")
    return total is None or attempts < int(total)  # where nobody has counted yet, it is the first of several


def _rewindable(body: Any) -> bool:
    """Tell whether a body can be sent again from where it was sent first.

    botocore rewinds to position 0, so a stream that was handed over elsewhere would be sent again as another body.
    """
    if not body or isinstance(body, _PLAIN_BODIES):
        return True
    try:
        raw = signers.stream_of(body)
        seekable = getattr(raw, "seekable", None)
        if inspect.iscoroutinefunction(getattr(raw, "tell", None)) or (seekable is not None and not seekable()):
            return False  # botocore's rewinding does not await, and aiobotocore's is the same
        return bool(hasattr(raw, "seek") and raw.tell() == 0)
    except Exception:
        return False
