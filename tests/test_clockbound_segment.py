"""ClockBound's segment and VMClock's page: the rules of their bytes, one by one."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.clocks import Reading
from skewguard.errors import SourceError
from skewguard.interval import DRIFT_PPB, Interval, Trust
from skewguard.sources.clockbound_segment import (
    GRACE,
    LARGEST,
    MAX_AGE,
    SECOND,
    ClockStatus,
    Snapshot,
    parse,
    parse_vmclock,
    standing,
    to_interval,
    unsettled,
)
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.testing import FakeClocks
from tests.clockbound_host import MONO_ZERO, MS, Segment, vmclock


def read(segment: Segment | bytes) -> Snapshot:
    data = bytes(segment)
    return parse(data, len(data))


def weigh(segment: Segment, *, monotonic: int = MONO_ZERO, margin: int = 0) -> Interval:
    """Judge a segment at a fake instant."""
    return to_interval(read(segment), monotonic, FakeClocks().read(), margin, "clockbound")


@pytest.mark.skipif(sys.byteorder != "little", reason="the bytes of little-endian machines")
def test_magic_is_two_native_words() -> None:
    """The file begins as the real daemon's does on x86-64 and aarch64, not as the manual prints it."""
    assert bytes(Segment())[:16].hex(" ") == "4e 5a 4d 41 00 02 42 43 50 00 00 00 02 00 02 00"
    with pytest.raises(SourceError, match="magic"):
        read(bytes.fromhex("414D5A4E43420200") + bytes(Segment())[8:])


def test_layouts() -> None:
    """Each layout is decoded field by field; the first knows nothing of VMClock."""
    values: dict[str, Any] = {"as_of": (7, 8), "void_after": (1007, 9), "bound": 11, "drift": 12, "marker": 2**64 - 1}
    one, two, three = (Segment(version=version, status=2, vmclock=1, **values) for version in (1, 2, 3))
    assert (len(bytes(one)), len(bytes(two)), len(bytes(three))) == (72, 80, LARGEST)
    rest = (7 * SECOND + 8, 1007 * SECOND + 9, 11, 12, ClockStatus.FREE_RUNNING)
    assert read(one) == Snapshot(1, *rest, None)
    assert read(two) == Snapshot(2, *rest, 2**64 - 1)
    assert read(replace(two, vmclock=0)) == Snapshot(2, *rest, None)
    assert read(three) == Snapshot(3, *rest, 2**64 - 1)
    assert read(replace(three, vmclock=0)) == Snapshot(3, *rest, None)


def test_longer_segment_and_longer_file() -> None:
    """A later version may add to the end of a layout, and a file may be longer than its segment."""
    assert parse(bytes(Segment(size=96)) + bytes(24), 4096) == read(Segment())


@pytest.mark.parametrize(
    ("segment", "reason"),
    [
        (b"", "too short"),
        (bytes(Segment())[:15], "too short"),
        (bytes(Segment())[:16], "malformed: 16 bytes"),
        (bytes(Segment())[:79], "malformed: 79 bytes"),
        (Segment(magic=(0x414D5A4F, 0x43420200)), "magic"),
        (Segment(magic=(0x414D5A4E, 0x43420201)), "magic"),
        (Segment(size=79), "claims 79"),
        (Segment(size=0), "claims 0"),
        (Segment(size=81), "claims 81"),
        (Segment(size=2**32 - 1), "claims 4294967295"),
        (Segment(version=1, size=71), "claims 71"),
        (Segment(version=0), "not initialized"),
        (Segment(generation=0), "not initialized"),
        (Segment(generation=3), "being written"),
        (Segment(generation=65535), "being written"),
        (Segment(version=4), "layout 4"),
        (Segment(version=4, oldest=3), "layout 4, compatible with 3"),
        (Segment(version=3, oldest=2), "layout 3, compatible with 2"),
        (Segment(version=2, oldest=2), "layout 2, compatible with 2"),
        (Segment(version=99, oldest=99), "layout 99"),
        (Segment(version=0, oldest=2), "layout 0"),
        (Segment(version=3, size=103), "claims 103"),
        (Segment(version=3, status=4), "no clock status"),
        (Segment(version=3, vmclock=2), "neither yes nor no"),
        (bytes(Segment(version=3))[:103], "malformed: 103 bytes"),
        (Segment(drift=1_000_000_000), "drift"),
        (Segment(drift=2**32 - 1), "drift"),
        (Segment(status=4), "no clock status"),
        (Segment(status=-1), "no clock status"),
        (Segment(as_of=(500, 10**9)), "second"),
        (Segment(as_of=(500, -1)), "second"),
        (Segment(void_after=(500, 10**9)), "second"),
        (Segment(vmclock=2), "neither yes nor no"),
    ],
)
def test_malformed(segment: Segment | bytes, reason: str) -> None:
    """Whatever is not a whole segment of a known layout, at rest, is refused with the reason."""
    with pytest.raises(SourceError, match=reason):
        read(segment)


@given(st.binary(max_size=120), st.integers(0, 2**40))
def test_any_bytes_as_segment(data: bytes, size: int) -> None:
    unsettled(data)
    with contextlib.suppress(SourceError):
        parse(data, size)


_i64, _u64 = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)


