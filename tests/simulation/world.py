"""True time, a host with clocks of its own, and a scheduler that makes everything repeatable.

Times are integer nanoseconds.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from skewguard.clocks import Reading
from skewguard.events import Event
from skewguard.interval import SECOND
from skewguard.timekeeping import polling
from tests.simulation.sharing import SharedFile
from tests.simulation.threads import SimulatedThread

if TYPE_CHECKING:
    from tests.simulation.callers import Program

START = 1_780_272_000 * SECOND
"""2026-06-01T00:00:00Z, true time when every world begins."""

_BILLION = 1_000_000_000
_WORK = 1_000  # ns; no two actions happen at one instant, not even those that waited for the host to wake


class Host:
    """A machine's clocks (a `skewguard.clocks.Clocks`).

    Attributes:
        steady: Never stepped or slewed; counts suspend; stands still in a freeze.
        wall: The wall clock.
        quick: A monotonic clock that is slewed with the wall clock and stops in suspend.
        drift: How fast all three run against true time, ppb.
        lost: The time for which the machine stood still in all, ns; it cannot measure that itself.
        asleep: "", "suspended" or "frozen".
        jumps: By how much the wall clock went forward in a step or a very fast slew, and the steady instant.
        returns: The steady instants at which it was stepped back.
        touched: Whether the wall clock was ever stepped or slewed.
    """

    def __init__(self, wall_error: int = 0, drift: int = 0) -> None:
        self.steady = 1_000 * SECOND
        self.quick = 77 * SECOND
        self.wall = START + wall_error
        self.drift = drift
        self.lost = 0
        self.asleep = ""
        self.jumps: list[tuple[int, int]] = []
        self.returns: list[int] = []
        self.touched = False
        self._slew = self._slew_left = 0  # ppb, and ns of steady time
        self._remainder = 0

    def read(self) -> Reading:
        return Reading(self.steady, self.wall)

    def quick_ns(self) -> int:
        return self.quick

    def wall_ns(self) -> int:
        return self.wall

    def pass_time(self, true: int) -> None:
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
        self.wall += by
        self.touched = True
        if by > SECOND // 2:  # less is no step, but may be a slew
            self.jumps.append((self.steady, by))
        elif by < 0:
            self.returns.append(self.steady)

    def slew(self, ppb: int, length: int) -> None:
        """Let the wall clock run faster by `ppb` for `length` ns."""
        self._slew, self._slew_left = ppb, length
        if ppb > 500_000:  # faster than any kernel slews: a process that seldom reads the clocks sees a jump
            self.jumps.append((self.steady + length, length))
        self.touched = True


class World:
    """The scheduler, and the log of what happened.

    Attributes:
        host: The machine as it was last booted.
        file: What its processes share.
        programs: The processes that run.
        truth: True time.
        changed: When a clock was last set, or a connection lost.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.file = SharedFile()
        self.programs: list[Program] = []
        self.truth = START
        self.changed = 0
        self.threads: list[SimulatedThread] = []
        self.violation = ""
        self._story: list[tuple[int, int, str, tuple[Any, ...]]] = []
        self._queue: list[tuple[int, int, Callable[[], None], bool, bool]] = []
        self._order = itertools.count()
        self._deferred: list[tuple[Callable[[], None], bool]] = []

    def on_event(self, event: Event) -> None:
        """Log an event of skewguard's, and pass it to the programs."""
        self.note("%r", event)
        for program in self.programs:
            program.on_event(event)

    def note(self, text: str, *values: Any) -> None:
        self._story.append((self.truth, self.host.wall - self.truth, text, values))

    def fail(self, text: str) -> None:
        """Record that an invariant does not hold; the first one ends the world."""
        if not self.violation:
            self.violation = text
            self.note("VIOLATION: %s", text)

    def story(self) -> str:
        """Format what happened: seconds of true time, the wall clock's error, and the text."""
        return "\n".join(
            f"{(truth - START) / SECOND:>14.3f} s  wall {off / SECOND:+14.3f}  {text % values if values else text}"
            for truth, off, text, values in self._story
        )

    def after(self, delay: int, action: Callable[[], None], *, on_host: bool = False, quiet: bool = False) -> None:
        """Schedule an action `delay` ns of true time from now; with `on_host`, not before the host is awake.

        A `quiet` one changes nothing that the programs know.
        """
        heapq.heappush(self._queue, (self.truth + delay, next(self._order), action, on_host, quiet))

    def fall_asleep(self, how: str, length: int, wake: Callable[[], None]) -> None:
        """Suspend or freeze the host for `length` ns, and call `wake` at its end."""
        if self.host.asleep:
            return
        self.host.asleep = how
        self.changed = self.truth
        self.note("the host is %s for %.3f s", how, length / SECOND)

        def awake() -> None:
            self.host.asleep = ""
            self.changed = self.truth
            self.note("the host wakes")
            wake()
            for action, quiet in self._deferred:
                self.after(0, action, on_host=True, quiet=quiet)
            self._deferred = []

        self.after(length, awake)

    def run(self, done: Callable[[], bool] = lambda: False) -> None:
        while self._queue and not self.violation and not done():
            at, _, action, on_host, quiet = heapq.heappop(self._queue)
            self._advance_to(at)
            if on_host and self.host.asleep:
                self._deferred.append((action, quiet))
                continue
            action()
            if not quiet:
                for program in self.programs:
                    program.check()
            self._advance_to(self.truth + _WORK)

    def _advance_to(self, truth: int) -> None:
        if truth > self.truth:
            self.host.pass_time(truth - self.truth)
            self.truth = truth

    def reboot(self, host: Host) -> None:
        """End every process, and boot into this host."""
        for program in list(self.programs):
            program.end()
        self.end()
        self.host = host
        self.file.reboot()
        self.note("the host boots")

    def sleep(self, length: int) -> None:
        """Wait for `length` ns on the host while other actions run."""
        woken: list[bool] = []
        self.after(length, lambda: woken.append(True), on_host=True)
        self.run(lambda: bool(woken))

    def start_thread(self, target: Callable[..., None], *args: Any) -> None:
        """Start a thread of the poller's."""
        if getattr(target, "__func__", None) is polling._Poll._ask:
            index, patience, _ = args
            source = target.__self__._asked[index]  # type: ignore[attr-defined]
            self.after(source.begin(patience), lambda: target(*args), on_host=True)
        else:
            thread = SimulatedThread(self, target, args)
            self.after(50_000, thread.resume, on_host=True)

    def end(self) -> None:
        """Abandon the threads."""
        for thread in list(self.threads):
            thread.abandon()
