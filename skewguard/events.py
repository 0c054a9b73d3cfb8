"""What happened, as values, and who is told. Logging is one listener among others.

Named tuples, here and elsewhere, because a program pays for a dataclass when it imports it: a millisecond for eight.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from skewguard.interval import Interval

logger = logging.getLogger("skewguard")
logger.addHandler(logging.NullHandler())


class CorrectionChanged(NamedTuple):
    """From now on, requests to `domain` are signed `offset` ns away from the wall clock; 0 means by the wall clock.

    Attributes:
        domain: ``"utc"`` for AWS, else the endpoint's origin.
        offset: True time minus wall clock, ns; positive when the host is behind.
        error_bound: Half the width of what is known, ns.
        source: Who said so.
    """

    domain: str
    offset: int
    error_bound: int
    source: str


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

_lock = threading.Lock()
_listeners: tuple[Listener, ...] = ()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Have `listener` called with every event, in the thread that caused it; it should be quick.

    What it raises is logged and dropped.

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


def tell(event: Event) -> None:
    """Tell every listener. Never raises."""
    for listener in (_log, *_listeners):
        try:
            listener(event)
        except Exception:
            logger.debug("a listener failed on %r", event, exc_info=True)


def _log(event: Event) -> None:
    """Write a line: a warning when people should look at their clock, else a whisper."""
    match event:
        case CorrectionChanged(domain, 0):
            logger.info("the wall clock agrees with %s again: signing by the wall clock", domain)
        case CorrectionChanged(domain, offset, bound, source):
            logger.warning(
                "the wall clock is %.1f s %s %s (by %s, within %.1f s): signing with the corrected time",
                abs(offset) / 1e9,
                "behind" if offset > 0 else "ahead of",
                "true time" if domain == "utc" else f"the clock of {domain}",
                source,
                bound / 1e9,
            )
        case Degraded(part, reason):
            logger.warning("%s is switched off: %s", part, reason)
        case Retried(service, operation, verdict, reason, _):
            logger.info("%s.%s is signed again (%s: %s)", service, operation, verdict, reason)
        case _:
            logger.debug("%r", event)


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.Lock()
