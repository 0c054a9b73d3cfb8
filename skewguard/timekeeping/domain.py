"""One set of servers that share a clock: its estimate, and the offset cached for signing. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from skewguard.interval import Interval, intersect

UTC = "utc"
"""The key of AWS and all time sources; all other keys are endpoints' origins, each with a clock of its own."""


CachedOffset: TypeAlias = tuple[int, int, int, int, int]
"""(until, low, high, correction, to_steady), ns: a correction that signings use as long as no clock has moved.

It is valid while the quick clock is before `until` and the wall clock between `low` and `high` ahead of it. Then the
time to sign with is wall + `correction`, and the steady clock shows quick + `to_steady`.

A bare tuple, because each signing unpacks it: a named one takes 450 instructions more.
"""

EXPIRED: CachedOffset = (-1, 0, 0, 0, 0)
"""A `CachedOffset` that is never valid."""


class Announced(NamedTuple):
    """The content of a domain's last `CorrectionChanged`.

    Attributes:
        correction: The correction, ns.
        withheld: Whether `max_offset` forbade it.
    """

    correction: int = 0
    withheld: bool = False


class Change(NamedTuple):
    """A domain's estimate before and after it learned something."""

    before: Interval | None
    after: Interval


class Domain:
    """One set of servers that share a clock.

    Attributes:
        key: `UTC`, or the endpoint's origin.
        seeded: Whether UTC is used until the domain's own first answer. A loopback endpoint shares the host's wall
            clock, so for it UTC would be a guess in the wrong direction.
        shared: Whether what it taught may become another process's estimate.
        estimate: What its answers taught.
        inherited: The estimate taken from another process, at the beginning; False until the shared file is read.
        unproved: The change by a refusal that did not mention time, until a call that was signed again has succeeded.
        cached: The offset for the next signings.
        announced: The last announcement.
    """

    def __init__(self, key: str, *, seeded: bool, shared: bool = True) -> None:
        self.key = key
        self.seeded = seeded
        self.shared = shared
        self.forget()

    def forget(self) -> None:
        """Return to the initial state."""
        self.estimate: Interval | None = None
        self.inherited: Interval | Literal[False] | None = False
        self.unproved: Change | None = None
        self.cached = EXPIRED
        self.announced = Announced()

    def learn(self, said: Interval, old: Interval | None) -> Change:
        """Learn a server's statement: it narrows the old estimate, if that is usable and agrees, or replaces it."""
        before = self.estimate
        after = self.estimate = (intersect(old, said) if old is not None else None) or said
        return Change(before, after)

    def revert(self, change: Change) -> bool:
        """Undo a change, unless another one has followed; return whether it was undone."""
        if self.estimate is not change.after:
            return False
        self.estimate = change.before
        return True

    def announce(self, now: Announced, deadband: int) -> bool:
        """Store an announcement if it is news: it differs in kind, or by more than the deadband. Return whether it is.

        Compared with the last announcement, so that drift in steps too small to mention is mentioned once it adds up.
        """
        last = self.announced
        moved = abs(now.correction - last.correction) > deadband
        if not moved and bool(now.correction) == bool(last.correction) and now.withheld == last.withheld:
            return False
        self.announced = now
        return True
