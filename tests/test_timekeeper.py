"""The timekeeper's judgement, on clocks that move only when told."""

from __future__ import annotations

import itertools
import math
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import freezegun
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard import events, host_clock
from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.events import Stepped
from skewguard.http_date import response_interval
from skewguard.interval import SECOND, Interval, Trust
from skewguard.testing.clocks import FakeClocks
from skewguard.timekeeping.domain import Change, Domain
from skewguard.timekeeping.evidence import Grade, Shown
from skewguard.timekeeping.knowledge import OUTRANKS_FOR
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import Emitted, FakeSource, accepted, raising
from tests.forking import forked_while, needs_fork
from tests.patience import PATIENCE, eventually, in_threads

DAY = 86_400


class World:
    """A true time, a host whose wall clock may be wrong, and a timekeeper on that host."""

    def __init__(self, offset: float = 0.0, **settings: Any) -> None:
        """Set the host's wall clock `offset` seconds behind true time."""
        self.clocks = FakeClocks()
        self.truth_at_zero = self.clocks.wall + round(offset * SECOND) - self.clocks.steady
        self.keeper = Timekeeper(Settings(**{"sources": ()} | settings), self.clocks)

    @property
    def truth(self) -> int:
        return self.truth_at_zero + self.clocks.steady

    def hear(self, domain: Domain | None = None, *, error: float = 0.0, took: float = 0.05) -> None:
        """Let a server accept a request dated by its clock, which is `error` seconds wrong."""
        sent = self.clocks.read()
        self.clocks.advance(took)
        date = (self.truth + round(error * SECOND)) // SECOND * SECOND
        said = response_interval(
            date - SECOND // 2, date + 2 * SECOND, sent, self.clocks.read(), Trust.AUTHENTICATED, "https://aws"
        )
        self.learn(said, domain)

    def learn(self, said: Interval, domain: Domain | None = None, shown: Shown = Shown.ACCEPTANCE) -> Change:
        """Learn from an answer of ``https://aws`` to an attempt that was dated by its clock."""
        return self.keeper.learn(domain or self.keeper.utc, accepted(said, shown))

    def source(self, name: str = "source", **options: Any) -> FakeSource:
        """Make a source that knows true time."""
        return FakeSource(name, **{"instant": False, "truth": lambda: self.truth} | options)

    def add_source(self, name: str = "source", **options: Any) -> FakeSource:
        """Make such a source, and add it to the timekeeper's."""
        made = self.source(name, **options)
        self.keeper.add_sources((made,))
        return made

    def error(self, domain: Domain | None = None, *, handed_out: bool = False) -> float:
        """Sign, and say how many seconds the timestamp is after true time."""
        domain = domain or self.keeper.utc
        keeper = self.keeper
        signed, wall, steady = keeper.irrevocable_time(domain, "") if handed_out else keeper.signing_time(domain)
        assert (wall, steady) == (self.clocks.wall, self.clocks.steady)
        return (signed - self.truth) / SECOND


def heard(offset: float, **settings: Any) -> World:
    """Make a world in which a server has accepted a request."""
    world = World(offset, **settings)
    world.hear()
    return world


