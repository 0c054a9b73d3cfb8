"""The ClockBound source: its URI, the rules of the segment one by one, and what its file may do while it is read."""

from __future__ import annotations

import contextlib
import gc
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.clocks import Reading, system
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import Interval, Trust
from skewguard.sources import Source, clockbound
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockbound_segment import (
    GRACE,
    LARGEST,
    LEAST_DRIFT_PPB,
    MAX_AGE,
    MAX_BOUND,
    SECOND,
    Snapshot,
    Status,
    judge,
    parse,
    parse_vmclock,
    standing,
    unsettled,
)
from skewguard.testing import FakeClocks

OPEN_FILES = Path("/proc/self/fd")
MS = 1_000_000
MONO_ZERO = 500 * SECOND
"""How far the fake CLOCK_MONOTONIC is behind the fake steady clock: nobody may mix the two."""
FOREVER = 2**62

needs_native = pytest.mark.skipif(not hasattr(os, "pread"), reason="ClockBound is for Linux")


@dataclass(frozen=True)
class Segment:
    """A segment as the daemon writes it, with anything that a test wants different."""

    magic: tuple[int, int] = (0x414D5A4E, 0x43420200)
    size: int | None = None
    version: int = 2
    oldest: int = 0
    generation: int = 2
    as_of: tuple[int, int] = (500, 0)
    void_after: tuple[int, int] = (1500, 0)
    bound: int = MS
    marker: int = 0
    drift: int = 50_000
    status: int = 1
    vmclock: int = 0

    def __bytes__(self) -> bytes:
        """Lay it out: 72 bytes in version 1, 80 in version 2, 104 in version 3."""
        times = (*self.as_of, *self.void_after)
        if self.version == 1:
            body = struct.pack("=qqqqqIIi4x", *times, self.bound, self.drift, 0, self.status)
        elif self.version == 3:
            rest = (self.bound, self.marker, self.drift, self.status, self.vmclock)
            body = struct.pack("=QqqqqQQqQIiBBB5x", 2**64 - 1, *times, 2**64 - 1, 2**64 - 1, *rest, 31, 10)
        else:
            body = struct.pack("=qqqqqQIiB7x", *times, self.bound, self.marker, self.drift, self.status, self.vmclock)
        size = 16 + len(body) if self.size is None else self.size
        word = (self.oldest or (self.version == 3) * 3) << 8 | self.version
        return struct.pack("=IIIHH", *self.magic, size, word, self.generation) + body


def read(segment: Segment | bytes) -> Snapshot:
    """Parse a segment that fills its file."""
    data = bytes(segment)
    return parse(data, len(data))


def weigh(segment: Segment, *, monotonic: int = MONO_ZERO, margin: int = 0) -> Interval:
    """Judge a segment at a fake instant."""
    return judge(read(segment), monotonic, FakeClocks().read(), margin, "clockbound")


