"""What this host says of its own clock: a hint for `skewguard.status`, never a source of time.

Nothing here can keep a bound. The kernel repeats the error that its last writer claimed, and does not say who that was:
chronyd and ntpd write their distance from the reference, systemd-timesyncd writes 0 whatever its server's distance is,
and any program that may set the clock can write what it likes. The kernel then adds 0.5 ms a second until it stops at
16 s, which means "unknown". A machine that was paused and resumed goes on from where it was. And timesyncd's files tell
when it last heard from a server, not what it heard. So this explains a wrong clock to people, and corrects none.

All of it is read, nothing is ever set.
"""

from __future__ import annotations

import functools
import os
import struct
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from skewguard import _late_imports
from skewguard.events import logger

UNKNOWN_US = 16_000_000
"""The kernel's largest error, µs: it says so where nobody has told it a smaller one, or nobody for hours."""

TIMEX = struct.Struct("@I4li8li5li44x")
"""struct timex: modes; offset, freq, maxerror, esterror; status; eight more; shift; five more; TAI offset; room.

`long` as this machine has it, since the C library's function takes that: 208 bytes, or 128 on 32 bits.
"""

DAEMONS = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",  # that of ntp.org, NTPsec, OpenNTPD and BusyBox
    "ntp-daemon": "ntpd-rs",
    "phc2sys": "phc2sys",
    "systemd-timesyn": "systemd-timesyncd",  # the kernel keeps 15 characters
}
"""Who keeps a host's clock right, by the name of the process."""

_INSERT, _DELETE, _CLOCK_ERROR = 0x0010, 0x0020, 0x1000  # STA_INS, STA_DEL, STA_CLOCKERR
_LEAP_OVER = 4  # TIME_WAIT: the leap second has been, though its flag may still stand

_SYNCHRONIZED = "run/systemd/timesync/synchronized"
_SAVED = "var/lib/systemd/timesync/clock"
_FIRST_PID_NAMESPACE = 0xEFFF_FFFC
"""The inode of the host's own PID namespace, the same on every Linux: elsewhere, not all processes can be seen."""
_STALE = 60_000_000_000
"""How long the list of daemons is good for, ns: it costs a look at every process."""


class HostClock(NamedTuple):
    """What the host says of its own clock; each None where it does not say, as on all systems but Linux.

    A hint, which may be out of date or somebody's invention.

    Attributes:
        synchronized: Whether somebody has told the kernel lately how far off the clock is.
        max_error: How far off the clock can be by that claim, ns; 0 has been written by systemd-timesyncd, and is none.
        estimated_error: How far off it is expected to be by the same claim, ns.
        leap_second: What has been announced for the end of this UTC day: 1, a second more; -1, one less; 0, nothing.
        tai_offset: TAI minus UTC, s, if the kernel was told.
        timesyncd_synchronized_at: When systemd-timesyncd last put the clock right since the boot, by the clock as it
            then was, ns since the Unix epoch.
        timesyncd_saved_at: The time that systemd last saved, ns since the Unix epoch. A wall clock that shows less was
            set back.
        daemons: Which daemons that keep clocks seem to run, in alphabetical order. In a container only its own can be
            seen; so that none are seen says nothing there, and this is None.
    """

    synchronized: bool | None = None
    max_error: int | None = None
    estimated_error: int | None = None
    leap_second: int | None = None
    tai_offset: int | None = None
    timesyncd_synchronized_at: int | None = None
    timesyncd_saved_at: int | None = None
    daemons: tuple[str, ...] | None = None


class Kernel(NamedTuple):
    """The part of `HostClock` that the kernel tells, under the same names."""

    synchronized: bool | None
    max_error: int | None
    estimated_error: int | None
    leap_second: int | None
    tai_offset: int | None


def parse_timex(state: int, data: bytes) -> Kernel:
    """Read what ``adjtimex`` answered.

    The flag "unsynchronized" is not asked: chronyd without ``rtcsync`` leaves it set, and so does systemd-timesyncd
    where the hardware clock keeps local time, both only to keep the kernel from setting that.

    Args:
        state: What it returned.
        data: What it filled in.

    Raises:
        ValueError: `data` has the wrong size.
    """
    if len(data) != TIMEX.size:
        raise ValueError(f"struct timex has {TIMEX.size} bytes, not {len(data)}")
    fields = TIMEX.unpack(data)
    max_error, estimated_error, status, tai_offset = fields[3], fields[4], fields[5], fields[-1]
    announced = 1 if status & _INSERT else -1 if status & _DELETE else 0
    return Kernel(
        synchronized=None if max_error < 0 else max_error < UNKNOWN_US and not status & _CLOCK_ERROR,
        max_error=max_error * 1000 if 0 <= max_error < UNKNOWN_US else None,
        estimated_error=estimated_error * 1000 if 0 <= estimated_error < UNKNOWN_US else None,
        leap_second=0 if state == _LEAP_OVER else announced,
        tai_offset=tai_offset or None,  # 0 is where the kernel begins; UTC has not been that near TAI since 1961
    )