class TestSigning:
    def test_knowing_nothing_it_follows_the_wall(self) -> None:
        """Exactly what botocore would do."""
        world = World(offset=7200)
        assert world.error() == -7200

    @pytest.mark.parametrize("offset", [0, 9, -9, 1.4])
    def test_a_healthy_clock_is_left_alone(self, offset: float) -> None:
        world = heard(offset)
        assert world.keeper.signing_time(world.keeper.utc)[0] == world.clocks.wall

    @pytest.mark.parametrize("offset", [20, -20, 1200, -1200, 7200, -7200, 40 * DAY])
    def test_a_wrong_clock_is_corrected(self, offset: float) -> None:
        world = heard(offset)
        assert abs(world.error()) < 2

    @given(
        st.floats(-1e6, 1e6),
        st.lists(st.tuples(st.sampled_from(["advance", "step", "hear"]), st.floats(0.001, 20_000)), max_size=30),
    )
    def test_steps_of_the_wall_clock_change_nothing(self, offset: float, happenings: list[tuple[str, float]]) -> None:
        """However the wall clock is stepped and time passes, the timestamp stays near the truth once heard."""
        world = heard(offset)
        sign = 1
        for what, much in happenings:
            if what == "advance":
                world.clocks.advance(much)
            elif what == "step":
                world.clocks.step(sign * much)
                sign = -sign
            else:
                world.hear(took=much % 10)
            aged = world.keeper.now()
            if aged is not None:
                assert aged.earliest <= world.truth <= aged.latest
                assert abs(world.error()) <= 10.1 + aged.width / SECOND

    def test_the_fast_path_agrees_with_the_slow_one(self) -> None:
        """Time passing between two looks does not change the correction, a step ends it at once."""
        world = heard(1200)
        first = world.error()
        world.clocks.advance(29)
        assert world.error() == pytest.approx(first)
        world.clocks.step(-3600)
        assert abs(world.error()) < 2
        world.clocks.step(3600 + 1200)
        assert world.error() == pytest.approx(0, abs=1e-9)

    def test_other_settings_are_heeded_at_once(self) -> None:
        """An installation after an attachment changes what counts as healthy."""
        world = heard(1200)
        assert abs(world.error()) < 2
        world.keeper.configure(Settings(sources=(), deadband=3600 * SECOND))
        assert world.error() == -1200

    def test_what_was_learned_can_be_taken_back_while_it_is_the_last(self) -> None:
        """But nothing that came later."""
        world = World(1200)
        said = Interval(world.clocks.steady, world.truth, world.truth + SECOND, Trust.WITNESS, "s")
        change = world.learn(said)
        world.keeper.revert(world.keeper.utc, change)
        assert world.keeper.now() is None
        change = world.learn(said)
        world.hear()
        world.keeper.revert(world.keeper.utc, change)
        assert abs(world.error()) < 2

    def test_too_old_is_unknown(self) -> None:
        world = heard(1200, max_age=3600 * SECOND)
        world.clocks.advance(3601)
        assert world.error() == -1200
        assert world.keeper.now() is None

    def test_a_frozen_clock_is_left_frozen(self) -> None:
        world = heard(1200)
        with freezegun.freeze_time("2030-01-01"):
            assert world.error() == -1200
        assert abs(world.error()) < 2


class TestLearning:
    def test_answers_narrow_each_other(self) -> None:
        """Ordinary traffic meets the server's second at different phases."""
        world = World(1200)
        widths = []
        for index in range(30):
            world.clocks.advance(1.37 * (index + 1))
            world.hear(took=0.01)
            known = world.keeper.now()
            assert known is not None
            assert known.earliest <= world.truth <= known.latest
            widths.append(known.width)
        assert widths[-1] < widths[0]

    def test_a_slow_answer_teaches_nothing_false(self) -> None:
        """A 14-minute upload says little, and says it honestly; AWS's own midpoint rule would learn 7 minutes."""
        world = World(0)
        world.hear(took=840)
        assert world.error() == 0

    def test_the_newest_direct_word_wins(self) -> None:
        """A server that contradicts what was known is believed: it judges the next request too."""
        world = World(0)
        world.hear(error=3600)
        assert world.error() == pytest.approx(3600, abs=2)
        world.hear()
        assert world.error() == 0

    def test_a_machine_that_stood_still_under_way_is_not_fooled(self) -> None:
        """The answer waited in a buffer while the machine was frozen: the wall clock, set right since, shows it."""
        sent = Reading(1000 * SECOND, 50_000 * SECOND)
        received = Reading(1001 * SECOND, 53_601 * SECOND)
        said = response_interval(50_000 * SECOND, 50_002 * SECOND, sent, received, Trust.AUTHENTICATED, "aws")
        assert said.earliest <= 53_601 * SECOND <= said.latest

    def test_a_slow_crystal_counts_too_little_of_a_long_exchange(self) -> None:
        """The answer lay in a buffer for five hours, of which a clock 100 ppm slow counts 1.8 s too few."""
        hours = 5 * 3600 * SECOND
        counted = hours * 10_000 // 10_001 + 1
        sent, received = Reading(0, 50_000 * SECOND), Reading(counted, 50_000 * SECOND + counted)
        made = 50_000 * SECOND  # at once, by a server that truncates to a second
        said = response_interval(made, made + SECOND, sent, received, Trust.AUTHENTICATED, "aws")
        assert said.earliest <= made + SECOND + hours <= said.latest

    def test_a_thread_put_aside_before_the_latest_word_still_uses_it(self) -> None:
        """It read the clocks, slept for five seconds, and another thread learned meanwhile."""
        world = World(1200)
        before = world.clocks.read().steady
        world.clocks.advance(5)
        world.hear()
        known = world.keeper.known(world.keeper.utc, before)
        assert known is not None
        assert known.estimate.earliest <= world.truth_at_zero + before <= known.estimate.latest

    def test_learning_while_another_thread_looks_is_not_lost(self) -> None:
        """A verdict reached before something was learned does not outlive it."""
        world = World(1200)
        clocks = world.clocks
        real_read = clocks.read

        def read_and_learn() -> Reading:
            clocks.read = real_read  # type: ignore[method-assign]
            seen = real_read()
            world.hear(took=0)
            return seen

        clocks.read = read_and_learn  # type: ignore[method-assign]
        world.error()
        assert abs(world.error()) < 2


