"""chronyd's tracking report: which bytes are one, what it means, and what of it must not be believed."""

from __future__ import annotations

import contextlib
import math
import struct
import time
from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skewguard.clocks import Reading, system
from skewguard.errors import SourceError
from skewguard.interval import EARLIEST, SECOND, Interval, Trust
from skewguard.sources.chrony_packet import (
    LENGTH,
    PairedReading,
    Tracking,
    check_header,
    clock_was_set,
    decode,
    float_ns,
    read_pair,
    request,
    to_interval,
)

CLOCKS = system()
DAY = 86_400 * SECOND
NOW = EARLIEST + 30 * DAY
SEQUENCE = 0x01020304


def to_float(x: float) -> int:
    """A number as chronyd writes it, after its own code (util.c, UTI_FloatHostToNetwork)."""
    negative = x < 0
    x = abs(x)
    if not x >= 1e-100:  # so is NaN
        return 0
    exponent = int(math.log(x) / math.log(2) + 1)
    coefficient = int(x * 2.0 ** (25 - exponent) + 0.5)
    while coefficient > 2**24 - 1 + negative:
        coefficient >>= 1
        exponent += 1
    if exponent > 63:
        exponent, coefficient = 63, 2**24 - 1 + negative
    elif exponent < -64:
        coefficient = coefficient >> -64 - exponent if exponent + 25 >= -64 else 0
        exponent = -64 if exponent + 25 >= -64 else 0
    return exponent % 128 << 25 | (-coefficient if negative else coefficient) % 2**25


@dataclass(frozen=True)
class Report:
    """A reply under construction; the defaults are beyond reproach. Spans in seconds."""

    sequence: int = SEQUENCE
    version: int = 6
    kind: int = 2
    command: int = 33
    reply: int = 5
    status: int = 0
    ref_id: int = 0xC0000201
    stratum: int = 3
    leap: int = 0
    ref_time: int = NOW - 60 * SECOND
    high: int | None = None
    nanoseconds: int | None = None
    correction: float = 0.0
    root_delay: float = 0.01
    root_dispersion: float = 0.001
    update_interval: float = 64.0

    def __bytes__(self) -> bytes:
        seconds, rest = divmod(self.ref_time, SECOND)
        high = seconds >> 32 if self.high is None else self.high
        nanoseconds = rest if self.nanoseconds is None else self.nanoseconds
        head = struct.pack(
            "!BB2x3H6xI8x", self.version, self.kind, self.command, self.reply, self.status, self.sequence
        )
        spans = (self.correction, 0, 0, 0, 0, 0, self.root_delay, self.root_dispersion, self.update_interval)
        times = struct.pack("!HHIII", self.stratum, self.leap, high, seconds & 0xFFFFFFFF, nanoseconds)
        return head + struct.pack("!I20x", self.ref_id) + times + struct.pack("!9I", *map(to_float, spans))


def judged(report: Report, *, allow_local: bool = False, max_distance: int = 1_500_000_000) -> Interval:
    """What a report says at `NOW`, to clocks that were read without any slack."""
    datagram = bytes(report)
    check_header(datagram, SEQUENCE)
    before, after = PairedReading(SECOND, NOW, 0), PairedReading(SECOND + 200_000, NOW + 200_000, 0)
    return to_interval(decode(datagram), before, after, "chrony", max_distance=max_distance, allow_local=allow_local)


# --------------------------------------------------------------------------------------------------------- the packet


def test_request() -> None:
    """104 bytes: version 6, request, command 33, the sequence number, and padding."""
    sent = request(SEQUENCE)
    assert len(sent) == LENGTH
    assert sent[:12] == b"\x06\x01\0\0\0\x21\0\0\x01\x02\x03\x04"
    assert not any(sent[12:])


def believed(datagram: bytes) -> Interval:
    before, after = PairedReading(0, NOW, 9), PairedReading(9, NOW, 9)
    return to_interval(decode(datagram), before, after, "chrony", max_distance=SECOND, allow_local=True)


@given(st.binary(max_size=2000) | st.binary(min_size=LENGTH, max_size=LENGTH))
def test_any_bytes_are_a_report_or_a_source_error(datagram: bytes) -> None:
    """Whatever comes, nothing else is raised, by any of the three steps."""
    with contextlib.suppress(SourceError):
        check_header(datagram, SEQUENCE)
    with contextlib.suppress(SourceError):
        believed(datagram)


@given(st.binary(min_size=76, max_size=76))
@example(b"\xff" * 76)
@example(b"\x7e\xff\xff\xff" * 19)
def test_any_report_is_an_interval_or_a_source_error(body: bytes) -> None:
    """The same behind a header that is in order."""
    with contextlib.suppress(SourceError):
        assert 0 <= believed(bytes(Report())[:28] + body).width < 3 * SECOND


