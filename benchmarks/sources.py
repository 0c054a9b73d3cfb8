"""What one reading of each time source costs, how tight a bound it gives, and what it can notice.

Each source is read on this machine from the real daemon, started as in `tests/real`; the PTP hardware clock, which few
machines have, from the tests' fake device. The figures are medians. `time.time()` is timed with each reading, so that
the multiples can be compared between machines.

    python benchmarks/sources.py [--readings 2000] [--settle 10] [--write docs/sources.md]

``--write`` replaces the table between the two marker comments of that file; the texts beside the figures are kept here.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import common  # so that the tests can be imported
import pytest

from skewguard.clocks import Clocks, system
from skewguard.errors import SourceError
from skewguard.sources import Source
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockboundd import ClockBounddSource
from skewguard.sources.ntp import NtpSource
from tests.real import test_chrony_tracking as ways
from tests.real.chronyd import chronyd
from tests.real.test_clockbound import clockbound
from tests.test_phc import Device

HEADER = ("source", "tried with", "one reading", "times `time.time()`", "error bound", "detects", "does not detect")

SECOND = 1_000_000_000
LONGEST = 5.0  # seconds for the readings of one source
PATIENCE = 30.0  # seconds until a daemon that was just started must give the time

Opened = AbstractContextManager[tuple[Source, Clocks]]


class Row(NamedTuple):
    """One source of the table.

    Attributes:
        name: Its name in the table.
        against: The daemon or device that it is tested with.
        detects: The faults that it detects.
        misses: The faults that it does not detect.
        start: Starts what it needs, and ends it; yields the source and the clocks to measure with.
    """

    name: str
    against: str
    detects: str
    misses: str
    start: Callable[[], Opened]


class Figures(NamedTuple):
    """The medians of one reading, one `time.time()`, and half an interval's width; all in ns."""

    reading: float
    clock: float
    bound: float


@contextlib.contextmanager
def _clockbound() -> Iterator[tuple[Source, Clocks]]:
    with clockbound() as run:
        yield ClockBoundSource(str(run / "clockbound/shm0")), system()


@contextlib.contextmanager
def _clockboundd() -> Iterator[tuple[Source, Clocks]]:
    with clockbound() as run:
        yield ClockBounddSource(str(run / "clockboundd/clockboundd.sock")), system()


@contextlib.contextmanager
def _chrony(way: str) -> Iterator[tuple[Source, Clocks]]:
    # Where chronyd has its socket, /run, is in memory almost everywhere; on a disk, a reading takes milliseconds.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with mock.patch.object(tempfile, "tempdir", memory), chronyd() as server, chronyd(upstream=server) as client:
        yield getattr(ways, way)(client), system()


@contextlib.contextmanager
def _ntp() -> Iterator[tuple[Source, Clocks]]:
    with chronyd() as server:
        yield NtpSource(server.host, server.port, allow_local=True, min_poll=0), system()


@contextlib.contextmanager
def _phc() -> Iterator[tuple[Source, Clocks]]:
    with tempfile.TemporaryDirectory() as directory:
        device = Device(Path(directory))
        with mock.patch.object(time, "clock_gettime_ns", device.gettime):
            yield device.source(), device.clocks


