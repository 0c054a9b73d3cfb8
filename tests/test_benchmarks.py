"""The benchmarks run; and the cost table: the page has the rows that the script makes, and it writes what it has."""

from __future__ import annotations

import contextlib
import html
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from skewguard.clocks import Clocks
from skewguard.interval import Interval
from skewguard.sources import Source
from skewguard.testing.clocks import FakeClocks
from tests.fakes import FakeSource
from tests.real.need import need
from tests.support import completed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/sources.md"


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], ModuleType]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def script(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("sources")


def cells(table: str) -> list[list[str]]:
    """Split the rows of a Markdown table into cells; other lines are dropped."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_performance_has_the_rows_of_instructions(load: Callable[[str], ModuleType]) -> None:
    """Counts and their ratios; no time."""
    script, common = load("instructions"), load("common")
    table = common.split((ROOT / "docs/performance.md").read_text("utf-8"), "instructions")[1]
    header, _, *rows = cells(table)
    assert header == list(script.HEADER)
    assert [row[0] for row in rows] == [row.what for row in script.ROWS]
    for _, plain, guarded, ratio in rows:
        counts = [int(count.replace(",", "")) for count in (plain, guarded)]
        assert float(ratio) == pytest.approx(counts[1] / counts[0], abs=0.001)


def test_page_has_the_scripts_rows(load: Callable[[str], ModuleType], script: ModuleType) -> None:
    """Names and texts, word for word; where figures belong, there are figures."""
    table = load("common").split(PAGE.read_text("utf-8"), "sources")[1]
    header, _, *rows = cells(table)
    assert header == list(script.HEADER)
    assert [row[:2] + row[5:] for row in rows] == [
        [row.name, row.against, row.detects, row.misses] for row in script.ROWS
    ]
    for row in rows:
        assert re.fullmatch(r"[\d,]+ µs", row[2])
        assert re.fullmatch(r"[\d,]+", row[3])
        assert re.fullmatch(r"±[\d,]+ µs", row[4])
    assert "`time.time()` took" in table


class Sundial(FakeSource):
    """A source that answers the third question, and then most."""

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        assert clocks.read().steady < deadline
        self.offset = None if self.count < 2 or self.count % 5 == 4 else 0
        return super().measure(clocks, deadline)


def test_measuring(script: ModuleType) -> None:
    """Failures count neither for the cost nor for the bound, and what was started is ended."""
    ended = []

    @contextlib.contextmanager
    def start() -> Iterator[tuple[Source, Clocks]]:
        yield Sundial(bound=7e-6), FakeClocks()
        ended.append(True)

    figures = script.measure(script.Row("Sundial", "", "", "", start), readings=20, settle=0)
    assert figures.bound == 7_000
    assert 0 < figures.clock < 100_000
    assert 0 < figures.reading < 1e9
    assert ended == [True]


def test_missing_part(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """A source whose daemon is not installed has no figures, and stderr says why."""

    def start() -> None:
        pytest.skip("no sun here")

    assert script.attempt(script.Row("Sundial", "", "", "", start), 1, 0) is None
    assert "Sundial: no sun here" in capsys.readouterr().err


def test_writing(load: Callable[[str], ModuleType], script: ModuleType) -> None:
    """The text between the markers is replaced, the rest stays, and writing again changes nothing."""
    insert = load("common").insert
    row = script.Row("Sundial", "the sun", "day", "night", None)
    table = script.render((row,), [script.Figures(1_234_567, 50, 7_400)])
    assert cells(table)[2] == ["Sundial", "the sun", "1,235 µs", "24,691", "±7 µs", "day", "night"]
    begin, end = "<!-- sources: written by benchmarks/sources.py -->\n", "<!-- sources: end -->"
    page = f"above\n{begin}\nold\n{end}\nbelow\n"
    written = insert(page, "sources", table)
    assert written == f"above\n{begin}\n{table}\n{end}\nbelow\n"
    assert insert(written, "sources", table) == written
    for bad in ("", begin, end + begin, page + page):
        with pytest.raises(ValueError, match="once and in this order"):
            insert(bad, "sources", table)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """What the report prints and draws, each benchmark at its smallest."""
    page = tmp_path_factory.mktemp("report") / "made" / "benchmarks.html"
    command = [sys.executable, "benchmarks/report.py", "--small", "--write", str(page)]
    done = completed(*command, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout, page.read_text("utf-8")


def figures(printed: str) -> dict[str, list[str]]:
    """Parse the printed rows: what was measured, then botocore's figure, skewguard's, and the rest."""
    lines = [line for block in printed.strip().split("\n\n") for line in block.splitlines()[2:]]
    return {line[:58].strip(): re.findall(r"never|[\d,.]+", line[58:]) for line in lines}


class TestReport:
    """The comparisons with unguarded botocore."""

    def test_every_benchmark_runs(self, drawn: tuple[str, str]) -> None:
        """And those whose figures do not depend on the machine find what they are to find."""
        printed, _ = drawn
        need("valgrind" not in printed, "valgrind", "apt-get install valgrind")
        need("libfaketime" not in printed, "libfaketime", "pip install libfaketime==3.0.1 (for Linux on x86-64)")
        rows = figures(printed)
        assert rows["sts: requests until the first success"][:2] == ["never", "2"]
        assert rows["50 cold calls at once: failed"][:2] == ["50", "0"]
        assert rows["3 steps, 10 calls after each: failed"][1] == "0"
        assert rows["requests that they took"][1] in ("30", "31")
        assert rows["requests, each for itself"][:2] == ["3", "6"]
        assert rows["requests, sharing"][:2] == ["3", "4"]
        assert rows["requests, with a local time source"][:2] == ["3", "3"]
        assert float(rows["signing"][2]) > 1
        assert float(rows["memory of a client"][2]) > 1

    def test_the_page_shows_what_is_printed(self, drawn: tuple[str, str]) -> None:
        """Every row, as two bars, in one file that loads nothing."""
        printed, page = drawn
        rows = figures(printed)
        assert page.count("<svg") == len(rows) == 20
        for row in rows:
            assert html.escape(row) in page
        assert not re.findall(r"""(?:src|href)=|url\(|@import""", page)
