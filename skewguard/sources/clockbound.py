"""ClockBound as a time source: what its daemon says of this host's wall clock, read from shared memory.

The daemon keeps a bound on how far the wall clock is from true time. So it never says by how much a clock is wrong;
it says that it is right, and how right. That is worth an interval, in microseconds and without the network.

Limits, which no reader of the segment can lift. Whoever steps the wall clock makes the statement false until the
daemon looks again; a step between two measurements of one object is noticed, one before the first is not. The daemon
counts from the host's boot, so in a container with a time namespace of its own its segment means nothing: mostly
noticed, as an instant of the future or far past. A wall clock faked for one process is not the one it speaks of.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from typing import NamedTuple

from skewguard.clocks import BRACKET_NS, Clocks, Reading
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import Interval
from skewguard.sources.clockbound_segment import (
    LARGEST,
    MAX_AGE,
    VMCLOCK_READ,
    Snapshot,
    judge,
    parse,
    parse_vmclock,
    unsettled,
)
from skewguard.sources.named import Named, path_uri, split_uri, usable_path

FORM = "clockbound or clockbound:/path/of/the/segment"
PATHS = ("/var/run/clockbound/shm0", "/var/run/clockbound/shm")
"""Where the daemon writes: 2.x (and 3.x, for older readers), then 1.x."""

VMCLOCK = "/dev/vmclock0"
"""Where the hypervisor tells that the machine was paused, moved or restored."""

_NEW_PATH = "/var/run/clockbound/shm1"
"""The segment that only 3.x writes; asked only to explain why nothing else is there."""

_TRIES = 100
"""Reads before giving up on a segment in flux: the daemon writes for some ns, ten times a second at most."""


class _Look(NamedTuple):
    """What is remembered of the last measurement.

    Attributes:
        low: The least that the wall clock can have been ahead of CLOCK_MONOTONIC, ns. Only a step (or sleep, which
            sets the clock as well) changes that: slewing moves the two together.
        high: The most.
        stepped: When a step was last noticed, by CLOCK_MONOTONIC, ns; None if never.
        stepped_at: The same, by the steady clock.
        said: The last interval given.
    """

    low: int
    high: int
    stepped: int | None
    stepped_at: int
    said: Interval | None


def _monotonic() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)  # by its number: time.monotonic_ns is what tests fake


class ClockBoundSource(Named):
    """Reads the segment of ClockBound 1.x and 2.x, and of 3.x what that writes for older readers.

    The newest layout, 3.x's own, bounds a clock that is computed from the CPU's time stamp counter and not the wall
    clock; it is recognized and refused. The file is opened anew for each measurement and read by copying, so a
    daemon that replaces or truncates it harms nobody. An object has no thread, lock or open file; it may be shared by
    threads and used on both sides of a fork.
    """

    instant = True

    def __init__(
        self, path: str | None = None, *, vmclock: str = VMCLOCK, monotonic: Callable[[], int] = _monotonic
    ) -> None:
        """Prepare to read; nothing is opened yet.

        Args:
            path: The segment's file; where the daemons put theirs, unless told.
            vmclock: VMClock's file, read when the segment says that it counts.
            monotonic: CLOCK_MONOTONIC of the host, ns; for tests.

        Raises:
            ConfigError: A path is unusable.
        """
        if not usable_path(vmclock):
            raise ConfigError(f"{vmclock!r} is no absolute path of a file")
        self._name = "clockbound" if path is None else path_uri("clockbound", path, "file")
        self._paths = PATHS if path is None else (path,)
        self._vmclock = vmclock
        self._monotonic = monotonic
        # One tuple, replaced whole. A thread that overwrites another's makes it older, never inconsistent: a step
        # that is so forgotten is noticed again, since what was remembered was from before it.
        self._look: _Look | None = None

    @classmethod
    def from_uri(cls, uri: str) -> ClockBoundSource:
        """Make a source from ``clockbound``, or ``clockbound:/path/of/segment``.

        Raises:
            ConfigError: The URI is not of that form.
        """
        return cls(split_uri(uri, "clockbound", FORM).path)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._paths, self._vmclock, self._monotonic)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Read the segment and the clocks.

        Args:
            clocks: The clocks to measure with; their wall clock must be the host's.
            deadline: The steady instant, ns, by which to answer; this takes some microseconds.

        Returns:
            True time as of now: the wall clock, give or take the daemon's bound and what drift has added to it.

        Raises:
            SourceError: There is no segment, or none that may be believed now. One sentence with the source's name.
        """
        if clocks.read().steady >= deadline:
            raise SourceError(f"{self._name} was given no time to answer")
        failures: list[str] = []
        for path in self._paths:
            try:
                return self._measure(clocks, path)
            except FileNotFoundError:
                continue
            except SourceError as error:
                failures.append(f"{path} {error}")
            except OSError as error:
                failures.append(f"{path} cannot be read ({error.strerror or error})")
        if failures and len(self._paths) == 1:
            raise SourceError(f"{self._name} {failures[0].removeprefix(self._paths[0] + ' ')}")
        if failures:
            raise SourceError(f"{self._name} gives no time: {', and '.join(failures)}")
        if len(self._paths) > 1 and os.path.exists(_NEW_PATH):  # noqa: PTH110  # a str it is everywhere else
            raise SourceError(
                f"{self._name} gives no time: only {_NEW_PATH} is there, which is not about the wall clock"
            )
        raise SourceError(f"{self._name} gives no time: there is no {' and no '.join(self._paths)}")

    def _measure(self, clocks: Clocks, path: str) -> Interval:
        snapshot = _read_segment(path)
        # In this order: whatever happens in between makes the statement older, never younger than it is.
        before, reading, after = self._read_clocks(clocks)
        look = self._notice(before, reading, after)
        if snapshot.marker is not None:
            self._check_disruption(snapshot.marker)
        said = judge(snapshot, after, reading, after - before, self._name)
        if look.stepped is not None:
            self._check_step(snapshot, look, look.stepped, said)
        self._look = look._replace(said=said)
        return said

    def _read_clocks(self, clocks: Clocks) -> tuple[int, Reading, int]:
        """Look at all three clocks, undisturbed if possible: what disturbs is in the margin, after - before."""
        best = None
        for _ in range(_TRIES):
            before = self._monotonic()
            reading = clocks.read()
            after = self._monotonic()
            if best is None or after - before < best[2] - best[0]:
                best = (before, reading, after)
                if after - before <= BRACKET_NS:
                    break
        assert best is not None
        return best

    def _notice(self, before: int, reading: Reading, after: int) -> _Look:
        """Compare the clocks with what they were: has anyone set the wall clock?"""
        low, high = reading.wall - after, reading.wall - before
        last = self._look
        if last is None:
            look = _Look(low, high, None, 0, None)
        elif low > last.high or high < last.low:
            look = _Look(low, high, after, reading.steady, last.said)
        else:
            look = last._replace(low=low, high=high)
        self._look = look
        return look

    def _check_step(self, snapshot: Snapshot, look: _Look, stepped: int, said: Interval) -> None:
        """Refuse what was said before the wall clock was stepped, or by a daemon that has not noticed.

        One that steps the clock itself knows, and so what it says afterwards agrees with what it said before. One
        whose clock was set by somebody else may not learn of it before it next hears from its servers.
        """
        if snapshot.as_of <= stepped:
            raise SourceError("is from before the wall clock was set")
        earlier = look.said
        if (
            earlier is not None
            and earlier.at <= look.stepped_at
            and 0 <= said.at - earlier.at < MAX_AGE
            and not earlier.aged(said.at).meets(said)
        ):
            raise SourceError("does not know yet that the wall clock was set")

    def _check_disruption(self, marker: int) -> None:
        """Refuse a statement from before the machine was paused, moved or restored."""
        try:
            now = _read_vmclock(self._vmclock)
        except SourceError as error:
            raise SourceError(f"depends on VMClock, but {self._vmclock} {error}") from None
        except OSError as error:
            raise SourceError(f"depends on VMClock, but {self._vmclock}: {error.strerror or error}") from None
        if now != marker:
            raise SourceError("is from before the machine was paused, moved or restored (VMClock's disruption marker)")


