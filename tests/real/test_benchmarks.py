"""The benchmarks' scripts, run as users run them; that of the cost table against the real daemons."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.real.need import need
from tests.support import completed
from tests.test_benchmarks import PAGE, ROOT, cells


def test_sources(tmp_path: Path) -> None:
    """It measures every source here, prints the table, and writes the same into a page; the page keeps its rows."""
    need(os.geteuid() == 0, "root", "ClockBound 0.1.x asks chronyd at a port that is root's")
    page = tmp_path / "page.md"
    shutil.copy(PAGE, page)
    command = [sys.executable, "benchmarks/sources.py", "--settle", "0", "--readings", "20", "--write", page]
    done = completed(*command, cwd=ROOT)
    need("not written" not in done.stderr, "a daemon of the table", done.stderr)
    assert done.returncode == 0, done.stderr
    printed = cells(done.stdout)
    kept = cells(PAGE.read_text("utf-8").partition("<!-- sources:")[2].partition("<!-- sources: end")[0])
    assert [row[0] for row in printed] == [row[0] for row in kept]
    assert all(all(row[2:5]) for row in printed)
    assert done.stdout in page.read_text("utf-8")
