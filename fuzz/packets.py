"""Targets for binary input: shared memory, datagrams, files of the kernel.

Each target passes its bytes to the parser unchanged, so that a finding is a packet. Other arguments of the parser are
derived from the bytes, or several values are tried.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from fuzz.check import only, sound
from skewguard import _files
from skewguard.cli.doctor import daemons
from skewguard.cli.doctor import ntpd as variables
from skewguard.cli.doctor.examination import Examination
from skewguard.cli.survey import Survey
from skewguard.clocks import Reading
from skewguard.errors import SourceError
from skewguard.interval import DRIFT_PPB, EARLIEST, LATEST, Interval, Trust, plausible
from skewguard.sources import chrony_packet, clockbound_segment, clockboundd, ntp_packet
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.sources.ntp_packet import SECOND
from skewguard.sources.phc import PhcSource
from skewguard.tls.dates import validity

NOW = EARLIEST + 30 * 86_400 * SECOND
STEADY = 1000 * SECOND


def certificate(data: bytes) -> None:
    """A server's certificate in DER, and its beginnings."""
    with only(ValueError):
        not_before, not_after = validity(data)
        assert -62_167_219_200 <= not_before < 253_402_300_800  # the years 0 to 9999
        assert -62_167_219_200 <= not_after < 253_402_300_800
        for cut in (1, len(data) // 2):
            with only(ValueError):
                validity(data[:-cut])
                raise AssertionError("a certificate that is cut short was accepted")


def clockbound(data: bytes) -> None:
    """ClockBound's shared memory, in every layout, at instants around those in the segment."""
    snapshot = None
    with only(SourceError):
        clockbound_segment.parse(data, len(data) // 2)
    with only(SourceError):
        snapshot = clockbound_segment.parse(data, len(data))
    if snapshot is None:
        return
    assert not clockbound_segment.unsettled(data), "a segment that was being written was accepted"
    for age in (-2000, -1, 0, clockbound_segment.GRACE, clockbound_segment.MAX_AGE - 1, clockbound_segment.MAX_AGE):
        with only(SourceError):
            said = clockbound_segment.to_interval(
                snapshot, snapshot.as_of + age, Reading(STEADY, NOW), 1000, "clockbound"
            )
            sound(said)
            assert 2 * snapshot.bound <= said.width < 2 * MAX_DISTANCE
            assert said.earliest <= NOW <= said.latest


def vmclock(data: bytes) -> None:
    """VMClock's page."""
    with only(SourceError):
        assert 0 <= clockbound_segment.parse_vmclock(data) < 2**64


def clockbound_daemon(data: bytes) -> None:
    """The reply of a ClockBound daemon 0.1.x."""
    with only(SourceError):
        answer = clockboundd.parse(data)
        if answer is None:
            return
        earliest, latest = answer
        assert 0 <= latest - earliest < 2 * MAX_DISTANCE
        said = Interval(STEADY, earliest, latest, Trust.WITNESS, "clockboundd")
        sound(said)
        plausible(said)


def chrony(data: bytes) -> None:
    """chronyd's reply, to this request and to another one."""
    sequence = int.from_bytes(data[16:20], "big")
    with only(SourceError):
        chrony_packet.check_header(data, sequence ^ 1)
        raise AssertionError("a reply to another request was accepted")
    with only(SourceError):
        chrony_packet.check_header(data, sequence)
    before, after = (
        chrony_packet.PairedReading(STEADY, NOW, 500),
        chrony_packet.PairedReading(STEADY + 200_000, NOW + 200_000, 500),
    )
    with only(SourceError):
        tracking = chrony_packet.decode(data)
        for allow_local in (False, True):
            with only(SourceError):
                said = chrony_packet.to_interval(
                    tracking, before, after, "chrony", max_distance=SECOND, allow_local=allow_local
                )
                sound(said)
                assert EARLIEST <= said.earliest <= said.latest <= LATEST


def ntpd(data: bytes) -> None:
    """ntpd's variables, in reply to this request and to another one, and doctor's findings about them."""
    sequence = int.from_bytes(data[2:4], "big")
    with only(ValueError):
        variables.parse(data, sequence ^ 1)
        raise AssertionError("a reply to another request was accepted")
    with only(ValueError):
        said = variables.parse(data, sequence)
        examined = Examination(Survey(None, (), NOW), ntpd=said)
        assert all(str(one).isprintable() and len(str(one)) < 250 for one in daemons.daemons(examined))


def ntp(data: bytes) -> None:
    """An NTP server's reply, to this request and to another one, after round trips from zero to far too long."""
    nonce = data[24:32]
    with only(SourceError):
        ntp_packet.decode(data, bytes(byte ^ 0xFF for byte in nonce.ljust(8, b"\0")))
        raise AssertionError("a reply to another request was accepted")
    with only(SourceError):
        reply = ntp_packet.decode(data, nonce)
        assert (reply.kiss or "x").isprintable()
        for elapsed in (0, 20_000_000, 2 * SECOND, 6 * SECOND):
            with only(SourceError):
                said = ntp_packet.to_interval(
                    reply, STEADY, STEADY + elapsed, "ntp", max_distance=SECOND, allow_local=True
                )
                sound(said)
                assert EARLIEST - 2 * SECOND < said.earliest
                assert said.latest < LATEST + 20 * SECOND
                assert said.width < 10 * SECOND


class _File:
    """A sysfs file with this content, whatever its path; None means that there is no file."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content

    def __truediv__(self, name: str) -> _File:
        return self

    def read_text(self, encoding: str, errors: str) -> str:
        if self._content is None:
            raise FileNotFoundError(2, "No such file or directory")
        return self._content.decode(encoding, errors)


def phc(data: bytes) -> None:
    """A hardware clock: its reading (8 bytes), its name and, after a zero byte, its error bound, as in sysfs."""
    (shown,) = struct.unpack("<q", data[:8].ljust(8, b"\0"))
    name, zero, bound = data[8:].partition(b"\0")
    source = PhcSource()
    with only(SourceError), patch.object(_files, "text", lambda _: name.decode("utf-8", "replace")):
        source._check_timescale(Path())
        assert name.decode("utf-8", "replace").strip().startswith(("ena-ptp-", "KVM virtual PTP", "hyperv"))
    with only(SourceError):
        error = source._error_bound(cast("Path", _File(bound if zero else None)))
        assert 0 <= error <= 1_500_000_000
        for took in (-1, 0, 5000, 2 * SECOND):
            with only(SourceError):
                said: Any = source._to_interval((STEADY, shown, STEADY + took), error)
                sound(said)
                assert said.earliest <= shown <= said.latest
                assert said.drift_ppb == DRIFT_PPB
