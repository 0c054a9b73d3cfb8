"""ClockBound as a time source: its daemon's statement about this host's wall clock, read from shared memory.

The daemon keeps a bound on the distance of the wall clock from true time. So it never tells by how much a clock is
wrong; it tells that the clock is right, and how right. That gives an interval of microseconds, without the network.

Limits, which no reader of the segment can lift. A step of the wall clock makes the statement false until the daemon
measures again; a step between two measurements of one object is noticed, one before the first is not. The daemon counts
from the host's boot, so in a container with a time namespace of its own its segment means nothing: mostly noticed, as
an instant of the future or far past. A wall clock faked for one process is not the daemon's.
"""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from skewguard.clocks import Clocks, Reading, bracketed
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import Interval
from skewguard.sources.clockbound_segment import (
    LARGEST,
    MAX_AGE,
    VMCLOCK_READ,
    Snapshot,
    parse,
    parse_vmclock,
    to_interval,
    unsettled,
)
from skewguard.sources.uri import Named, path_uri, split_uri, usable_path

FORM = "clockbound or clockbound:/path/of/the/segment"
PATHS = ("/var/run/clockbound/shm0", "/var/run/clockbound/shm", "/var/run/clockbound/shm1")
"""The daemon's files: of 2.x (and 3.x, for older readers), of 1.x, and of 3.x alone.

The last one does not describe the wall clock; it is read to explain why there is nothing else.
"""

VMCLOCK = "/dev/vmclock0"
"""The hypervisor's page, which tells that the machine was paused, moved or restored."""

_TRIES = 100
"""Reads before giving up on a segment in flux: the daemon writes for some ns, ten times a second at most."""

# By its number, because tests fake time.monotonic_ns.
_monotonic: Callable[[], int] = (
    functools.partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    if hasattr(time, "CLOCK_MONOTONIC")
    else time.monotonic_ns
)


class _Memory(NamedTuple):
    """What an object remembers of its last measurement.

    Attributes:
        low: The least that the wall clock can have been ahead of CLOCK_MONOTONIC, ns. Only a step changes that (or
            suspend, after which the kernel sets the clock as well); slewing moves both clocks alike.
        high: The most, ns.
        stepped: When a step was last noticed, by CLOCK_MONOTONIC, ns; None before the first.
        stepped_at: The same by the steady clock, ns.
        said: The last interval returned.
    """

    low: int
    high: int
    stepped: int | None = None
    stepped_at: int = 0
    said: Interval | None = None


