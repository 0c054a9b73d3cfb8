"""NTP packets: the request as bytes, a reply decoded and turned into an interval. Pure; integer nanoseconds.

Any datagram may be forged, so each function returns a value or raises `SourceError`, whatever the bytes are. The order
of the checks matters: nothing in a datagram counts before it has repeated the request's 64 random bits. ntplib decodes
the header and knows the names of its codes; the timestamps, which ntplib reads as floats without eras, are read here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from skewguard import _late_imports
from skewguard.errors import SourceError
from skewguard.interval import EARLIEST, SECOND, Interval, Trust, drift_over
from skewguard.sources.limits import GRANULARITY, MAX_DELAY, MAX_ROOT_DELAY, check_date
from skewguard.wording import length

HEADER = 48
"""A packet's length without extension fields and signature."""

_ERA = 2**32 * SECOND
_EPOCH_1900 = 2_208_988_800 * SECOND
_STAMPS = struct.Struct("!4Q")  # reference, origin, receive, transmit: RFC 5905, figure 8


@dataclass(frozen=True, slots=True)
class NtpPacket:
    """A server's reply to one request, decoded and not yet believed (RFC 5905, §7.3).

    Attributes:
        leap: Leap indicator; 3 means not synchronized.
        stratum: Steps to the reference clock; 0 is a kiss of death, 16 and above not synchronized.
        precision: The server's clock resolution, log2 of seconds.
        root_delay: 16.16 seconds, as sent.
        root_dispersion: 16.16 seconds, as sent.
        refid: The clock that the server follows; ASCII for stratum 0 and 1.
        reference: When the server's clock was last set; 32.32 seconds of an unknown era, as are the next two.
        receive: When the request reached the server, by its clock.
        transmit: When the reply left, by its clock.
    """

    leap: int
    stratum: int
    precision: int
    root_delay: int
    root_dispersion: int
    refid: bytes
    reference: int
    receive: int
    transmit: int

    @property
    def kiss(self) -> str | None:
        """The kiss code of a server that replies without a time (RFC 5905, §7.4), such as ``"RATE"``.

        Empty if it gives no reason, as chronyd does until it is synchronized; None if the reply is no kiss of death.
        """
        return None if self.stratum else printable(self.refid)

    @property
    def resolution(self) -> int:
        """One tick of the server's clock, ns, rounded up."""
        if self.precision >= 0:
            return SECOND << self.precision
        return -(-SECOND >> -self.precision)

    @property
    def distance(self) -> int:
        """The server's own bound on its distance from true time, ns, rounded up (RFC 5905, §11.2.3)."""
        half_delay = -(-self.root_delay * SECOND >> 17)
        return half_delay + short_to_ns(self.root_dispersion) + self.resolution


def request(nonce: bytes) -> bytes:
    """Return the client packet that asks for the time: version 4, mode 3 and 64 random bits.

    Zeros everywhere else disclose nothing about this host, and keep the server in basic mode: an origin or receive
    timestamp may switch it to interleaved mode, whose timestamps belong to another exchange.
    """
    return b"\x23" + bytes(39) + nonce


def decode(datagram: bytes, nonce: bytes) -> NtpPacket:
    """Decode a datagram that may be the reply to the request that carried `nonce`.

    Raises:
        SourceError: It is no reply to that request: too short, another origin (forged, replayed or none, RFC 5905,
            §8), not from a server, or of another version. Such a datagram proves nothing about the server. The
            message is the reason alone, without a name.
    """
    if len(datagram) < HEADER:
        raise SourceError(f"it is {len(datagram)} bytes long and a reply has at least {HEADER}")
    reference, _, receive, transmit = _STAMPS.unpack_from(datagram, 16)
    if datagram[24:32] != nonce:
        raise SourceError("it repeats a timestamp that was not sent")

    ntplib = _ntplib()
    header = ntplib.NTPPacket()
    header.from_data(datagram[:HEADER])
    if header.mode != 4:
        raise SourceError(f"its mode is {header.mode} ({ntplib.mode_to_text(header.mode)}) instead of 4 (server)")
    if header.version not in (3, 4):
        raise SourceError(f"its version is {header.version} instead of 4")
    return NtpPacket(
        header.leap,
        header.stratum,
        header.precision,
        int(header.root_delay * 65536),  # exact: 32 bits divided by 2**16 fit a float
        int(header.root_dispersion * 65536),
        datagram[12:16],
        reference,
        receive,
        transmit,
    )


