"""Asking the sources: all in parallel, under one deadline, one poll at a time, in threads that end with it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.events import Measured, Refused, logger, tell
from skewguard.interval import SECOND, Interval, Vote, vote
from skewguard.sources import Source

_AGAIN = 16 * SECOND  # after a poll that told nothing; RFC 4330, §10: no server is asked more often than every 15 s


@dataclass(frozen=True, slots=True)
class Result:
    """How one source answered when last asked: `interval`, or why there is none."""

    name: str
    interval: Interval | None
    error: str | None = None


class Poller:
    """Asks a process's sources. A source that hangs, even in a name lookup, is left behind with its thread."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        clocks: Clocks,
        believable: Callable[[Interval], bool],
        take: Callable[[tuple[Result, ...], Vote], None],
    ) -> None:
        """Prepare.

        Args:
            sources: Who is asked.
            clocks: The clocks they measure with.
            believable: Tells whether a statement may count at all.
            take: Given every result and the vote once a poll is over, in its thread.
        """
        self._sources = sources
        self._clocks = clocks
        self._believable = believable
        self._take = take
        self._lock = threading.Lock()
        self._under_way: threading.Event | None = None
        self._asked: int | None = None  # the steady instant at which the last poll began
        self._agreed = False  # whether it told the time

    def ask(self, sources: tuple[Source, ...]) -> None:
        """Have these sources asked from now on; if they are others than before, soon."""
        unique: list[Source] = []
        unique.extend(source for source in sources if source not in unique)  # they need not be hashable
        with self._lock:
            if tuple(unique) != self._sources:
                self._sources = tuple(unique)
                self._asked = None

    def expire(self) -> None:
        """Have the sources asked again at the next occasion."""
        self._asked = None

    def keep_fresh(self, steady: int, interval: int, limit: int) -> None:
        """Start a poll if the last began more than `interval` ns before `steady`, or failed and was a while ago."""
        asked = self._asked
        if self._sources and (asked is None or steady - asked > (interval if self._agreed else _AGAIN)):
            self.start(limit)

    def knows_since(self, steady: int) -> bool:
        """Tell whether the sources have agreed on the time in a poll that began at or after a steady instant."""
        return self._agreed and self._asked is not None and self._asked >= steady

    def start(self, limit: int) -> threading.Event | None:
        """Start a poll, or join the one under way.

        Args:
            limit: How long the sources may take, ns.

        Returns:
            What will be set when it is over; None if there is nobody to ask.
        """
        with self._lock:
            if self._under_way is not None or not self._sources:
                return self._under_way
            done = self._under_way = threading.Event()
            sources = self._sources
            self._asked = start = self._clocks.read().steady
        try:
            _thread(self._poll, done, sources, start + limit, limit)
        except RuntimeError as error:  # no more threads, or the interpreter is going down
            self._conclude(done, sources, dict.fromkeys(range(len(sources)), str(error)), limit)
        return done

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, the lock and the poll that only the parent's threads will finish."""
        self._lock = threading.Lock()
        if self._under_way is not None:
            self._under_way = self._asked = None

    def _poll(self, done: threading.Event, sources: tuple[Source, ...], deadline: int, limit: int) -> None:
        answers: dict[int, Interval | str] = {}
        heard: queue.SimpleQueue[tuple[int, Interval | str]] = queue.SimpleQueue()
        end = time.monotonic() + limit / SECOND
        try:
            for index, source in enumerate(sources):
                _thread(_ask, index, source, self._clocks, deadline, heard)
            while len(answers) < len(sources):
                index, answer = heard.get(timeout=max(0.0, end - time.monotonic()))
                answers[index] = answer
        except (queue.Empty, RuntimeError):
            pass  # who has not answered by now has not answered
        finally:
            self._conclude(done, sources, answers, limit)

    def _conclude(
        self, done: threading.Event, sources: tuple[Source, ...], answers: dict[int, Interval | str], limit: int
    ) -> None:
        late = f"no answer within {limit / SECOND:g} s"
        results = [self._result(source, answers.get(index, late)) for index, source in enumerate(sources)]
        for result in results:
            if result.error is not None:
                tell(Refused(result.name, result.error))
        spoken = [result.interval for result in results if result.interval is not None]
        outcome = vote(spoken, self._clocks.read().steady)
        with self._lock:
            current = self._under_way is done  # else this process is a fork's child, or the poll's parent is gone
            if current:
                self._under_way = None
                self._agreed = outcome.interval is not None
        if current:
            self._take(tuple(results), outcome)
        done.set()
        tell(Measured(outcome.interval, _names(outcome.truechimers), _names(outcome.falsetickers)))

    def _result(self, source: Source, answer: Interval | str) -> Result:
        if isinstance(answer, Interval):
            if self._believable(answer):
                return Result(source.name, answer)
            answer = "it states an implausible date"
        return Result(source.name, None, answer)


def _ask(
    index: int, source: Source, clocks: Clocks, deadline: int, heard: queue.SimpleQueue[tuple[int, Interval | str]]
) -> None:
    try:
        answer = source.measure(clocks, deadline)
        heard.put((index, answer if isinstance(answer, Interval) else "it returned no interval"))
    except SourceError as error:
        heard.put((index, str(error)))
    except Exception as error:
        logger.debug("source %s failed", source, exc_info=True)
        heard.put((index, f"{type(error).__name__}: {error}"))


def _thread(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, name="skewguard-poll", daemon=True).start()


def _names(said: tuple[Interval, ...]) -> tuple[str, ...]:
    return tuple(sorted(interval.source for interval in said))
