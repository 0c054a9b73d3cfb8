"""Polling the sources: in line those that answer at once, in the background the others; one poll at a time.

A poll goes through *tiers*. All sources of a tier are asked, and vote together with those of the tiers before; the next
tier is asked only if that vote has settled nothing. Sources that the settings name are one tier.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from skewguard._fail_open import fail_open, pass_signals
from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.events import Measured, Refused, emit
from skewguard.interval import SECOND, Interval, Vote, vote
from skewguard.sources import Source

Tier = tuple[Source, ...]

Objection = Callable[[Interval, int], "str | None"]
"""Returns why a source's statement may not count at a steady instant; None if it may."""

MAX_WAIT = int(threading.TIMEOUT_MAX) // 2 * SECOND
"""Longer timeouts are clamped to this; `threading` cannot wait longer. ns."""

_FIRST_RETRY = 8 * SECOND  # the pause after failed polls, doubled once for each of them in a row
_ERROR_TIME = SECOND // 50  # the part of a poll's time, at most, in which a source reports why it has no result
_OVERDUE = 2.0  # s; a poll that is not over this long after its time is replaced
_MAX_HUNG = 4  # threads that one source may keep waiting
_INLINE_TIME = SECOND // 50  # what a signing can spare, at most and rarely, for sources that answer at once


class Threads:
    """Threads, what they wait for, and the time they wait by; a simulation passes its own."""

    def start(self, target: Callable[..., None], *args: object) -> None:
        """Run a function in a new thread."""
        threading.Thread(target=target, args=args, name="skewguard-poll", daemon=True).start()

    def event(self) -> threading.Event:
        """Create an event."""
        return threading.Event()

    def results(self) -> queue.SimpleQueue[tuple[int, Interval | str | None]]:
        """Create a queue of sources' results."""
        return queue.SimpleQueue()

    def monotonic(self) -> float:
        """Return the time by which threads wait, s."""
        return time.monotonic()


class Result(NamedTuple):
    """The result of one source in the last poll.

    Attributes:
        name: The source's name.
        interval: Its statement; None if there is none that counts.
        error: Why there is no interval.
        off_by: How far the interval lies from what most sources agree on, ns: 0 for a truechimer, more for a
            falseticker; None if there is no interval or no majority.
    """

    name: str
    interval: Interval | None
    error: str | None = None
    off_by: int | None = None


