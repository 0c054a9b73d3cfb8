"""One guarded call, over all its attempts."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

from skewguard._fail_open import fail_open
from skewguard.interval import Interval
from skewguard.signing.guard import Guard, Route
from skewguard.signing.patches import library
from skewguard.signing.reply import Reply
from skewguard.signing.report import FailedAttempt
from skewguard.timekeeping.timekeeper import NEVER

_HANDED_OUT = library.handed_out_versions()
_TIMELESS = library.TIMELESS_VERSIONS
_PLAIN_BODIES = (dict, bytes, str, bytearray)


class First(NamedTuple):
    """The answer for which a call was signed again.

    Attributes:
        reply: What it says about time.
        parsed: What botocore made of it.
        by_wall: Whether the attempt was dated by the wall clock.
    """

    reply: Reply
    parsed: Any
    by_wall: bool


class Call:
    """One guarded API call, kept in ``request.context`` over all its attempts.

    Attributes:
        guard: The session's guard.
        handed_out: Whether its signature is handed out, so that no retry can mend it.
        timeless: Whether its signature carries no timestamp that could be wrong.
        rewindable: Whether its body can be sent again.
        retried: Whether it was signed again.
        reconnected: Whether it was sent again because its server's certificate was judged by a wrong clock.
        first: The answer for which it was signed again.
        known: The server's clock by that answer, which dates what is signed again; None for the wall clock.
        renewed: How often it was signed again because of its time.
        failed: Its last attempt that was refused for its time.
        obstacle: Why it is not signed again after that; empty if nothing forbids it.
        route: Where its last attempt went.
        signing: When its last attempt was signed, and as of what time.
    """

    route: Route
    obstacle = ""
    first: First | None = None
    known: Interval | None = None
    failed: FailedAttempt | None = None
    retried = False
    reconnected = False
    signing = NEVER

    def __init__(self, guard: Guard, signature_version: Any, body: Any, context: Any = ()) -> None:
        self.guard = guard
        self.handed_out = signature_version in _HANDED_OUT and _is_handed_out(context)
        self.timeless = signature_version in _TIMELESS
        self.rewindable = type(body) in _PLAIN_BODIES or _is_rewindable(body)
        self.renewed = 0  # not of the class, where each signing would look it up longer

    def __deepcopy__(self, memo: object) -> Call:
        return self  # tracing libraries copy contexts; a copy is still this call

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return (type(None), ())  # some pickle them; another process has no use for the call

    def begin(self, request: Any) -> int | None:
        """Note that an attempt is being signed; return the time to sign as of (ns), or None for the wall clock."""
        guard = self.guard
        url: str = request.url
        route = guard.last
        # Most services are called at just this URL, and comparing costs a third of `startswith`.
        if url != route[0] and not url.startswith(route[0]):
            route = guard.route(url, request.auth_path)
        self.route = route
        keeper = guard.keeper
        if self.handed_out:
            if not guard.corrects_handed_out():
                return None
            guard.await_sources(route[1])
            signing = keeper.irrevocable_time(route[1], route[0])
        elif self.renewed:
            signing = keeper.time_by(self.known)
        else:
            signing = keeper.signing_time(route[1])
            if signing[0] == signing[1]:
                self.signing = signing
                return None
            if not route[1].firm and not (self.rewindable and may_follow(request.context)):
                signing = keeper.irrevocable_time(route[1], route[0])
        self.signing = signing
        signed = signing[0]
        return None if signed == signing[1] else signed

    def leave(self) -> None:
        """Leave this attempt to botocore: it was signed without skewguard, so its answer is not heard."""
        self.signing = NEVER

    @property
    def by_wall(self) -> bool:
        """Whether it was signed again by the wall clock."""
        return self.renewed > 0 and self.known is None

    @property
    def undoable(self) -> bool:
        """Whether its last attempt was dated by another clock than the wall clock, which dated none before."""
        tried = self.by_wall or (self.first is not None and self.first.by_wall)
        return self.signing[0] != self.signing[1] and not tried


def attempts_left(context: Any, attempts: int) -> bool:
    """Return whether the caller allows one more attempt than so many."""
    total = library.total_attempts(context)
    return total is None or attempts < total  # without a count, this is the first of several


def may_follow(context: Any) -> bool:
    """Return whether another attempt may follow the one that is being signed."""
    return attempts_left(context, context.get("retries", {}).get("attempt", 1))


def _is_handed_out(context: Any) -> bool:
    """Return whether a signature in a URL or form is handed out; a client's own request may be signed so too."""
    return "client_config" not in context or bool(context.get("is_presign_request"))


def _is_rewindable(body: Any) -> bool:
    """Return whether a body can be sent again from where it was sent first.

    botocore rewinds to position 0, so a stream that was handed over elsewhere would be sent again as another body.
    """
    if not body or isinstance(body, _PLAIN_BODIES):
        return True
    try:
        raw = library.stream_of(body)
        seekable = getattr(raw, "seekable", None)
        if inspect.iscoroutinefunction(getattr(raw, "tell", None)) or (seekable is not None and not seekable()):
            return False  # botocore's rewinding does not await, and aiobotocore's is the same
        return bool(hasattr(raw, "seek") and raw.tell() == 0)
    except Exception as error:
        fail_open(error, "a body cannot be sent again")
        return False
