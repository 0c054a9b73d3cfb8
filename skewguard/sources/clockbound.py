"""ClockBound as a time source: what its daemon says of this host's wall clock, read from shared memory.

The daemon keeps a bound on how far the wall clock is from true time. So it never says by how much a clock is wrong;
it says that it is right, and how right. That is worth an interval, in microseconds and without the network.

Limits, which no reader of the segment can lift. Whoever steps the wall clock makes the statement false until the
daemon looks again; a step between two measurements of one object is noticed, one before the first is not. The daemon
counts from the host's boot, so in a container with a time namespace of its own its segment means nothing: mostly
noticed, as an instant of the future or far past. A wall clock faked for one process is not the one it speaks of.
"""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Callable

from skewguard.clocks import BRACKET_NS, Clocks
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import Interval
from skewguard.sources.clockbound_segment import (
    GRACE,
    LARGEST,
    MAX_AGE,
    VMCLOCK_READ,
    Snapshot,
    judge,
    parse,
    parse_vmclock,
    unsettled,
)
from skewguard.sources.uri import Named, path_uri, split_uri, usable_path

FORM = "clockbound or clockbound:/path/of/the/segment"
PATHS = ("/var/run/clockbound/shm0", "/var/run/clockbound/shm", "/var/run/clockbound/shm1")
"""Where the daemon writes: 2.x (and 3.x, for older readers), 1.x, and what only 3.x writes.

That last one says nothing of the wall clock; it is asked in order to explain why nothing else is there.
"""

VMCLOCK = "/dev/vmclock0"
"""Where the hypervisor tells that the machine was paused, moved or restored."""

_TRIES = 100
"""Reads before giving up on a segment in flux: the daemon writes for some ns, ten times a second at most."""

_LOOK_NS = 10_000_000
"""A file is looked for at its path no more often, ns. What its daemon said so short a time ago still holds."""

_Four = tuple[int, int, int, int]
"""A look at the clocks, ns: CLOCK_MONOTONIC, steady, wall, and CLOCK_MONOTONIC again."""

_Seen = tuple[int, int, int | None, int, Interval | None]
"""What is remembered of the last measurement.

The least and the most that the wall clock can have been ahead of CLOCK_MONOTONIC, ns: only a step (or sleep, which sets
the clock as well) changes that, for slewing moves the two together. When a step was last noticed, by CLOCK_MONOTONIC,
ns, or None if never, and the same by the steady clock. The last interval given.
"""


class _Kept:
    """A segment's file that stays open, with what was read from it, at rest, when it was opened.

    The threads that read it hold it; it is closed when the last lets go.

    Attributes:
        path: Where it was found.
        fd: The open file.
        data: The segment's bytes.
        snapshot: The same, decoded.
        looked: When it was last seen to be the file at `path`, by CLOCK_MONOTONIC, ns.
    """

    __slots__ = ("_close", "_fstat", "_status", "data", "fd", "looked", "path", "snapshot")

    def __init__(self, path: str, fd: int, status: os.stat_result, data: bytes, snapshot: Snapshot) -> None:
        self._close, self._fstat = os.close, os.fstat  # the module may be gone when the interpreter ends
        self.path, self.fd, self._status, self.data, self.snapshot = path, fd, status, data, snapshot
        self.looked = 0

    def untouched(self) -> bool:
        """Tell whether nothing has been done to the file.

        To be removed, replaced or renamed changes the number of its links, or the time of its last change. A folder
        that was put in another's place does not show.
        """
        try:
            now = self._fstat(self.fd)
        except OSError:
            return False
        return now == self._status and now.st_ctime_ns == self._status.st_ctime_ns

    def __del__(self) -> None:
        # A program that turns itself into a daemon closes every file, and the number is somebody else's since.
        try:
            now = self._fstat(self.fd)
            if (now.st_dev, now.st_ino) == (self._status.st_dev, self._status.st_ino):
                self._close(self.fd)
        except OSError:
            pass


