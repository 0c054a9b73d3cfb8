"""Known troubles of hosts and endpoints, each in a world of its own."""

from __future__ import annotations

from typing import Any

import pytest

from skewguard import events
from skewguard.interval import SECOND
from tests.simulation.calls import URL
from tests.simulation.guarded import GuardedCall
from tests.simulation.scenarios import DAY, HOUR, MINUTE
from tests.simulation.scripted import Script


class TestFrozen:
    """The steady clock stands still with the machine, so nothing there can measure for how long."""

    @pytest.mark.parametrize(
        ("world", "length", "step", "requests"),
        [
            pytest.param({}, HOUR, HOUR, (2, 1), id="then stepped right by its tools: the most common case"),
            pytest.param({}, 9 * DAY, 9 * DAY, (2, 1), id="for days"),
            pytest.param({}, HOUR, 0, (2, 1), id="never repaired: nothing jumps, the first refusal shows it"),
            pytest.param({"source": "instant"}, HOUR, HOUR, (1,), id="a source is asked after the jump"),
            pytest.param({"wall_error": -1_200}, HOUR, HOUR + 20 * MINUTE, (2, 1), id="the clock was wrong before"),
        ],
    )
    def test_at_most_one_call_needs_a_second_request(
        self, world: dict[str, Any], length: int, step: int, requests: tuple[int, ...]
    ) -> None:
        """The answer that shows the clock's error is believed, and every later call succeeds at once."""
        with Script(**world) as script:
            script.succeeds(script.aws, requests=1 + ("wall_error" in world))
            script.sleep("frozen", length, script.repair if step else lambda: None)
            for each in requests:
                script.succeeds(script.aws, requests=each)
            assert sum(event.by for event in script.emitted(events.Stepped)) == pytest.approx(step, abs=SECOND)
            corrections = [event.offset for event in script.emitted(events.CorrectionChanged)]
            assert not step or corrections[-1:] in ([], [0])

    def test_what_is_handed_out_is_right_at_once(self) -> None:
        """A presigned URL cannot be retried, so in doubt it follows the wall clock, which is right."""
        with Script() as script:
            script.succeeds(script.aws)
            script.sleep("frozen", HOUR, script.repair)
            url = script.call(script.aws, kind=URL)
            assert url.stamps == [script.host.wall] == [script.world.truth]

    @pytest.mark.parametrize("tools", [True, False])
    def test_with_the_answer_in_its_buffers(self, tools: bool) -> None:
        """An answer of before the freeze, read after it, must not mislead for long."""
        with Script() as script:
            call = script.program.call(script.aws, linger=SECOND)
            script.wait(SECOND // 2)
            script.sleep("frozen", HOUR, script.repair if tools else lambda: None)
            script.world.run(lambda: bool(call.outcome))
            assert call.outcome == "ok"
            if tools:  # the wall clock bounds the answer's age
                script.succeeds(script.aws)
            else:
                script.succeeds(script.aws, requests=2)
                script.succeeds(script.aws)

    def test_thawed_again_and_again_as_a_function_is(self) -> None:
        """Between two invocations everything stands still, and the wall clock is right on waking.

        A short pause costs nothing. After a long one the first call needs a second request: the anchor is late.
        """
        with Script() as script:
            for nap in (MINUTE, 20 * MINUTE, 2 * MINUTE, HOUR, SECOND):
                script.succeeds(script.aws)
                script.sleep("frozen", nap, script.repair)
                script.succeeds(script.aws, requests=2 if nap > 5 * MINUTE else 1)


class TestSuspended:
    """The steady clock counts while a machine sleeps, so nothing is lost."""

    @pytest.mark.parametrize("wall_error", [-1_200, 0, 7_200])
    def test_the_first_call_after_a_night_is_right(self, wall_error: int) -> None:
        """Eight hours add no more than drift."""
        with Script(wall_error, drift=60_000) as script:
            script.succeeds(script.aws, requests=2 if wall_error else 1)
            script.sleep("suspended", 8 * HOUR)
            script.succeeds(script.aws)

    def test_and_stepped_right_on_waking(self) -> None:
        """The anchor holds, and the first signing sees that the wall clock is right."""
        with Script(-1_200) as script:
            script.succeeds(script.aws, requests=2)
            script.sleep("suspended", HOUR, script.repair)
            script.succeeds(script.aws)
            assert script.emitted(events.CorrectionChanged)[-1].offset == 0


class TestEndpoints:
    """Servers whose clocks differ."""

    def test_two_with_different_clocks(self) -> None:
        """Requests are signed by each server's own clock, however calls alternate."""
        with Script(wall_error=-3_600) as script:
            store = script.server("https://store.example", utc=False, offset=1_200 * SECOND)
            script.succeeds(script.aws, requests=2)
            script.succeeds(store, requests=2)
            for _ in range(20):
                script.wait(MINUTE)
                assert abs(script.succeeds(script.aws).stamps[0] - script.world.truth) < 4 * SECOND
                assert abs(script.succeeds(store).stamps[0] - script.world.truth - store.offset) < 4 * SECOND

    def test_one_that_flaps_behind_a_load_balancer(self) -> None:
        """Of two machines one is 22 minutes slow: no call makes a third request, and more succeed than unguarded."""
        with Script() as script:
            store = script.server("https://store.example", utc=False, nodes=(0, -1_300 * SECOND))
            calls = []
            for _ in range(400):
                script.wait(2 * SECOND)
                calls.append(script.call(store))
            assert max(len(call.stamps) for call in calls) == 2
            assert {call.outcome for call in calls} == {"ok", "time"}
            succeeded = sum(call.outcome == "ok" for call in calls)
            unguarded = 200  # the right machine answers every second request
            assert succeeded > 1.2 * unguarded

    def test_one_that_alternates(self) -> None:
        """Even where every other request meets the wrong machine, no retry is repeated, and calls recover."""
        with Script() as script:
            store = script.server("https://store.example", utc=False)
            for wrong in (0, -1_300, 0, -1_300, 0):
                store.nodes = (wrong * SECOND,)
                script.wait(MINUTE)
                script.call(store)
                script.succeeds(store)


class TestStale:
    """A request that waits beyond the tolerance is signed again once, and teaches nothing false."""

    def ends_well(self, script: Script, call: GuardedCall, waited: int) -> None:
        """Check that it was repeated as stale, and that requests are still signed by the wall clock."""
        assert (call.outcome, len(call.stamps)) == ("ok", 2), script.world.story()
        (retried,) = script.emitted(events.Retried)
        assert retried.verdict == "stale"
        assert retried.waited == pytest.approx(waited, abs=5 * SECOND)
        script.succeeds(script.servers[0])
        assert not script.emitted(events.CorrectionChanged)

    @pytest.mark.parametrize("dialect", ["coral", "s3", "terse", "silent", "head"])
    @pytest.mark.parametrize("tolerance", [300, 900])
    def test_a_pool_that_makes_requests_wait(self, tolerance: int, dialect: str) -> None:
        with Script() as script:
            aws = script.server(tolerance=tolerance, dialect=dialect)
            wait = (tolerance + 60) * SECOND
            self.ends_well(script, script.call(aws, wait=wait), wait)

    def test_a_pool_that_makes_many_wait(self) -> None:
        with Script() as script:
            aws = script.server(tolerance=900, dialect="s3")
            calls = [script.program.call(aws, wait=1_000 * SECOND + number * SECOND) for number in range(100)]
            script.world.run(lambda: all(call.outcome for call in calls))
            assert [(call.outcome, len(call.stamps)) for call in calls] == [("ok", 2)] * 100
            assert {event.verdict for event in script.emitted(events.Retried)} == {"stale"}
            assert not script.emitted(events.CorrectionChanged)

    def test_a_slow_body(self) -> None:
        """An upload of half an hour that is refused at its end."""
        with Script() as script:
            store = script.server(tolerance=900, dialect="s3", travel=(3.25, 3.26))
            call = script.program.call(store)
            script.wait(HOUR // 2)
            store.travel = (-2, -1)
            script.world.run(lambda: bool(call.outcome))
            assert (call.outcome, len(call.stamps)) == ("ok", 2)
            assert [event.verdict for event in script.emitted(events.Retried)] == ["stale"]
            assert not script.emitted(events.CorrectionChanged)

    def test_a_body_that_cannot_be_sent_again(self) -> None:
        """It fails as without skewguard, and nothing is learned."""
        with Script() as script:
            aws = script.server(tolerance=900, dialect="s3")
            call = script.call(aws, wait=HOUR, rewindable=False)
            assert (call.outcome, len(call.stamps)) == ("time", 1)
            assert not script.emitted(events.CorrectionChanged)
            script.succeeds(aws)

    def test_a_machine_frozen_between_signing_and_sending(self) -> None:
        """The steady clock shows nothing; the wall clock, stepped right by the tools, shows the length."""
        with Script() as script:
            call = script.program.call(script.aws, wait=SECOND)
            script.sleep("frozen", HOUR, script.repair)
            script.world.run(lambda: bool(call.outcome))
            self.ends_well(script, call, HOUR)

    def test_on_a_clock_that_is_wrong_as_well(self) -> None:
        """The correction stays: the request is signed again by true time, and nothing is forgotten."""
        with Script(wall_error=7_200) as script:
            script.succeeds(script.aws, requests=2)
            call = script.call(script.aws, wait=HOUR)
            assert (call.outcome, len(call.stamps)) == ("ok", 2)
            assert script.emitted(events.Retried)[-1].verdict == "stale"
            assert abs(script.succeeds(script.aws).stamps[0] - script.world.truth) < 4 * SECOND