def to_interval(
    reply: NtpPacket, sent: int, received: int, name: str, *, max_distance: int, allow_local: bool = False
) -> Interval:
    """Turn a reply into an interval of true time.

    The only assumption about the network is that nothing arrives before it is sent, so true time at `received` is
    not before the reply left the server, and not after the request arrived there plus all the time since it was
    sent. Both ends are widened by the server's root distance and by the error of our own clock.

    The result is true time at the steady instant `received`. The root distance may be up to `max_distance`, ns.

    Raises:
        SourceError: The server is not synchronized, contradicts itself, or is absurd (RFC 4330, §5; RFC 5905, §9.2).
            One sentence, with the name.
    """
    if reply.kiss:
        raise SourceError(f"{name} gives no time (kiss code {reply.kiss})")
    if reply.leap == 3:
        raise SourceError(f"{name} reports that it is not synchronized (leap indicator 3)")
    if not 0 < reply.stratum < 16:
        raise SourceError(f"{name} reports that it is not synchronized (stratum {reply.stratum})")
    if not allow_local and _is_local(reply):
        raise SourceError(
            f"{name} serves its own clock, which nothing corrects (reference {_reference_text(reply)});"
            " add ?allow_local=1 to its URI to believe it all the same"
        )
    if not reply.transmit or not reply.receive:
        raise SourceError(f"{name} left out the time of {'sending' if not reply.transmit else 'receipt'}")
    receive, transmit = unix_ns(reply.receive, up=True), unix_ns(reply.transmit)
    if transmit + 1 < receive:  # the two are rounded apart, so equal ones may cross by 1 ns
        raise SourceError(f"{name} claims to have answered before it was asked")
    if reply.root_delay > 0x7FFF_FFFF:  # a signed field in NTP version 3
        raise SourceError(f"{name} claims a negative root delay")
    if short_to_ns(reply.root_delay) > MAX_ROOT_DELAY:
        raise SourceError(f"{name} is {length(short_to_ns(reply.root_delay))} away from its reference clock")
    margin = reply.distance
    if margin >= max_distance:
        raise SourceError(
            f"{name} vouches for its time within {length(margin)} only; less than {length(max_distance)} is wanted"
        )

    elapsed = received - sent
    drift = drift_over(max(elapsed, 0))  # `Interval` allows the clock more than RFC 5905's PHI
    delay = elapsed - (transmit - receive)
    if delay < -(2 * (GRANULARITY + reply.resolution) + drift):
        raise SourceError(f"{name} claims to have held the request for longer than the whole round trip took")
    if delay > MAX_DELAY:
        raise SourceError(f"{name} took {length(delay)} to answer, too long to give the time")
    if reply.reference and 0 < (reply.reference - reply.transmit) % 2**64 < 2**63:
        raise SourceError(f"{name} claims that its clock was last set after it answered")
    margin += GRANULARITY
    return check_date(Interval(received, transmit - margin, receive + elapsed + margin + drift, Trust.WITNESS, name))


def short_to_ns(value: int) -> int:
    """Convert a 16.16 number of seconds to ns, rounded up because it widens a bound."""
    return -(-value * SECOND >> 16)


def unix_ns(stamp: int, *, up: bool = False) -> int:
    """Convert a 32.32 timestamp to ns since the Unix epoch, rounded down, or `up`.

    The era, which the format leaves out, is the one that brings it nearest to `EARLIEST`: good for 68 years either way.
    The host's clock is not used, because it may be the one that is wrong.
    """
    floor = stamp * SECOND >> 32
    unix = floor - _EPOCH_1900
    era = (EARLIEST - unix + _ERA // 2) // _ERA
    exact = floor << 32 == stamp * SECOND
    return unix + era * _ERA + (up and not exact)


def printable(text: bytes) -> str:
    """Return up to four untrusted bytes, safe for a log: trailing zeros cut, all else that is not text a '?'."""
    return "".join(chr(byte) if 32 < byte < 127 else "?" for byte in text.rstrip(b"\0"))


def _is_local(reply: NtpPacket) -> bool:
    # chrony and ntpd both send 127.127.1.x; ntpd's driver at stratum 1 says LOCL. Their dispersion is made up.
    return reply.refid[:3] == b"\x7f\x7f\x01" or reply.refid == b"LOCL"


def _reference_text(reply: NtpPacket) -> str:
    code = int.from_bytes(reply.refid, "big")
    return str(_ntplib().ref_id_to_text(code, 1 if reply.refid == b"LOCL" else 2))


def _ntplib() -> Any:
    with _late_imports.importing:
        import ntplib  # type: ignore[import-untyped,unused-ignore]  # late: most processes never ask a server

    return ntplib
