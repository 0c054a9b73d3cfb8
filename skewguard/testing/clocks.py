"""Clocks for tests: fakes that move only when moved, and a server clock that no step or fake can move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from skewguard.clocks import Reading

_QUICK_ZERO = 7_000_000_000
"""`quick_ns` may count from another zero than `read`; here it always does, so that mixing the two shows."""


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


class FakeClocks:
    """A `skewguard.clocks.Clocks` that stands still until it is moved. Safe to share between threads."""

    def __init__(self, wall: int = 1_767_225_600_000_000_000, steady: int = 1_000_000_000_000) -> None:
        """Set both clocks.

        Args:
            wall: ns since the Unix epoch; by default 2026-01-01T00:00:00Z.
            steady: ns since some moment of this boot.
        """
        self._lock = threading.Lock()
        self._wall = wall
        self._steady = steady

    @property
    def wall(self) -> int:
        """The wall clock, ns since the Unix epoch."""
        return self._wall

    @property
    def steady(self) -> int:
        """The steady clock, ns."""
        return self._steady

    def read(self) -> Reading:
        """Read both clocks."""
        with self._lock:
            return Reading(self._steady, self._wall)

    def quick_ns(self) -> int:
        """Read the steady clock, counted from another zero."""
        return self._steady + _QUICK_ZERO

    def wall_ns(self) -> int:
        """Read the wall clock."""
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks move. Negative seconds raise ValueError, because steady never goes back."""
        if seconds < 0:
            raise ValueError("time does not pass backwards; to move the wall clock alone, use step()")
        with self._lock:
            self._steady += _ns(seconds)
            self._wall += _ns(seconds)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back if negative, as NTP or an operator would; the steady clock stays."""
        with self._lock:
            self._wall += _ns(seconds)

    def sleep(self, seconds: float) -> None:
        """Replace `time.sleep`: time passes at once."""
        self.advance(seconds)


def steady_utc() -> Callable[[], int]:
    """Read the wall clock once, and make a clock that counts on from there by the monotonic clock.

    Returns:
        A clock, ns since the Unix epoch, for ``StrictEndpoint(clock=...)``: the server is not affected when the
        host's wall clock is stepped later, or faked by freezegun or time-machine.
    """
    monotonic = _monotonic
    zero = host_wall() - monotonic()
    return lambda: zero + monotonic()


def _clock(name: str, otherwise: Callable[[], int]) -> Callable[[], int]:
    # clock_gettime where there is one: freezegun leaves it alone, and the server must not freeze with its client.
    get, which = getattr(time, "clock_gettime_ns", None), getattr(time, name, None)
    return otherwise if get is None or which is None else lambda: get(which)


host_wall: Callable[[], int] = _clock("CLOCK_REALTIME", time.time_ns)
"""Reads the host's wall clock, ns since the Unix epoch."""

_monotonic = _clock("CLOCK_MONOTONIC", time.monotonic_ns)
