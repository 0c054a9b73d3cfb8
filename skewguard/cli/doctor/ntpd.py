"""Ask this host's ntpd for its state, as ``ntpq -c rv`` does: one packet on loopback, and its response.

Those of ntp.org and NTPsec respond unless their configuration forbids it; OpenNTPD, BusyBox's and ntpd-rs do not.
"""

from __future__ import annotations

import re
import secrets
import socket
import struct
from typing import NamedTuple

from skewguard.interval import SECOND

_PORT = 123
_TIMEOUT = 0.5  # s
# Version and mode; flags and operation; sequence, status, association, offset, count.
_HEADER = struct.Struct("!BBHHHHH")
_REQUEST, _READ_VARIABLES = 2 << 3 | 6, 2
_RESPONSE, _FAILED_OR_MORE = 0x80, 0x60
_WANTED = b"leap,stratum,refid,reftime,offset"
_VARIABLE = re.compile(r"(\w+)=([\w.:()+-]{1,40})", re.ASCII)
_EPOCH_1900 = 2_208_988_800
_ERA = 2**32
_LARGEST = 2**63  # ns: about 300 years


class Ntpd(NamedTuple):
    """Its system variables, as reported. Times in ns.

    Attributes:
        leap: Leap status; 3 means not synchronized.
        stratum: Steps to the reference clock; 16 means not synchronized.
        refid: What it follows, as ntpq prints it.
        offset: True time minus wall clock, by its last measurement.
        reftime: When its clock was last corrected, since the Unix epoch.
    """

    leap: int
    stratum: int
    refid: str
    offset: int
    reftime: int

    @property
    def synchronized(self) -> bool:
        """Whether it reports a reference clock that it follows."""
        return self.leap in (0, 1, 2) and 0 < self.stratum < 16

    @property
    def local(self) -> bool:
        """Whether that is its own clock, which nothing corrects."""
        return self.refid.startswith("127.127.1.") or self.refid in ("LOCL", "LOCAL(0)")


def ask(address: tuple[str, int] = ("127.0.0.1", _PORT), timeout: float = _TIMEOUT) -> Ntpd | None:
    """Return its state; None if it does not run, or does not respond."""
    sequence = secrets.randbits(16)
    request = _HEADER.pack(_REQUEST, _READ_VARIABLES, sequence, 0, 0, 0, len(_WANTED)) + _WANTED
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(timeout)
            client.connect(address)  # accept packets from this address only
            client.send(request + bytes(-len(request) % 4))
            return parse(client.recv(2048), sequence)
    except (OSError, ValueError):
        return None


def parse(response: bytes, sequence: int) -> Ntpd:
    """Parse its response. ValueError if it is not a complete one to the request of that number."""
    if len(response) < _HEADER.size:
        raise ValueError("too short")
    first, kind, number, _, association, offset, count = _HEADER.unpack_from(response)
    text = response[_HEADER.size : _HEADER.size + count]
    right = (first & 7, kind & 0x1F, number, association, offset) == (6, _READ_VARIABLES, sequence, 0, 0)
    if not right or not kind & _RESPONSE or kind & _FAILED_OR_MORE or len(text) != count:
        raise ValueError("not a response to this request")
    variables = dict(_VARIABLE.findall(text.decode("ascii", "replace")))
    try:
        seconds, _, fraction = variables["reftime"].partition(".")
        era = _ERA if int(seconds, 16) < _EPOCH_1900 else 0  # NTP's seconds begin anew in 2036
        since = (int(seconds, 16) + era - _EPOCH_1900) * SECOND + int(fraction, 16) * SECOND // _ERA
        correction = round(float(variables["offset"]) * 1_000_000)  # from ms
        reported = Ntpd(int(variables["leap"]), int(variables["stratum"]), variables["refid"], correction, since)
    except (KeyError, OverflowError) as error:
        raise ValueError(f"a variable is missing or is not a number: {error}") from error
    if max(abs(reported.offset), abs(reported.reftime)) > _LARGEST:
        raise ValueError("a time out of range")
    return reported
