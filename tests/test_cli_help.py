"""How the command meets people: suggestions, colours, a summary, the options of ``exec``."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from skewguard.cli import exec_, main, output
from skewguard.cli.doctor import command as doctor
from skewguard.cli.doctor.finding import Finding, Level
from tests.support import exit_code


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code", "meant"),
    [
        ("docter", 2, "doctor"),
        ("chekc", 2, "check"),
        ("check --sorce x", 3, "--source"),
        ("doctor --eror x", 2, "--error"),
        ("exec --wiat 2 -- true", 2, "--wait"),
        ("exec --sourc chrony -- true", 2, "--source"),
        ("awscli enabel", 2, "enable"),
        ("check --empty-state unknwon", 3, "unknown"),
        ("xyzzy", 2, ""),
        ("check --xyzzy", 3, ""),
    ],
)
def test_a_misspelt_word(typed: str, code: int, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error says what was probably meant, in each version of Python once."""
    assert exit_code(*typed.split()) == code
    said = re.sub(r"\s+", " ", capsys.readouterr().err)
    assert re.findall(r"Did you mean (\S+)\?", said) == ([meant] if meant else [])


class TestColours:
    TEXT = "[ OK ] fine.\n[FAIL] bad: [WARN] is no mark here.\n    [NOTE] nor is this"

    def shown(self, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **environ: str) -> str:
        for name in ("NO_COLOR", "TERM", "COLUMNS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(output.sys, "stdout", stream)
        output.write(self.TEXT, wrap=True)
        return stream.getvalue().rstrip("\n")

    def test_on_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = self.shown(monkeypatch, Terminal(), TERM="xterm")
        assert shown.startswith("[\033[32m OK \033[0m] fine.\n[\033[31mFAIL\033[0m] bad: [WARN] ")
        assert shown.count("\033") == 4
        assert re.sub(r"\033\[\d+m", "", shown) == self.TEXT

    @pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
    def test_not_where_they_are_not_wanted(self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.shown(monkeypatch, Terminal(), **environ) == self.TEXT

    def test_not_in_a_file(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.shown(monkeypatch, io.StringIO(), TERM="xterm") == self.TEXT


class TestSummary:
    def test_it_names_what_is_wrong(self) -> None:
        bad = [Finding(Level.FAIL, "x", "clock-wrong"), Finding(Level.FAIL, "y", "aws-refuses")]
        assert doctor.summary([*bad, *bad]).startswith("2 kinds of problems were found: clock-wrong, aws-refuses. ")
        assert doctor.summary([bad[0], Finding(Level.NOTE, "z", "n")]).startswith(
            "One kind of problem was found: clock-"
        )
        assert doctor.summary([Finding(Level.NOTE, "z", "n")]) == "No problem was found."

    def test_on_a_terminal_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And `-v` prints the names of all findings."""
        for stream, lines in ((Terminal(), 1), (io.StringIO(), 0)):
            monkeypatch.setattr(output.sys, "stdout", stream)
            assert main(["doctor", "-v", "--source", "ntp://127.0.0.1:9", "--timeout", "0.1"]) == 3
            shown = stream.getvalue()
            assert len(re.findall(r"kinds? of problems? wa?e?r?e?s? ?found", shown)) == lines
            assert "(clock-unknown)" in re.sub(r"\s+", " ", shown)


class TestExec:
    @pytest.fixture
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """What the program is run with, and as."""
        seen: dict[str, Any] = {}

        def run(name: str, command: list[str], environ: dict[str, str]) -> None:
            seen.update(environ, command=command)
            raise FileNotFoundError

        monkeypatch.setattr(exec_, "REPLACES", True)
        monkeypatch.setattr(exec_.os, "execvpe", run)
        return seen

    def test_options_before_the_command(self, environment: dict[str, Any]) -> None:
        """They beat the environment; the command's own are left alone."""
        typed = "--source chrony --source=ntp://127.0.0.1:9 --wait 2 --max-offset none -- tool --wait 9 -- --source x"
        assert main(["exec", *typed.split()]) == exec_.NOT_FOUND
        assert environment["command"] == ["tool", "--wait", "9", "--", "--source", "x"]
        assert environment["SKEWGUARD_SOURCES"] == "chrony,ntp://127.0.0.1:9"
        assert (environment["SKEWGUARD_WAIT"], environment["SKEWGUARD_MAX_OFFSET"]) == ("2", "none")
        assert "SKEWGUARD_TIMEOUT" not in environment

    def test_without_two_dashes(self, environment: dict[str, Any]) -> None:
        assert main(["exec", "--timeout", "3", "tool", "--timeout", "9"]) == exec_.NOT_FOUND
        assert environment["command"] == ["tool", "--timeout", "9"]
        assert environment["SKEWGUARD_TIMEOUT"] == "3"

    @pytest.mark.parametrize("typed", ["--wait soon", "--source sundial:/garden", "--min-sources 0"])
    def test_a_wrong_one_is_an_error(
        self, typed: str, environment: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing is run."""
        assert main(["exec", *typed.split(), "--", "tool"]) == 2
        assert not environment
        assert capsys.readouterr().err.startswith("skewguard exec: ")
