"""chronyd's command protocol: the request as bytes, a reply turned into true time. Pure; integer nanoseconds.

The protocol is that of chronyc: command and monitoring, version 6, the same over UDP and Unix sockets (chrony's
candm.h); all fields are big-endian. Every function here returns a value or raises `SourceError`, whatever the bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from skewguard.clocks import Clocks, bracketed
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources.limits import MAX_ROOT_DELAY, TICK, check_date
from skewguard.wording import length

LENGTH = 104
"""The length of a request and of its reply: chronyd ignores shorter requests, which would amplify an attack."""

_HEADER = struct.Struct("!BBBBHHHHHHIII")
_REQUEST = struct.Struct("!BBBBHHIII")
_BODY = struct.Struct("!I20xHHIII9I")
_VERSION = 6
_IS_REQUEST, _IS_REPLY = 1, 2
_ASK_TRACKING, _REPLY_TRACKING = 33, 5
_NO_HIGH_SECONDS = 0x7FFF_FFFF
_LOCAL = 0x7F7F_0101
_COEFFICIENT_BITS, _EXPONENT_BITS = 25, 7
_READINGS = 8
_LARGEST_SLEW = 10
"""The kernel's clock runs at most a tenth too fast or slow (adjtimex: tick of 9,000 to 11,000 µs)."""
_FRESH = 1200 * SECOND
"""After its first burst chronyd has an update interval of 2 s behind it, and up to 1024 s (maxpoll 10) before it."""
_STALE_INTERVALS = 8
"""ClockBound's rule: after so many missed updates, nothing corrects the clock any more."""
_REFUSALS = {2: "it is not allowed", 5: "the request was too old", 18: "it speaks another version of the protocol"}


class PairedReading(NamedTuple):
    """Both clocks, ns, and by how much `wall` - `steady` may be off because they were read one after the other."""

    steady: int
    wall: int
    slack: int


def read_pair(clocks: Clocks) -> PairedReading:
    """Read both clocks, and measure how far apart."""
    before, (steady, wall), after = bracketed(clocks.read, clocks.quick_ns, _READINGS)
    # Steady is put together from three readings and may be off by one and a half times what all of it took; twice,
    # because the quick clock may be slewed.
    return PairedReading(steady, wall, 2 * abs(after - before) + TICK)


@dataclass(frozen=True, slots=True)
class Tracking:
    """chronyd's tracking report (candm.h, RPY_Tracking), decoded and not yet believed. Times in ns.

    Attributes:
        ref_id: The reference that it follows; 0 is none, 127.127.1.1 its own clock.
        stratum: Steps to the reference clock; 0 and 16 mean not synchronized.
        leap: Leap status; 3 means not synchronized.
        ref_time: When its clock was last corrected, since the Unix epoch.
        correction: True time minus wall clock: positive if the host is slow.
        rounding: How far `correction` may be from the value before encoding.
        root_delay: The way to the reference clock and back, rounded up.
        root_dispersion: The other part of chronyd's error bound, as of now, rounded up.
        update_interval: The time from the correction before that to `ref_time`.
    """

    ref_id: int
    stratum: int
    leap: int
    ref_time: int
    correction: int
    rounding: int
    root_delay: int
    root_dispersion: int
    update_interval: int

    @property
    def synchronized(self) -> bool:
        """Whether chronyd follows a reference, even if it is its own clock."""
        return self.leap in (0, 1, 2) and 0 < self.stratum < 16 and self.ref_id != 0

    @property
    def local(self) -> bool:
        """Whether the reference is its own clock, which nothing corrects."""
        return self.ref_id == _LOCAL


def request(sequence: int) -> bytes:
    """Return the packet that asks for the tracking report; the reply repeats the 32 bits of `sequence`."""
    return _REQUEST.pack(_VERSION, _IS_REQUEST, 0, 0, _ASK_TRACKING, 0, sequence, 0, 0).ljust(LENGTH, b"\0")


def check_header(datagram: bytes, sequence: int) -> None:
    """Refuse a datagram that is not the reply to the request that carried `sequence`.

    Raises:
        SourceError: It is not, and proves nothing about chronyd. The message is the reason alone, without a name.
    """
    if len(datagram) < _HEADER.size:
        raise SourceError(f"it is {len(datagram)} bytes long and a reply has at least {_HEADER.size}")
    version, kind, _, _, command, _, _, _, _, _, echoed, _, _ = _HEADER.unpack_from(datagram)
    if version != _VERSION:
        raise SourceError(f"its version is {version} instead of {_VERSION}")
    if kind != _IS_REPLY:
        raise SourceError(f"its packet type is {kind} instead of {_IS_REPLY} (reply)")
    if echoed != sequence:
        raise SourceError("it repeats a number that was not sent")
    if command != _ASK_TRACKING:
        raise SourceError(f"it answers command {command} instead of {_ASK_TRACKING} (tracking)")


