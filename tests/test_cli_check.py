"""``skewguard check`` and ``offset``: assessment, wording, and the commands as a monitoring system runs them."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from pathlib import Path

import pytest

from skewguard.assessment import NAMES
from skewguard.cli import check, main, survey
from skewguard.cli.survey import SourceResult, Survey
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval, Trust
from skewguard.timekeeping import shared_file
from skewguard.timekeeping.timekeeper import Timekeeper
from skewguard.wording import clock_offset, decimal, length, off, plain
from tests.fakes import FakeSource, accepted, raising
from tests.support import completed, exit_code
from tests.surveys import WALL, heard

MS, HOUR = SECOND // 1000, 3600 * SECOND

# The grammar of the Monitoring Plugins Development Guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
RANGE = r"@?(?:(?:~|-?[\d.]+):(?:-?[\d.]+)?|-?[\d.]+)"
PERFORMANCE = re.compile(
    rf"([^'= ]+)=(-?[0-9.]+)(s|us|ms|%|B|c)?(?:;({RANGE})?)?(?:;({RANGE})?)?(?:;(-?[\d.]+)?)?(?:;(-?[\d.]+)?)?"
)


def silence(*errors: str) -> Survey:
    return Survey(None, tuple(SourceResult(f"ntp://{index}", None, error) for index, error in enumerate(errors)), WALL)


def parsed(line: str) -> dict[str, tuple[str | None, ...]]:
    """Parse performance data strictly by the guidelines."""
    _, _, data = line.partition(" | ")
    found = {}
    for word in data.split(" ") if data else []:
        match = PERFORMANCE.fullmatch(word)
        assert match, word
        label, *values = match.groups()
        found[label] = tuple(values)
    return found


class TestWords:
    """Lengths of time as text."""

    @pytest.mark.parametrize(
        ("ns", "text"),
        [
            (0, "0 us"),
            (999_499, "999 us"),
            (999_500, "1.0 ms"),
            (-3_400_000, "3.4 ms"),
            (999_499_999, "999.5 ms"),
            (999_500_000, "1.0 s"),
            (90 * SECOND, "90.0 s"),
            (119_950 * MS, "2 min 0 s"),
            (1200 * SECOND, "20 min 0 s"),
            (3599_600 * MS, "1 h 0 min 0 s"),
            (-3661 * SECOND, "1 h 1 min 1 s"),
            (100 * 3600 * SECOND, "4 d 4 h"),
        ],
    )
    def test_lengths(self, ns: int, text: str) -> None:
        assert length(ns) == text

    def test_slow_is_behind_true_time(self) -> None:
        assert [off(SECOND), off(-SECOND), off(0)] == ["1.0 s slow", "1.0 s fast", "right"]
        assert clock_offset(SECOND, 3 * MS, "ntp://a") == "1.0 s behind true time (within 3.0 ms, by ntp://a)"
        assert clock_offset(-SECOND, 0, "b", "S3's clock") == "1.0 s ahead of S3's clock (within 0 us, by b)"

    @pytest.mark.parametrize(
        ("ns", "text"),
        [
            (0, "0.000000"),
            (-499, "0.000000"),
            (-500, "-0.000001"),
            (1200 * SECOND + 56_499, "1200.000056"),
            (-(10**18) - 1_000_000, "-1000000000.001000"),  # more digits than a float has
        ],
    )
    def test_decimals(self, ns: int, text: str) -> None:
        assert decimal(ns) == text

    @pytest.mark.parametrize(("ns", "text"), [(0, "0"), (60 * SECOND, "60"), (600 * SECOND, "600"), (1, "0.000000001")])
    def test_thresholds(self, ns: int, text: str) -> None:
        assert plain(ns) == text


class TestJudging:
    """From a survey to an exit code and a line."""

    @pytest.mark.parametrize(
        ("offset", "code"),
        [(0, 0), (59.9, 0), (60, 0), (-60, 0), (60.1, 1), (-90, 1), (90, 1), (240, 1), (240.1, 2), (-300, 2), (1e9, 2)],
    )
    def test_thresholds_are_ranges(self, offset: float, code: int) -> None:
        """The ends of a range are inside it, as in the performance data."""
        outcome = check.assess(heard(offset), 60 * SECOND, 240 * SECOND)
        assert outcome.code == code
        assert outcome.line.startswith(NAMES[code] + " - ")
        value = parsed(outcome.line)["offset"]
        assert value[1:4] == ("s", "-60:60", "-240:240")
        assert float(value[0] or "") == pytest.approx(offset)

    def test_the_line(self) -> None:
        outcome = check.assess(heard(1200, 0.0034), 60 * SECOND, 240 * SECOND)
        assert outcome.line == (
            "CRITICAL - this host's clock is 20 min 0 s behind true time (within 3.4 ms, by ntp://a)"
            " | offset=1200.000000s;-60:60;-240:240 bound=0.003400s;;;0"
        )
        assert list(parsed(outcome.line)) == ["offset", "bound"]

    @pytest.mark.parametrize("empty", range(4))
    def test_silence(self, empty: int) -> None:
        outcome = check.assess(silence("ntp://0 did not answer", "b"), 60 * SECOND, 240 * SECOND, empty)
        assert outcome.line == f"{NAMES[empty]} - no time source gave the time: ntp://0: did not answer; ntp://1: b"

    def test_why_nothing_is_known(self) -> None:
        one = heard(1).results[0]
        assert silence().why_not == "no time source is configured"
        assert Survey(None, (one, one._replace(off_by=None)), WALL).why_not.endswith("that answered disagree")
        assert Survey(None, (one,), WALL, 2).why_not == "only 1 of the time sources answered; min_sources is 2"

    def test_an_error_text_cannot_pass_for_performance_data(self) -> None:
        outcome = check.assess(silence("x | offset=0s"), 1, 2)
        assert parsed(outcome.line) == {}
        assert "|" not in outcome.line


class TestAsking:
    @pytest.mark.slow
    def test_a_source_that_hangs_is_named(self) -> None:
        """The poll and the wait for it end at the same time; their order must not matter."""
        over = threading.Event()
        mute = FakeSource("mute", offset=None, instant=False, gate=over)
        try:
            for _ in range(10):
                found = survey.ask(Settings(sources=(mute,), timeout=50 * MS))
                assert [one.name for one in found.results] == ["mute"]
                assert found.why_not.startswith("no time source gave the time: mute: ")
        finally:
            over.set()

    def test_the_shared_file_is_not_used(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The sources are asked, not other processes."""
        monkeypatch.setattr(shared_file, "bases", lambda: iter([str(tmp_path)]))
        tmp_path.chmod(0o700)
        taught, other = (Timekeeper(Settings(sources=())) for _ in range(2))
        steady, wall = taught.clocks.read()
        said = Interval(steady, wall + HOUR, wall + HOUR + MS, Trust.AUTHENTICATED, "https://aws")
        taught.learn(taught.utc, accepted(said))
        taught.share(taught.utc)
        other.signing_time(other.utc)
        assert other.now() is not None  # any other process would use it
        monkeypatch.setattr(survey, "Timekeeper", lambda *given: made.append(Timekeeper(*given)) or made[-1])
        made: list[Timekeeper] = []
        asked = survey.ask(Settings(sources=()))
        made[0].signing_time(made[0].utc)
        assert (asked.estimate, made[0].now()) == (None, None)

    def test_all_sources_are_asked(self) -> None:
        """Two instant sources that agree would be enough; `doctor` asks the third as well."""
        right = [FakeSource(name) for name in "ab"]
        wanted = Settings(sources=(*right, FakeSource("c", offset=3600, instant=False)))
        found = survey.ask(wanted, all_sources=True)
        assert [(one.name, bool(one.off_by)) for one in found.results] == [("a", False), ("b", False), ("c", True)]
        assert abs(found.estimate.offset) <= found.estimate.bound
        assert not found.estimate.authenticated


