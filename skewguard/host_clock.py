"""The host's own statements about its clock: hints for `skewguard.status` and for waiting, never a source of time.

Nothing here can keep a bound. The kernel repeats the error that its last writer claimed, and does not name the writer:
chronyd and ntpd write their distance from the reference, systemd-timesyncd writes 0 whatever its server's distance is,
and any program that may set the clock can write any number. The kernel then adds 0.5 ms a second until it stops at
16 s, which means "unknown". A machine that was paused and resumed continues where it was. And timesyncd's files show
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

from skewguard import _files, _late_imports
from skewguard._fail_open import fail_open

UNKNOWN_US = 16_000_000
"""The kernel's largest error, µs: its value until a program has set a smaller one, and again after hours without."""

TIMEX = struct.Struct("@I4li8li5li44x")
"""struct timex: modes; offset, freq, maxerror, esterror; status; eight more; shift; five more; TAI offset; padding.

`long` is this machine's, because the C library's function takes that: 208 bytes, or 128 on 32 bits.
"""

DAEMONS = {
    "chronyd": "chronyd",
    "ntpd": "ntpd",  # of ntp.org, NTPsec, OpenNTPD and BusyBox
    "ntp-daemon": "ntpd-rs",
    "phc2sys": "phc2sys",
    "systemd-timesyn": "systemd-timesyncd",  # the kernel keeps 15 characters
}
"""Daemons that keep a host's clock right, by the name of the process."""

_INSERT, _DELETE, _CLOCK_ERROR = 0x0010, 0x0020, 0x1000  # STA_INS, STA_DEL, STA_CLOCKERR
_LEAP_OVER = 4  # TIME_WAIT: the leap second is over, though its flag may still be set

_SYNCHRONIZED = "run/systemd/timesync/synchronized"
_SAVED = "var/lib/systemd/timesync/clock"
_FIRST_PID_NAMESPACE = 0xEFFF_FFFC
"""The inode of the host's own PID namespace, the same on every Linux: in others, not all processes are visible."""
_STALE = 60_000_000_000
"""How long the list of daemons is kept, ns: to make it, every process is read."""


class HostClock(NamedTuple):
    """The host's own statements about its clock; each None if it is unknown, as on all systems but Linux.

    A hint, which may be out of date or made up.

    Attributes:
        synchronized: Whether a program has lately set the kernel's bound on the clock's error.
        max_error: That bound, ns; 0 was written by systemd-timesyncd, and is no bound.
        estimated_error: The expected error, by the same program, ns.
        leap_second: The announcement for the end of this UTC day: 1, a second more; -1, one less; 0, none.
        tai_offset: TAI minus UTC, s, if it was set.
        timesyncd_synchronized_at: When systemd-timesyncd last set the clock since the boot, by the clock as it then
            was, ns since the Unix epoch.
        timesyncd_saved_at: The time that systemd last saved, ns since the Unix epoch. A wall clock that shows less was
            set back.
        daemons: The daemons that keep clocks and seem to run, in alphabetical order. In a container only its own
            processes are visible; an empty list proves nothing there, so this is None.
    """

    synchronized: bool | None = None
    max_error: int | None = None
    estimated_error: int | None = None
    leap_second: int | None = None
    tai_offset: int | None = None
    timesyncd_synchronized_at: int | None = None
    timesyncd_saved_at: int | None = None
    daemons: tuple[str, ...] | None = None


def parse_timex(state: int, data: bytes) -> HostClock:
    """Parse the result of ``adjtimex``: what the kernel reports.

    The flag "unsynchronized" is not used: chronyd without ``rtcsync`` leaves it set, and so does systemd-timesyncd
    where the hardware clock keeps local time, both only to keep the kernel from setting that.

    Raises:
        ValueError: The struct that it filled in has the wrong size.
    """
    if len(data) != TIMEX.size:
        raise ValueError(f"struct timex has {TIMEX.size} bytes, not {len(data)}")
    fields = TIMEX.unpack(data)
    max_error, estimated_error, status, tai_offset = fields[3], fields[4], fields[5], fields[-1]
    announced = 1 if status & _INSERT else -1 if status & _DELETE else 0
    return HostClock(
        synchronized=None if max_error < 0 else max_error < UNKNOWN_US and not status & _CLOCK_ERROR,
        max_error=max_error * 1000 if 0 <= max_error < UNKNOWN_US else None,
        estimated_error=estimated_error * 1000 if 0 <= estimated_error < UNKNOWN_US else None,
        leap_second=0 if state == _LEAP_OVER else announced,
        tai_offset=tai_offset or None,  # 0 is the kernel's initial value; UTC has not been that near TAI since 1961
    )


def known_daemons(names: Iterable[str]) -> set[str]:
    """Return the `DAEMONS` among names of processes, as ``/proc/*/comm`` has them."""
    found = (DAEMONS.get(name.rstrip("\n")) for name in names)
    return {daemon for daemon in found if daemon is not None}


def ask_kernel() -> tuple[int, bytes] | None:
    """Call ``adjtimex`` so that it changes nothing; return its state and struct timex.

    None if there is no such call, or a container's rules forbid it.
    """
    adjtimex = _adjtimex()
    if adjtimex is None:
        return None
    import ctypes

    timex = ctypes.create_string_buffer(TIMEX.size)  # all zero; its first field, `modes`, selects the values to set
    state = adjtimex(timex)
    return None if state < 0 else (state, timex.raw)


@functools.cache
def _adjtimex() -> Any:
    """Find the C library's function; None if this is not Linux, or Python has no ctypes."""
    if sys.platform != "linux":
        return None
    try:
        with _late_imports.importing:
            import ctypes

        return ctypes.CDLL(None).adjtimex
    except (ImportError, OSError, AttributeError):
        return None


class Host:
    """Inspects one host; the list of daemons, which is costly, is kept for a minute.

    It may be shared by threads and used on both sides of a fork.
    """

    def __init__(
        self,
        root: str = "/",
        kernel: Callable[[], tuple[int, bytes] | None] = ask_kernel,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Inspect nothing yet. The arguments are for tests."""
        self._root = root
        self._kernel = kernel
        self._monotonic = monotonic
        self._daemons: tuple[int, tuple[str, ...] | None] | None = None  # when, and which; replaced whole

    def inspect(self) -> HostClock:
        """Inspect the host now; unknown values are None."""
        answer = self._kernel()
        kernel = HostClock() if answer is None else parse_timex(*answer)
        return kernel._replace(
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
    """Find the daemons among all visible processes; None if there are none and more may be running."""
    try:
        processes = filter(str.isdecimal, os.listdir(proc))  # noqa: PTH208
        found = known_daemons(_files.text(f"{proc}/{process}/comm") for process in processes)
        if not found:
            # Where the first process is hidden, so are others (hidepid).
            here = os.stat(f"{proc}/self/ns/pid").st_ino  # noqa: PTH116
            if here != _FIRST_PID_NAMESPACE or not _files.text(f"{proc}/1/comm"):
                return None
    except OSError:
        return None
    return tuple(sorted(found))


_host = Host()


def inspect() -> HostClock:
    """Inspect this host. Never raises. Takes some tens of µs, and once a minute some more µs for each process."""
    try:
        return _host.inspect()
    except Exception as error:
        fail_open(error, "the host's clock was not inspected")
        return HostClock()


def is_unsynchronized() -> bool:
    """Return whether the kernel reports that no program keeps its clock right. Never raises."""
    try:
        answer = ask_kernel()
        return answer is not None and parse_timex(*answer).synchronized is False
    except Exception as error:
        fail_open(error, "the kernel was not asked about its clock")
        return False