class Poller:
    """Asks a process's sources.

    A source that hangs, even in a name lookup, is abandoned with its thread; after four of them, it is not asked again.
    """

    def __init__(
        self,
        clocks: Clocks,
        objection: Objection,
        on_results: Callable[[tuple[Result, ...], Vote], None],
        threads: Threads,
    ) -> None:
        """Start with no sources.

        Args:
            clocks: The clocks to measure with.
            objection: Returns why a statement may not count.
            on_results: Called with every result and the vote once a poll is over, in the thread that ended it.
            threads: Runs the polls.
        """
        self._clocks = clocks
        self._objection = objection
        self._on_results = on_results
        self._threads = threads
        self._tiers: Callable[[], Iterable[Tier]] = tuple
        self._quorum = 1
        self._lock = threading.RLock()  # a signal handler may sign, too
        self._under_way: _Poll | None = None
        self._begun: int | None = None  # the steady instant at which the last poll began
        self._failures = 0  # how many polls in a row have failed
        self._agreed = False  # whether the last one succeeded
        self._inside: list[int] = []  # for each thread inside a source, that source's id

    def set_sources(self, tiers: Callable[[], Iterable[Tier]], quorum: int) -> None:
        """Replace the sources, listed anew for each poll; they are due at once, and so many of them must agree."""
        with self._lock:
            self._tiers, self._quorum = tiers, quorum
            self._begun = None
            self._failures = 0

    def expire(self) -> None:
        """Make the sources due at once."""
        self._begun = None

    def due(self, steady: int, interval: int) -> bool:
        """Return whether a poll is due: the last began more than `interval` ns before `steady`, or failed a while ago.

        Each failure in a row doubles that while, up to `interval`: a network that drops every packet costs little.
        """
        begun = self._begun
        if begun is None or self._agreed:
            return begun is None or steady - begun > interval
        return steady - begun > min(_FIRST_RETRY << self._failures, max(interval, _FIRST_RETRY))

    def agreed_since(self, steady: int) -> bool:
        """Return whether the sources agreed on the time in a poll that began at or after a steady instant."""
        under_way = self._under_way is not None  # its outcome is open
        return self._agreed and not under_way and self._begun is not None and self._begun >= steady

    def start(self, limit: int) -> threading.Event | None:
        """Start a poll of at most `limit` ns, or join the one under way; return an event that is set when it is over.

        Sources that answer at once have been asked on return. None if there is no source.
        """
        with self._lock:
            if self._under_way is not None and not self._under_way.overdue():
                return self._under_way.done
            limit = min(limit, MAX_WAIT)
            try:
                tiers = list(self._tiers())
            except Exception as error:  # as after an upgrade under a running process: what is known still counts
                fail_open(error, "the sources could not be listed")
                tiers = []
            self._begun = start = self._clocks.read().steady
            if not any(tiers):
                return None
            poll = self._under_way = _Poll(
                tiers, self._clocks, self._objection, self._quorum, limit, self._threads, self._inside
            )
        handed_over = False
        try:
            if not poll.ask_inline(start + min(_INLINE_TIME, limit)):
                self._threads.start(self._finish, poll)
                handed_over = True
        except Exception as error:  # such as no more threads, or an interpreter that is shutting down
            fail_open(error, "a poll ended early")
        finally:
            if not handed_over:
                self._conclude(poll)
        return poll.done

    def join(self, limit: int) -> None:
        """Wait for the end of the poll that is under way, if there is one, for at most `limit` ns."""
        poll = self._under_way
        if poll is not None and not poll.overdue():
            poll.done.wait(min(limit, MAX_WAIT) / SECOND)

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, the lock and the poll that only the parent's threads will finish."""
        self._lock = threading.RLock()
        self._inside = []
        if self._under_way is not None:
            self._under_way = self._begun = None

    def _finish(self, poll: _Poll) -> None:
        try:
            poll.ask_in_parallel()
        except Exception as error:
            fail_open(error, "a poll ended early")
        finally:
            self._conclude(poll)

    def _conclude(self, poll: _Poll) -> None:
        agreed = False
        try:
            try:
                outcome = poll.outcome()
                results = poll.results(outcome)
                if self._under_way is poll:  # else this process is a forked child, or the poll was dropped
                    self._on_results(results, outcome)
                agreed = outcome.interval is not None
            finally:  # not before: a child forked in between would count as having the results
                if self._under_way is poll:
                    self._end(agreed)
            for result in results:
                if result.error is not None:
                    emit(Refused(result.name, result.error))
            if outcome.interval is None and (short := poll.shortage):
                emit(Refused(", ".join(_names(outcome.falsetickers)), short))
            emit(Measured(outcome.interval, _names(outcome.truechimers), _names(outcome.falsetickers)))
        except Exception as error:  # sources may be of any code
            fail_open(error, "a poll failed")
        finally:
            poll.done.set()

    def _end(self, agreed: bool) -> None:
        with self._lock:
            self._under_way = None
            self._agreed = agreed
            self._failures = 0 if agreed else min(self._failures + 1, 16)