@given(st.floats(-1e12, 1e12) | st.floats(-1, 1) | st.sampled_from([0.0, 1200.0, -179.99998, 1e-9, -1e-9, 0.1]))
@example(1200.0001)
def test_floats_round_trip(x: float) -> None:
    """What chronyd meant is never further from what we read than we say, and that is no more than one part in 2**23."""
    value, unit = float_ns(to_float(x))
    meant = x * SECOND if abs(x) < 1e6 else int(x) * SECOND + (x - int(x)) * SECOND
    assert abs(value - meant) <= unit + abs(meant) * 2.0**-52
    assert unit <= abs(meant) * 2.0**-23 + 3


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (0, 0),
        (0x02800000, SECOND // 2),  # 2**23 * 2**(1 - 25)
        (0x03800000, -SECOND // 2),
        (0x7EFFFFFF, (2**24 - 1) * SECOND << 38),
        (0x7F000000, -(2**24) * SECOND << 38),
        (0xFE800000, SECOND >> 3),  # exponent -1
        (0x80000001, 0),
        (0x81FFFFFF, -1),  # rounded down
    ],
)
def test_floats(word: int, value: int) -> None:
    """Both halves are in two's complement."""
    assert float_ns(word)[0] == value


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 5}, "version is 5"),
        ({"kind": 1}, "packet type is 1"),
        ({"sequence": SEQUENCE + 1}, "was not sent"),
        ({"command": 34}, "command 34"),
        ({"status": 2}, "not allowed"),
        ({"status": 18}, "another version"),
        ({"status": 99}, "status 99"),
        ({"reply": 1}, "type 1 instead"),
        ({"nanoseconds": SECOND}, "ns in a second"),
        ({"leap": 3, "stratum": 0, "ref_id": 0}, "not synchronized"),
        ({"leap": 3}, "not synchronized"),
        ({"leap": 4}, "not synchronized"),
        ({"stratum": 0}, "not synchronized"),
        ({"stratum": 16}, "not synchronized"),
        ({"ref_id": 0}, "not synchronized"),
        ({"ref_id": 0x7F7F0101}, "allow_local"),
        ({"root_delay": -1e-3}, "negative"),
        ({"root_delay": -1e-8}, "negative"),
        ({"root_dispersion": -1e-3}, "negative"),
        ({"update_interval": -1.0}, "negative"),
        ({"root_delay": 0.0, "root_dispersion": 0.0}, "error bound of zero"),
        ({"root_delay": 1.1}, "away"),
        ({"root_delay": 1e19}, "away"),
        ({"root_dispersion": 1.6}, "within 1.6 s only"),
        ({"root_dispersion": 1e99}, "less than 1.5 s"),
        ({"correction": 1e99}, "implausible date"),
        ({"correction": -1e99}, "implausible date"),
        ({"correction": 41 * 365.25 * 86_400}, "implausible date, 2066-1"),
        ({"correction": -86_400.0 * 30.5}, "implausible date, 2025-10-31"),
        ({"ref_time": NOW - 1201 * SECOND}, "has not corrected its clock for 20 min 1 s"),
        ({"ref_time": NOW - 8200 * SECOND, "update_interval": 1024.0}, "has not corrected"),
        ({"ref_time": 0}, "has not corrected"),
        ({"high": 0xFFFFFFFF}, "in the future"),
        ({"ref_time": NOW + 2 * SECOND}, "in the future"),
    ],
)
def test_what_must_not_be_believed(fields: dict[str, int], reason: str) -> None:
    """Each rule by itself, against a report that is otherwise in order."""
    assert judged(Report())
    with pytest.raises(SourceError, match=reason):
        judged(replace(Report(), **fields))


@pytest.mark.parametrize("size", [0, 1, 27, 28, 103, 105, 2000])
def test_length(size: int) -> None:
    with pytest.raises(SourceError, match=f"{size} bytes"):
        decode(bytes(Report()).ljust(size, b"\0")[:size])


@pytest.mark.parametrize(
    "fields",
    [
        {"leap": 1},
        {"leap": 2},
        {"stratum": 1},
        {"stratum": 15},
        {"high": 0x7FFFFFFF},
        {"update_interval": 0.0},
        {"ref_time": NOW - 8000 * SECOND, "update_interval": 1024.0},
        {"ref_time": NOW - 1000 * SECOND, "update_interval": 2.0},
    ],
)
def test_what_is_unusual_and_in_order(fields: dict[str, int]) -> None:
    """A leap second to come, a 32-bit daemon, the first interval after a burst: all believed."""
    assert judged(replace(Report(), **fields)).trust is Trust.WITNESS


def test_local_reference_is_believed_on_request() -> None:
    """It claims no delay and no dispersion, which only then is no contradiction."""
    report = Report(ref_id=0x7F7F0101, root_delay=0.0, root_dispersion=0.0)
    assert judged(report, allow_local=True).width < 1000


