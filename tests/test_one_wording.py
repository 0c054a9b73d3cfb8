"""One fact has one wording: in the command, the log, Django's checks, a note on an exception, and a printed status."""

from __future__ import annotations

import contextlib
import logging
import time

import pytest

import skewguard
from skewguard.assessment import assess
from skewguard.cli import check, main, survey
from skewguard.cli.doctor import diagnosis
from skewguard.cli.doctor.examination import Examination
from skewguard.config import resolve
from skewguard.events import CorrectionChanged, emit
from skewguard.interval import SECOND
from skewguard.signing import report
from skewguard.testing import FakeClocks
from skewguard.testing.ntp import TimeServer
from tests.fakes import FakeSource
from tests.real.need import installed

FACT = "his host's clock is 20 min 0 s behind true time (within 12.2 ms, by source)"
SOURCE = FakeSource(offset=1200.0, bound=0.012)


def test_the_clocks_offset(caplog: pytest.LogCaptureFixture) -> None:
    """Word for word, apart from a sentence's capital."""
    clocks = FakeClocks()
    found = survey.ask(resolve({"sources": [SOURCE]}), clocks=clocks)
    assert found.estimate is not None
    bound = found.estimate.bound
    said = {
        "check": check.assess(found).text,
        "assess": assess(1200 * SECOND, bound, "source").text,
        "wait": found.estimate.sentence,
        "doctor": diagnosis.headline(Examination(found)).text,
    }
    with caplog.at_level(logging.INFO, "skewguard"):
        emit(CorrectionChanged("utc", 1200 * SECOND, bound, "source", clocks.wall, 1200 * SECOND, grade="vote"))
        emit(CorrectionChanged("utc", 0, bound, "source", clocks.wall, 1200 * SECOND, grade="vote"))
    said["log, beginning"], said["log, end"] = caplog.messages
    with skewguard.install(sources=[SOURCE], clocks=clocks):
        skewguard.measure()
        said["status"] = str(skewguard.status())
        said["offset"] = str(skewguard.offset())
        keeper = skewguard._process.process.keeper()
        said["note"] = report._known(keeper, keeper.utc).replace("within 12.0 ms", "within 12.2 ms")  # by itself
    assert {place: FACT in text for place, text in said.items()} == dict.fromkeys(said, True), said


def test_djangos_checks() -> None:
    """They are `check`'s sentences."""
    installed("django")
    from skewguard.contrib.django import checks

    with skewguard.install(sources=[SOURCE], clocks=FakeClocks()):
        skewguard.measure()
        (wrong,) = checks._wrong_clock(skewguard.status())
        assert wrong.msg == f"T{FACT}."
    with skewguard.install(sources=[FakeSource("a", offset=None)], clocks=FakeClocks()):
        (silent,) = checks.check_sources()
        assert silent.msg == f"N{survey.ask(resolve({'sources': [FakeSource('a', offset=None)]})).why_not[1:]}."


def test_the_tolerated_clock_is_not_called_right(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(TimeServer(lambda: time.time_ns() + 30 * SECOND)) as server:
        for command in ("doctor", "check", "wait"):
            assert main([command, "--source", server.uri]) == 0
            said = capsys.readouterr().out
            assert "30.0 s behind true time" in said
            assert "right" not in said