class Host:
    """A host with a segment, clocks that move when told, and a VMClock if wanted."""

    def __init__(self, folder: Path) -> None:
        """Begin with a good segment."""
        self.clocks = FakeClocks()
        self.path = folder / "shm0"
        self.vmclock = folder / "vmclock0"
        self.source = ClockBoundSource(str(self.path), vmclock=str(self.vmclock), monotonic=self.monotonic)
        self.suspended = 0
        self.write()

    def monotonic(self) -> int:
        return self.clocks.steady - MONO_ZERO - self.suspended

    def write(self, segment: Segment | None = None, *, age: float = 0, **changes: Any) -> None:
        """Let the daemon speak, of the present unless told, and as if it had never said anything else."""
        as_of = self.monotonic() - int(age * SECOND)
        stamps = {"as_of": divmod(as_of, SECOND), "void_after": (as_of // SECOND + 1000, 0)}
        self.path.write_bytes(bytes(replace(segment or Segment(), **{**stamps, **changes})))

    def measure(self) -> Interval:
        return self.source.measure(self.clocks, FOREVER)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# ------------------------------------------------------------------------------------------------------------ the URI


def test_uri() -> None:
    """A source is called by its URI, and two that read the same file are one."""
    plain, given_path = ClockBoundSource.from_uri("ClockBound"), ClockBoundSource.from_uri("clockbound:/run/x%20y%2520")
    assert isinstance(plain, Source)
    assert (plain.name, given_path.name) == ("clockbound", "clockbound:/run/x%20y%2520")
    assert repr(given_path) == "<ClockBoundSource clockbound:/run/x%20y%2520>"
    assert {plain, given_path} == {ClockBoundSource(), ClockBoundSource("/run/x y%20")}
    assert plain != "clockbound"


@pytest.mark.parametrize(
    "uri",
    ["", "clockboundd", "clockbound:", "clockbound:shm0", "clockbound://host/shm0", "clockbound:/a/", "clockbound:/\0"],
)
def test_bad_uri(uri: str) -> None:
    """Anything else is refused when it is configured, not when it is asked."""
    with pytest.raises(ConfigError):
        ClockBoundSource.from_uri(uri)


@given(st.text(max_size=20).map("clockbound:/".__add__) | st.text(max_size=20))
def test_any_text_is_a_uri_or_a_config_error(text: str) -> None:
    """No text raises anything else, and what is accepted has a name that is accepted too."""
    with contextlib.suppress(ConfigError):
        name = ClockBoundSource.from_uri(text).name
        assert ClockBoundSource.from_uri(name).name == name


def test_bad_vmclock_path() -> None:
    """The other path is checked as well."""
    with pytest.raises(ConfigError):
        ClockBoundSource(vmclock="vmclock0")


# ------------------------------------------------------------------------------------------------------- the layout


@pytest.mark.skipif(sys.byteorder != "little", reason="the bytes of little-endian machines")
def test_magic_is_two_native_words() -> None:
    """The file begins as the real daemon's does on x86-64 and aarch64, not as the manual prints it."""
    assert bytes(Segment())[:16].hex(" ") == "4e 5a 4d 41 00 02 42 43 50 00 00 00 02 00 02 00"
    with pytest.raises(SourceError, match="magic"):
        read(bytes.fromhex("414D5A4E43420200") + bytes(Segment())[8:])


def test_layouts() -> None:
    """Each layout is decoded field by field; the first knows nothing of VMClock."""
    values: dict[str, Any] = {
        "as_of": (7, 8),
        "void_after": (1007, 9),
        "bound": 11,
        "drift": 12,
        "status": 2,
        "marker": 2**64 - 1,
        "vmclock": 1,
    }
    one, two, three = (Segment(version=version, **values) for version in (1, 2, 3))
    assert (len(bytes(one)), len(bytes(two)), len(bytes(three))) == (72, 80, LARGEST)
    rest = (7 * SECOND + 8, 1007 * SECOND + 9, 11, 12, Status.FREE_RUNNING)
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
    """No bytes raise anything but SourceError."""
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
        said = judge(read(segment), monotonic, Reading(5, 6), 0, "clockbound")
        assert said.midpoint == 6
        assert 0 <= said.width < 2 * MAX_BOUND


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
    assert said == Interval(
        now.steady, said.earliest, said.latest, Trust.WITNESS, "clockbound", max(drift, LEAST_DRIFT_PPB)
    )


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
        (Segment(bound=MAX_BOUND), 0, "within 16.0 s only"),
        (Segment(bound=2**63 - 1), 0, "only"),
        (Segment(drift=SECOND - 1), 17 * SECOND, "only"),
    ],
)
def test_not_believed(segment: Segment, elapsed: int, reason: str) -> None:
    """A clock that is not synchronized, a statement out of its time, and an absurd bound are refused."""
    with pytest.raises(SourceError, match=reason):
        weigh(segment, monotonic=MONO_ZERO + elapsed)


def test_short_void_after_within_grace() -> None:
    """Within five seconds the daemon's own reader does not look at void_after, and neither is it looked at here."""
    assert weigh(Segment(void_after=(0, 0)), monotonic=MONO_ZERO + GRACE - 1)


