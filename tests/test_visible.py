"""What a program that configures nothing shows: the clock's episodes, on stderr, and how it is silenced."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

import pytest

from skewguard import events
from skewguard.events import CorrectionChanged, Degraded, Retried, emit
from skewguard.interval import SECOND
from skewguard.testing import StrictEndpoint
from tests.support import completed

BEGINS = CorrectionChanged("utc", 1200 * SECOND, SECOND, "chrony", 1_800_000_000 * SECOND, 1200 * SECOND, grade="vote")
CHANGES = BEGINS._replace(offset=1300 * SECOND, found=1300 * SECOND)
ENDS = BEGINS._replace(offset=0, found=SECOND)
STALE = Retried("s3", "PutObject", "stale", "signed 400 s before its answer", 400 * SECOND)

PROGRAM = """
import logging, sys
{}
import boto3, skewguard
skewguard.install(sources=["response"])
boto3.client("sts").get_caller_identity()
"""


@contextlib.contextmanager
def unconfigured() -> Iterator[io.StringIO]:
    """stderr, in a process that has configured no logging; pytest has."""
    root = logging.getLogger()
    before = root.handlers, root.level, sys.stderr
    root.handlers, root.level, sys.stderr = [], logging.WARNING, (stream := io.StringIO())
    root.manager._clear_cache()
    try:
        yield stream
    finally:
        root.handlers, root.level, sys.stderr = before
        root.manager._clear_cache()


class TestOneLine:
    def test_for_the_beginning_a_change_and_the_end(self) -> None:
        with unconfigured() as stderr:
            for event in (BEGINS, CHANGES, ENDS):
                emit(event)
        begins, changes, ends = stderr.getvalue().splitlines()
        assert begins.startswith(
            "skewguard: this host's clock is 20 min 0 s behind true time (within 1.0 s, by chrony):"
        )
        assert changes.startswith("skewguard: this host's clock is 21 min 40 s behind true time ")
        assert ends.startswith(
            "skewguard: this host's clock is 1.0 s behind true time (within 1.0 s, by chrony), which is near"
        )

    def test_for_what_else_a_program_should_know(self) -> None:
        with unconfigured() as stderr:
            for event in (STALE, STALE, Degraded("signing", "no such function")):
                emit(event)
        stale, degraded = stderr.getvalue().splitlines()
        assert stale.startswith("skewguard: a request was refused 400 s after it was signed (s3.PutObject: ")
        assert degraded == "skewguard: signing is switched off: no such function"


class TestSilence:
    @pytest.fixture(params=["NullHandler", "own handler", "level", "disabled", "lastResort", "no propagation"])
    def silenced(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """The ways in which programs silence a library's logger."""
        handler: logging.Handler = logging.NullHandler()
        if request.param == "own handler":
            handler = logging.StreamHandler(io.StringIO())
        if request.param in ("NullHandler", "own handler", "no propagation"):
            events.logger.addHandler(handler)
        monkeypatch.setattr(events.logger, "propagate", request.param != "no propagation")
        monkeypatch.setattr(events.logger, "disabled", request.param == "disabled")
        if request.param == "lastResort":
            monkeypatch.setattr(logging, "lastResort", logging.NullHandler())
        if request.param == "level":
            events.logger.setLevel(logging.ERROR)
        yield
        events.logger.setLevel(logging.NOTSET)

    @pytest.mark.usefixtures("silenced")
    def test_each_usual_way(self) -> None:
        with unconfigured() as stderr:
            for event in (BEGINS, CHANGES, ENDS, STALE):
                emit(event)
        assert not stderr.getvalue()

    def test_configured_logging_has_it_alone(self) -> None:
        """With its own level for each line, and once."""
        with unconfigured() as stderr:
            logging.basicConfig(format="%(levelname)s:%(name)s:%(message)s", level=logging.INFO)
            emit(BEGINS)
            emit(ENDS)
        begins, ends = stderr.getvalue().splitlines()
        assert begins.startswith("WARNING:skewguard:this host's clock is 20 min 0 s behind ")
        assert ends.startswith("INFO:skewguard:this host's clock is 1.0 s behind true time ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "start"),
    [
        ("", "skewguard: this host's clock is 20 min "),
        ("logging.basicConfig()", "WARNING:skewguard:this host's clock is 20 min "),
        ("logging.getLogger('skewguard').addHandler(logging.NullHandler())", ""),
    ],
)
def test_a_whole_program(line: str, start: str, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line on stderr for an episode, or none."""
    for name, value in endpoint.client_kwargs.items():
        monkeypatch.setenv({"region_name": "AWS_DEFAULT_REGION"}.get(name, name.upper()), str(value))
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    done = completed(sys.executable, "-c", PROGRAM.format(line))
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == bool(start)
    assert done.stderr.startswith(start)