class ClockBoundSource(Named):
    """Reads the segment of ClockBound 1.x and 2.x, and what 3.x writes for older readers.

    The newest layout, 3.x's own, bounds a clock that is computed from the CPU's time stamp counter and not the wall
    clock; it is decoded, and refused with the reason. The file is opened, copied and closed at each measurement, so a
    daemon that truncates it (3.x does, at its start) harms no reader.
    """

    instant = True

    def __init__(
        self, path: str | None = None, *, vmclock: str = VMCLOCK, monotonic: Callable[[], int] = _monotonic
    ) -> None:
        """Check the paths; nothing is opened yet.

        Args:
            path: The segment's file; by default the daemons' own. For ``shm1`` the ``shm0`` beside it is read first,
                because 3.x describes the wall clock there.
            vmclock: VMClock's file, read when the segment depends on it.
            monotonic: CLOCK_MONOTONIC of the host, ns; for tests.

        Raises:
            ConfigError: A path is unusable.
        """
        if not usable_path(vmclock):
            raise ConfigError(f"{vmclock!r} is not the absolute path of a file")
        self._name = "clockbound" if path is None else path_uri("clockbound", path, "file")
        if path is None:
            self._paths: tuple[str, ...] = PATHS
        elif path.endswith("/shm1"):
            self._paths = (f"{path[:-1]}0", path)
        else:
            self._paths = (path,)
        self._vmclock = vmclock
        self._monotonic = monotonic
        # Replaced whole. A thread that overwrites another's makes it older, never inconsistent: a step that is so
        # forgotten is noticed again, because the older memory is from before the step.
        self._memory: _Memory | None = None

    @classmethod
    def from_uri(cls, uri: str) -> ClockBoundSource:
        """Make a source from ``clockbound``, or ``clockbound:/path/of/segment``. ConfigError for any other form."""
        return cls(split_uri(uri, "clockbound", FORM).path)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._paths, self._vmclock, self._monotonic)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Read the segment and the clocks, as `skewguard.sources.Source.measure` describes, in some tens of µs.

        True time is the wall clock, which must be the host's, give or take the daemon's bound and what drift has added.
        """
        failures: dict[str, str] = {}
        for path in self._paths:
            try:
                return self._measure(clocks, deadline, path)
            except FileNotFoundError:
                continue
            except SourceError as error:
                failures[path] = str(error)
            except OSError as error:
                failures[path] = f"cannot be read ({error.strerror or error})"
        if failures and len(self._paths) == 1:
            raise SourceError(f"{self._name} {failures[self._paths[0]]}")
        if failures:
            each = ", and ".join(f"{path} {reason}" for path, reason in failures.items())
            raise SourceError(f"{self._name} gives no time: {each}")
        raise SourceError(f"{self._name} gives no time: there is no {' and no '.join(self._paths)}")

    def _measure(self, clocks: Clocks, deadline: int, path: str) -> Interval:
        """Read one file. Errors are the reason alone."""
        # In this order: a delay between the steps makes the statement older, never younger than it is.
        snapshot = _read_segment(path)
        before, reading, after = bracketed(clocks.read, self._monotonic, _TRIES)
        if reading.steady >= deadline:
            raise SourceError("was given no time to answer")
        memory = self._remember(reading, before, after)
        if snapshot.marker is not None:
            self._check_disruption(snapshot.marker)
        # Steady is put together from three readings: it may be off by half as much again as all of them took.
        said = to_interval(snapshot, after, reading, 3 * (after - before) // 2, self._name)
        if memory.stepped is not None:
            _check_step(snapshot, memory, memory.stepped, said)
        self._memory = memory._replace(low=reading.wall - after, high=reading.wall - before, said=said)
        return said

    def _remember(self, reading: Reading, before: int, after: int) -> _Memory:
        """Return the memory of the last measurement, or of this one if there was none; a step since then is noted."""
        low, high = reading.wall - after, reading.wall - before
        memory = self._memory or _Memory(low, high)
        if low > memory.high or high < memory.low:  # the wall clock was set
            memory = memory._replace(low=low, high=high, stepped=after, stepped_at=reading.steady)
        self._memory = memory
        return memory

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


def _check_step(snapshot: Snapshot, memory: _Memory, stepped: int, said: Interval) -> None:
    """Refuse a statement from before the last step of the wall clock, or of a daemon that has not noticed the step.

    A daemon that steps the clock itself knows of it, so its next statement agrees with the one before. If another
    program set the clock, the daemon may not learn of it before it next hears from its servers.
    """
    if snapshot.as_of <= stepped:
        raise SourceError("is from before the wall clock was set")
    earlier = memory.said
    if (
        earlier is not None
        and earlier.at <= memory.stepped_at
        and 0 <= said.at - earlier.at < MAX_AGE
        and not earlier.aged(said.at).meets(said)
    ):
        raise SourceError("does not know yet that the wall clock was set")


def _read_segment(path: str) -> Snapshot:
    """Read a snapshot of a segment that no writer has touched meanwhile.

    A writer makes the generation odd, writes, and makes it even again. Reading a file is not atomic either, so two
    whole copies must be equal: then the generation stood from the first's beginning to the second's end.
    """
    with _opened(path) as fd:
        for _ in range(_TRIES):
            data = os.pread(fd, LARGEST, 0)
            if not unsettled(data) and data == os.pread(fd, LARGEST, 0):
                return parse(data, os.fstat(fd).st_size)
    raise SourceError("is being written, or was left so by a daemon that died")


def _read_vmclock(path: str) -> int:
    with _opened(path, device=True) as fd:
        for _ in range(_TRIES):
            data = os.pread(fd, VMCLOCK_READ, 0)
            if data == os.pread(fd, VMCLOCK_READ, 0) and not (len(data) > 12 and data[12] & 1):
                return parse_vmclock(data)
    raise SourceError("is being written")


@contextlib.contextmanager
def _opened(path: str, *, device: bool = False) -> Iterator[int]:
    """Open a regular file, or a device, for reading; a pipe or terminal is refused, because it might block."""
    if os.name != "posix":
        raise SourceError("cannot be read on this system")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode) and not (device and stat.S_ISCHR(mode)):
            raise SourceError("is no regular file")
        yield fd
    finally:
        os.close(fd)
