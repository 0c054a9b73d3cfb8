"""The host's clocks, read together: one primitive, which tests replace.

*Steady* is never stepped, never slewed, and counts while the machine sleeps. Linux has no single clock like that:
``MONOTONIC_RAW`` is not slewed but stops in suspend, ``BOOTTIME`` counts suspend but is slewed with the wall clock.
So steady is RAW plus the time spent asleep (BOOTTIME - MONOTONIC). These are several readings, and a thread can be
interrupted between any two of them; so each is bracketed by MONOTONIC, and repeated if it took too long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

BRACKET_NS = 100_000
"""A reading that took longer than this was interrupted and is repeated."""

APART_NS = 3 * BRACKET_NS // 2
"""The two clocks of a reading are no further apart than this, ns: steady is taken from the middle of the bracket."""

_T = TypeVar("_T")

_STEP = 500_000_000  # a wall clock that moved less than this, ns, was slewed...
_SLEW = 2000  # ... or less than one part in this many of the time between two readings (500 ppm, the kernel's limit)


class Reading(NamedTuple):
    """Both clocks, read together, ns: `steady` since some moment of this boot, `wall` since the Unix epoch."""

    steady: int
    wall: int


class Clocks(Protocol):
    """The clocks that skewguard reads."""

    def read(self) -> Reading:
        """Read both clocks together; takes about 2 µs."""
        ...

    def quick_ns(self) -> int:
        """Read a monotonic clock cheaply, ns; it may be slewed, stop in sleep, and count from another zero.

        Compared with `wall_ns` it shows whether a clock has moved since the last `read`.
        """
        ...

    def wall_ns(self) -> int:
        """Read the wall clock, ns since the Unix epoch."""
        ...


def bracketed(read: Callable[[], _T], around: Callable[[], int], tries: int = 64) -> tuple[int, _T, int]:
    """Call `read` between two readings of the clock `around`; again if the thread was interrupted meanwhile.

    The fastest try counts: the two readings, and the result between them.
    """
    before, result, after = around(), read(), around()
    while after - before > BRACKET_NS and (tries := tries - 1):
        again = around(), read(), around()
        if again[2] - again[0] < after - before:
            before, result, after = again
    return before, result, after


class _LinuxClocks:
    """CLOCK_MONOTONIC_RAW + (CLOCK_BOOTTIME - CLOCK_MONOTONIC), beside CLOCK_REALTIME."""

    def __init__(self) -> None:
        # Built-in functions: each signing calls them, and a Python frame around them would double their cost.
        self.quick_ns = time.monotonic_ns
        self.wall_ns = time.time_ns

    def read(self) -> Reading:
        # By its number, because tests fake time.monotonic_ns.
        before, (raw, boot, wall), after = bracketed(self._read_others, self._monotonic)
        return Reading(raw + boot - (before + after) // 2, wall)

    @staticmethod
    def _monotonic() -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    @staticmethod
    def _read_others() -> tuple[int, int, int]:
        get = time.clock_gettime_ns
        return get(time.CLOCK_MONOTONIC_RAW), get(time.CLOCK_BOOTTIME), get(time.CLOCK_REALTIME)


class _PlainClocks:
    """One clock that already counts sleep: macOS's MONOTONIC_RAW, Windows' performance counter."""

    def __init__(self, steady: Callable[[], int]) -> None:
        self._steady = steady
        self.quick_ns = time.monotonic_ns
        self.wall_ns = time.time_ns

    def read(self) -> Reading:
        before, wall, after = bracketed(time.time_ns, self._steady)
        return Reading((before + after) // 2, wall)


def stepped(before: Reading, now: Reading) -> int:
    """Return by how much the wall clock was stepped between two readings, ns; 0 if it may only have been slewed."""
    elapsed = now.steady - before.steady
    moved = (now.wall - before.wall) - elapsed
    return moved if abs(moved) > _STEP + abs(elapsed) // _SLEW else 0


def faked() -> str | None:
    """Return the name of the library that fakes this process's wall clock now; None if none does.

    A test freezes the clock on purpose, so a frozen clock is neither corrected nor learned from. (A clock faked from
    outside the process, as libfaketime does, counts as the host's own.)
    """
    freezegun = sys.modules.get("freezegun.api")
    if freezegun is not None and getattr(freezegun, "freeze_factories", None):
        return "freezegun"
    machine = sys.modules.get("time_machine")
    if machine is not None:
        hatch = getattr(machine, "escape_hatch", None)
        if hatch is not None and hatch.is_travelling():
            return "time-machine"
    return None


def faked_wall_ns() -> int:
    """Read the wall clock as the program does, ns since the Unix epoch: faked, while a library fakes it."""
    return time.time_ns()


def unfaked_wall_ns() -> int:
    """Read the wall clock below what fakes it in this process, ns since the Unix epoch."""
    machine = sys.modules.get("time_machine")
    hatch = getattr(machine, "escape_hatch", None)
    if hatch is not None and hatch.is_travelling():
        return int(hatch.time.time_ns())
    freezegun = sys.modules.get("freezegun.api")
    return int(getattr(freezegun, "real_time_ns", time.time_ns)())


def system() -> Clocks:
    """The best clocks this platform has."""
    if all(hasattr(time, name) for name in ("CLOCK_MONOTONIC_RAW", "CLOCK_BOOTTIME")):
        linux = _LinuxClocks()
        try:
            linux.read()
        except OSError:  # an emulated kernel may lack clocks that Python was built with
            return _PlainClocks(time.monotonic_ns)
        return linux
    if hasattr(time, "CLOCK_MONOTONIC_RAW"):
        return _PlainClocks(lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW))
    return _PlainClocks(time.monotonic_ns)
