"""The ClockBound source's file: replaced, truncated, torn, and written while it is read."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.clocks import system
from skewguard.errors import SourceError
from skewguard.interval import Interval
from skewguard.sources import clockbound
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockbound_segment import SECOND
from skewguard.testing import FakeClocks
from tests.clockbound_host import FOREVER, MS, Host, Segment
from tests.patience import in_threads
from tests.support import nothing_left_open

needs_native = pytest.mark.skipif(not hasattr(os, "pread"), reason="ClockBound is for Linux")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_what_is_no_file(host: Host, tmp_path: Path) -> None:
    """A pipe, a device, a directory and a forbidden file are refused at once, and leave nothing open."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with nothing_left_open():
        for path in (fifo, tmp_path, Path("/dev/zero"), host.path / "below", tmp_path / ("x" * 300)):
            with pytest.raises(SourceError, match=r"^clockbound:/.* (is no regular file|cannot be read \(|is 0 bytes)"):
                ClockBoundSource(str(path)).measure(host.clocks, FOREVER)


def test_file_replaced(host: Host) -> None:
    """The next measurement reads a file that has replaced the old one, or reports that there is none."""
    assert host.measure().width == 2 * MS
    new = host.path.with_name("new")
    new.write_bytes(bytes(Segment(bound=5)))
    new.replace(host.path)
    assert host.measure().width == 2 * 5
    host.path.unlink()
    with pytest.raises(SourceError, match="there is no"):
        host.measure()


def test_nothing_stays_open(host: Host) -> None:
    with nothing_left_open():
        for bound in range(9):
            host.write(bound=bound)
            host.measure()


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
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@needs_native
@pytest.mark.slow
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
                    snapshot = clockbound._read_segment(str(path))
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
        writes = int(process.stdout.read())
    print(
        f"{writes} writes, {taken} snapshots taken ({len(seen)} different), {refused} refused; unguarded: {torn} torn"
    )
    assert taken > 100
    assert len(seen) > 10


@needs_native
@pytest.mark.slow
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
        in_threads(8, ask)

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
