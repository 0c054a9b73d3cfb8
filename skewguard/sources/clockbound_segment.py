"""ClockBound's shared memory: a segment's bytes decoded, checked, and turned into an interval of true time. Pure.

The layouts and the rules of validity are those of ClockBound's published protocol and of the behaviour of its own
readers, from 1.x to 3.0.0-rc.0. All numbers are in the host's byte order, the magic too: two words of 32 bits. The
bytes may be forged, so each function returns a value or raises `SourceError`, and no length in them is believed.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.errors import SourceError
from skewguard.interval import DRIFT_PPB, SECOND, Interval, Trust, drift_over
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.wording import length

LARGEST = 104
"""No known layout is longer, in bytes; nothing beyond is read."""

GRACE = 5 * SECOND
"""Older statements count as free-running, whatever their status. 2.x writes ten times a second, so by then it is gone;
3.x writes when it has a better measurement, and waits a minute. Either kind is believed."""

MAX_AGE = 1000 * SECOND
"""The daemon's own limit (`void_after`), kept here too, so that nothing in the segment can lift it."""

LEAST_DRIFT_PPB = 50_000
"""The daemon's default of 1 ppm is better than any crystal; 50 ppm is what its manual recommends to set."""

_MAGIC = struct.pack("=II", 0x414D_5A4E, 0x4342_0200)
_HEADER = struct.Struct("=8sIHH")  # magic, segment size, version (see `parse`), generation
_BODIES = {
    1: struct.Struct("=qqqqqIIi4x"),  # as_of, void_after, bound, max_drift_ppb, reserved, status
    2: struct.Struct("=qqqqqQIiB7x"),  # as_of, void_after, bound, disruption marker, max_drift_ppb, status, VMClock
    # The same as in 2, but after the CPU's counter, and with the counter's period and its error before the bound; their
    # shifts follow at the end.
    3: struct.Struct("=8xqqqq16xqQIiB7x"),
}
_GRAIN = 1000
"""An as_of that is ahead by less is the same instant, read from two clocks, ns."""

_VMCLOCK = struct.Struct("<IIHBBI")  # magic, size, version, counter, time type, sequence; then the marker
_VMCLOCK_MAGIC = 0x4B4C_4356  # "VCLK"
VMCLOCK_READ = 24
"""The length of the part of VMClock's page that describes disruptions, bytes."""


class ClockStatus(enum.IntEnum):
    """The daemon's statement about the wall clock."""

    UNKNOWN = 0
    SYNCHRONIZED = 1
    FREE_RUNNING = 2
    """Was synchronized; since then drift widens the bound."""
    DISRUPTED = 3
    """The machine was paused, moved or restored, and the clock has not been corrected yet."""


_BELIEVED = (ClockStatus.SYNCHRONIZED, ClockStatus.FREE_RUNNING)


class Snapshot(NamedTuple):
    """A segment's content, decoded and not yet believed.

    Attributes:
        version: The layout, 1 to 3.
        as_of: When it was true, by CLOCK_MONOTONIC_COARSE, ns. In layout 3, by the daemon's own clock, which is UTC.
        void_after: When it ends to be, by the same clock, ns.
        bound: How far the wall clock was from true time at most, at `as_of`, ns. In layout 3, the daemon's own clock.
        max_drift_ppb: How fast that grows, by the daemon's setting.
        status: The daemon's verdict on that clock.
        marker: The disruption marker of VMClock for which all this holds; None where the daemon does not use VMClock.
    """

    version: int
    as_of: int
    void_after: int
    bound: int
    max_drift_ppb: int
    status: ClockStatus
    marker: int | None


def unsettled(data: bytes) -> bool:
    """Return whether a writer is at work, or died at it: an odd generation. False for what is no segment at all."""
    return len(data) >= _HEADER.size and bool(_HEADER.unpack_from(data)[-1] & 1)


def parse(data: bytes, size: int) -> Snapshot:
    """Decode a segment from its first bytes, of which `LARGEST` suffice; `size` is the file's, bytes.

    Raises:
        SourceError: It is none, or not initialized, being written, of an unknown layout, or malformed. The message
            is the reason alone, to follow a name.
    """
    if len(data) < _HEADER.size:
        raise SourceError(f"is {len(data)} bytes long, too short for a ClockBound segment")
    magic, claimed, word, generation = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise SourceError("is not a ClockBound segment (wrong magic number)")
    if not word or not generation:
        raise SourceError("is not initialized by the daemon yet")
    if generation & 1:
        raise SourceError("is being written, or was left so by a daemon that died")
    # The layout in the lower byte; since 3 the oldest one that it is compatible with in the higher.
    oldest, version = divmod(word, 256)
    body = _BODIES.get(version)
    if body is None or oldest != (3 if version == 3 else 0):
        raise SourceError(f"has layout {version}, compatible with {oldest}; 1, 2 and 3 are understood")
    needed = _HEADER.size + body.size
    if claimed < needed or size < claimed or len(data) < needed:
        raise SourceError(
            f"is malformed: {size} bytes, of which it claims {claimed}, and layout {version} has {needed}"
        )

    seconds, nanos, void_seconds, void_nanos, bound, *rest = body.unpack_from(data, _HEADER.size)
    if version == 1:
        drift, _, status = rest
        marker = None
    else:
        disruptions, drift, status, supported = rest
        if supported > 1:
            raise SourceError(f"is malformed: {supported} is neither yes nor no to VMClock")
        marker = disruptions if supported else None
    if not (0 <= nanos < SECOND and 0 <= void_nanos < SECOND):
        raise SourceError("is malformed: it has a second with more than 999999999 ns")
    if drift >= SECOND:
        raise SourceError(f"is malformed: its drift is {drift} ppb")
    if not ClockStatus.UNKNOWN <= status <= ClockStatus.DISRUPTED:
        raise SourceError(f"is malformed: {status} is no clock status")
    as_of, void_after = seconds * SECOND + nanos, void_seconds * SECOND + void_nanos
    return Snapshot(version, as_of, void_after, bound, drift, ClockStatus(status), marker)


