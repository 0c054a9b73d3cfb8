"""What an ntpd of this host reports of itself, as ``ntpq -c rv`` shows it: one packet on loopback, and its answer.

That of ntp.org and NTPsec answer, unless their configuration forbids it; OpenNTPD, BusyBox's and ntpd-rs do not.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
from typing import NamedTuple

from skewguard.interval import SECOND

_PORT = 123
_PATIENCE = 0.5  # s
# Version and mode; flags and operation; sequence, status, association, offset, count.
_HEADER = struct.Struct("!BBHHHHH")
_ASK, _READ_VARIABLES = 2 << 3 | 6, 2
_ANSWERED, _FAILED_OR_MORE = 0x80, 0x60
_WANTED = b"leap,stratum,refid,reftime,offset"
_VARIABLE = re.compile(r"(\w+)=([\w.:()+-]{1,40})", re.ASCII)
_EPOCH_1900 = 2_208_988_800
_ERA = 2**32
_LARGEST = 2**63  # ns: some 300 years


class Ntpd(NamedTuple):
    """Its system variables, not believed. Times in ns.

    Attributes:
        leap: Leap status; 3 means not synchronized.
        stratum: Steps to the reference clock; 16 means not synchronized.
        refid: What it follows, as ntpq prints it.
        offset: True time minus wall clock, when it last looked.
        reftime: When its clock was last corrected, since the Unix epoch.
    """

    leap: int
    stratum: int
    refid: str
    offset: int
    reftime: int

    @property
    def synchronized(self) -> bool:
        """Whether it says that it follows something."""
        return self.leap in (0, 1, 2) and 0 < self.stratum < 16

    @property
    def local(self) -> bool:
        """Whether that is its own clock, which nothing corrects."""
        return self.refid.startswith("127.127.1.") or self.refid in ("LOCL", "LOCAL(0)")


def ask(address: tuple[str, int] = ("127.0.0.1", _PORT), patience: float = _PATIENCE) -> Ntpd | None:
    """Ask it; None if it does not run, or does not answer."""
    sequence = secrets.randbits(16)
    request = _HEADER.pack(_ASK, _READ_VARIABLES, sequence, 0, 0, 0, len(_WANTED)) + _WANTED
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(patience)
            asking.connect(address)  # so that nobody else can answer
            asking.send(request + bytes(-len(request) % 4))
            return parse(asking.recv(2048), sequence)
    except (OSError, ValueError):
        return None


def parse(answer: bytes, sequence: int) -> Ntpd:
    """Read its answer.

    Args:
        answer: What came.
        sequence: The number that the request had.

    Raises:
        ValueError: It is no complete answer to that.
    """
    if len(answer) < _HEADER.size:
        raise ValueError("too short")
    first, kind, number, _, association, offset, count = _HEADER.unpack_from(answer)
    text = answer[_HEADER.size : _HEADER.size + count]
    right = (first & 7, kind & 0x1F, number, association, offset) == (6, _READ_VARIABLES, sequence, 0, 0)
    if not right or not kind & _ANSWERED or kind & _FAILED_OR_MORE or len(text) != count:
        raise ValueError("no answer to what was asked")
    said = dict(_VARIABLE.findall(text.decode("ascii", "replace")))
    try:
        seconds, _, fraction = said["reftime"].partition(".")
        era = _ERA if int(seconds, 16) < _EPOCH_1900 else 0  # NTP's seconds begin anew in 2036
        since = (int(seconds, 16) + era - _EPOCH_1900) * SECOND + int(fraction, 16) * SECOND // _ERA
        correction = round(float(said["offset"]) * 1_000_000)  # from ms
        told = Ntpd(int(said["leap"]), int(said["stratum"]), said["refid"], correction, since)
    except (KeyError, OverflowError) as error:
        raise ValueError(f"a variable is missing or no number: {error}") from error
    if max(abs(told.offset), abs(told.reftime)) > _LARGEST:
        raise ValueError("no such time")
    return told