class TestDomains:
    """Clocks that are not AWS's."""

    def test_utc_stands_in_until_the_first_answer(self) -> None:
        """A MinIO elsewhere probably keeps UTC; once it has spoken, its own word counts."""
        world = World(1200)
        minio = world.keeper.domain("https://minio:9000", stand_in=Grade.GUESS)
        world.hear()
        assert abs(world.error(minio)) < 2
        world.hear(minio, error=3600)
        assert world.error(minio) == pytest.approx(3600, abs=2)
        assert abs(world.error()) < 2

    def test_that_the_wall_clock_was_accepted_counts_until_it_is_set(self) -> None:
        """A store on this very host follows it; what was accepted before tells nothing of the new time."""
        world = World(1200)
        store = world.keeper.domain("http://store", stand_in=Grade.GUESS)
        world.hear()
        wall = world.clocks.wall
        accepted = Interval(world.clocks.steady, wall - 900 * SECOND, wall + 900 * SECOND, Trust.WITNESS, "store")
        world.learn(accepted, store, Shown.WALL_CLOCK)
        assert world.error(store) == -1200
        world.clocks.step(7200)
        assert abs(world.error(store)) < 2  # UTC stands in again
        assert store.evidence is None

    def test_a_loopback_endpoint_shares_the_wall_clock(self) -> None:
        """What AWS says has no meaning for a server on this very host."""
        world = World(1200)
        local = world.keeper.domain("http://localhost:9000", stand_in=Grade.NONE)
        world.hear()
        assert world.error(local) == -1200

    def test_what_an_endpoint_says_stays_there(self) -> None:
        """An endpoint's wrong clock never reaches AWS or another endpoint."""
        world = World(0)
        world.hear(world.keeper.domain("https://a", stand_in=Grade.GUESS), error=3600)
        assert world.keeper.now() is None
        assert world.error() == 0
        assert world.error(world.keeper.domain("https://b", stand_in=Grade.GUESS)) == 0

    def test_their_number_is_bounded(self) -> None:
        """Those beyond the bound are kept by the sessions that use them."""
        world = heard(1200)
        for index in range(3000):
            world.hear(world.keeper.domain(f"https://{index}", stand_in=Grade.GUESS))
        assert len(world.keeper.heard()) <= 1024
        assert abs(world.error()) < 2

    def test_a_reset_reaches_those_that_are_in_use(self) -> None:
        """Shared or beyond the bound: its users sign by the wall clock again, and learn again."""
        world = World(1200)
        domains = [world.keeper.domain(f"https://{index}", stand_in=Grade.NONE) for index in range(1100)]
        for domain in (domains[0], domains[-1]):
            world.hear(domain, error=3600)
            assert world.error(domain) == pytest.approx(3600, abs=2)
        world.keeper.reset(world.keeper.settings, world.clocks)
        for domain in (domains[0], domains[-1]):
            assert world.error(domain) == -1200
            world.hear(domain)
            assert abs(world.error(domain)) < 2

    def test_a_poll_from_before_a_reset_is_ignored(self) -> None:
        world = World(1200)
        gate, done = threading.Event(), threading.Event()
        world.add_source(gate=gate)
        unsubscribe = events.subscribe(lambda event: done.set() if isinstance(event, events.Measured) else None)
        world.keeper.start()
        world.keeper.reset(Settings(sources=()), world.clocks)
        gate.set()
        assert done.wait(PATIENCE)
        unsubscribe()
        assert world.keeper.now() is None
        assert world.keeper.results == ()


