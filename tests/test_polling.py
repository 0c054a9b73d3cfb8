"""Who is asked, in which thread, and whose word is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from skewguard import events
from skewguard.clocks import Clocks
from skewguard.interval import SECOND, Interval, Vote
from skewguard.testing.clocks import FakeClocks
from skewguard.timekeeping import polling
from skewguard.timekeeping.polling import Poller, Result, Threads
from tests.fakes import Emitted, FakeSource, raising
from tests.patience import PATIENCE

LIMIT = 10 * SECOND


def network(name: str, **options: Any) -> FakeSource:
    """Make a source that must be asked in the background."""
    return FakeSource(name, instant=False, **options)


class Desk:
    """A poller and what came of its polls."""

    def __init__(self, *tiers: tuple[FakeSource, ...], quorum: int = 1, threads: Threads | None = None) -> None:
        self.clocks = FakeClocks()
        self.told: list[tuple[tuple[Result, ...], Vote]] = []
        told = self.told
        self.poller = Poller(
            self.clocks, lambda _said, _steady: None, lambda *said: told.append(said), threads or Threads()
        )
        self.poller.set_sources(lambda: list(tiers), quorum)

    def start(self, limit: int = LIMIT) -> threading.Event:
        done = self.poller.start(limit)
        assert done is not None
        return done

    def poll(self, limit: int = LIMIT) -> tuple[tuple[Result, ...], Vote]:
        assert self.start(limit).wait(PATIENCE)
        return self.told[-1]


def names(said: tuple[Interval, ...]) -> set[str]:
    return {interval.source for interval in said}


class TestInLine:
    """Sources that answer at once are asked in the thread that needs them."""

    def test_one_that_a_busy_machine_gave_no_time(self) -> None:
        """It is asked again, in the background, with all the time there is."""
        source = FakeSource("daemon", offset=None)
        desk = Desk((source,))
        measure = source.measure

        def late(clocks: Clocks, deadline: int) -> Interval:
            if not source.count:
                desk.clocks.advance(1.0)
            try:
                return measure(clocks, deadline)
            finally:
                source.offset = 0.0

        source.measure = late  # type: ignore[method-assign]
        _, outcome = desk.poll()
        assert names(outcome.truechimers) == {"daemon"}
        assert source.count == 2
        assert source.threads[0] is threading.current_thread() is not source.threads[1]

    def test_one_that_answers_at_once_has_answered_upon_return(self) -> None:
        """So the first request of a process is signed right."""
        quick = FakeSource("quick")
        desk = Desk((quick,))
        assert desk.start().is_set()
        assert quick.threads == [threading.current_thread()]
        assert desk.told[0][1].interval is not None

    def test_it_gets_a_deadline_that_a_signing_can_spare(self) -> None:
        """And never more than the poll itself has."""
        quick = FakeSource("quick")
        desk = Desk((quick,))
        began = desk.clocks.steady
        desk.poll()
        assert quick.deadlines == [began + SECOND // 50]
        desk.poll(SECOND // 100)
        assert quick.deadlines[1] == began + SECOND // 100

    def test_others_are_asked_elsewhere(self) -> None:
        """The caller does not wait for a network."""
        slow = network("slow", gate=threading.Event())
        done = Desk((slow,)).start()
        assert not done.is_set()
        slow.gate.set()
        assert done.wait(PATIENCE)
        assert slow.threads != [threading.current_thread()]

    def test_one_among_several_that_were_named_does_not_decide_alone(self) -> None:
        """Its statement counts at once only if no source that has not answered yet could overturn it."""
        quick, slow = FakeSource("quick", offset=3600), network("slow", gate=threading.Event())
        desk = Desk((slow, quick, network("other")))
        done = desk.start()
        assert desk.told == []
        slow.gate.set()
        assert done.wait(PATIENCE)
        _, outcome = desk.told[0]
        assert (names(outcome.truechimers), names(outcome.falsetickers)) == ({"slow", "other"}, {"quick"})
        assert quick.count == 1

    def test_a_majority_of_them_decides(self) -> None:
        """Then the others need not be asked at all."""
        slow = network("slow")
        desk = Desk((FakeSource("a"), slow, FakeSource("b")))
        assert desk.start().is_set()
        assert slow.count == 0

    def test_an_interruption_ends_the_poll(self) -> None:
        """A program that is interrupted while it asks can ask again."""
        quick = FakeSource("quick")
        desk = Desk((quick,))
        measure = quick.measure
        quick.measure = raising(KeyboardInterrupt())  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            desk.poller.start(LIMIT)
        assert desk.told[0][1].interval is None
        quick.measure = measure  # type: ignore[method-assign]
        assert desk.poll()[1].interval is not None

    def test_without_a_thread_to_spare_it_is_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading.Thread, "start", raising(RuntimeError("can't start new thread")))
        results, outcome = Desk((network("slow"),)).poll()
        assert outcome.interval is None
        assert results[0].error == "it was not asked: the process can start no thread"


def test_a_signal_may_come_in_the_middle() -> None:
    """Its handler, which signs too, runs in the thread that is just starting a poll."""
    desk = Desk((FakeSource("source"),))
    tiers, ended = desk.poller._tiers, []

    def interrupted() -> object:
        desk.poller.set_sources(tiers, 1)
        desk.poll()
        return tiers()

    desk.poller._tiers = interrupted  # type: ignore[assignment]
    thread = threading.Thread(target=lambda: ended.append(desk.poll()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert ended
    assert len(desk.told) == 2


class TestTiers:
    """One after the other, only as far as needed."""

    @pytest.mark.parametrize("instant", [True, False, None], ids=["instant", "in the background", "the first instant"])
    @pytest.mark.parametrize(
        ("tiers", "quorum", "agree", "lie", "asked"),
        [
            (["a", "b"], 1, {"a"}, set(), "a"),  # no network is asked where a daemon answers
            (["dead", "b"], 1, {"b"}, set(), "dead b"),
            (["dead", "silent"], 1, set(), set(), "dead silent"),
            (["a", "b", "c"], 2, {"a", "b"}, set(), "a b"),  # the cheapest alone is not enough
            (["a", "liar", "c"], 2, {"a", "c"}, {"liar"}, "a liar c"),  # two that disagree settle nothing
        ],
    )
    def test_they_are_asked_until_enough_agree(
        self, tiers: list[str], quorum: int, agree: set[str], lie: set[str], asked: str, instant: bool | None
    ) -> None:
        """Those that are silent are passed over, and named with the reason."""
        offsets = {"dead": None, "silent": None, "liar": 3600}
        sources = [FakeSource(name, offset=offsets.get(name, 0), instant=bool(instant)) for name in tiers]
        sources[0].instant = instant is not False
        results, outcome = Desk(*((source,) for source in sources), quorum=quorum).poll()
        assert (names(outcome.truechimers), names(outcome.falsetickers)) == (agree, lie)
        silent = ("dead", "silent")
        assert [(one.name, one.error) for one in results] == [
            (name, f"{name} is dead" if name in silent else None) for name in asked.split()
        ]
        assert [source.count for source in sources] == [source.name in asked.split() for source in sources]

    def test_one_that_hangs_leaves_time_for_the_next(self) -> None:
        """Each has its share of the time there is."""
        hanging = network("hanging", gate=threading.Event())
        results, outcome = Desk((hanging,), (network("open"),)).poll(SECOND // 2)
        hanging.gate.set()
        assert results[0].error == "no answer in time"
        assert names(outcome.truechimers) == {"open"}

    def test_a_limit_beyond_what_the_system_can_wait_is_no_error(self) -> None:
        """A timeout may be any number: even an endless one ends with the answer."""
        assert Desk((network("one"),)).poll(10**30)[1].interval is not None

    def test_who_is_listed_twice_is_asked_once(self) -> None:
        """A vote counts heads."""
        one = network("one")
        Desk((one, one), (one,)).poll()
        assert one.count == 1

    def test_no_sources(self) -> None:
        """Neither a poll nor a thread."""
        assert Desk(()).poller.start(LIMIT) is None
        assert Desk().poller.start(LIMIT) is None


class TestAgreement:
    """How many must agree, and what becomes known of those who do not."""

    def test_too_few_are_not_believed(self, emitted: Emitted) -> None:
        desk = Desk((network("a"), network("b", offset=None)), quorum=2)
        results, outcome = desk.poll()
        assert outcome.interval is None
        assert [result.off_by for result in results] == [None, None]
        refused = [(event.source, event.reason) for event in emitted.of(events.Refused)]
        assert refused == [("b", "b is dead"), ("a", "1 source agrees; min_sources is 2")]

    def test_each_tier_has_its_share_of_the_time_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What one leaves goes to those after it; a moment of it is for a source's last words."""
        monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: 0.0))
        sources = [network(str(index), offset=None) for index in range(3)]
        desk = Desk(*((source,) for source in sources))
        desk.poll()
        shares = [(source.deadlines[0] - desk.clocks.steady) / SECOND for source in sources]
        assert shares == pytest.approx([10 / 3 - 0.02, 5 - 0.02, 10 - 0.02])

    def test_a_sources_time_counts_from_when_its_thread_runs(self) -> None:
        """On a busy machine, that may be long after it was started."""

        class Busy(Threads):
            def start(self, target: Callable[..., None], *args: object) -> None:
                if getattr(target, "__func__", None) is polling._Poll._ask:
                    desk.clocks.advance(5)
                super().start(target, *args)

        slow = network("slow")
        desk = Desk((slow,), threads=Busy())
        began = desk.clocks.steady
        desk.poll()
        assert slow.deadlines == [began + 5 * SECOND + LIMIT - SECOND // 50]

    def test_what_is_wrong_is_known_by_how_much(self) -> None:
        """From the outcome's nearer end."""
        results, _ = Desk((FakeSource("a"), network("b", offset=3600), network("c"))).poll()
        assert [result.off_by for result in results] == [0, 3600 * SECOND - 2_000_000, 0]

    def test_events_name_both(self, emitted: Emitted) -> None:
        """Who agrees, and who lies."""
        Desk((network("a"), network("liar", offset=-60), network("b"))).poll()
        (measured,) = emitted.of(events.Measured)
        assert (measured.truechimers, measured.falsetickers) == (("a", "b"), ("liar",))


class TestAgain:
    """When a poll is due."""

    @pytest.fixture
    def desk(self) -> Desk:
        return Desk((FakeSource("source"),))

    def due_after(self, desk: Desk, interval: int) -> int:
        """Count the seconds until the next poll is due."""
        waited = 0
        while not desk.poller.due(desk.clocks.steady, interval):
            desk.clocks.advance(1)
            waited += 1
        return waited

    def test_the_first_at_once(self, desk: Desk) -> None:
        assert self.due_after(desk, 60 * SECOND) == 0

    def test_then_when_its_news_is_old(self, desk: Desk) -> None:
        desk.poll()
        assert self.due_after(desk, 60 * SECOND) == 61

    def test_failures_double_the_while(self) -> None:
        """What is blocked is remembered, though not for ever: networks come back."""
        source = FakeSource("blocked", offset=None)
        desk = Desk((source,))
        waits = []
        for _ in range(9):
            desk.poll()
            waits.append(self.due_after(desk, 1024 * SECOND))
        assert waits == [17, 33, 65, 129, 257, 513, 1025, 1025, 1025]
        source.offset = 0.0
        desk.poll()
        source.offset = None
        desk.poll()
        assert self.due_after(desk, 1024 * SECOND) == 17

    def test_what_is_being_asked_is_not_known_yet(self) -> None:
        """A call that was refused during a new poll waits for its result, and does not use the one before."""
        slow = network("slow")
        desk = Desk((slow,))
        desk.poll()
        assert desk.poller.agreed_since(desk.clocks.steady)
        desk.clocks.advance(1)
        slow.gate = threading.Event()
        done = desk.start()
        assert not desk.poller.agreed_since(desk.clocks.steady)
        slow.gate.set()
        assert done.wait(PATIENCE)
        assert desk.poller.agreed_since(desk.clocks.steady)

    @pytest.mark.parametrize(
        "change", [lambda poller: poller.expire(), lambda poller: poller.set_sources(lambda: [(network("new"),)], 1)]
    )
    def test_at_once_after_a_jump_or_for_others(self, desk: Desk, change: Callable[[Poller], None]) -> None:
        """What was learned from them may be wrong now."""
        desk.poll()
        change(desk.poller)
        assert self.due_after(desk, 60 * SECOND) == 0


class Nameless(FakeSource):
    """A source whose name is not to be had."""

    name = property(raising(ValueError("nameless")), lambda *_: None)  # type: ignore[assignment]


class TestStrange:
    """A source may be any code; whatever it does, polls end, and others follow."""

    @pytest.mark.parametrize("instant", [False, True])
    def test_one_that_breaks_the_count(self, instant: bool) -> None:
        """That poll has no result; the next is like any other."""
        tiers = [(Nameless("", instant=instant),)]
        desk = Desk()
        desk.poller.set_sources(lambda: tiers, 1)
        assert desk.start().wait(PATIENCE)
        assert desk.told == []
        tiers[:] = [(network("source"),)]
        assert desk.poll()[1].interval is not None

    def test_what_cannot_be_weighed_is_refused(self) -> None:
        desk = Desk((network("a"), network("b")))
        desk.poller._objection = lambda said, _steady: None if said.source == "a" else int("no number")
        results, outcome = desk.poll()
        assert names(outcome.truechimers) == {"a"}
        assert [result.error and result.error[:10] for result in results] == [None, "ValueError"]

    def test_one_that_hangs_for_ever_takes_few_threads(self) -> None:
        hanging = network("hanging", gate=threading.Event())
        desk = Desk((hanging,))
        errors = [desk.poll(SECOND // 50)[0][0].error for _ in range(7)]
        assert hanging.count == 4
        assert errors == ["no answer in time"] * 4 + ["4 threads still wait for its answer"] * 3
        hanging.gate.set()
        for thread in hanging.threads:
            thread.join(PATIENCE)
        assert desk.poll()[1].interval is not None

    def test_no_source_is_asked_where_they_cannot_be_listed(self) -> None:
        """As when an upgrade has taken a module away from under a running process: what is known still counts."""
        desk = Desk()
        desk.poller.set_sources(lambda: [(network(str(1 // 0)),)], 1)
        assert desk.poller.start(LIMIT) is None
        assert not desk.poller.due(desk.clocks.steady, LIMIT)


def test_eight_dead_servers_delay_no_caller() -> None:
    """However long they hang, who starts the poll goes on, and who waits waits for one deadline."""
    gate = threading.Event()
    desk = Desk(tuple(network(f"dead{index}", gate=gate) for index in range(8)))
    done = desk.poller.start(SECOND // 4)
    assert not done.is_set()
    began = time.monotonic()
    assert done.wait(PATIENCE)
    took = time.monotonic() - began
    gate.set()
    assert took < PATIENCE / 2
    assert [result.error for result in desk.told[0][0]] == ["no answer in time"] * 8