ROWS = (
    Row(
        "ClockBound 2.x",
        "its daemon, 2.0.3",
        "that the wall clock is right; that the daemon or its reference is gone; that the machine was paused (VMClock)",
        "by how much a wrong clock is off; a step by another program that no earlier reading noticed, until it checks",
        _clockbound,
    ),
    Row(
        "ClockBoundD 0.1.x",
        "its daemon, 0.1.4",
        "that the wall clock is right; that the daemon is gone, or chronyd not synchronized",
        "by how much a wrong clock is off; a step by another program, until chronyd's next poll; a pause",
        _clockboundd,
    ),
    Row(
        "PTP hardware clock",
        "a fake device, so the bound is invented",
        "by how much the wall clock is off, after any step",
        "that the card's clock itself is wrong; TAI on a device named like one that shows UTC",
        _phc,
    ),
    Row(
        "chrony, over UDP",
        "chronyd, on loopback",
        "by how much the wall clock is off, while chronyd slews it or may not set it; that chronyd has no reference",
        "a step of less than 10 s by another program, until chronyd's next poll; a server that lies to chronyd",
        lambda: _chrony("by_udp"),
    ),
    Row(
        "chrony, over its socket",
        "chronyd, by its own user or root",
        "as over UDP",
        "as over UDP",
        lambda: _chrony("by_socket"),
    ),
    Row(
        "NTP",
        "chronyd, on loopback; a network adds half its round trip to the bound",
        "by how much the wall clock is off; that the server is not synchronized, or contradicts itself; replies forged"
        " without reading the request",
        "forgery or delay by an attacker who reads it; a server that lies (others outvote it); a smeared leap second",
        _ntp,
    ),
)


def clock_cost() -> float:
    """Time `time.time()`, ns a call."""
    number = 20_000
    return min(timeit.repeat(time.time, number=number, repeat=5)) / number * SECOND


def measure(row: Row, readings: int, settle: float) -> Figures:
    """Read a source many times, once it has given the time for `settle` seconds."""
    with row.start() as (source, clocks):

        def read() -> int | None:
            try:
                return source.measure(clocks, clocks.read().steady + SECOND).width
            except SourceError:
                return None

        limit = time.monotonic() + PATIENCE
        while read() is None:
            if time.monotonic() > limit:
                source.measure(clocks, clocks.read().steady + SECOND)  # raises the reason
            time.sleep(0.1)
        time.sleep(settle)
        clock = clock_cost()
        took: list[int] = []
        widths: list[int] = []
        limit = time.monotonic() + LONGEST
        while len(took) < readings and time.monotonic() < limit:
            began = time.perf_counter_ns()
            width = read()
            ended = time.perf_counter_ns()
            if width is not None:
                took.append(ended - began)
                widths.append(width)
        clock = min(clock, clock_cost())
    return Figures(statistics.median(took), clock, statistics.median(widths) / 2)


def render(rows: tuple[Row, ...], measured: list[Figures | None]) -> str:
    """Format the table in Markdown; a source that was not measured has no figures."""
    lines = [HEADER]
    for row, figures in zip(rows, measured, strict=True):
        if figures is None:
            cells = ("", "", "")
        else:
            times = f"{figures.reading / figures.clock:,.0f}"
            cells = (f"{figures.reading / 1000:,.0f} µs", times, f"±{figures.bound / 1000:,.0f} µs")
        lines.append((row.name, row.against, *cells, row.detects, row.misses))
    return common.markdown(lines)


def footnote(measured: list[Figures | None]) -> str:
    """Describe in one line where the figures are from."""
    clocks = [figures.clock for figures in measured if figures is not None]
    clock = f"; `time.time()` took {statistics.median(clocks):.0f} ns" if clocks else ""
    return f"Medians on {platform.machine()}, Python {platform.python_version()}{clock}.\n"


def attempt(row: Row, readings: int, settle: float) -> Figures | None:
    """Measure a source; return None, with a line on stderr, if its daemon is not installed."""
    absent: tuple[Any, ...] = (pytest.skip.Exception, pytest.fail.Exception)
    try:
        return measure(row, readings, settle)
    except absent as missing:
        print(f"{row.name}: {missing}", file=sys.stderr)
        return None


def main() -> int:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=2000, help="how many, of each source")
    parser.add_argument("--settle", type=float, default=10.0, help="seconds for a new daemon to settle")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table into this file")
    options = parser.parse_args()
    measured = [attempt(row, options.readings, options.settle) for row in ROWS]
    table = f"{render(ROWS, measured)}\n{footnote(measured)}"
    print(table, end="")
    if options.write is None:
        return 0
    if None in measured:
        print("not written: some sources could not be measured", file=sys.stderr)
        return 1
    options.write.write_text(common.insert(options.write.read_text("utf-8"), "sources", table), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