def decode(datagram: bytes) -> Tracking:
    """Decode a reply that passed `check_header`. SourceError, the reason alone, if it is no tracking report."""
    if len(datagram) < _HEADER.size:
        raise SourceError(f"the reply is {len(datagram)} bytes long instead of {LENGTH}")
    _, _, _, _, _, kind, status, _, _, _, _, _, _ = _HEADER.unpack_from(datagram)
    if status:
        raise SourceError(f"chronyd refused: {_REFUSALS.get(status, 'no reason given')} (status {status})")
    if kind != _REPLY_TRACKING:
        raise SourceError(f"the reply is of type {kind} instead of {_REPLY_TRACKING} (tracking)")
    if len(datagram) != LENGTH:
        raise SourceError(f"the reply is {len(datagram)} bytes long instead of {LENGTH}")
    ref_id, stratum, leap, high, low, nanoseconds, *floats = _BODY.unpack_from(datagram, _HEADER.size)
    if nanoseconds >= SECOND:
        raise SourceError(f"the reply has {nanoseconds} ns in a second")
    seconds = low if high == _NO_HIGH_SECONDS else high << 32 | low
    correction, rounding = float_ns(floats[0])
    return Tracking(
        ref_id,
        stratum,
        leap,
        seconds * SECOND + nanoseconds,
        correction,
        rounding,
        _at_most(floats[6]),
        _at_most(floats[7]),
        float_ns(floats[8])[0],
    )


def float_ns(word: int) -> tuple[int, int]:
    """Convert a number of seconds in chrony's own format to ns: its value rounded down, and how much more it may be.

    The format is a 7-bit exponent and a 25-bit coefficient, both in two's complement; the value is coefficient *
    2**(exponent - 25). chronyd rounds half up, then cuts off a bit or two to make it fit (util.c,
    UTI_FloatHostToNetwork): the original value lies less than one unit of the coefficient away.
    """
    exponent = word >> _COEFFICIENT_BITS
    exponent -= exponent >> (_EXPONENT_BITS - 1) << _EXPONENT_BITS
    coefficient = word & (1 << _COEFFICIENT_BITS) - 1
    coefficient -= coefficient >> (_COEFFICIENT_BITS - 1) << _COEFFICIENT_BITS
    if not coefficient:
        return 0, 1  # a value that is too small for the format is sent as zero
    shift = exponent - _COEFFICIENT_BITS
    if shift >= 0:
        return coefficient * SECOND << shift, SECOND << shift
    return coefficient * SECOND >> -shift, -(-SECOND >> -shift) + 1


def _at_most(word: int) -> int:
    """Convert a number that widens a bound, rounded up; negative stays negative, to be refused."""
    value, unit = float_ns(word)
    return value + unit if value >= 0 else value


def clock_was_set(before: PairedReading, after: PairedReading) -> bool:
    """Return whether the wall clock was set between two readings: moved by more than slewing can."""
    shift = (after.wall - after.steady) - (before.wall - before.steady)
    return abs(shift) > before.slack + after.slack + abs(after.steady - before.steady) // _LARGEST_SLEW


def to_interval(
    tracking: Tracking,
    before: PairedReading,
    after: PairedReading,
    name: str,
    *,
    max_distance: int,
    allow_local: bool = False,
) -> Interval:
    """Turn a tracking report into an interval of true time.

    chronyd states a correction to the wall clock, read at some moment between our two readings. Whichever it was, wall
    minus steady was then between the two differences read (the wall clock may be slewed meanwhile), so the time that
    the exchange took costs no accuracy.

    The result is true time at the steady instant `after`. The caller checks that the wall clock was not set in between.
    The error bound (half the root delay, and the root dispersion) may be up to `max_distance`, ns.

    Raises:
        SourceError: chronyd is not synchronized, or no longer, or contradicts itself, or is absurd. One sentence,
            with the name.
    """
    if not tracking.synchronized:
        raise SourceError(
            f"{name} reports that it is not synchronized (leap {tracking.leap}, stratum {tracking.stratum},"
            f" reference {tracking.ref_id:08X})"
        )
    local = tracking.local
    if local and not allow_local:
        raise SourceError(
            f"{name} follows its own clock, which nothing corrects (reference 127.127.1.1);"
            " add ?allow_local=1 to its URI to believe it all the same"
        )
    if min(tracking.root_delay, tracking.root_dispersion, tracking.update_interval) < 0:
        raise SourceError(f"{name} claims a negative delay, dispersion or update interval")
    if max(tracking.root_delay, tracking.root_dispersion) <= 1 and not local:
        # The bound is never zero; a calculation gone wrong (NaN) is sent as zero.
        raise SourceError(f"{name} claims an error bound of zero")
    if tracking.root_delay > MAX_ROOT_DELAY:
        raise SourceError(f"{name} is {length(tracking.root_delay)} away from its reference clock")
    distance = -(-tracking.root_delay // 2) + tracking.root_dispersion
    if distance >= max_distance:
        raise SourceError(
            f"{name} vouches for its time within {length(distance)} only; less than {length(max_distance)} is wanted"
        )
    margin = distance + tracking.rounding
    earliest = min(end.wall - end.steady - end.slack for end in (before, after)) + after.steady - margin
    latest = max(end.wall - end.steady + end.slack for end in (before, after)) + after.steady + margin
    earliest, latest = earliest + tracking.correction, latest + tracking.correction
    said = check_date(Interval(after.steady, earliest, latest, Trust.WITNESS, name))
    age = latest - tracking.ref_time
    if age < -SECOND:
        raise SourceError(f"{name} claims that its clock was last corrected in the future")
    if age > max(_STALE_INTERVALS * tracking.update_interval, _FRESH):
        raise SourceError(f"{name} has not corrected its clock for {length(age)}; its own sources may be unreachable")
    return said
