"""The log: a line when an episode begins, changes or ends, and none in between."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import skewguard
from skewguard import events
from skewguard.events import Retried, emit
from skewguard.interval import SECOND
from skewguard.testing import FakeClocks, StrictEndpoint
from tests.support import aws_client, client
from tests.test_timekeeper import World, heard

Log = pytest.LogCaptureFixture


@pytest.fixture
def log(caplog: Log) -> Log:
    caplog.set_level(logging.DEBUG, "skewguard")
    return caplog


def taken(log: Log) -> list[str]:
    """Return the log's lines, each with its level, and empty it."""
    ours = [one for one in log.records if one.name == "skewguard" and one.levelno >= logging.INFO]
    log.clear()
    return [f"{one.levelname} {one.getMessage()}" for one in ours]


class TestCalls:
    """Real calls, on a host whose clock a test moves."""

    def test_an_episode(self, clocks: FakeClocks, log: Log) -> None:
        """A line when the first call is refused, none for those after it, and one when the clock is right again."""
        ahead = clocks.wall - clocks.steady + 1200 * SECOND
        server = StrictEndpoint(clock=lambda: clocks.steady + ahead, tls=True)
        with server, server.as_aws(), skewguard.install(clocks=clocks):
            sts = aws_client("sts", server)
            sts.get_caller_identity()
            (line,) = taken(log)
            assert line == (
                "WARNING this host's clock is 20 min 1 s behind true time (within 1.0 s, by "
                "https://sts.us-east-1.amazonaws.com, which refused a request for its time): it shows "
                "2026-01-01 00:00:00Z when it is 2026-01-01 00:20:00Z; from now on requests to AWS are "
                "signed with true time"
            )
            page = (Path(__file__).parent.parent / "docs" / "monitoring.md").read_text("utf-8")
            assert f"\n{line.removeprefix('WARNING ')}\n" in page
            for _ in range(5):
                clocks.advance(40)
                sts.get_caller_identity()
                aws_client("dynamodb", server).list_tables()
            assert taken(log) == []

            clocks.step(1195)
            for _ in range(5):
                clocks.advance(40)
                sts.get_caller_identity()
            (line,) = taken(log)
            assert line.startswith("INFO this host's clock is ")
            near = "which is near enough: requests to AWS are signed by it again"
            assert line.endswith(f"by https://sts.us-east-1.amazonaws.com, confirmed), {near}")

            clocks.step(3605)
            sts.get_caller_identity()
            (line,) = taken(log)
            assert line.startswith("WARNING this host's clock is 59 min 59 s ahead of true time (within ")

    def test_an_endpoint_with_a_clock_of_its_own(self, clocks: FakeClocks, log: Log) -> None:
        """The line names it, and says nothing of true time."""
        with StrictEndpoint(clock=lambda: clocks.wall, offset=-3600) as server, skewguard.install(clocks=clocks):
            s3 = client("s3", server)
            s3.list_buckets()
            s3.list_buckets()
            (line,) = taken(log)
            assert line.startswith(
                f"WARNING this host's clock is 1 h 0 min 0 s ahead of the clock of {server.url} (within "
            )
            assert line.endswith(f"requests there are signed with the clock of {server.url}")


class TestEpisodes:
    """What belongs to an episode, and what begins another."""

    def test_a_clock_that_drifts_away_is_logged_at_each_deadband(self, log: Log) -> None:
        """However small its steps."""
        world = heard(0)
        for _ in range(100):
            world.clocks.step(-0.5)
            world.clocks.advance(31)
            world.error()
        lines = taken(log)
        assert [line.split(" s behind")[0].rpartition(" ")[2] for line in lines] == ["11.7", "22.2", "32.7", "43.2"]

    def test_a_clock_at_the_edge_of_the_deadband_is_one(self, log: Log) -> None:
        """Each answer states the time a little differently; the episode ends once the clock is well within."""
        world = World(11)
        for step in (0, 1.5, -1.5, 1.5, -1.5, 6):
            world.clocks.step(step)
            world.clocks.advance(31)
            world.hear()
            world.error()
        assert [line.split()[0] for line in taken(log)] == ["WARNING", "INFO"]

    def test_it_ends_where_the_time_is_unknown(self, log: Log) -> None:
        """That does not mean that the clock is right."""
        world = heard(1200, max_age=600 * SECOND)
        world.error()
        world.clocks.advance(601)
        world.error()
        assert taken(log)[1:] == [
            "INFO true time is no longer known: requests to AWS are signed by this host's clock again"
        ]

    def test_a_correction_that_is_not_allowed(self, log: Log) -> None:
        """One line says that nothing is corrected, and why; also after smaller corrections."""
        world = heard(500, max_offset=600 * SECOND)
        world.error()
        world.clocks.step(-200)
        for _ in range(3):
            world.clocks.advance(31)
            world.error()
        first, second = taken(log)
        assert first.endswith("signed with true time")
        assert second.startswith("WARNING this host's clock is 11 min 41 s behind")
        assert second.endswith("are signed by this host's clock, because max_offset forbids a correction")

    def test_what_was_forgotten_begins_anew(self, log: Log) -> None:
        world = World(1200)
        for _ in range(2):
            world.hear()
            world.error()
            world.keeper.reset(world.keeper.settings, world.clocks)
            world.error()
        assert [line.split()[0] for line in taken(log)] == ["WARNING", "WARNING"]

    def test_signatures_that_grow_stale(self, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
        """The first is logged, and again one after a quarter of an hour without any."""
        now = [1000.0]
        monkeypatch.setattr(events.time, "monotonic", lambda: now[0])
        for _ in range(4):
            emit(Retried("s3", "PutObject", "stale", "signed 400 s before its answer", 400 * SECOND))
            now[0] += 600
        (line,) = taken(log)
        assert line.startswith("WARNING a request was refused 400 s after it was signed (s3.PutObject: ")
        assert "The clock is not the reason" in line
        now[0] += 301
        emit(Retried("s3", "PutObject", "stale", "signed 400 s before its answer", 400 * SECOND))
        assert len(taken(log)) == 1
        emit(Retried("s3", "PutObject", "skew", "signed 1200 s behind the server's clock", SECOND))
        assert taken(log) == [], "the correction has its own line"