@given(st.floats(-20 * 86_400, 30 * 86_400), st.floats(0, 0.5), st.floats(1e-6, 0.5), st.floats(-1, 1), st.floats(0, 1))
def test_interval_contains_the_truth(
    offset: float, delay: float, dispersion: float, error: float, moment: float
) -> None:
    """Any report whose error is as large as it admits, about any moment of the exchange, while the clock is slewed."""
    before = PairedReading(5 * SECOND, NOW, 30_000)
    after = PairedReading(before.steady + 400_000, NOW + 380_000, 30_000)  # slewed by 20 µs
    assert not clock_was_set(before, after)
    asked = int(400_000 * moment)
    wall = NOW + int(380_000 * moment) + 29_000  # what chronyd saw at `asked`; our pairs were off by nearly the slack
    doubt = delay / 2 + dispersion
    report = Report(
        correction=offset, root_delay=delay, root_dispersion=dispersion, ref_time=NOW + int(offset * SECOND)
    )
    said = to_interval(decode(bytes(report)), before, after, "chrony", max_distance=SECOND)
    truth = wall + int((offset + error * doubt) * SECOND) + (400_000 - asked)
    assert said.earliest - 1 <= truth <= said.latest + 1  # the test's own floats are 1 ns coarse
    assert said.at == after.steady
    assert said.width <= 2 * doubt * SECOND + 100_000 + abs(offset) * SECOND * 2**-21


@pytest.mark.parametrize("slew", [-20_000, 20_000])
@pytest.mark.parametrize("misread", [-30_000, 30_000])
@pytest.mark.parametrize("moment", [0, 400_000])
@pytest.mark.parametrize("error", [-1e-6, 1e-6])
def test_no_part_of_the_bound_is_spare(slew: int, misread: int, moment: int, error: float) -> None:
    """All that may be wrong at once: the report, our readings, and when chronyd read a clock that is slewed."""
    before, after = PairedReading(0, NOW, 30_000), PairedReading(400_000, NOW + 400_000 + slew, 30_000)
    report = decode(bytes(Report(root_delay=0.0, root_dispersion=1e-6)))
    said = to_interval(report, before, after, "chrony", max_distance=SECOND)
    wall = NOW + moment + (slew if moment else 0) + misread
    truth = wall + int(error * SECOND) + 400_000 - moment
    assert said.earliest <= truth <= said.latest
    assert said.width < 2 * (30_000 + 1_000) + 20_000 + 10


def test_smallest_negative_delay() -> None:
    """Rounding up does not hide a sign."""
    datagram = bytearray(bytes(Report()))
    datagram[92:96] = b"\x01\xff\xff\xff"  # root delay: coefficient -1, exponent 0
    assert decode(bytes(datagram)).root_delay < 0


# -------------------------------------------------------------------------------------------------------- the clocks


class Busy:
    """Real clocks, read by a thread that is put aside the first few times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.quick_ns, self.wall_ns = CLOCKS.quick_ns, CLOCKS.wall_ns

    def read(self) -> Reading:
        if self.times:
            self.times -= 1
            time.sleep(0.002)
        return CLOCKS.read()


def test_looks_again_when_put_aside() -> None:
    """A pair that took long is read again; if all take long, the doubt is stated."""
    assert read_pair(Busy(3)).slack < 300_000
    assert read_pair(Busy(99)).slack > 2_000_000


def test_moved() -> None:
    """Slewing is no step; a step is, once it is more than the reading's slack."""
    before = PairedReading(0, NOW, 1000)
    assert not clock_was_set(before, PairedReading(1_000_000, NOW + 1_090_000, 1000))
    assert not clock_was_set(before, PairedReading(1_000_000, NOW + 910_000, 1000))
    assert clock_was_set(before, PairedReading(1_000_000, NOW + 1_110_000, 1000))
    assert clock_was_set(before, PairedReading(1_000_000, NOW + 890_000, 1000))
    for here, there in ((0, 9000), (9000, 0)):  # either look's slack counts
        assert not clock_was_set(PairedReading(0, NOW, here), PairedReading(1, NOW + 9000, there))
        assert clock_was_set(PairedReading(0, NOW, here), PairedReading(1, NOW + 9002, there))


def test_tracking_is_a_value() -> None:
    """Times are ns, and what widens a bound is rounded up."""
    said = decode(bytes(Report(correction=-0.5, root_delay=0.25, root_dispersion=0.125)))
    times = (NOW - 60 * SECOND, -SECOND // 2, said.rounding, said.root_delay, said.root_dispersion, 64 * SECOND)
    assert said == Tracking(0xC0000201, 3, 0, *times)
    assert SECOND // 4 <= said.root_delay <= SECOND // 4 + 31
    assert SECOND // 8 <= said.root_dispersion <= SECOND // 8 + 16
