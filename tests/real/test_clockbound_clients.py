"""Each ClockBound's own client and the source, asked in turn, a thousand times, beside the running daemon."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest

from skewguard.interval import Interval, Trust
from skewguard.sources import Source
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockboundd import ClockBounddSource
from tests.real.clockbound import CLOCKS, SECOND, THREE, answer_of, clockbound, clockbound3, holds_true_time
from tests.real.clockbound_ask import Ask, library, program
from tests.real.exact import exact
from tests.real.need import need

TIMES = 1000


def agree(ask: Ask, source: Source) -> None:
    """Ask both in turn: their intervals overlap each time, and the source's holds the host's time, which is right here.

    The client's may miss it, as 3.0.0-rc.0's did once on a busy machine.
    """
    widths: dict[str, list[int]] = {"theirs": [], "ours": []}
    for turn in range(TIMES):
        before = exact()
        their = ask()
        after = exact()
        interval = source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
        assert their.status in (1, 2), turn
        # The client read its clock at some moment between the two readings here.
        theirs = Interval(
            after.steady, their.earliest, their.latest + after.steady - before.steady, Trust.WITNESS, "theirs"
        )
        assert theirs.aged(interval.at).meets(interval), (turn, theirs, interval)
        assert holds_true_time(interval), turn
        widths["theirs"].append(their.latest - their.earliest)
        widths["ours"].append(interval.width)
        time.sleep(0.003)  # so that the daemon writes in between
    theirs_wide, ours_wide = (statistics.median(widths[who]) for who in ("theirs", "ours"))
    print(f"{source.name}: {theirs_wide / 1e3:.1f} µs wide, ours {ours_wide / 1e3:.1f} µs, medians of {TIMES}")
    assert len(set(widths["theirs"])) > 1
    assert 0.9 * theirs_wide <= ours_wide <= 1.5 * theirs_wide + SECOND // 1000


def test_two() -> None:
    """2.x: the C library, called by ctypes."""
    with clockbound() as run:
        segment = run / "clockbound/shm0"
        source = ClockBoundSource(str(segment))
        answer_of(source)
        agree(library("2.0.3", segment), source)


@pytest.mark.parametrize(("version", "segment"), [(THREE, "shm1"), ("2.0.3", "shm0")])
def test_three(version: str, segment: str) -> None:
    """3.x: its C library reads the counter of the CPU; that of 2.x, and the source, read what is written for 2.x."""
    with clockbound3() as run:
        path = run / "clockbound" / segment
        source = ClockBoundSource(str(path))
        answer_of(source)
        agree(library(version, path), source)


def test_old(tmp_path: Path) -> None:
    """0.1.x: its Rust crate asks the daemon over the socket, as the source does."""
    need(os.geteuid() == 0, "root", "ClockBound 0.1.x asks chronyd at a port that is root's")
    with clockbound() as run:
        source = ClockBounddSource(str(run / "clockboundd/clockboundd.sock"))
        answer_of(source)
        with program(run / "clockboundd/clockboundd.sock", tmp_path) as ask:
            agree(ask, source)
