"""What happened, as values, and who is told. Logging is one listener among others.

Named tuples, here and elsewhere, because a program pays for a dataclass when it imports it: a millisecond for eight.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from skewguard.interval import SECOND, Interval
from skewguard.wording import in_utc

logger = logging.getLogger("skewguard")
logger.addHandler(logging.NullHandler())


class CorrectionChanged(NamedTuple):
    """From now on, requests to `domain` are signed `offset` ns away from the wall clock; 0 means by the wall clock.

    Attributes:
        domain: ``"utc"`` for AWS, else the endpoint's origin.
        offset: What is added to the wall clock, ns; positive when the host is behind.
        error_bound: Half the width of what is known, ns.
        source: Who said so; empty if nobody has told the time lately.
        wall: The wall clock's time then, ns since the Unix epoch.
        found: By how much true time was ahead of it, ns; 0 if that is not known.
        withheld: Whether `max_offset` forbids to correct that.
    """

    domain: str
    offset: int
    error_bound: int
    source: str
    wall: int
    found: int
    withheld: bool = False


class Retried(NamedTuple):
    """A refused attempt is signed again.

    Attributes:
        service: The service's id, ``"s3"``.
        operation: The operation's name, ``"PutObject"``.
        verdict: ``"skew"`` or ``"stale"``.
        reason: Why, in words.
        waited: The time from signing to the refusal, ns; if the signature went stale, by whichever clock shows more.
    """

    service: str
    operation: str
    verdict: str
    reason: str
    waited: int


class Refused(NamedTuple):
    """A statement about time that was not believed, or a source that could not make one."""

    source: str
    reason: str


class Measured(NamedTuple):
    """The sources were asked. `interval` is what most agree on; None when there is no majority."""

    interval: Interval | None
    truechimers: tuple[str, ...]
    falsetickers: tuple[str, ...]


class Stepped(NamedTuple):
    """The wall clock moved by `by` ns against the steady clock since it was last looked at."""

    by: int


class Degraded(NamedTuple):
    """A part of skewguard is switched off, as botocore is not what it expects. Calls go on as botocore makes them."""

    part: str
    reason: str


Event: TypeAlias = CorrectionChanged | Retried | Refused | Measured | Stepped | Degraded
Listener: TypeAlias = Callable[[Event], object]

_EPISODE = 900.0  # s; a stale signature within this of the one before belongs to the same trouble

_stale_until = 0.0  # s on the monotonic clock
_lock = threading.Lock()
_listeners: tuple[Listener, ...] = ()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Have `listener` called with every event, in the thread that caused it; it should be quick.

    What it raises is logged and dropped. It should leave AWS calls to another thread, and not wait for that: in this
    one, botocore may hold the lock of the credentials that they need.

    Returns:
        A function that ends the subscription.
    """
    global _listeners
    with _lock:
        _listeners = (*_listeners, listener)

    def unsubscribe() -> None:
        global _listeners
        with _lock:
            _listeners = tuple(kept for kept in _listeners if kept is not listener)

    return unsubscribe


def emit(event: Event) -> None:
    """Tell every listener. Never raises."""
    for listener in (_log, *_listeners):
        try:
            listener(event)
        except Exception:
            logger.debug("a listener failed on %r", event, exc_info=True)


def _log(event: Event) -> None:
    """Write a line: a warning when people should look, once for each episode; else a whisper."""
    match event:
        case CorrectionChanged():
            level, text = _in_words(event)
            logger.log(level, "%s", text)
        case Degraded(part, reason):
            logger.warning("%s is switched off: %s", part, reason)
        case Retried(service, operation, "stale", reason, waited):
            logger.log(
                logging.WARNING if _begins() else logging.DEBUG,
                "a request was refused %.0f s after it was signed (%s.%s: %s), and is signed again. The clock is not "
                "the reason, but a slow upload, a full connection pool, or a blocked thread or event loop",
                waited / SECOND,
                service,
                operation,
                reason,
            )
        case _:
            logger.debug("%r", event)


def _in_words(event: CorrectionChanged) -> tuple[int, str]:
    """Put an episode's beginning, its change or its end: how important it is, and what to say."""
    utc = event.domain == "utc"
    whose, where = ("true time", "requests to AWS") if utc else (f"the clock of {event.domain}", "requests there")
    if not event.source:
        return logging.INFO, f"nobody has told {whose} lately: {where} are signed by this host's clock again"
    off = f"{abs(event.found) / SECOND:.1f} s {'behind' if event.found > 0 else 'ahead of'} {whose}"
    says = f"within {event.error_bound / SECOND:.1f} s, by {event.source}"
    if not event.offset and not event.withheld:
        return logging.INFO, f"this host's clock is right again: {off} ({says}); {where} are signed by it"
    done = "by this host's clock, as max_offset forbids to correct that" if event.withheld else f"with {whose}"
    shown = f"it shows {in_utc(event.wall)} when it is {in_utc(event.wall + event.found)}"
    return logging.WARNING, f"this host's clock is {off} ({says}): {shown}; from now on {where} are signed {done}"


def _begins() -> bool:
    """Tell whether signatures begin to grow stale: none was for a while."""
    global _stale_until
    now = time.monotonic()
    begins = now >= _stale_until
    _stale_until = now + _EPISODE
    return begins


def reset() -> None:
    """Remove every listener, and let the next stale signature be a warning again."""
    global _listeners, _stale_until
    with _lock:
        _listeners, _stale_until = (), 0.0


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.Lock()
