"""What has a name: the troubles that hosts and endpoints are known for, each in a world of its own."""

from __future__ import annotations

import pytest

from skewguard import events
from skewguard.interval import SECOND
from tests.simulation.callers import Attempts
from tests.simulation.scenarios import HOUR, MINUTE
from tests.simulation.stage import Play


class TestFrozen:
    """The steady clock stands still with the machine, so nothing on it knows for how long."""

    @pytest.mark.parametrize("length", [HOUR, 9 * 24 * HOUR])
    def test_then_stepped_right_by_its_tools(self, length: int) -> None:
        """The commonest of all: one call needs a second request, and every later one is right at once."""
        with Play() as play:
            aws = play.server()
            play.succeeds(aws)
            play.sleeps("frozen", length, play.repair)
            play.succeeds(aws, requests=2)
            play.succeeds(aws)
            assert play.told(events.Stepped)[0].by == pytest.approx(length, abs=SECOND)

    def test_what_is_handed_out_is_right_at_once(self) -> None:
        """A presigned URL cannot be mended by a retry, so in doubt it follows the wall clock, which is right."""
        with Play() as play:
            aws = play.server()
            play.succeeds(aws)
            play.sleeps("frozen", HOUR, play.repair)
            url = play.call(aws, version="v4-query")
            assert url.stamps == [play.host.wall] == [play.world.truth]

    def test_with_a_source_that_answers_at_once(self) -> None:
        """The jump has it asked again before anything is signed: no request is lost at all."""
        with Play(source="instant") as play:
            aws = play.server()
            play.succeeds(aws)
            play.sleeps("frozen", HOUR, play.repair)
            play.succeeds(aws)

    def test_on_a_host_whose_clock_was_wrong_before(self) -> None:
        """The tools repair what was wrong as well; the answer that tells so is believed."""
        with Play(wall_error=-1_200) as play:
            aws = play.server()
            play.succeeds(aws, requests=2)
            play.sleeps("frozen", HOUR, play.repair)
            play.succeeds(aws, requests=2)
            play.succeeds(aws)
            assert play.told(events.CorrectionChanged)[-1].offset == 0

    def test_and_never_repaired(self) -> None:
        """Nothing jumps; the first refusal tells."""
        with Play() as play:
            aws = play.server()
            play.succeeds(aws)
            play.sleeps("frozen", HOUR)
            play.succeeds(aws, requests=2)
            play.succeeds(aws)

    @pytest.mark.parametrize("tools", [True, False])
    def test_with_the_answer_in_its_buffers(self, tools: bool) -> None:
        """The answer of before the freeze is read after it, and must not set the clock back for long."""
        with Play() as play:
            aws = play.server()
            call = play.program.call(aws, linger=SECOND)
            play.passes(SECOND // 2)
            play.sleeps("frozen", HOUR, play.repair if tools else lambda: None)
            play.world.run(lambda: bool(call.outcome))
            assert call.outcome == "ok"
            if tools:  # the wall clock shows how old the answer may be
                play.succeeds(aws)
            else:
                play.succeeds(aws, requests=2)
                play.succeeds(aws)

    def test_thawed_again_and_again_as_a_function_is(self) -> None:
        """Between two invocations everything stands still, and the wall clock is right on waking.

        A short nap costs nothing. A long one costs the first call one more request, as the anchor is as late.
        """
        with Play() as play:
            aws = play.server()
            for nap in (MINUTE, 20 * MINUTE, 2 * MINUTE, HOUR, SECOND):
                play.succeeds(aws)
                play.sleeps("frozen", nap, play.repair)
                play.succeeds(aws, requests=2 if nap > 5 * MINUTE else 1)


class TestSuspended:
    """The steady clock counts while a machine sleeps, so nothing is lost."""

    @pytest.mark.parametrize("wall_error", [-1_200, 0, 7_200])
    def test_the_first_call_after_a_night_is_right(self, wall_error: int) -> None:
        """Eight hours add no more than drift."""
        with Play(wall_error, drift=60_000) as play:
            aws = play.server()
            play.succeeds(aws, requests=2 if wall_error else 1)
            play.sleeps("suspended", 8 * HOUR)
            play.succeeds(aws)

    def test_and_stepped_right_on_waking(self) -> None:
        """The anchor holds; that the wall clock is right now is seen at once."""
        with Play(-1_200) as play:
            aws = play.server()
            play.succeeds(aws, requests=2)
            play.sleeps("suspended", HOUR, play.repair)
            play.succeeds(aws)
            assert play.told(events.CorrectionChanged)[-1].offset == 0


class TestEndpoints:
    """Servers' clocks differ."""

    def test_two_with_different_clocks(self) -> None:
        """Each is signed for by its own clock, however the calls alternate; a wrong one teaches the other nothing."""
        with Play(wall_error=-3_600) as play:
            aws = play.server()
            store = play.server("https://store.example", utc=False, offset=1_200 * SECOND)
            play.succeeds(aws, requests=2)
            play.succeeds(store, requests=2)
            for _ in range(20):
                play.passes(MINUTE)
                assert abs(play.succeeds(aws).stamps[0] - play.world.truth) < 4 * SECOND
                assert abs(play.succeeds(store).stamps[0] - play.world.truth - store.offset) < 4 * SECOND

    def test_one_that_flaps_behind_a_load_balancer(self) -> None:
        """Of its two machines one is 22 minutes slow: no call makes a third request, more succeed than unguarded."""
        with Play() as play:
            store = play.server("https://store.example", utc=False, nodes=(0, -1_300 * SECOND))
            calls = []
            for _ in range(400):
                play.passes(2 * SECOND)
                calls.append(play.call(store))
            assert max(len(call.stamps) for call in calls) == 2
            assert {call.outcome for call in calls} == {"ok", "time"}
            succeeded = sum(call.outcome == "ok" for call in calls)
            unguarded = 200  # the right machine answers every second request
            assert succeeded > 1.2 * unguarded

    def test_one_that_alternates(self) -> None:
        """Even where every other request meets the wrong machine, nothing is asked for twice, and calls recover."""
        with Play() as play:
            store = play.server("https://store.example", utc=False)
            for wrong in (0, -1_300, 0, -1_300, 0):
                store.nodes = (wrong * SECOND,)
                play.passes(MINUTE)
                play.call(store)
                play.succeeds(store)


class TestStale:
    """A request that waits past the window is signed again, once, and teaches nothing false."""

    def ends_well(self, play: Play, call: Attempts, waited: int) -> None:
        """See that it was repeated as stale, and that the wall clock goes on signing."""
        assert (call.outcome, len(call.stamps)) == ("ok", 2), play.world.story()
        (retried,) = play.told(events.Retried)
        assert retried.verdict == "stale"
        assert retried.waited == pytest.approx(waited, abs=5 * SECOND)
        play.succeeds(play.servers[0])
        assert not play.told(events.CorrectionChanged)

    @pytest.mark.parametrize("dialect", ["coral", "s3", "terse", "silent", "head"])
    @pytest.mark.parametrize("tolerance", [300, 900])
    def test_a_pool_that_makes_requests_wait(self, tolerance: int, dialect: str) -> None:
        """Whatever the service accepts, and however it words its refusal."""
        with Play() as play:
            aws = play.server(tolerance=tolerance, dialect=dialect)
            wait = (tolerance + 60) * SECOND
            self.ends_well(play, play.call(aws, wait=wait), wait)

    def test_a_pool_that_makes_many_wait(self) -> None:
        """Each of a hundred is signed again once."""
        with Play() as play:
            aws = play.server(tolerance=900, dialect="s3")
            calls = [play.program.call(aws, wait=1_000 * SECOND + number * SECOND) for number in range(100)]
            play.world.run(lambda: all(call.outcome for call in calls))
            assert [(call.outcome, len(call.stamps)) for call in calls] == [("ok", 2)] * 100
            assert {event.verdict for event in play.told(events.Retried)} == {"stale"}
            assert not play.told(events.CorrectionChanged)

    def test_a_slow_body(self) -> None:
        """Half an hour's upload, refused at its end."""
        with Play() as play:
            store = play.server(tolerance=900, dialect="s3", travel=(3.25, 3.26))
            call = play.program.call(store)
            play.passes(HOUR // 2)
            store.travel = (-2, -1)
            play.world.run(lambda: bool(call.outcome))
            assert (call.outcome, len(call.stamps)) == ("ok", 2)
            assert [event.verdict for event in play.told(events.Retried)] == ["stale"]
            assert not play.told(events.CorrectionChanged)

    def test_a_body_that_cannot_be_sent_again(self) -> None:
        """It fails as it would have without skewguard, and nothing is learned."""
        with Play() as play:
            aws = play.server(tolerance=900, dialect="s3")
            call = play.call(aws, wait=HOUR, rewindable=False)
            assert (call.outcome, len(call.stamps)) == ("time", 1)
            assert not play.told(events.CorrectionChanged)
            play.succeeds(aws)

    def test_a_machine_frozen_between_signing_and_sending(self) -> None:
        """Its steady clock shows nothing; the wall clock, stepped right by the tools, shows how long it was."""
        with Play() as play:
            aws = play.server()
            call = play.program.call(aws, wait=SECOND)
            play.sleeps("frozen", HOUR, play.repair)
            play.world.run(lambda: bool(call.outcome))
            self.ends_well(play, call, HOUR)

    def test_on_a_clock_that_is_wrong_as_well(self) -> None:
        """The correction stands: signed again by true time, and what was known is still known."""
        with Play(wall_error=7_200) as play:
            aws = play.server()
            play.succeeds(aws, requests=2)
            call = play.call(aws, wait=HOUR)
            assert (call.outcome, len(call.stamps)) == ("ok", 2)
            assert play.told(events.Retried)[-1].verdict == "stale"
            assert abs(play.succeeds(aws).stamps[0] - play.world.truth) < 4 * SECOND
