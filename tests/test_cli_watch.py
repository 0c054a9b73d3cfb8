"""``skewguard watch``: the picture, and the lines without a terminal or without rich."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from skewguard.cli import main
from skewguard.cli.survey import SourceResult, Survey
from skewguard.cli.watch import command as watch
from skewguard.cli.watch import plot, screen
from skewguard.interval import SECOND
from skewguard.sources.auto import HostSources
from skewguard.sources.ntp import NtpSource
from tests import pages
from tests.fakes import raising
from tests.ntp_server import Server, wall_server
from tests.support import exit_code, run_python
from tests.surveys import WALL, heard, known
from tests.terminals import drifting


@pytest.fixture
def right() -> Iterator[Server]:
    """An NTP server that is right, by this host's clock."""
    with wall_server() as server:
        yield server


class TestThePlot:
    def test_a_clock_that_wanders_past_the_right_time(self) -> None:
        """The bound around each offset; a gap if there was no answer; a line at offset zero."""
        rounds = [known(2, 1), known(1, 1), None, known(0, 0), known(-1, 0)]
        assert plot.draw(rounds, 40, 5, plot.ASCII) == ["+3 s +|", "     +o|", "+1 s +|o", "     +-|-o-", "-1 s +    o"]

    def test_the_newest_are_kept(self) -> None:
        """As many as fit in the columns; the scale covers all."""
        lines = plot.draw([known(value, 0) for value in range(100)], 20, 4)
        assert len(lines[0]) == 20
        assert lines[0].endswith("●")
        assert lines[0].startswith("+99 s ")
        assert "●" not in lines[3]

    def test_the_scale_tells_its_lines_apart(self) -> None:
        """A millisecond next to an hour; and a clock that never moves."""
        lines = plot.draw([known(3600, 0), known(3600.001, 0)], 40, 5)
        labels = [line.split("┤")[0].strip() for line in lines]
        assert labels == ["+3600.0010 s", "", "+3600.0005 s", "", "+3600.0000 s"]
        assert [line[-1] for line in plot.draw([known(0, 0)], 40, 3)] == ["┤", "●", "┤"]

    def test_no_answer_yet(self) -> None:
        assert plot.draw([None, None], 40, 3) == ["no time yet", "", ""]


