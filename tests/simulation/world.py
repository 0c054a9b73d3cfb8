"""True time, a host with clocks of its own, and a scheduler: everything happens when one seed says so.

Times are integer nanoseconds. The threads that `skewguard.polling` starts are *strands* here: real threads of which
exactly one runs at a time, and only when the scheduler says so.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from skewguard import events, polling
from skewguard.clocks import Reading
from skewguard.interval import SECOND

START = 1_780_272_000 * SECOND
"""2026-06-01T00:00:00Z, true time when every world begins."""

_BILLION = 1_000_000_000


class Host:
    """A machine's clocks (`skewguard.clocks.Clocks`) and what befalls them.

    Attributes:
        steady: Never stepped or slewed; counts suspend; stands still in a freeze.
        wall: The wall clock.
        quick: A monotonic clock that is slewed with the wall clock and stops in suspend.
        drift: How fast all three run against true time, ppb.
        lost: How long the machine has stood still in all, ns; nothing on it can tell.
        asleep: "", "suspended" or "frozen".
        jumps: The steady instants at which the wall clock had gone forward, by a step or a very fast slew.
        touched: Whether the wall clock was ever stepped or slewed.
    """

    def __init__(self, wall_error: int = 0, drift: int = 0) -> None:
        self.steady = 1_000 * SECOND
        self.quick = 77 * SECOND
        self.wall = START + wall_error
        self.drift = drift
        self.lost = 0
        self.asleep = ""
        self.jumps: list[int] = []
        self.touched = False
        self._slew = self._slew_left = 0  # ppb, and ns of steady time
        self._remainder = 0

    def read(self) -> Reading:
        return Reading(self.steady, self.wall)

    def quick_ns(self) -> int:
        return self.quick

    def wall_ns(self) -> int:
        return self.wall

    def live(self, true: int) -> None:
        """Let `true` ns of true time pass."""
        if self.asleep == "frozen":
            self.lost += true
            return
        drifted, self._remainder = divmod(true * self.drift + self._remainder, _BILLION)
        passed = true + drifted
        slewed = min(passed, self._slew_left)
        self._slew_left -= slewed
        extra = slewed * self._slew // _BILLION
        self.steady += passed
        self.wall += passed + extra
        if not self.asleep:
            self.quick += passed + extra

    def step(self, by: int) -> None:
        """Set the wall clock by `by` ns."""
        self.wall += by
        self.touched = True
        if by > 0:
            self.jumps.append(self.steady)

    def slew(self, ppb: int, length: int) -> None:
        """Let the wall clock run faster by `ppb` for `length` ns."""
        self._slew, self._slew_left = ppb, length
        if ppb > 500_000:  # faster than any kernel slews: whoever looks seldom sees a jump
            self.jumps.append(self.steady + length)
        self.touched = True


class World:
    """The scheduler, and the story of what happened."""

    def __init__(self, host: Host, check: Callable[[], None] = lambda: None) -> None:
        self.host = host
        self.truth = START
        self.check = check
        self.strands: list[_Strand] = []
        self.violation = ""
        self._story: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self._agenda: list[tuple[int, int, Callable[[], None], bool]] = []
        self._order = itertools.count()
        self._put_off: list[Callable[[], None]] = []

    def note(self, text: str, *values: Any) -> None:
        """Add a line to the story."""
        self._story.append((self.truth, self.host.wall - self.truth, text, values))

    def fail(self, text: str) -> None:
        """Note that an invariant does not hold; the first one counts, and ends the world."""
        if not self.violation:
            self.violation = text
            self.note("VIOLATION: %s", text)

    def story(self) -> str:
        """Tell what happened: seconds of true time, how far off the wall clock is, and what."""
        return "\n".join(
            f"{(truth - START) / SECOND:>14.3f} s  wall {off / SECOND:+14.3f}  {text % values if values else text}"
            for truth, off, text, values in self._story
        )

    def after(self, delay: int, action: Callable[[], None], *, on_host: bool = False) -> None:
        """Have something happen `delay` ns of true time from now; what happens on the host waits until it is awake."""
        heapq.heappush(self._agenda, (self.truth + delay, next(self._order), action, on_host))

    def fall_asleep(self, how: str, length: int, wake: Callable[[], None]) -> None:
        """Suspend or freeze the host for `length` ns; `wake` is the first thing to happen afterwards."""
        if self.host.asleep:
            return
        self.host.asleep = how
        self.note("the host is %s for %.3f s", how, length / SECOND)

        def awake() -> None:
            self.host.asleep = ""
            self.note("the host is awake again")
            wake()
            for action in self._put_off:
                self.after(0, action, on_host=True)
            self._put_off = []

        self.after(length, awake)

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        """Let things happen until there is nothing left, `done` says so, or an invariant is broken."""
        while self._agenda and not self.violation and not done():
            at, _, action, on_host = heapq.heappop(self._agenda)
            if at > self.truth:
                self.host.live(at - self.truth)
                self.truth = at
            if on_host and self.host.asleep:
                self._put_off.append(action)
                continue
            action()
            self.check()

    def sleep(self, length: int) -> None:
        """Let the host wait for `length` ns while other things happen."""
        woken: list[bool] = []
        self.after(length, lambda: woken.append(True), on_host=True)
        self.run(lambda: bool(woken))

    def begin(self, target: Callable[..., None], *args: Any) -> None:
        """Start a thread, in the place of `skewguard.polling._thread`."""
        if target is polling._ask:
            source = args[1]
            self.after(source.begin(args[3]), lambda: target(*args), on_host=True)
        else:
            strand = _Strand(self, target, args)
            self.after(50_000, strand.resume, on_host=True)

    def end(self) -> None:
        """Let go of the threads."""
        for strand in list(self.strands):
            strand.abandon()


class _AbandonedError(BaseException):
    """The world ends."""


class _Worker:
    """A thread that runs one strand after another; to start one for each would cost more than all the rest."""

    idle: list[_Worker] = []

    def __init__(self) -> None:
        self.job: Callable[[], None] | None = None
        self.go, self.back = threading.Lock(), threading.Lock()
        self.go.acquire()
        self.back.acquire()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        self.go.acquire()
        while self.job is not None:
            self.job()
            self.idle.append(self)
            self.back.release()
            self.go.acquire()


def dismiss() -> None:
    """End all idle threads."""
    while _Worker.idle:
        worker = _Worker.idle.pop()
        worker.job = None
        worker.go.release()
        worker.thread.join()


class _Strand:
    """A thread that runs only while the scheduler waits for it."""

    current: _Strand | None = None

    def __init__(self, world: World, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._world, self._target, self._args = world, target, args
        self._abandoned = False
        self._worker: _Worker | None = None
        world.strands.append(self)

    def _run(self) -> None:
        try:
            self._target(*self._args)
        except _AbandonedError:
            pass
        except BaseException as error:
            self._world.fail(f"a thread of skewguard's died: {error!r}")
        self._world.strands.remove(self)

    def resume(self) -> None:
        """Let it run, from anywhere but a strand, until it waits or ends."""
        worker = self._worker
        if worker is None:
            if self._abandoned:
                return
            worker = self._worker = _Worker.idle.pop() if _Worker.idle else _Worker()
            worker.job = self._run
        before, _Strand.current = _Strand.current, self
        worker.go.release()
        worker.back.acquire()
        _Strand.current = before

    def pause(self) -> None:
        """Let the scheduler go on; called from within."""
        assert self._worker is not None
        self._worker.back.release()
        self._worker.go.acquire()
        if self._abandoned:
            raise _AbandonedError

    def abandon(self) -> None:
        self._abandoned = True
        if self._worker is not None:
            self.resume()


class _Queue:
    """Stands in for `queue.SimpleQueue`: one strand waits, and time passes meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: deque[Any] = deque()
        self._waiting: object = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._wake_later(0, self._waiting)

    def get(self, timeout: float) -> Any:
        strand = _Strand.current
        assert strand is not None
        if not self._items:
            self._waiting = (strand, object())
            self._wake_later(round(timeout * SECOND), self._waiting)
            strand.pause()
        if not self._items:
            raise queue.Empty
        return self._items.popleft()

    def _wake_later(self, delay: int, waiting: Any) -> None:
        def wake() -> None:
            if self._waiting is waiting:
                self._waiting = None
                waiting[0].resume()

        self._world.after(delay, wake, on_host=True)


class _Event:
    """Stands in for `threading.Event`: whoever waits lets the world go on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._set = False

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float) -> bool:
        late: list[bool] = []
        self._world.after(round(timeout * SECOND), lambda: late.append(True), on_host=True)
        self._world.run(lambda: self._set or bool(late))
        return self._set


@contextmanager
def inhabited(world: World, listener: events.Listener) -> Iterator[None]:
    """Have `skewguard.polling` keep this world's time and start its threads here."""
    kept = {name: getattr(polling, name) for name in ("time", "queue", "threading", "_thread")}
    unsubscribe = events.subscribe(listener)
    vars(polling).update(
        time=SimpleNamespace(monotonic=lambda: world.host.quick / SECOND),
        queue=SimpleNamespace(SimpleQueue=lambda: _Queue(world), Empty=queue.Empty),
        threading=SimpleNamespace(Event=lambda: _Event(world), Lock=threading.Lock),
        _thread=world.begin,
    )
    try:
        yield
    finally:
        world.end()
        vars(polling).update(kept)
        unsubscribe()