class _Poll:
    """One poll: the sources asked, and their answers."""

    def __init__(
        self,
        tiers: list[Tier],
        clocks: Clocks,
        objection: Objection,
        quorum: int,
        limit: int,
        threads: Threads,
        inside: list[int],
    ) -> None:
        self.done = threads.event()
        self.shortage = ""  # why a majority was not enough
        self._tiers = tiers
        self._clocks = clocks
        self._objection = objection
        self._quorum = quorum
        self._threads = threads
        self._inside = inside
        self._left = limit / SECOND  # s, for the tiers that are left
        self._end = threads.monotonic() + self._left
        self._asked: list[Source] = []  # the sources of all tiers so far, the present one included
        self._answers: dict[int, Interval | str] = {}  # of those, by index

    def overdue(self) -> bool:
        """Return whether the poll should have ended long ago: an interrupt may have come before its end was noted."""
        return self._threads.monotonic() > self._end + _OVERDUE

    def ask_inline(self, deadline: int) -> bool:
        """Ask, in this thread and tier by tier, the sources that answer at once; return whether the poll is over."""
        while True:
            for index in self._unanswered():
                source = self._asked[index]
                if getattr(source, "instant", False):
                    answer = self._answer(source, deadline)
                    # A busy machine may have given it no time; then it is asked again, in the background.
                    if isinstance(answer, Interval) or self._clocks.read().steady < deadline:
                        self._answers[index] = answer
            if self._settled():
                return True
            if self._unanswered():
                return False
            if not self._tiers:
                return True
            self._next_tier()

    def ask_in_parallel(self) -> None:
        """Ask all others, each in a thread of its own; end when the poll is settled, or all are late.

        A source's time counts from when its thread runs: on a busy machine that may be a while after it was started.
        """
        threads = self._threads
        answers = threads.results()
        while True:
            share = self._left / (len(self._tiers) + 1)
            began = threads.monotonic()
            self._end = began + self._left
            patience = round(share * SECOND)
            patience -= min(patience // 10, _ERROR_TIME)
            for index in self._unanswered():
                if self._inside.count(id(self._asked[index])) < _MAX_HUNG:
                    threads.start(self._ask, index, patience, answers)
                else:
                    self._answers[index] = f"{_MAX_HUNG} threads still wait for its answer"
            while self._unanswered():
                try:
                    index, answer = answers.get(timeout=max(0.0, began + share - threads.monotonic()))
                except queue.Empty:
                    break
                if answer is None:  # it is being asked from now on
                    began = threads.monotonic()
                    self._end = began + self._left
                else:
                    self._answers[index] = answer
            self._answers.update(dict.fromkeys(self._unanswered(), "no answer in time"))
            if self._settled() or not self._tiers:
                return
            self._left -= threads.monotonic() - began
            self._next_tier()

    def outcome(self) -> Vote:
        """Hold the vote."""
        outcome = vote(self._statements(), self._clocks.read().steady)
        if outcome.interval is None or len(outcome.truechimers) >= self._quorum:
            return outcome
        count = len(outcome.truechimers)
        self.shortage = f"{count} source{'s agree' if count > 1 else ' agrees'}; min_sources is {self._quorum}"
        return Vote(None, (), outcome.truechimers + outcome.falsetickers)

    def results(self, outcome: Vote) -> tuple[Result, ...]:
        """List the result of each source that was asked."""
        agreed = outcome.interval
        unasked = "the process can start no thread" if agreed is None else "others were enough"
        found = []
        for index, source in enumerate(self._asked):
            answer = self._answers.get(index, f"it was not asked: {unasked}")
            if isinstance(answer, str):
                found.append(Result(source.name, None, answer))
                continue
            off_by = None
            if agreed is not None:
                said = answer.aged(agreed.at)
                off_by = max(said.earliest - agreed.latest, agreed.earliest - said.latest, 0)
            found.append(Result(source.name, answer, off_by=off_by))
        return tuple(found)

    def _ask(self, index: int, patience: int, answers: queue.SimpleQueue[tuple[int, Interval | str | None]]) -> None:
        source = self._asked[index]
        self._inside.append(id(source))
        try:
            answers.put((index, None))
            answers.put((index, self._answer(source, self._clocks.read().steady + patience)))
        finally:
            self._inside.remove(id(source))

    def _answer(self, source: Source, deadline: int) -> Interval | str:
        """Ask one source; return its statement, or why there is none that counts."""
        try:
            said: object = source.measure(self._clocks, deadline)
            if not isinstance(said, Interval):
                return "it returned no interval"
            return self._objection(said, self._clocks.read().steady) or said
        except SourceError as error:
            pass_signals(error)
            return str(error)
        except Exception as error:
            fail_open(error, "source %s failed", source)
            return f"{type(error).__name__}: {error}"

    def _next_tier(self) -> None:
        for source in self._tiers.pop(0):
            if source not in self._asked:  # they need not be hashable
                self._asked.append(source)

    def _unanswered(self) -> list[int]:
        return [index for index in range(len(self._asked)) if index not in self._answers]

    def _statements(self) -> list[Interval]:
        return [answer for answer in self._answers.values() if not isinstance(answer, str)]

    def _settled(self) -> bool:
        """Return whether enough agree, whatever the remaining sources may state."""
        statements = self._statements()
        agreeing = len(vote(statements, self._clocks.read().steady).truechimers) if statements else 0
        return agreeing >= self._quorum and 2 * agreeing > len(statements) + len(self._unanswered())


def _names(said: tuple[Interval, ...]) -> tuple[str, ...]:
    return tuple(sorted(interval.source for interval in said))