class TestMaxOffset:
    """The largest correction that is allowed."""

    def test_a_larger_one_is_not_made(self, emitted: Emitted) -> None:
        """The wall clock is signed with, once is said why, and what is known is still told."""
        world = heard(1200, max_offset=600 * SECOND)
        assert world.error() == world.error() == -1200
        world.clocks.advance(31)
        assert world.error() == -1200
        assert not world.keeper.correcting
        assert abs(world.keeper.now().midpoint - world.truth) < 2 * SECOND  # type: ignore[union-attr]
        (change,) = emitted.of(events.CorrectionChanged)
        assert (change.offset, change.withheld, change.source) == (0, True, "https://aws")
        assert change.found == pytest.approx(1200 * SECOND, abs=2 * SECOND)

    def test_a_smaller_one_is(self) -> None:
        """The limit is on the correction, not on the clock."""
        world = heard(500, max_offset=600 * SECOND)
        assert abs(world.error()) < 2
        world.clocks.step(-200)
        assert world.error() == -700
        world.clocks.step(200)
        assert abs(world.error()) < 2


class TestJumps:
    """A jump of the wall clock is a signal, not an answer."""

    @pytest.mark.parametrize(
        ("offset", "happenings", "handed_out"),
        [
            pytest.param(0, [("step", -7200)], 0, id="back: the anchor is never early, so the wall clock is wrong"),
            pytest.param(0, [("step", 7200)], 7200, id="forward: the machine may have stood still"),
            pytest.param(0, [("step", 3600), ("look", 0), ("step", -0.6)], 3599.4, id="then trimmed: still in doubt"),
            pytest.param(-1200, [("advance", 5), ("step", 1)], 0, id="by too little to explain a large lead"),
            pytest.param(-1200, [("advance", 10_800), ("step", 0.648)], 0, id="no jump: the clocks drift apart"),
            pytest.param(600, [("step", 600)], 0, id="onto the known truth"),
        ],
    )
    def test_what_is_handed_out_follows_the_wall_clock_in_doubt(
        self, offset: float, happenings: list[tuple[str, float]], handed_out: float
    ) -> None:
        """Requests are signed by the anchor all the same, because a retry can correct them."""
        world = heard(offset)
        world.error()
        for what, much in happenings:
            if what == "look":
                world.error()
            else:
                getattr(world.clocks, what)(much)
        assert world.error(handed_out=True) == pytest.approx(handed_out, abs=1e-6 if handed_out else 2)
        assert world.keeper.doubtful == bool(handed_out)
        assert abs(world.error()) < 2

    def test_a_server_ends_the_doubt(self) -> None:
        world = heard(0)
        world.clocks.step(7200)
        world.error()
        world.hear()
        assert not world.keeper.doubtful
        assert abs(world.error(handed_out=True)) < 2

    def test_every_domain_has_its_own_doubt(self) -> None:
        """What one endpoint says now settles it for that endpoint alone."""
        world = World(0)
        one, other = (world.keeper.domain(f"https://{name}", stand_in=Grade.NONE) for name in ("one", "other"))
        for domain in (one, other):
            world.hear(domain)
        world.clocks.step(3600)
        world.error()
        world.hear(one)
        assert abs(world.error(one, handed_out=True)) < 2
        assert world.error(other, handed_out=True) == 3600

    def test_what_a_source_said_before_a_jump_is_doubted_too(self) -> None:
        """However long after the last look it spoke."""
        world = World(0)
        world.add_source()
        world.error()
        world.clocks.advance(1)
        world.keeper.measure()
        world.keeper._poller.set_sources(list, 1)
        world.clocks.advance(20)
        world.clocks.step(3600)
        assert world.error(handed_out=True) == 3600

    @pytest.mark.parametrize(("frozen", "by_sources"), [(3600, True), (7200, False)])
    def test_sources_asked_since_a_jump_outrank_an_answer_of_before_it(self, frozen: float, by_sources: bool) -> None:
        """A VM stood still for an hour and was then set right: its sources confirm it. Otherwise the answer stands."""
        world = World(0)
        world.add_source(instant=True)
        world.hear()
        world.truth_at_zero += round(frozen * SECOND)
        world.clocks.step(3600)
        assert (abs(world.error()) < 2) is by_sources
        world.hear()
        assert abs(world.error()) < 2