def standing(snapshot: Snapshot, monotonic: int) -> ClockStatus:
    """Return a snapshot's status as of an instant of CLOCK_MONOTONIC, ns: the daemon may have ended since."""
    if snapshot.status in (ClockStatus.UNKNOWN, ClockStatus.DISRUPTED) or monotonic < snapshot.as_of + GRACE:
        return snapshot.status
    return ClockStatus.FREE_RUNNING if monotonic < snapshot.void_after else ClockStatus.UNKNOWN


def to_interval(snapshot: Snapshot, monotonic: int, reading: Reading, margin: int, name: str) -> Interval:
    """Turn a snapshot into an interval of true time.

    The snapshot states that true time is within a bound of the wall clock, so it holds only if the wall clock was not
    set since `as_of`; the caller checks that.

    Args:
        snapshot: From `parse`.
        monotonic: CLOCK_MONOTONIC, not before `reading`, ns. (The coarse clock that the daemon uses is never ahead.)
        reading: The clocks, read after the snapshot was; the result is as of then.
        margin: How far apart the two clocks of the reading may have been read, ns.
        name: The source's name.

    Raises:
        SourceError: The clock is not synchronized, the statement is void, too old or of the future, or its bound is
            absurd. The reason alone.
    """
    _check(snapshot, monotonic)
    drift = max(snapshot.max_drift_ppb, LEAST_DRIFT_PPB)  # of the wall clock, which the daemon's peer steers
    error = snapshot.bound + margin + drift_over(max(monotonic - snapshot.as_of, 0), drift)
    if error >= MAX_DISTANCE:
        raise SourceError(
            f"vouches for the clock within {length(error)} only; less than {length(MAX_DISTANCE)} is wanted"
        )
    steady, wall = reading
    # From now on the interval ages by the steady clock, which nothing steers.
    return Interval(steady, wall - error, wall + error, Trust.WITNESS, name, max(drift, DRIFT_PPB))


def _check(snapshot: Snapshot, monotonic: int) -> None:
    """Refuse a snapshot that may not be believed at an instant of CLOCK_MONOTONIC, ns."""
    if snapshot.status not in _BELIEVED:
        disrupted = snapshot.status is ClockStatus.DISRUPTED
        raise SourceError(f"says that the clock is {'disrupted' if disrupted else 'not synchronized'}")
    if snapshot.version == 3:
        # Not even its age is known: its instants are of that clock, and against the wall clock they prove nothing.
        raise SourceError(
            f"vouches, within {snapshot.bound / 1_000_000:.3f} ms, for a clock that is made from the CPU's counter, "
            "which is out of reach here, and not for the wall clock"
        )
    age = monotonic - snapshot.as_of
    if age <= -_GRAIN:
        raise SourceError("is of another boot, or another time namespace: it is dated in the future")
    if age >= MAX_AGE or standing(snapshot, monotonic) is ClockStatus.UNKNOWN:
        raise SourceError(f"is {age / SECOND:.0f} s old and void: its daemon has stopped writing")
    if snapshot.bound < 0:
        raise SourceError(f"is malformed: its bound is {snapshot.bound} ns")


def parse_vmclock(data: bytes) -> int:
    """Parse the disruption marker in VMClock's page (Linux, ``uapi/linux/vmclock-abi.h``): little-endian everywhere.

    `VMCLOCK_READ` bytes suffice. SourceError, the reason alone, if it is no such page, or is being written.
    """
    if len(data) < VMCLOCK_READ:
        raise SourceError(f"is {len(data)} bytes long, too short for VMClock")
    magic, size, version, _, _, sequence = _VMCLOCK.unpack_from(data)
    if magic != _VMCLOCK_MAGIC:
        raise SourceError("is not VMClock (wrong magic number)")
    if version != 1:
        raise SourceError(f"has version {version}; 1 is understood")
    if size < VMCLOCK_READ:
        raise SourceError(f"is malformed: it claims {size} bytes")
    if sequence & 1:
        raise SourceError("is being written")
    return int.from_bytes(data[16:24], "little")
