"""Events, as values, and their listeners. Logging is one listener among others.

Named tuples, here and elsewhere, because importing a dataclass costs a program time: a millisecond for eight.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from skewguard._fail_open import fail_open
from skewguard.interval import SECOND, Interval
from skewguard.wording import clock_of, in_utc, this_clock

logger = logging.getLogger("skewguard")
"""The package's logger, without a handler: where a program configures no logging, Python prints warnings on stderr."""


class CorrectionChanged(NamedTuple):
    """From now on, requests to `domain` are signed `offset` ns away from the wall clock; 0 means by the wall clock.

    Attributes:
        domain: ``"utc"`` for AWS, else the endpoint's origin.
        offset: What is added to the wall clock, ns; positive when the host is behind.
        error_bound: Half the width of the interval that contains true time, ns.
        source: The origin of that; empty if true time is no longer known.
        wall: The wall clock then, ns since the Unix epoch.
        found: By how much true time was ahead of it, ns; 0 if that is not known.
        withheld: Whether `max_offset` forbids the correction.
        grade: How well the time is proved: ``"guess"``, ``"claim"``, ``"vote"``, ``"proof"``; empty if it is not known.
    """

    domain: str
    offset: int
    error_bound: int
    source: str
    wall: int
    found: int
    withheld: bool = False
    grade: str = ""


class Retried(NamedTuple):
    """A refused attempt is signed again.

    Attributes:
        service: The service's id, ``"s3"``.
        operation: The operation's name, ``"PutObject"``.
        verdict: ``"skew"`` or ``"stale"``.
        reason: Why, for people.
        waited: The time from signing to the refusal, ns; for a stale signature, by the clock that shows more.
    """

    service: str
    operation: str
    verdict: str
    reason: str
    waited: int


class Refused(NamedTuple):
    """A statement about time that was not believed, or a source that gave none."""

    source: str
    reason: str


class Measured(NamedTuple):
    """The sources were asked. `interval` is what most agree on; None when there is no majority."""

    interval: Interval | None
    truechimers: tuple[str, ...]
    falsetickers: tuple[str, ...]


class Stepped(NamedTuple):
    """The wall clock moved by `by` ns against the steady clock since the last reading."""

    by: int


class Degraded(NamedTuple):
    """A part of skewguard is switched off, because botocore or the host is not as expected. Calls go on without it."""

    part: str
    reason: str


Event: TypeAlias = CorrectionChanged | Retried | Refused | Measured | Stepped | Degraded
Listener: TypeAlias = Callable[[Event], object]

_EPISODE = 900.0  # s; a stale signature within this of the one before belongs to the same episode

_emitted: set[Event] = set()  # by `emit_once`
_stale_until = 0.0  # s on the monotonic clock
_lock = threading.Lock()
_listeners: tuple[Listener, ...] = ()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call `listener` with every event, in the thread that caused it; it should be quick.

    Its exceptions are logged and dropped. It should make AWS calls in another thread, and not wait for that: in this
    one, botocore may hold the lock of the credentials that those calls need.

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
    """Pass an event to every listener. Never raises."""
    for listener in (_log, *_listeners):
        try:
            listener(event)
        except Exception as error:
            fail_open(error, "a listener failed on %r", event)


def emit_once(event: Event) -> None:
    """Emit an event unless this process has emitted an equal one so."""
    with _lock:
        if event in _emitted:
            return
        _emitted.add(event)
    emit(event)


def _log(event: Event) -> None:
    """Log an event: as a warning once for each episode that people should know of, else for debugging."""
    match event:
        case CorrectionChanged():
            _report(*_describe(event))
        case Degraded(part, reason):
            _report(logging.WARNING, f"{part} is switched off: {reason}")
        case Retried(service, operation, "stale", reason, waited):
            _report(
                logging.WARNING if _episode_begins() else logging.DEBUG,
                f"a request was refused {waited / SECOND:.0f} s after it was signed ({service}.{operation}: {reason}), "
                "and is signed again. The clock is not the reason; a slow upload, a full connection pool, or a blocked "
                "thread or event loop may be",
            )
        case _:
            logger.debug("%r", event)


def _report(level: int, text: str) -> None:
    """Log a line. Where no logging is configured, the end of an episode shows on stderr, as its beginning does."""
    if logger.hasHandlers() or level < logging.INFO:
        logger.log(level, "%s", text)
    else:
        logger.warning("skewguard: %s", text)


def _describe(event: CorrectionChanged) -> tuple[int, str]:
    """Format the beginning, a change or the end of an episode: the log level, and the line."""
    reference = clock_of(event.domain)
    requests = "requests to AWS" if event.domain == "utc" else "requests there"
    if not event.source:
        return logging.INFO, f"{reference} is no longer known: {requests} are signed by this host's clock again"
    clock = this_clock(event.found, event.error_bound, event.source, reference, event.grade)
    if not event.offset and not event.withheld:
        return logging.INFO, f"{clock}, which is near enough: {requests} are signed by it again"
    shown = f"it shows {in_utc(event.wall)} when it is {in_utc(event.wall + event.found)}"
    done = "by this host's clock, because max_offset forbids a correction" if event.withheld else f"with {reference}"
    return logging.WARNING, f"{clock}: {shown}; from now on {requests} are signed {done}"


def _episode_begins() -> bool:
    """Return whether a stale signature begins an episode: there was none for a while before it."""
    global _stale_until
    now = time.monotonic()
    begins = now >= _stale_until
    _stale_until = now + _EPISODE
    return begins


def reset() -> None:
    """Remove every listener, and let what is reported once be reported again."""
    global _listeners, _stale_until
    with _lock:
        _emitted.clear()
        _listeners, _stale_until = (), 0.0


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.Lock()
