"""A time source that a test configures, and a list of emitted events. Programs of tests import them too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.events import Event
from skewguard.interval import SECOND, Interval, Trust
from skewguard.timekeeping.evidence import Observation, Shown
from tests.patience import PATIENCE

E = TypeVar("E")


class FakeSource:
    """A time source that knows true time. All attributes may be changed between two measurements.

    Attributes:
        offset: The lead of its time over `truth`, or over the wall clock without that, s; None to fail.
        bound: The error bound, s.
        truth: Reads true time, ns since the Unix epoch.
        gate: What a measurement waits for; None for nothing.
        asked: Set as soon as it is asked.
        deadlines: The deadline of each measurement so far.
        threads: The thread of each.
    """

    def __init__(
        self,
        name: str = "source",
        *,
        offset: float | None = 0.0,
        bound: float = 0.001,
        instant: bool = True,
        truth: Callable[[], int] | None = None,
        gate: threading.Event | None = None,
    ) -> None:
        self.name = name
        self.offset = offset
        self.bound = bound
        self.instant = instant
        self.truth = truth
        self.gate = gate
        self.trust = Trust.WITNESS
        self.asked = threading.Event()
        self.deadlines: list[int] = []
        self.threads: list[threading.Thread] = []

    @property
    def count(self) -> int:
        return len(self.deadlines)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        self.threads.append(threading.current_thread())
        self.deadlines.append(deadline)
        self.asked.set()
        if self.gate is not None and not self.gate.wait(PATIENCE):
            raise SourceError(f"{self.name} waited in vain")
        if self.offset is None:
            raise SourceError(f"{self.name} is dead")
        steady, wall = clocks.read()
        found = (self.truth() if self.truth else wall) + round(self.offset * SECOND)
        bound = round(self.bound * SECOND)
        return Interval(steady, found - bound, found + bound, self.trust, self.name)


def ahead_of(clocks: Clocks, seconds: float) -> Callable[[], int]:
    """Return a reader of true time: `seconds` ahead of the wall clock now, and unmoved by later steps."""
    steady, wall = clocks.read()
    difference = wall - steady + round(seconds * SECOND)
    return lambda: clocks.read().steady + difference


def raising(error: BaseException) -> Callable[..., Any]:
    """Return a function that raises an error, whatever it is given."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


class Emitted(list[Event]):
    """Events in the order of their emission."""

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]


def accepted(said: Interval, shown: Shown = Shown.AUTHENTIC) -> Observation:
    """Return what an answer shows to an attempt that was dated by this clock, accepted by default."""
    return Observation(shown, said, said.source, said.midpoint)
