"""One set of servers that share a clock: what is known of it, and the offset cached for signing. Pure."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from skewguard.interval import SECOND
from skewguard.timekeeping.evidence import Evidence, Grade, Observation, Shown
from skewguard.timekeeping.evidence import after as transition

UTC = "utc"
"""The key of AWS and all time sources; all other keys are endpoints' origins, each with a clock of its own."""

QUIET_FOR = 60 * SECOND
"""How long what did not help is not tried again, ns."""

MAX_LOST = 3
"""After so many calls in a row that were refused although they were corrected, two clocks answer under one name."""

_MAX_QUIET = 1024

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
    """What was known of a domain's clock before and after it learned something."""

    before: Evidence | None
    after: Evidence


class Domain:
    """One set of servers that share a clock.

    Attributes:
        key: `UTC`, or the endpoint's origin.
        stand_in: The highest grade that UTC has here while the domain's own clock is not known. A loopback endpoint
            shares the host's wall clock, so for it UTC would be a guess in the wrong direction.
        shared: Whether what it taught may become another process's estimate.
        evidence: What is known of its clock, by its own answers or another process's.
        inherited: What was taken from another process, at the beginning; False until the shared file is read.
        cached: The offset for the next signings.
        firm: Whether that is proved and not in doubt, so that it may date what no retry can mend.
        announced: The last announcement.
    """

    def __init__(self, key: str, *, stand_in: Grade = Grade.NONE, shared: bool = True) -> None:
        self.key = key
        self.stand_in = stand_in
        self.shared = shared
        self.forget()

    def forget(self) -> None:
        """Return to the initial state."""
        self.evidence: Evidence | None = None
        self.inherited: Evidence | Literal[False] | None = False
        self.cached = EXPIRED
        self.firm = False
        self.announced = Announced()
        self._quiet: dict[str, int] = {}
        self._lost = self._lost_at = 0
        self._given_up_until = -1

    @property
    def learned_at(self) -> int:
        """The steady instant of the last statement learned, ns; 0 without one."""
        return 0 if self.evidence is None else self.evidence.estimate.at

    def learn(self, seen: Observation, known: Evidence | None) -> Change:
        """Learn what an answer shows. `known` is the evidence, if that is still young enough to use."""
        if seen.shown not in (Shown.HINT, Shown.REFUSAL):
            self._lost = 0
            self._quiet.pop(seen.where, None)
        before = self.evidence
        after = self.evidence = transition(known, seen)
        return Change(before, after)

    def revert(self, change: Change) -> bool:
        """Undo a change, unless another one has followed; return whether it was undone."""
        if self.evidence is not change.after:
            return False
        self.evidence = change.before
        return True

    def quieten(self, where: str, steady: int) -> None:
        """Try nothing again for a bare ``Date`` at an origin for a while, because it did not help there."""
        if len(self._quiet) >= _MAX_QUIET:
            self._quiet.clear()
        self._quiet[where] = steady + QUIET_FOR

    def quiet(self, where: str, steady: int) -> bool:
        """Return whether nothing is tried again for a bare ``Date`` at an origin at a steady instant."""
        return steady < self._quiet.get(where, -1)

    def lose(self, steady: int) -> None:
        """Count a call that was refused although it was corrected; give up for a while after `MAX_LOST` in a row.

        A row is over after `QUIET_FOR` without one.
        """
        self._lost = self._lost + 1 if steady - self._lost_at <= QUIET_FOR else 1
        self._lost_at = steady
        if self._lost >= MAX_LOST:
            self._lost = 0
            self.evidence = None
            self._given_up_until = steady + QUIET_FOR

    def given_up(self, steady: int) -> bool:
        """Return whether corrections are given up at a steady instant, as the servers contradict each other."""
        return steady < self._given_up_until

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