@given(
    st.builds(
        Segment,
        version=st.sampled_from([1, 2, 3]),
        generation=st.integers(0, 2**16 - 1),
        as_of=st.tuples(_i64, st.integers(0, SECOND - 1) | _i64),
        void_after=st.tuples(_i64, st.integers(0, SECOND - 1) | _i64),
        bound=_i64 | st.integers(0, SECOND),
        marker=_u64,
        drift=st.integers(0, 2**32 - 1),
        status=st.integers(0, 3) | st.integers(-(2**31), 2**31 - 1),
        vmclock=st.integers(0, 255),
    ),
    st.integers(0, 2**63 - 1),
)
def test_any_values_in_a_segment(segment: Segment, monotonic: int) -> None:
    """Whatever the fields hold, the answer is an interval around the wall clock, under 16 s to a side, or an error."""
    with contextlib.suppress(SourceError):
        said = to_interval(read(segment), monotonic, Reading(5, 6), 0, "clockbound")
        assert said.midpoint == 6
        assert 0 <= said.width < 2 * MAX_DISTANCE


# -------------------------------------------------------------------------------------------------------- the maths


@pytest.mark.parametrize(
    ("elapsed", "drift", "error"),
    [
        pytest.param(0, 50_000, MS, id="at once"),
        pytest.param(SECOND, 50_000, MS + 50_000, id="after a second"),
        pytest.param(SECOND, 1000, MS + 50_000, id="the daemon's default drift is too good to be true"),
        pytest.param(SECOND, 200_000, MS + 200_000, id="a larger drift counts"),
        pytest.param(1, 50_000, MS + 1, id="rounded up"),
        pytest.param(-999, 50_000, MS, id="not quite the future"),
        pytest.param(GRACE, 50_000, MS + 250_000, id="free-running"),
        pytest.param(MAX_AGE - 1, 50_000, MS + 50 * MS, id="the oldest"),
        pytest.param(10 * SECOND, SECOND - 1, MS + 10 * SECOND - 10, id="the largest drift"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_bound_grows_with_age(version: int, elapsed: int, drift: int, error: int) -> None:
    """True time is within the bound of the wall clock, and what drift may have added since the statement."""
    said = weigh(Segment(version=version, drift=drift), monotonic=MONO_ZERO + elapsed)
    now = FakeClocks().read()
    assert (said.earliest, said.latest) == pytest.approx((now.wall - error, now.wall + error), abs=1)
    assert said.width == pytest.approx(2 * error, abs=2)
    assert said == Interval(now.steady, said.earliest, said.latest, Trust.WITNESS, "clockbound", max(drift, DRIFT_PPB))


@pytest.mark.parametrize("slow", [-DRIFT_PPB, DRIFT_PPB])
def test_it_ages_by_a_clock_that_nothing_steers(slow: int) -> None:
    """The daemon's drift is that of the steered clock, here an exact one; the raw clock may be as bad as any."""
    said = weigh(Segment(drift=1000))
    passed = 900 * SECOND
    later = said.aged(said.at + passed - passed * slow // SECOND)
    assert later.earliest <= FakeClocks().wall + passed <= later.latest


def test_margin_widens_both_ends() -> None:
    """Clocks that could not be read together leave a doubt of as much."""
    assert weigh(Segment(), margin=7).width == weigh(Segment()).width + 14


@pytest.mark.parametrize(
    ("status", "elapsed", "expected"),
    [
        (0, 0, 0),
        (0, GRACE, 0),
        (1, 0, 1),
        (1, GRACE - 1, 1),
        (1, GRACE, 2),
        (1, MAX_AGE - 1, 2),
        (1, MAX_AGE, 0),
        (2, 0, 2),
        (2, MAX_AGE, 0),
        (3, 0, 3),
        (3, MAX_AGE, 3),
    ],
)
def test_status_ages(status: int, elapsed: int, expected: int) -> None:
    """A daemon silent for five seconds is gone, and after a thousand what it said is void."""
    assert standing(read(Segment(status=status)), MONO_ZERO + elapsed) == expected


@pytest.mark.parametrize(
    ("segment", "elapsed", "reason"),
    [
        (Segment(status=0), 0, "not synchronized"),
        (Segment(status=3), 0, "disrupted"),
        (Segment(), MAX_AGE, "1000 s old and void"),
        (Segment(void_after=(9999, 0)), MAX_AGE, "1000 s old and void"),
        (Segment(void_after=(504, 0)), GRACE, "void"),
        (Segment(), -1000, "future"),
        (Segment(as_of=(2**63 - 1, 0)), 0, "future"),
        (Segment(as_of=(-(2**63), 0)), 0, "void"),
        (Segment(version=3), 0, "vouches, within 1.000 ms, for a clock that is made from the CPU's counter"),
        (Segment(version=3, status=0), 0, "not synchronized"),
        (Segment(version=3, status=3), 0, "disrupted"),
        (Segment(bound=-1), 0, "bound is -1"),
        (Segment(bound=-(2**63)), 0, "bound"),
        (Segment(bound=MAX_DISTANCE), 0, "within 16.0 s only"),
        (Segment(bound=2**63 - 1), 0, "only"),
        (Segment(drift=SECOND - 1), 17 * SECOND, "only"),
    ],
)
def test_not_believed(segment: Segment, elapsed: int, reason: str) -> None:
    """A clock that is not synchronized, a statement out of its time, and an absurd bound are refused."""
    with pytest.raises(SourceError, match=reason):
        weigh(segment, monotonic=MONO_ZERO + elapsed)


def test_short_void_after_within_grace() -> None:
    """Within five seconds the daemon's own reader ignores void_after, and so does this one."""
    assert weigh(Segment(void_after=(0, 0)), monotonic=MONO_ZERO + GRACE - 1)


@given(st.binary(max_size=120) | st.binary(max_size=100).map(vmclock()[:8].__add__))
def test_any_bytes_as_vmclock(data: bytes) -> None:
    with contextlib.suppress(SourceError):
        assert 0 <= parse_vmclock(data) < 2**64