def known_daemons(names: Iterable[bytes]) -> set[str]:
    """Pick, from names of processes as ``/proc/*/comm`` has them, those of `DAEMONS`."""
    found = (DAEMONS.get(name.decode("ascii", "replace").rstrip("\n")) for name in names)
    return {daemon for daemon in found if daemon is not None}


def ask_kernel() -> tuple[int, bytes] | None:
    """Call ``adjtimex`` without any order to change something.

    Returns:
        Its state and struct timex; None where there is no such call, or a container's rules forbid it.
    """
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    import ctypes

    timex = ctypes.create_string_buffer(TIMEX.size)  # all zero; `modes`, its first field, is what would be set
    state = adjtimex(timex)
    return None if state < 0 else (state, timex.raw)


@functools.cache
def _adjtimex() -> Any:
    """The C library's function; None if this is no Linux, or Python came without ctypes."""
    if sys.platform != "linux":
        return None
    try:
        with _late_imports.importing:
            import ctypes

        return ctypes.CDLL(None).adjtimex
    except (ImportError, OSError, AttributeError):
        return None


class Host:
    """Looks at one host; what is costly to learn is remembered for a minute.

    It may be shared by threads and used on both sides of a fork.
    """

    def __init__(
        self,
        root: str = "/",
        kernel: Callable[[], tuple[int, bytes] | None] = ask_kernel,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Prepare to look.

        Args:
            root: Where the file system begins; for tests.
            kernel: Like `ask_kernel`; for tests.
            monotonic: A clock that goes on, ns; for tests.
        """
        self._root = root
        self._kernel = kernel
        self._monotonic = monotonic
        self._daemons: tuple[int, tuple[str, ...] | None] | None = None  # when, and which; replaced whole

    def look(self) -> HostClock:
        """Look now. What cannot be learned is None."""
        answer = self._kernel()
        told = {} if answer is None else parse_timex(*answer)._asdict()
        return HostClock(
            **told,
            timesyncd_synchronized_at=self._modified(_SYNCHRONIZED),
            timesyncd_saved_at=self._modified(_SAVED),
            daemons=self._running(),
        )

    def _modified(self, path: str) -> int | None:
        try:
            return os.stat(os.path.join(self._root, path)).st_mtime_ns  # noqa: PTH116, PTH118  # some µs less
        except OSError:
            return None

    def _running(self) -> tuple[str, ...] | None:
        now = self._monotonic()
        last = self._daemons
        if last is None or not 0 <= now - last[0] < _STALE:
            last = self._daemons = (now, _scan(os.path.join(self._root, "proc")))  # noqa: PTH118  # as above
        return last[1]


def _scan(proc: str) -> tuple[str, ...] | None:
    """Find the daemons among all processes that can be seen; None if there are none and more may be running."""
    try:
        names = [_read(f"{proc}/{entry}/comm") for entry in os.listdir(proc) if entry.isdecimal()]  # noqa: PTH208
        found = known_daemons(name for name in names if name is not None)
        if not found:
            # The first process is hidden from us where others' are (hidepid).
            here = os.stat(f"{proc}/self/ns/pid").st_ino  # noqa: PTH116
            if here != _FIRST_PID_NAMESPACE or _read(f"{proc}/1/comm") is None:
                return None
    except OSError:
        return None
    return tuple(sorted(found))


def _read(path: str) -> bytes | None:
    """Read a short file of the kernel's; None if its process is gone, or not ours to see."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.read(descriptor, 64)
        finally:
            os.close(descriptor)
    except OSError:
        return None


_host = Host()


def look() -> HostClock:
    """Look at this host. Never raises; takes some tens of µs, and once a minute some µs for each process besides."""
    try:
        return _host.look()
    except Exception:
        logger.debug("the host's clock was not looked at", exc_info=True)
        return HostClock()