def _read_segment(path: str) -> Snapshot:
    """Take a snapshot that no writer has touched meanwhile.

    A writer makes the generation odd, writes, and makes it even again. Reading a file is not atomic either, so two
    whole copies must be equal: then the generation stood from the first's beginning to the second's end.
    """
    fd = _open(path)
    try:
        data = b""
        for _ in range(_TRIES):
            data = os.pread(fd, LARGEST, 0)
            if not unsettled(data) and data == os.pread(fd, LARGEST, 0):
                return parse(data, os.fstat(fd).st_size)
        raise SourceError("is being written, or was left so by a daemon that died")
    finally:
        os.close(fd)


def _read_vmclock(path: str) -> int:
    fd = _open(path, device=True)
    try:
        for _ in range(_TRIES):
            data = os.pread(fd, VMCLOCK_READ, 0)
            if data == os.pread(fd, VMCLOCK_READ, 0) and not (len(data) > 12 and data[12] & 1):
                return parse_vmclock(data)
        raise SourceError("is being written")
    finally:
        os.close(fd)


def _open(path: str, *, device: bool = False) -> int:
    """Open a file for reading that is one, so that no pipe or terminal can make us wait."""
    if os.name != "posix":
        raise SourceError("cannot be read on this system")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode) or (device and stat.S_ISCHR(mode)):
        return fd
    os.close(fd)
    raise SourceError("is no regular file")
