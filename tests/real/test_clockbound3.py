"""The real ClockBound 3.x, which may not set the clock: what it writes for its own readers and for older ones."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest

from skewguard.sources import clockbound as source_module
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockbound_segment import MAX_AGE, ClockStatus, Snapshot, parse
from tests.patience import eventually
from tests.real.clockbound import (
    SECOND,
    THREE,
    answer_of,
    clockbound3,
    left_behind,
    not_vouched_for,
    refusal,
    vouched_for,
)
from tests.real.clockbound_ask import library
from tests.real.exact import exact


def at_rest(path: Path) -> tuple[bytes, Snapshot]:
    """Read a segment between two writes, which are two seconds apart."""
    while True:
        data = path.read_bytes()
        if data == path.read_bytes() and not data[14] & 1:
            return data, parse(data, len(data))


def test_right_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host with 3.x alone, a source without a path finds that the clock is right, and its bound."""
    with clockbound3() as run:
        monkeypatch.setattr(
            source_module, "PATHS", tuple(str(run / "clockbound" / Path(path).name) for path in source_module.PATHS)
        )
        vouched_for(ClockBoundSource.from_uri("clockbound"))


def test_may_not_set_the_clock() -> None:
    """The daemon runs without the right to set the clock, CAP_SYS_TIME, and without a way to get it."""
    with clockbound3() as run:
        answer_of(ClockBoundSource(str(run / "clockbound/shm0")))
        sets = dict(line.split() for line in (run / "capabilities").read_text().splitlines())
    assert {"CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"} == set(sets)
    assert all(int(value, 16) >> 25 & 1 == 0 for value in sets.values())


def test_wrong_clock() -> None:
    """A clock that 3.x knows to be 20 minutes slow is not vouched for, though its own clock is, and is right."""
    with clockbound3(1200) as run:
        source = ClockBoundSource(str(run / "clockbound/shm0"))
        not_vouched_for(source, "vouches for the clock within (19|20) min")
        ask = library(THREE, run / "clockbound/shm1")

        def right() -> bool:
            before, said, after = exact(), ask(), exact()
            found = (said.earliest + said.latest) // 2 - 1200 * SECOND
            return said.status == 1 and before.wall - SECOND // 100 < found < after.wall + SECOND // 100

        eventually(right)  # on a busy machine 3.0.0-rc.0 was 3 s behind once


def test_own_segment() -> None:
    """Layout 3 as the real daemon fills it: 104 bytes, its own clock's time, the bound and status that shm0 repeats."""
    with clockbound3() as run:
        own, older = run / "clockbound/shm1", run / "clockbound/shm0"
        answer_of(ClockBoundSource(str(older)))
        time.sleep(3)  # past the first second, in which it writes twenty times
        data, snapshot = at_rest(own)
        data2, snapshot2 = at_rest(older)
        now = exact()
    assert (len(data), data[8:14]) == (104, struct.pack("=IH", 104, 0x0303))
    assert (len(data2), data2[8:14]) == (80, struct.pack("=IH", 80, 2))
    assert (snapshot.version, snapshot2.version) == (3, 2)
    assert (snapshot.status, snapshot2.status) == (ClockStatus.SYNCHRONIZED, ClockStatus.SYNCHRONIZED)
    # One is in UTC and the other since boot.
    assert 0 <= now.wall - snapshot.as_of < 60 * SECOND
    assert 0 <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) - snapshot2.as_of < 60 * SECOND
    assert snapshot.void_after - snapshot.as_of == snapshot2.void_after - snapshot2.as_of == MAX_AGE
    # The wall clock is at best as exact as the daemon's own.
    assert 0 < snapshot.bound <= snapshot2.bound < SECOND // 10
    assert snapshot.max_drift_ppb == 15_000 <= snapshot2.max_drift_ppb
    # The counter's period: a fraction of 2**64, shifted; some GHz on x86, from 25 MHz on ARM.
    counter, fraction, shift = *struct.unpack_from("=Q32xQ", data, 16), data[97]
    assert counter > 0
    assert 1e-10 < fraction / 2 ** (64 + shift) < 1e-7
    assert data[99:] == bytes(5)


def test_own_segment_alone(tmp_path: Path) -> None:
    """Without the segment for older readers the source fails, with that reason."""
    with clockbound3() as run:
        answer_of(ClockBoundSource(str(run / "clockbound/shm1")))
        alone = tmp_path / "shm1"
        alone.write_bytes(at_rest(run / "clockbound/shm1")[0])
    assert "for a clock that is made from the CPU's counter" in refusal(ClockBoundSource(str(alone)))


def test_daemon_gone() -> None:
    """A segment of 3.x is believed for a while after its daemon is gone, with a growing bound."""
    first, second = left_behind(clockbound3(), 6)
    assert second.width > first.width
