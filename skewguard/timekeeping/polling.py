"""Asking the sources: at once those that answer at once, the others in the background; one poll at a time.

A poll goes through *tiers*. All sources of a tier are asked, and vote together with those of the tiers before; the next
tier is asked only where that vote has settled nothing. Sources that somebody named are one tier.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.events import Measured, Refused, emit, logger
from skewguard.interval import SECOND, Interval, Vote, vote
from skewguard.sources import Source

Tier = tuple[Source, ...]

Objection = Callable[[Interval, int], "str | None"]
"""Says why a source's statement may not count at a steady instant; None if it may."""

LONGEST = int(threading.TIMEOUT_MAX) // 2 * SECOND
"""Whoever has longer waits this long, ns: the system's clock and locks count no further."""

_AGAIN = 8 * SECOND  # doubled by each poll in a row that told nothing
_LAST_WORDS = SECOND // 50  # left of a poll's time, at the most, for a source to say why it heard nothing
_MOST_INSIDE = 4  # threads that one source may keep waiting
_IN_LINE = SECOND // 50  # what a signing can spare, at the most and now and then, for sources that answer at once


class Result(NamedTuple):
    """How one source answered when last asked.

    Attributes:
        name: The source's name.
        interval: What it said; None if nothing that could count.
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

    A source that hangs, even in a name lookup, is left behind with its thread; with four of them, it is left alone.
    """

    def __init__(
        self,
        clocks: Clocks,
        objection: Objection,
        take: Callable[[tuple[Result, ...], Vote], None],
    ) -> None:
        """Prepare; there is nobody to ask yet.

        Args:
            clocks: The clocks to measure with.
            objection: Says why a statement may not count.
            take: Given every result and the vote once a poll is over, in the thread that ended it.
        """
        self._clocks = clocks
        self._objection = objection
        self._take = take
        self._tiers: Callable[[], Iterable[Tier]] = tuple
        self._quorum = 1
        self._lock = threading.RLock()  # a signal's handler may sign, too
        self._under_way: _Poll | None = None
        self._asked: int | None = None  # the steady instant at which the last poll began
        self._failures = 0  # how many polls in a row have told nothing
        self._agreed = False  # whether the last one told the time
        self._inside: list[int] = []  # the ids of the sources in which threads are, one for each thread

    def ask(self, tiers: Callable[[], Iterable[Tier]], quorum: int) -> None:
        """Have other sources asked from now on, and soon.

        Args:
            tiers: Lists them, anew for each poll.
            quorum: How many must agree.
        """
        with self._lock:
            self._tiers, self._quorum = tiers, quorum
            self._asked = None
            self._failures = 0

    def expire(self) -> None:
        """Have the sources asked again at the next occasion."""
        self._asked = None

    def due(self, steady: int, interval: int) -> bool:
        """Tell whether the last poll began more than `interval` ns before `steady`, or failed and was a while ago.

        Failure upon failure doubles the while, up to `interval`: a network that drops every packet costs little.
        """
        asked = self._asked
        if asked is None or self._agreed:
            return asked is None or steady - asked > interval
        return steady - asked > min(_AGAIN << self._failures, max(interval, _AGAIN))

    def knows_since(self, steady: int) -> bool:
        """Tell whether the sources have agreed on the time in a poll that began at or after a steady instant."""
        under_way = self._under_way is not None  # what it will tell, nobody knows yet
        return self._agreed and not under_way and self._asked is not None and self._asked >= steady

    def start(self, limit: int) -> threading.Event | None:
        """Start a poll, or join the one under way. Sources that answer at once have been asked upon return.

        Args:
            limit: How long the sources may take, ns.

        Returns:
            What will be set when it is over; None if there is nobody to ask.
        """
        with self._lock:
            if self._under_way is not None:
                return self._under_way.done
            limit = min(limit, LONGEST)
            try:
                tiers = list(self._tiers())
            except Exception:  # as after an upgrade under a running process: what is known still counts
                logger.debug("whom to ask could not be found out", exc_info=True)
                tiers = []
            self._asked = start = self._clocks.read().steady
            if not any(tiers):
                return None
            poll = self._under_way = _Poll(tiers, self._clocks, self._objection, self._quorum, limit, self._inside)
        handed_over = False
        try:
            if not poll.ask_at_once(start + min(_IN_LINE, limit)):
                _thread(self._finish, poll)
                handed_over = True
        except Exception:  # such as no more threads, or an interpreter that is going down
            logger.debug("a poll ended early", exc_info=True)
        finally:
            if not handed_over:
                self._conclude(poll)
        return poll.done

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, the lock and the poll that only the parent's threads will finish."""
        self._lock = threading.RLock()
        self._inside = []
        if self._under_way is not None:
            self._under_way = self._asked = None

    def _finish(self, poll: _Poll) -> None:
        try:
            poll.ask_in_parallel()
        except Exception:
            logger.debug("a poll ended early", exc_info=True)
        finally:
            self._conclude(poll)

    def _conclude(self, poll: _Poll) -> None:
        told = False
        try:
            try:
                outcome = poll.outcome()
                results = poll.results(outcome)
                if self._under_way is poll:  # else this process is a fork's child, or the poll's parent is gone
                    self._take(results, outcome)
                told = outcome.interval is not None
            finally:  # not before: a child forked in between would think itself told
                if self._under_way is poll:
                    self._end(told)
            for result in results:
                if result.error is not None:
                    emit(Refused(result.name, result.error))
            if outcome.interval is None and (short := poll.shortage):
                emit(Refused(", ".join(_names(outcome.falsetickers)), short))
            emit(Measured(outcome.interval, _names(outcome.truechimers), _names(outcome.falsetickers)))
        except Exception:  # the sources are anybody's
            logger.debug("a poll came to nothing", exc_info=True)
        finally:
            poll.done.set()

    def _end(self, told: bool) -> None:
        with self._lock:
            self._under_way = None
            self._agreed = told
            self._failures = 0 if told else min(self._failures + 1, 16)