# By its number, since time.monotonic_ns is what tests fake; and without a Python frame around it.
_monotonic: Callable[[], int] = (
    functools.partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
    if hasattr(time, "CLOCK_MONOTONIC")
    else time.monotonic_ns
)


class ClockBoundSource(Named):
    """Reads the segment of ClockBound 1.x and 2.x, and of 3.x what that writes for older readers.

    The newest layout, 3.x's own, bounds a clock that is computed from the CPU's time stamp counter and not the wall
    clock; it is decoded, and refused with the reason. The file is read by copying, so a daemon that truncates it (3.x
    does, whenever it starts) harms nobody, and stays open while nothing about it changes. An object has no thread and
    no lock; it may be shared by threads and used on both sides of a fork.
    """

    instant = True

    def __init__(
        self, path: str | None = None, *, vmclock: str = VMCLOCK, monotonic: Callable[[], int] = _monotonic
    ) -> None:
        """Prepare to read; nothing is opened yet.

        Args:
            path: The segment's file; where the daemons put theirs, unless told. For ``shm1`` the ``shm0`` beside it
                is asked first, for 3.x writes there what it has to say of the wall clock.
            vmclock: VMClock's file, read when the segment says that it counts.
            monotonic: CLOCK_MONOTONIC of the host, ns; for tests.

        Raises:
            ConfigError: A path is unusable.
        """
        if not usable_path(vmclock):
            raise ConfigError(f"{vmclock!r} is no absolute path of a file")
        self._name = "clockbound" if path is None else path_uri("clockbound", path, "file")
        if path is None:
            self._paths: tuple[str, ...] = PATHS
        elif path.endswith("/shm1"):
            self._paths = (f"{path[:-1]}0", path)
        else:
            self._paths = (path,)
        self._vmclock = vmclock
        self._monotonic = monotonic
        # Each replaced whole. A thread that overwrites another's makes it older, never inconsistent: a step that is so
        # forgotten is noticed again, since what was remembered was from before it.
        self._seen: _Seen | None = None
        self._kept: _Kept | None = None
        self._way: tuple[Clocks, Callable[[], _Four]] | None = None  # a quicker way to look at these clocks

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
        failures: list[str] = []
        for path in self._paths:
            try:
                return self._measure(clocks, deadline, path)
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
        raise SourceError(f"{self._name} gives no time: there is no {' and no '.join(self._paths)}")

    def _measure(self, clocks: Clocks, deadline: int, path: str) -> Interval:
        kept = self._kept
        try:
            # Equal bytes are that snapshot, whoever is writing now.
            same = kept is not None and kept.path == path and os.pread(kept.fd, LARGEST, 0) == kept.data
        except OSError:  # closed by somebody else
            same = False
        if kept is None or not same:
            same = False
            self._kept = kept = None  # it goes before its successor comes, who may get the same number
            self._kept = kept = _open_segment(path)
            kept.looked = self._monotonic()
        snapshot = kept.snapshot
        # In this order: whatever happens in between makes the statement older, never younger than it is.
        way = self._way
        before, steady, wall, after = way[1]() if way is not None and way[0] is clocks else self._look_with(clocks)
        if after - before > BRACKET_NS:
            before, steady, wall, after = self._look_again(clocks, (before, steady, wall, after))
        if same and after - kept.looked >= _LOOK_NS and not self._still_there(kept, after):
            return self._measure(clocks, deadline, path)
        if steady >= deadline:
            raise SourceError("was given no time to answer")
        low, high = wall - after, wall - before
        seen = self._seen
        if seen is None:
            self._seen = seen = (low, high, None, 0, None)
        last_low, last_high, stepped, stepped_at, earlier = seen
        if low > last_high or high < last_low:  # somebody has set the wall clock
            stepped, stepped_at = after, steady
            self._seen = (low, high, stepped, stepped_at, earlier)
        if snapshot.marker is not None:
            self._check_disruption(snapshot.marker)
        said = judge(snapshot, after, (steady, wall), after - before, self._name)
        if stepped is not None:
            _check_step(snapshot, stepped, stepped_at, earlier, said)
        self._seen = (low, high, stepped, stepped_at, said)
        return said

    def _still_there(self, kept: _Kept, now: int) -> bool:
        """Tell whether a file is still the one at its path; it is let go otherwise.

        Where the daemon has been silent for long, another folder may have taken the place of the file's.
        """
        if now - kept.snapshot.as_of < GRACE and kept.untouched():
            kept.looked = now
            return True
        self._kept = None
        return False

    def _look_with(self, clocks: Clocks) -> _Four:
        """Look at clocks that have not been looked at before, and remember if there is a quicker way."""
        glance: Callable[[], _Four] | None = getattr(clocks, "glance", None)
        if glance is not None and self._monotonic is _monotonic:
            self._way = (clocks, glance)
            return glance()
        before, reading, after = self._monotonic(), clocks.read(), self._monotonic()
        return before, reading.steady, reading.wall, after

    def _look_again(self, clocks: Clocks, best: _Four) -> _Four:
        """Look at all three clocks, undisturbed if possible: what disturbs is in the margin, after - before."""
        for _ in range(_TRIES):
            again = self._look_with(clocks)
            if again[3] - again[0] < best[3] - best[0]:
                best = again
                if again[3] - again[0] <= BRACKET_NS:
                    break
        return best

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