class TestSources:
    @pytest.mark.parametrize("timeout", [SECOND, 10**30], ids=["a second", "more than a lock can count"])
    def test_a_source_is_enough(self, timeout: int) -> None:
        """The first call on a wrong host is right when any source knows."""
        world = World(1200, timeout=timeout)
        world.add_source()
        world.keeper.measure()
        assert abs(world.error()) < 0.01

    def test_an_answer_outranks_witnesses_that_contradict_it(self) -> None:
        """Two agreeing liars do not overrule a certificate, while its word is recent."""
        world = World(1200)
        for name in "ab":
            world.add_source(name, offset=3600)
        world.keeper.measure()
        assert world.error() == pytest.approx(3600, abs=0.01)
        world.hear()
        assert abs(world.error()) < 2
        world.clocks.advance(OUTRANKS_FOR / SECOND + 1)
        world.keeper.measure()
        assert world.error() == pytest.approx(3600, abs=0.01)

    def test_a_source_that_answers_at_once_is_asked_by_the_first_signing(self) -> None:
        """So no request of the process is signed wrong."""
        world = World(1200)
        source = world.add_source(instant=True)
        assert abs(world.error()) < 0.01
        assert abs(world.error()) < 0.01
        assert source.count == 1

    def test_it_is_asked_again_as_soon_as_the_clock_has_jumped(self) -> None:
        """A frozen machine's anchor is late; the daemon beside us knows better."""
        world = World(0)
        source = world.add_source(instant=True)
        world.error()
        world.truth_at_zero += 7200 * SECOND  # while the machine stood still...
        world.clocks.step(7200)  # ... and its tools put the wall clock right
        assert abs(world.error()) < 0.01
        assert abs(world.error(handed_out=True)) < 0.01
        assert source.count == 2

    def test_an_endpoint_with_a_clock_of_its_own_asks_no_source(self) -> None:
        """What sources say would not help it."""
        world = World(1200)
        source = world.add_source(instant=True)
        world.error(world.keeper.domain("http://localhost:9000", stand_in=Grade.NONE))
        assert source.count == 0

    def test_too_few_that_agree_teach_nothing(self) -> None:
        world = World(1200, min_sources=2)
        world.add_source()
        world.keeper.measure()
        assert world.keeper.now() is None
        world.add_source("another")
        world.keeper.measure()
        assert abs(world.error()) < 0.01

    def test_a_source_without_authentication_can_be_refused(self) -> None:
        """Where that is asked for, only authenticated words count, a source's own included."""
        world = World(1200, require_authenticated=True)
        source = world.add_source()
        world.keeper.measure()
        assert world.error() == -1200
        assert "it is not authenticated" in str(world.keeper.results[0].error)
        source.trust = Trust.AUTHENTICATED
        world.keeper.measure()
        assert abs(world.error()) < 0.01

    def test_every_failure_is_a_result(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Unreachable, raising, silent and nonsensical sources are named with their reason."""
        world = World(0, timeout=SECOND // 5)
        release = threading.Event()
        sources = {name: FakeSource(name, instant=False) for name in ("refuse", "crash", "hang", "ancient", "nothing")}
        sources["refuse"].offset = None
        sources["hang"].gate = release
        sources["ancient"].truth = lambda: 0
        monkeypatch.setattr(sources["crash"], "measure", raising(ZeroDivisionError()))
        monkeypatch.setattr(sources["nothing"], "measure", lambda *_: None)
        world.keeper.add_sources(tuple(sources.values()))
        world.keeper.measure()
        eventually(lambda: world.keeper.results)  # the poll and the wait for it end at the same time
        release.set()
        errors = {result.name: result.error for result in world.keeper.results}
        assert errors == {
            "refuse": "refuse is dead",
            "crash": "ZeroDivisionError: ",
            "hang": "no answer in time",
            "ancient": "it states an implausible date",
            "nothing": "it returned no interval",
        }
        assert world.keeper.now() is None

    def test_a_hundred_threads_measure_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = World(1200)
        source = world.add_source(gate=threading.Event())
        start, begun = world.keeper._poller.start, itertools.count(1)

        def joined(limit: int) -> threading.Event | None:
            done = start(limit)
            if next(begun) == 100:
                source.gate.set()
            return done

        monkeypatch.setattr(world.keeper._poller, "start", joined)
        in_threads(100, lambda: world.keeper.measure(60 * SECOND))
        assert source.count == 1
        assert abs(world.error()) < 0.01

    def test_signing_has_old_news_refreshed_in_the_background(self) -> None:
        """No timer and no permanent thread: a signing that finds it old starts a poll, and does not wait for it."""
        world = World(1200, refresh_interval=60 * SECOND)
        source = world.add_source()
        world.keeper.measure()
        world.clocks.advance(59)
        world.error()
        assert source.count == 1
        world.clocks.advance(2)
        world.error()
        world.clocks.advance(30)
        world.error()
        eventually(lambda: source.count == 2)

    def test_sources_that_told_nothing_are_asked_again_sooner(self) -> None:
        """A network that comes up a minute after boot is found."""
        world = World(1200)
        source = world.add_source(offset=None)
        world.keeper.measure()
        source.offset = 0
        world.clocks.advance(20)
        world.error()
        eventually(lambda: world.keeper.now() is not None)
        assert abs(world.error()) < 0.01

    def test_they_are_not_asked_again_for_what_they_have_just_said(self) -> None:
        """A refusal that tells no time has them asked once, and only if they can help."""
        world = World(1200)
        source = world.add_source()
        began = world.clocks.steady
        world.keeper.ask_for(world.keeper.domain("http://localhost:1", stand_in=Grade.NONE), began)
        assert source.count == 0
        world.keeper.ask_for(world.keeper.utc, began)
        world.keeper.ask_for(world.keeper.utc, began)
        assert source.count == 1
        world.clocks.advance(1)
        world.keeper.ask_for(world.keeper.utc, world.clocks.steady)
        assert source.count == 2

    def test_a_jump_has_the_sources_asked_again(self) -> None:
        """The clock was moved: ask why."""
        world = World(0)
        source = world.add_source()
        world.keeper.measure()
        world.error()
        world.clocks.step(7200)
        world.clocks.advance(0.01)
        world.error()
        eventually(lambda: source.count == 2)
        eventually(lambda: not world.keeper.doubtful)

    @pytest.mark.parametrize(
        "change",
        [
            {"at": FakeClocks().wall},  # the wrong clock
            {"at": FakeClocks().steady - 2 * DAY * SECOND},
            {"at": FakeClocks().steady + DAY * SECOND},
            {"at": None},
            {"at": math.nan},
            {"earliest": -math.inf},
            {"latest": float(FakeClocks().wall + SECOND)},
            {"drift_ppb": -1},
            {"drift_ppb": None},
            {"source": None},
            {"trust": "witness"},
            {"latest": 0},
        ],
    )
    def test_a_strange_statement_is_refused(self, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """A source's author may take one clock for another, or floats for integers; the others count all the same."""
        world = World(1200)
        strange, sound = world.source("strange"), world.source("sound")
        monkeypatch.setattr(strange, "measure", lambda *asked: FakeSource.measure(strange, *asked)._replace(**change))
        world.keeper.add_sources((strange,))
        world.keeper.measure()
        assert world.keeper.now() is None
        world.keeper.add_sources((sound,))
        world.keeper.measure()
        assert abs(world.error()) < 0.01
        assert [result.interval is None for result in world.keeper.results] == [True, False]

    def test_a_steady_clock_that_went_back_makes_all_sources_due(self) -> None:
        """A process restored on another machine: what it knew is of another time line."""
        world = World(1200)
        world.clocks.advance(30 * DAY)
        world.hear()
        source = world.add_source()
        world.keeper.measure()
        world.clocks.step(3600)
        world.clocks.advance(1)
        world.keeper.measure()
        asked = source.count
        back = 29 * DAY * SECOND
        world.clocks._steady -= back
        world.truth_at_zero += back
        world.error()
        eventually(lambda: source.count > asked)
        eventually(lambda: abs(world.error()) < 0.01)
        assert not world.keeper.doubtful

    def test_a_look_of_a_moment_ago_is_none_that_went_back(self) -> None:
        """Another thread has looked since; what that noticed stays."""
        world = heard(0)
        looked = world.clocks.read()
        world.clocks.step(7200)
        world.clocks.advance(1)
        world.error()
        world.keeper._detect_step(looked)
        assert world.keeper.doubtful

    def test_what_is_learned_during_a_look_counts_from_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An earlier verdict must not stay valid for half a minute."""
        world = World(1200)
        of = world.keeper._knowledge.of

        def slowly(domain: Domain, steady: int) -> Interval | None:
            known = of(domain, steady)
            monkeypatch.undo()
            world.hear(took=0)
            return known

        monkeypatch.setattr(world.keeper._knowledge, "of", slowly)
        assert world.error() == -1200
        assert abs(world.error()) < 2

    def test_a_listener_to_a_step_finds_the_doubt_in_force(self) -> None:
        """A listener may ask, or make a call, and be slow; other threads must not wait for the doubt."""
        world = heard(0)
        world.error()
        seen: list[bool] = []
        stop = events.subscribe(lambda event: seen.append(world.keeper.doubtful) if type(event) is Stepped else None)
        world.clocks.step(7200)
        world.clocks.advance(1)
        world.error()
        stop()
        assert seen == [True]

    def test_what_is_within_a_millisecond_either_way_is_two_wide(self) -> None:
        world = World(1200)
        world.add_source()
        assert world.keeper.wait_until(SECOND // 1000, SECOND)
        assert not world.keeper.wait_until(SECOND // 1000 - 1, SECOND // 50)

    def test_waiting_ends_when_time_is_known(self) -> None:
        """A device without a clock can block at boot until a source has answered."""
        world = World(1200)
        assert not world.keeper.wait_until(SECOND, SECOND // 20)
        world.add_source()
        assert world.keeper.wait_until(SECOND, 10 * SECOND)
        assert not world.keeper.wait_until(1000, SECOND // 20)

    def test_what_is_handed_out_waits_for_named_sources(self) -> None:
        """And for those of a host that is told to wait; no longer than they may take, and not once they have failed."""
        world = World(1200)
        gate = threading.Event()
        source = world.source(gate=gate)
        world.keeper.await_sources(world.keeper.utc)
        assert not source.asked.is_set()
        world.keeper.configure(Settings(sources=(source,), timeout=60 * SECOND))
        opening = threading.Thread(target=lambda: source.asked.wait(60) and gate.set())
        opening.start()
        world.keeper.await_sources(world.keeper.utc)
        opening.join()
        assert abs(world.error(handed_out=True)) < 0.01
        assert not world.keeper.lacks_sources(world.keeper.utc)

        silent = World(1200)
        mute = silent.source(gate=threading.Event())
        silent.keeper.configure(Settings(sources=(mute,), timeout=SECOND // 20))
        for _ in range(3):
            silent.keeper.await_sources(silent.keeper.utc)
        assert mute.count == 1
        mute.gate.set()
        for other, lacks in ((World(wait=SECOND), True), (World(), False)):
            assert other.keeper.lacks_sources(other.keeper.utc) is lacks

    @pytest.mark.parametrize("synchronized", [True, False, None])
    @pytest.mark.parametrize("sources", [None, ()], ids=["auto", "response"])
    def test_the_aws_cli_waits_for_the_hosts_sources(
        self, monkeypatch: pytest.MonkeyPatch, synchronized: bool | None, sources: tuple[()] | None
    ) -> None:
        """Where the kernel says that its clock is kept by no program; not where it says nothing."""
        error = 16_000_000 if synchronized is False else 1000
        timex = host_clock.TIMEX.pack(0, 0, 0, error, *[0] * 17)
        monkeypatch.setattr(host_clock, "ask_kernel", lambda: None if synchronized is None else (0, timex))
        world = World(sources=sources)
        assert not world.keeper.lacks_sources(world.keeper.utc)
        monkeypatch.setitem(sys.modules, "awscli", types.ModuleType("awscli"))
        expected = synchronized is False and sources is None
        assert world.keeper.lacks_sources(world.keeper.utc) is expected
        world.hear()
        assert not world.keeper.lacks_sources(world.keeper.utc)

    @needs_fork
    def test_a_child_forked_while_measuring_measures_for_itself(self) -> None:
        """The poll under way lives in the parent only, and no lock stays held."""
        world = World(1200)
        gate = threading.Event()
        source = world.add_source(gate=gate)

        def ask(pause: Callable[[], None]) -> None:
            world.keeper.start()
            eventually(lambda: source.count == 1)
            pause()
            gate.set()

        def child() -> bool:
            world.keeper.reset_after_fork()
            source.gate = None
            world.keeper.measure(5 * SECOND)
            return abs(world.error()) < 0.01

        assert forked_while(ask, child)