class _Poll:
    """One poll: who is asked, and who has answered what."""

    def __init__(
        self,
        tiers: list[Tier],
        clocks: Clocks,
        objection: Objection,
        quorum: int,
        limit: int,
        inside: list[int],
    ) -> None:
        self.done = threading.Event()
        self.shortage = ""  # why a majority was not enough
        self._tiers = tiers
        self._clocks = clocks
        self._objection = objection
        self._quorum = quorum
        self._inside = inside
        self._end = time.monotonic() + limit / SECOND
        self._deadline = clocks.read().steady + limit
        self._asked: list[Source] = []  # those of the tiers gone through, the present one included
        self._answers: dict[int, Interval | str] = {}  # of those, by their place

    def ask_at_once(self, deadline: int) -> bool:
        """Ask, in this thread, the sources that answer at once, as long as nobody else is needed to settle it.

        Returns:
            Whether it is over.
        """
        while True:
            for index in self._waiting():
                source = self._asked[index]
                if getattr(source, "instant", False):
                    self._answers[index] = _answer(source, self._clocks, deadline, self._objection)
            if self._settled():
                return True
            if self._waiting():
                return False
            if not self._tiers:
                return True
            self._next_tier()

    def ask_in_parallel(self) -> None:
        """Ask all others, each in a thread of its own; end when it is settled, or all are late."""
        heard: queue.SimpleQueue[tuple[int, Interval | str]] = queue.SimpleQueue()
        while True:
            now = time.monotonic()
            share = (self._end - now) / (len(self._tiers) + 1)
            patience = round(share * SECOND)
            deadline = min(self._deadline, self._clocks.read().steady + patience) - min(patience // 10, _LAST_WORDS)
            for index in self._waiting():
                source, inside = self._asked[index], self._inside
                if inside.count(id(source)) < _MOST_INSIDE:
                    _thread(_ask, index, source, self._clocks, deadline, self._objection, inside, heard)
                else:
                    self._answers[index] = f"{_MOST_INSIDE} threads still wait for its answer"
            while self._waiting():
                try:
                    index, answer = heard.get(timeout=max(0.0, now + share - time.monotonic()))
                except queue.Empty:
                    break  # who has not answered by now has not answered
                self._answers[index] = answer
            self._answers.update(dict.fromkeys(self._waiting(), "no answer in time"))
            if self._settled() or not self._tiers:
                return
            self._next_tier()

    def outcome(self) -> Vote:
        """Hold the vote."""
        outcome = vote(self._spoken(), self._clocks.read().steady)
        if outcome.interval is None or len(outcome.truechimers) >= self._quorum:
            return outcome
        self.shortage = f"{len(outcome.truechimers)} of the {self._quorum} sources agree that must"
        return Vote(None, (), outcome.truechimers + outcome.falsetickers)

    def results(self, outcome: Vote) -> tuple[Result, ...]:
        """List what came of each source that was asked."""
        agreed = outcome.interval
        unasked = "the process has no thread to spare" if agreed is None else "others were enough"
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

    def _next_tier(self) -> None:
        for source in self._tiers.pop(0):
            if source not in self._asked:  # they need not be hashable
                self._asked.append(source)

    def _waiting(self) -> list[int]:
        return [index for index in range(len(self._asked)) if index not in self._answers]

    def _spoken(self) -> list[Interval]:
        return [answer for answer in self._answers.values() if not isinstance(answer, str)]

    def _settled(self) -> bool:
        """Tell whether enough agree, whatever those may say who have not answered yet."""
        spoken = self._spoken()
        agreeing = len(vote(spoken, self._clocks.read().steady).truechimers) if spoken else 0
        return agreeing >= self._quorum and 2 * agreeing > len(spoken) + len(self._waiting())


def _answer(source: Source, clocks: Clocks, deadline: int, objection: Objection) -> Interval | str:
    """Ask one source; answer what it says, or why that is nothing, or does not count."""
    try:
        said: object = source.measure(clocks, deadline)
        if not isinstance(said, Interval):
            return "it returned no interval"
        return objection(said, clocks.read().steady) or said
    except SourceError as error:
        return str(error)
    except Exception as error:
        logger.debug("source %s failed", source, exc_info=True)
        return f"{type(error).__name__}: {error}"


def _ask(
    index: int,
    source: Source,
    clocks: Clocks,
    deadline: int,
    objection: Objection,
    inside: list[int],
    heard: queue.SimpleQueue[tuple[int, Interval | str]],
) -> None:
    inside.append(id(source))
    try:
        heard.put((index, _answer(source, clocks, deadline, objection)))
    finally:
        inside.remove(id(source))


def _thread(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name="skewguard-poll", daemon=True).start()


def _names(said: tuple[Interval, ...]) -> tuple[str, ...]:
    return tuple(sorted(interval.source for interval in said))
