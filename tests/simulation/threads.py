"""Threads, queues and events of the simulated world.

The poller's threads are real ones of which one runs at a time, when the scheduler resumes it. While one waits, or is
waited for, simulated time passes.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from skewguard import events
from skewguard.events import logger
from skewguard.interval import SECOND
from skewguard.timekeeping import polling

if TYPE_CHECKING:
    from tests.simulation.world import World


class _AbandonedError(BaseException):
    """Raised in a thread whose world ends."""


class _Worker:
    """A real thread that runs one simulated thread after another: starting one for each would take most of the time."""

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


def end_idle_threads() -> None:
    """End all real threads that run nothing."""
    while _Worker.idle:
        worker = _Worker.idle.pop()
        worker.job = None
        worker.go.release()
        worker.thread.join()


class SimulatedThread:
    """A thread that runs only while the scheduler waits for it."""

    current: SimulatedThread | None = None

    def __init__(self, world: World, target: Callable[..., None], args: tuple[Any, ...]) -> None:
        self._world, self._target, self._args = world, target, args
        self._abandoned = self._over = False
        self._worker: _Worker | None = None
        world.threads.append(self)

    def _run(self) -> None:
        try:
            self._target(*self._args)
        except _AbandonedError:
            pass
        except BaseException as error:
            self._world.fail(f"a thread of skewguard's died: {error!r}")
        self._over = True
        self._world.threads.remove(self)

    def resume(self) -> None:
        """Run it until it waits or ends. The caller is the scheduler."""
        worker = self._worker
        if self._over:
            return  # abandoned: what it waited for comes too late
        if worker is None:
            if self._abandoned:
                return
            worker = self._worker = _Worker.idle.pop() if _Worker.idle else _Worker()
            worker.job = self._run
        before, SimulatedThread.current = SimulatedThread.current, self
        worker.go.release()
        worker.back.acquire()
        SimulatedThread.current = before

    def pause(self) -> None:
        """Return to the scheduler. The caller is this thread."""
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
    """A `queue.SimpleQueue` in which one thread may wait; simulated time passes meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items: deque[Any] = deque()
        self._waiting: object = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._wake_later(0, self._waiting)

    def get(self, timeout: float) -> Any:
        thread = SimulatedThread.current
        assert thread is not None
        if not self._items:
            self._waiting = (thread, object())
            self._wake_later(round(timeout * SECOND), self._waiting)
            thread.pause()
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
    """A `threading.Event`; while a thread waits for it, simulated time passes."""

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


class SimulatedThreads(polling.Threads):
    """The poller's threads, queues, events and time in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def start(self, target: Callable[..., None], *args: Any) -> None:
        self._world.start_thread(target, *args)

    def event(self) -> Any:
        return _Event(self._world)

    def results(self) -> Any:
        return _Queue(self._world)

    def monotonic(self) -> float:
        return self._world.host.quick / SECOND


class CaughtExceptions(logging.Handler):
    """Fails the world for each exception of skewguard's own that skewguard caught."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not str(record.msg).startswith(("source ", "a refresh failed")):
            self._world.fail(f"an exception inside skewguard: {record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Pass events and caught exceptions to this world; end its threads at the end."""
    caught, level = CaughtExceptions(world), logger.level
    unsubscribe = events.subscribe(world.on_event)
    logger.addHandler(caught)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        world.end()
        unsubscribe()
        logger.removeHandler(caught)
        logger.setLevel(level)