class TestTheCommands:
    """Exit codes and streams."""

    @pytest.mark.parametrize(
        "arguments",
        ["--bogus", "-w abc", "-w -1", "-w 300", "--source sun", "--min-sources 0", "--empty-state fine", "one more"],
    )
    def test_wrong_arguments_are_unknown(self, arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
        """2, argparse's own, would be an alarm."""
        assert exit_code("check", *arguments.split()) == 3
        out = capsys.readouterr().out
        assert out.startswith("UNKNOWN - ")
        assert out.count("\n") == 1

    def test_an_internal_error_is_unknown(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(check.survey, "ask", raising(RuntimeError("two\nlines")))
        assert main(["check"]) == 3
        assert capsys.readouterr().out == "UNKNOWN - RuntimeError: two lines\n"

    @pytest.mark.parametrize(("flags", "code"), [([], 2), (["--empty-state", "unknown"], 3), (["--empty-state=ok"], 0)])
    def test_an_unreachable_source(self, flags: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
            deaf.bind(("127.0.0.1", 0))
            source = f"ntp://127.0.0.1:{deaf.getsockname()[1]}"
            assert main(["check", "--source", source, "--timeout", "0.2", *flags]) == code
            out, _ = capsys.readouterr()
            # On a busy machine the time is over before the source is asked.
            assert "did not answer within" not in out or deaf.recv(100)
        assert out.startswith(NAMES[code])
        assert re.search(r"did not answer within|no answer in time|was given no time", out)
        assert out.count("\n") == 1

    def test_no_number_is_no_number(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["offset"]) == 3
        assert capsys.readouterr() == ("", "skewguard offset: no time source is configured\n")
        assert main(["offset", "--source", "sundial"]) == 2
        assert not capsys.readouterr().out

    @pytest.mark.parametrize("name", ["check", "offset", "doctor"])
    def test_needs_no_aws(self, name: str) -> None:
        """Neither credentials nor a home directory; the heavy modules of botocore stay unloaded."""
        program = f"""
import sys
import threading
from skewguard.cli import main
main(["{name}"])
print(*(name for name in ("botocore.session", "botocore.auth", "boto3", "urllib.request") if name in sys.modules))
"""
        environment = {"PATH": "/nonexistent", "SKEWGUARD_SOURCES": "response", "PYTHONPATH": os.pathsep.join(sys.path)}
        done = completed(sys.executable, "-c", program, env=environment)
        assert done.stdout.splitlines()[-1] == "", done.stdout
        assert "Traceback" not in done.stderr