# ------------------------------------------------------------------------------------------------------- on the host


def test_measure(host: Host) -> None:
    """The interval is of the clocks' steady instant, although the daemon counts by another clock."""
    host.write(age=2)
    error = MS + 2 * 50_000
    assert host.measure() == Interval(
        host.clocks.steady,
        host.clocks.wall - error,
        host.clocks.wall + error,
        Trust.WITNESS,
        host.source.name,
        LEAST_DRIFT_PPB,
    )


def test_no_time(host: Host) -> None:
    """A deadline that has passed is kept."""
    with pytest.raises(SourceError, match="no time to answer"):
        host.source.measure(host.clocks, host.clocks.steady)


def test_default_paths(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """2.x is preferred to 1.x, what is no good there does not hide what is good here, and 3.x alone is explained."""
    paths = tmp_path / "2", tmp_path / "1", tmp_path / "3"
    monkeypatch.setattr(clockbound, "PATHS", tuple(map(str, paths)))
    source = ClockBoundSource(monotonic=host.monotonic)
    with pytest.raises(SourceError, match=r"^clockbound gives no time: there is no .*/2 and no .*/1 and no .*/3$"):
        source.measure(host.clocks, FOREVER)
    paths[2].write_bytes(bytes(Segment(version=3)))
    with pytest.raises(SourceError, match=r"^clockbound gives no time: .*/3 vouches, within 1\.000 ms, for a clock"):
        source.measure(host.clocks, FOREVER)
    paths[1].write_bytes(bytes(Segment(version=1, bound=5)))
    assert source.measure(host.clocks, FOREVER).width == 10
    paths[0].write_bytes(bytes(Segment(bound=3)))
    assert source.measure(host.clocks, FOREVER).width == 6
    paths[0].write_bytes(bytes(Segment(status=0)))
    assert source.measure(host.clocks, FOREVER).width == 10
    paths[1].write_bytes(b"")
    with pytest.raises(SourceError, match=r"/2 says that .*, and .*/1 is 0 bytes long.*, and .*/3 vouches"):
        source.measure(host.clocks, FOREVER)


def test_newest_path_means_its_neighbour(host: Host) -> None:
    """Who names 3.x's own segment is told what 3.x says of the wall clock, in the file beside it."""
    own = host.path.with_name("shm1")
    own.write_bytes(bytes(Segment(version=3, bound=5)))
    source = ClockBoundSource.from_uri(f"clockbound:{own}")
    source._monotonic = host.monotonic
    said = source.measure(host.clocks, FOREVER)
    assert (said.source, said.width) == (f"clockbound:{own}", 2 * MS)
    host.path.unlink()
    host.clocks.advance(0.01)
    with pytest.raises(SourceError, match=r"^clockbound:.*/shm1 gives no time: .*/shm1 vouches, within 0\.000 ms"):
        source.measure(host.clocks, FOREVER)
    own.unlink()
    with pytest.raises(SourceError, match=r"there is no .*/shm0 and no .*/shm1$"):
        source.measure(host.clocks, FOREVER)


def test_what_is_no_file(host: Host, tmp_path: Path) -> None:
    """A pipe, a device, a directory and a forbidden file are refused at once, and leave nothing open."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    gc.collect()  # what other tests have left open
    before = len(list(OPEN_FILES.iterdir())) if OPEN_FILES.is_dir() else None
    for path in (fifo, tmp_path, Path("/dev/zero"), host.path / "below", tmp_path / ("x" * 300)):
        with pytest.raises(SourceError, match=r"^clockbound:/.* (is no regular file|cannot be read \(|is 0 bytes)"):
            ClockBoundSource(str(path)).measure(host.clocks, FOREVER)
    if before is not None:
        assert len(list(OPEN_FILES.iterdir())) == before


def test_file_replaced(host: Host) -> None:
    """A daemon that puts a new file in the old one's place is heard at the next measurement, 10 ms later at most."""
    assert host.measure().width == 2 * MS
    new = host.path.with_name("new")
    new.write_bytes(bytes(Segment(bound=5)))
    new.replace(host.path)
    host.clocks.advance(0.01)
    assert host.measure().width == 2 * (5 + 500)
    host.path.unlink()
    host.clocks.advance(0.01)
    with pytest.raises(SourceError, match="there is no"):
        host.measure()


def test_file_stays_open(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing about the file changes it is neither opened nor parsed again, and what it says still ages."""
    first = host.measure()
    monkeypatch.setattr(clockbound, "_open_segment", None)
    for seconds in (0.009, 0.991, 1):
        host.clocks.advance(seconds)
        said = host.measure()
    assert said.width == first.width + 2 * 100_000


@pytest.mark.parametrize("how", ["replaced", "moved", "removed", "overwritten", "another link", "another owner's mode"])
def test_file_touched(host: Host, how: str) -> None:
    """Whatever happens to the file, the bytes being the same, it is opened anew within 10 ms."""
    host.measure()
    host.clocks.advance(0.01)
    kept, aside = host.source._kept, host.path.with_name("aside")
    data = host.path.read_bytes()
    if how == "replaced":
        aside.write_bytes(data)
        aside.replace(host.path)
    elif how == "moved":
        host.path.rename(aside)
        host.path.write_bytes(data)
    elif how == "removed":
        host.path.unlink()
        host.path.write_bytes(data)
    elif how == "overwritten":
        host.path.write_bytes(data)
    elif how == "another link":
        aside.hardlink_to(host.path)
    else:
        host.path.chmod(0o640)
    host.measure()
    assert host.source._kept is not kept


def test_folder_moved(host: Host, tmp_path: Path) -> None:
    """Where another folder has taken the place of the file's, that shows as soon as the daemon has been silent."""
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "shm0"
    path.write_bytes(host.path.read_bytes())
    source = ClockBoundSource(str(path), monotonic=host.monotonic)
    source.measure(host.clocks, FOREVER)
    folder.rename(tmp_path / "old")
    host.clocks.advance(GRACE // SECOND)
    with pytest.raises(SourceError, match="there is no"):
        source.measure(host.clocks, FOREVER)


@needs_native
def test_file_closed_by_somebody_else(host: Host, tmp_path: Path) -> None:
    """A program that closes what it has not opened is measured on; what it opens in that place is left alone."""
    host.measure()
    kept = host.source._kept
    assert kept is not None
    number = kept.fd
    del kept
    os.close(number)
    assert host.measure().width == 2 * MS
    assert host.measure().width == 2 * MS
    kept = host.source._kept
    assert kept is not None
    number = kept.fd
    del kept
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    os.write(other, host.path.read_bytes())
    os.dup2(other, number)
    host.clocks.advance(0.01)
    host.write(bound=5)
    assert host.measure().width == 10
    assert os.path.samestat(os.fstat(number), os.fstat(other))
    os.close(number)
    os.close(other)


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="counts open files by Linux's list")
def test_nothing_stays_open(host: Host) -> None:
    """One file is kept open per source at most, and none after it."""
    gc.collect()  # what other tests have left open
    before = len(list(OPEN_FILES.iterdir()))
    for bound in range(9):
        host.write(bound=bound)
        host.measure()
    assert len(list(OPEN_FILES.iterdir())) == before + 1
    host.source = ClockBoundSource("/nowhere/shm0")
    assert len(list(OPEN_FILES.iterdir())) == before


def test_file_truncated(host: Host) -> None:
    """A daemon that truncates its file, as it does at its start, is an error until it writes again, and no crash."""
    host.measure()
    for length in range(80):
        os.truncate(host.path, length)
        with pytest.raises(SourceError):
            host.measure()
        host.write()
    assert host.measure()


def test_dead_writer(host: Host) -> None:
    """A daemon that died while it wrote is not waited for."""
    host.write(generation=7)
    with pytest.raises(SourceError, match="being written"):
        host.measure()


def test_moving_segment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment that never comes to rest is given up; one that does is read."""
    bound = iter(range(10**6))

    def pread(fd: int, length: int, offset: int) -> bytes:
        number = next(bound)
        return bytes(Segment(generation=2 + number % 5, bound=min(number, limit)))

    limit = 10**6
    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(SourceError, match="being written"):
        host.measure()
    data = bytes(Segment(bound=4))
    monkeypatch.setattr(os, "pread", lambda *_: data if next(bound) > 250 else bytes(Segment(generation=3)))
    assert host.measure().width == 8


# ----------------------------------------------------------------------------------------- steps of the wall clock


@pytest.mark.parametrize("seconds", [3600, -3600, 0.001, -0.001])
def test_step_after_the_statement(host: Host, seconds: float) -> None:
    """Once the wall clock is set, what was said before is refused until the daemon speaks anew."""
    host.write(bound=4 * SECOND)
    host.measure()
    host.clocks.advance(0.5)
    host.clocks.step(seconds)
    for _ in range(2):
        with pytest.raises(SourceError, match="before the wall clock was set"):
            host.measure()
    host.clocks.advance(0.5)
    host.write(bound=4 * SECOND)
    if abs(seconds) < 1:
        assert host.measure().width == 8 * SECOND
    else:
        with pytest.raises(SourceError, match="does not know yet"):
            host.measure()


def stepped(host: Host, seconds: float) -> None:
    """Step the wall clock, and let the source notice."""
    host.clocks.step(seconds)
    with pytest.raises(SourceError, match="before the wall clock was set"):
        host.measure()


def test_step_by_somebody_else(host: Host) -> None:
    """A daemon that still vouches for a clock that was put wrong is not believed, until it has had its chance."""
    host.measure()
    stepped(host, 20)
    for _ in range(9):
        host.clocks.advance(100)
        host.write()
        with pytest.raises(SourceError, match="does not know yet"):
            host.measure()
    host.clocks.advance(101)
    host.write()
    assert host.measure()


def test_step_undone(host: Host) -> None:
    """When the clock is put right again the daemon is believed again."""
    host.measure()
    stepped(host, 20)
    host.clocks.advance(1)
    host.write()
    with pytest.raises(SourceError, match="does not know yet"):
        host.measure()
    stepped(host, -20)
    host.clocks.advance(1)
    host.write()
    assert host.measure()


def test_step_by_the_daemon(host: Host) -> None:
    """A clock that the daemon's own side corrects, by what it had admitted to be wrong, is believed at once."""
    host.write(bound=10 * SECOND)
    host.measure()
    stepped(host, 9)
    host.clocks.advance(1)
    host.write(bound=MS)
    assert host.measure().width == 2 * MS


def test_sleep_counts_as_a_step(host: Host) -> None:
    """What was said before the machine slept is refused: CLOCK_MONOTONIC does not tell how long ago it was."""
    host.measure()
    host.clocks.advance(3600)
    host.suspended = 3600 * SECOND
    with pytest.raises(SourceError, match="before the wall clock was set"):
        host.measure()
    host.clocks.advance(1)
    host.write()
    assert host.measure()


def test_slew_is_no_step(host: Host) -> None:
    """CLOCK_MONOTONIC is slewed with the wall clock, so slewing does not raise an alarm."""
    host.measure()
    host.clocks.advance(100)
    host.clocks.step(0.05)
    host.suspended -= 50 * MS
    host.write()
    assert host.measure()


def test_interrupted_reading_is_no_step(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread put aside between two clocks makes the interval wider, and neither wrong nor a step."""
    host.measure()
    calm = host.monotonic

    def disturbed() -> int:
        host.clocks.advance(0.01)
        return calm()

    monkeypatch.setattr(host.source, "_monotonic", disturbed)
    said = host.measure()
    assert 2 * (MS + 10 * MS) <= said.width < 2 * (MS + 30 * MS)
    later = said.aged(host.clocks.steady)
    assert later.earliest <= host.clocks.wall <= later.latest


# ------------------------------------------------------------------------------------------------------------ VMClock


def vmclock(marker: int = 7, *, magic: int = 0x4B4C4356, size: int = 104, version: int = 1, seq: int = 2) -> bytes:
    """Lay out VMClock's page, little-endian."""
    return struct.pack("<IIHBBIQ", magic, size, version, 1, 0, seq, marker) + bytes(80)


def test_same_marker(host: Host) -> None:
    """An undisrupted machine is believed."""
    host.write(vmclock=1, marker=7)
    host.vmclock.write_bytes(vmclock(7))
    assert host.measure()


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (vmclock(8), "paused, moved or restored"),
        (None, "No such file"),
        (b"", "too short"),
        (vmclock()[:23], "too short"),
        (vmclock(magic=1), "magic"),
        (vmclock(version=2), "version 2"),
        (vmclock(size=23), "claims 23"),
        (vmclock(seq=3), "being written"),
    ],
)
def test_disrupted(host: Host, page: bytes | None, reason: str) -> None:
    """A machine that was paused or moved, or of which that cannot be told, is not believed."""
    host.write(vmclock=1, marker=7)
    if page is not None:
        host.vmclock.write_bytes(page)
    with pytest.raises(SourceError, match=reason):
        host.measure()


def test_flag_unset(host: Host) -> None:
    """A daemon that does not use VMClock is believed whatever that says."""
    host.write(vmclock=0, marker=7)
    host.vmclock.write_bytes(vmclock(8))
    assert host.measure()


def test_marker_is_read_after_the_clocks(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine restored between the segment and the clocks is noticed."""
    host.write(vmclock=1, marker=7)
    host.vmclock.write_bytes(vmclock(7))
    look = host.clocks.read

    def restored() -> Reading:
        host.vmclock.write_bytes(vmclock(8))
        return look()

    monkeypatch.setattr(host.clocks, "read", restored)
    with pytest.raises(SourceError, match="paused, moved or restored"):
        host.measure()


@given(st.binary(max_size=120) | st.binary(max_size=100).map(vmclock()[:8].__add__))
def test_any_bytes_as_vmclock(data: bytes) -> None:
    """No bytes raise anything but SourceError."""
    with contextlib.suppress(SourceError):
        assert 0 <= parse_vmclock(data) < 2**64


# ----------------------------------------------------------------------------------------------- beside a real writer

WRITER = """
import mmap, os, struct, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
page = mmap.mmap(file, 80)
words = memoryview(page).cast("Q")          # whole words, as the daemon stores them
short = memoryview(page)[14:16].cast("H")
end = time.monotonic() + float(sys.argv[2])
number = generation = writes = 0
ready = False
while time.monotonic() < end:
    for _ in range(500):
        number = (number + 1) % 1_000_000
        generation += 1
        short[0] = generation               # odd: at work
        words[2], words[3] = number, number
        words[4], words[5] = number + 1000, number
        words[6], words[7] = number, number
        words[8] = number | 1 << 32
        generation += 1
        if generation > 65535:
            generation = 2
        short[0] = generation
    writes += 500
    if not ready:
        print("ready", flush=True)
        ready = True
print(writes)
"""


@contextlib.contextmanager
def writer(path: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run a process that rewrites a segment as fast as it can, each time with one number in every field."""
    command = [sys.executable, "-c", WRITER, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@needs_native
def test_torn_reads(tmp_path: Path) -> None:
    """Beside a writer at full speed, no snapshot is taken that holds parts of two."""
    # A longer run is to be had by SKEWGUARD_TORN_SECONDS.
    seconds = float(os.environ.get("SKEWGUARD_TORN_SECONDS", "5"))
    path = tmp_path / "shm0"
    path.write_bytes(bytes(Segment()))
    taken = refused = torn = 0
    seen = set()
    with writer(path, seconds) as process:
        fd = os.open(path, os.O_RDONLY)
        while process.poll() is None:
            for _ in range(200):
                raw = os.pread(fd, 80, 0)
                fields = struct.unpack("=qqqqqQI", raw[16:68])
                torn += len({fields[0], fields[1], fields[2] - 1000, *fields[3:]}) > 1
                try:
                    snapshot = clockbound._open_segment(str(path)).snapshot
                except SourceError:
                    refused += 1
                    continue
                number = snapshot.bound
                assert snapshot.as_of == number * SECOND + number
                assert snapshot.void_after == (number + 1000) * SECOND + number
                assert snapshot.max_drift_ppb == number
                seen.add(number)
                taken += 1
        os.close(fd)
        assert process.stdout is not None
        writes = int(process.stdout.read())
    print(
        f"{writes} writes, {taken} snapshots taken ({len(seen)} different), {refused} refused; unguarded: {torn} torn"
    )
    assert taken > 100
    assert len(seen) > 10


@needs_native
def test_file_in_turmoil(tmp_path: Path) -> None:
    """While the file is replaced, truncated and removed, every measurement is an interval or a SourceError."""
    path, new = tmp_path / "shm0", tmp_path / "new"
    good = bytes(Segment(as_of=(2**20, 0)))
    stop = threading.Event()

    def stir() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            with contextlib.suppress(FileNotFoundError):
                if turn % 3 == 0:
                    os.truncate(path, turn % 80)
                elif turn % 7 == 0:
                    path.unlink()
                else:
                    new.write_bytes(good)
                    new.replace(path)

    thread = threading.Thread(target=stir)
    thread.start()
    source = ClockBoundSource(str(path), monotonic=lambda: 2**20 * SECOND)
    taken = 0
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until or not taken:
            with contextlib.suppress(SourceError):
                assert source.measure(FakeClocks(), FOREVER).width == 2 * MS
                taken += 1
    finally:
        stop.set()
        thread.join()


@needs_native
@pytest.mark.skipif(not hasattr(system(), "glance"), reason="these clocks have no quick way")
def test_quick_look_at_the_clocks(host: Host) -> None:
    """The quick way to look at the host's clocks tells the same as the careful one."""

    class Careful:
        read = staticmethod(system().read)

    source = ClockBoundSource(str(host.path))
    seconds, nanos = divmod(time.clock_gettime_ns(time.CLOCK_MONOTONIC), SECOND)
    host.path.write_bytes(bytes(Segment(as_of=(seconds, nanos), void_after=(seconds + 1000, 0), bound=MS)))
    for _ in range(100):
        quick = source.measure(system(), FOREVER)
        careful: Any = Careful()
        slow = source.measure(careful, FOREVER)
        assert abs((slow.midpoint - slow.at) - (quick.midpoint - quick.at)) < MS // 2
        assert abs(slow.width - quick.width) < MS // 2
    assert source._way is not None


@needs_native
def test_threads_share_a_source(host: Host) -> None:
    """Threads that measure with one source at the same time get the same, and steps are noticed all the same."""
    answers: list[Interval | str] = []

    def ask() -> None:
        for _ in range(200):
            try:
                answers.append(host.measure())
            except SourceError as error:
                answers.append(str(error))

    def all_of_them() -> None:
        answers.clear()
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_of_them()
    assert set(map(type, answers)) == {Interval}
    host.clocks.step(20)
    all_of_them()
    assert {"before the wall clock was set" in str(answer) for answer in answers} == {True}


@needs_native
@pytest.mark.skipif(sys.platform != "linux", reason="ClockBound is for Linux")
def test_with_real_clocks(tmp_path: Path) -> None:
    """On this host's own clocks, thousands of measurements hold the wall clock's time and raise no false alarm."""
    path = tmp_path / "shm0"
    clocks = system()
    source = ClockBoundSource(str(path))
    for turn in range(3000):
        if turn % 300 == 0:
            coarse = time.clock_gettime_ns(6)  # CLOCK_MONOTONIC_COARSE, which has no name in Python
            stamp = divmod(coarse, SECOND)
            path.write_bytes(bytes(Segment(as_of=stamp, void_after=(stamp[0] + 1000, 0), bound=MS)))
        said = source.measure(clocks, FOREVER)
        now = clocks.read()
        later = said.aged(now.steady)
        assert later.earliest <= now.wall <= later.latest
        assert said.width < 2 * (MS + 40 * MS)