def _check_step(snapshot: Snapshot, stepped: int, stepped_at: int, earlier: Interval | None, said: Interval) -> None:
    """Refuse what was said before the wall clock was stepped, or by a daemon that has not noticed.

    One that steps the clock itself knows, and so what it says afterwards agrees with what it said before. One
    whose clock was set by somebody else may not learn of it before it next hears from its servers.
    """
    if snapshot.as_of <= stepped:
        raise SourceError("is from before the wall clock was set")
    if (
        earlier is not None
        and earlier.at <= stepped_at
        and 0 <= said.at - earlier.at < MAX_AGE
        and not earlier.aged(said.at).meets(said)
    ):
        raise SourceError("does not know yet that the wall clock was set")


def _open_segment(path: str) -> _Kept:
    """Open a segment and take a snapshot that no writer has touched meanwhile.

    A writer makes the generation odd, writes, and makes it even again. Reading a file is not atomic either, so two
    whole copies must be equal: then the generation stood from the first's beginning to the second's end.
    """
    fd, status = _open(path)
    try:
        data = _at_rest(fd)
        return _Kept(path, fd, status, data, parse(data, os.fstat(fd).st_size))
    except BaseException:
        os.close(fd)
        raise


def _at_rest(fd: int) -> bytes:
    for _ in range(_TRIES):
        data = os.pread(fd, LARGEST, 0)
        if not unsettled(data) and data == os.pread(fd, LARGEST, 0):
            return data
    raise SourceError("is being written, or was left so by a daemon that died")


def _read_vmclock(path: str) -> int:
    fd, _ = _open(path, device=True)
    try:
        for _ in range(_TRIES):
            data = os.pread(fd, VMCLOCK_READ, 0)
            if data == os.pread(fd, VMCLOCK_READ, 0) and not (len(data) > 12 and data[12] & 1):
                return parse_vmclock(data)
        raise SourceError("is being written")
    finally:
        os.close(fd)


def _open(path: str, *, device: bool = False) -> tuple[int, os.stat_result]:
    """Open a file for reading that is one, so that no pipe or terminal can make us wait."""
    if os.name != "posix":
        raise SourceError("cannot be read on this system")
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) or (device and stat.S_ISCHR(status.st_mode)):
        return fd, status
    os.close(fd)
    raise SourceError("is no regular file")