class TestThePicture:
    """Table and plots, in windows of any size."""

    SAID = (
        SourceResult("ntp://a", known(0.001, 0.002), None, 0),
        SourceResult("ntp://b", known(-180, 0.002), None, 180 * SECOND),
        SourceResult("ntp://c", None, "ntp://c did not answer within 1.0 s"),
    )

    def drawn(self, width: int, height: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
        history = screen.History(SECOND // 2)
        history.add(Survey(self.SAID[0].measured, self.SAID, WALL))
        console.print(history.picture(console))
        return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]

    def test_names_offsets_bounds_and_verdicts(self) -> None:
        lines = self.drawn(100, 40)
        assert lines[0] == "skewguard watch  2027-01-15T08:00:00Z  round 1, every 0.5 s; Ctrl-C ends"
        assert lines[1] == "OK - this host's clock is 1.0 ms behind true time (within 2.0 ms, by ntp://a)"
        assert [" ".join(line.split()) for line in lines[3:7]] == [
            "source offset error bound verdict",
            "ntp://a +0.001000 s 2.0 ms agrees",
            "ntp://b -180.000000 s 2.0 ms 3 min 0 s off what most sources agree on",
            "ntp://c - - did not answer within 1.0 s",
        ]
        assert lines.count("no time yet") == 1

    @pytest.mark.parametrize(("height", "plots"), [(5, 0), (13, 1), (17, 2), (21, 3), (60, 3)])
    def test_it_fits(self, height: int, plots: int) -> None:
        """As many plots as fit, none cut in half; one line is left for the cursor."""
        lines = self.drawn(60, height)
        assert len(lines) < max(height, 9)
        assert sum(line in {"ntp://a", "ntp://b", "ntp://c"} for line in lines) == plots
        assert all(len(line) <= 60 for line in lines)
        assert lines[5].startswith("ntp://b  -180.000000 s       2.0 ms  3 min 0 s off")


class TestThePage:
    """docs/cli.md shows what is drawn."""

    def test_the_picture(self) -> None:
        assert drifting(width=100) == pages.console("watch")[1]


class TestLines:
    """The lines printed if stdout is not a terminal."""

    def test_a_line_for_each_round(self, right: Server, capsys: pytest.CaptureFixture[str]) -> None:
        """Assessed as `check` does; the server is asked once, because it must not be asked again so soon."""
        assert main(["watch", "--interval", "0.01", "--count", "3", "--source", right.uri]) == 0
        out, err = capsys.readouterr()
        assert not err
        lines = out.splitlines()
        assert len(lines) == 3
        for line in lines:
            assert "Z OK - this host's clock is " in line
            assert line.endswith("; agrees")
        assert len(right.requests) == 1

    def test_what_the_host_has_is_looked_up_once(
        self, right: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """New objects in each round would ask the server in each."""
        monkeypatch.setattr(HostSources, "tiers", lambda _: [(NtpSource("127.0.0.1", right.port),)])
        assert main(["watch", "--interval", "0", "--count", "3", "--source", "auto"]) == 0
        assert capsys.readouterr().out.count("; agrees\n") == 3
        assert len(right.requests) == 1

    def test_json_lines(self, right: Server, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["watch", "--json", "--interval", "0", "--count", "2", "--source", right.uri]) == 0
        for line in capsys.readouterr().out.splitlines():
            told = json.loads(line)
            assert (told["status"], told["time"][-1]) == ("OK", "Z")
            assert abs(told["sources"][0]["offset"]) <= told["sources"][0]["error_bound"] + 0.001

    def test_a_line(self) -> None:
        """As docs/cli.md shows it."""
        line = watch.line(heard(90, 0.003, "chrony"))
        assert f"\n{line}\n" in (pages.ROOT / "docs" / "cli.md").read_text("utf-8")

    def test_an_error_appears_once_in_a_line(self) -> None:
        silent = Survey(None, (SourceResult("ntp://a", None, "ntp://a did not answer within 1.0 s"),), WALL)
        assert watch.line(silent) == (
            "2027-01-15T08:00:00Z CRITICAL - no time source gave the time: ntp://a: did not answer within 1.0 s"
        )

    def test_a_signal_that_comes_just_before_a_sleep_ends_it_soon(
        self, right: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Python handles it after the sleep, so no sleep lasts for a whole long interval."""
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            raise KeyboardInterrupt

        monkeypatch.setattr(watch.time, "sleep", sleep)
        assert main(["watch", "--interval", "600", "--source", right.uri]) == 0
        assert capsys.readouterr().out.count("\n") == 1
        assert 0 < max(slept) <= 1

    def test_an_interrupt_ends_it(self, right: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also while it writes."""
        monkeypatch.setattr(watch, "line", raising(KeyboardInterrupt()))
        assert main(["watch", "--source", right.uri]) == 0


class TestRefusals:
    """One sentence each."""

    @pytest.mark.parametrize(
        "arguments", [["--interval", "soon"], ["--count", "0"], ["--count", "-1"], ["--source", "sundial"], []]
    )
    def test_wrong_arguments(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """No source is one of them: the tests' environment has none."""
        assert exit_code("watch", *arguments) == 2
        out, err = capsys.readouterr()
        assert not out
        assert "skewguard watch: " in err

    def test_without_rich(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """On a terminal, the message names what to install; no source is asked."""
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.delitem(sys.modules, "skewguard.cli.watch.screen", raising=False)
        monkeypatch.delattr("skewguard.cli.watch.screen")
        monkeypatch.setitem(sys.modules, "rich.console", None)
        with wall_server() as server:
            assert main(["watch", "--source", server.uri]) == 2
            assert not server.requests
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") == 1
        assert "pip install 'skewguard[cli]'" in err

    def test_lines_need_no_rich(self, right: Server) -> None:
        program = f"import sys; from skewguard.cli import main; main(['watch', '--count=1', '--source={right.uri}']); "
        program += "print('rich' in sys.modules)"
        assert run_python(program).endswith("agrees\nFalse\n")
