"""The measurements of UTC, and what follows from them at a given instant.

No clock is read here, nothing is locked and no event is emitted: `timekeeper` does that.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval, Trust, drift_over, intersect, plausible
from skewguard.timekeeping.domain import Domain

OUTRANKS_FOR = 900 * SECOND
"""How long an authenticated answer outranks sources that contradict it."""

MAX_LAG = 60 * SECOND
"""An interrupted thread may ask about a moment before the latest measurement, ns, but not so long before."""


class Correction(NamedTuple):
    """What follows for signing in a domain at one instant.

    Attributes:
        estimate: The interval of its clock; None if it is unknown.
        offset: What to add to the wall clock, ns; 0 if that may be right.
        withheld: Whether `max_offset` forbids a correction.
    """

    estimate: Interval | None
    offset: int
    withheld: bool


class Knowledge:
    """The measurements of UTC that a process has, and the rules by which they are used.

    Attributes:
        utc: The domain of AWS and all time sources.
        witness: What most sources agreed on.
        overheard: The clock of a metadata service.
        jumps: How far the wall clock jumped forward, ns, each with the steady instant of the last reading before.
    """

    def __init__(self, settings: Settings, utc: Domain) -> None:
        self.settings = settings
        self.utc = utc
        self.witness: Interval | None = None
        self.overheard: Interval | None = None
        self.jumps: deque[tuple[int, int]] = deque(maxlen=32)

    def of(self, domain: Domain, steady: int) -> Interval | None:
        """Return the estimate of a domain's clock at a steady instant, if it is still young enough to use."""
        if domain is self.utc:
            return self._of_utc(steady)
        own = self.usable(domain.estimate, steady)
        return self._of_utc(steady) if own is None and domain.seeded else own

    def _of_utc(self, steady: int) -> Interval | None:
        estimate, agreed = self.utc.estimate, self.witness
        answer, witness = self.usable(estimate, steady), self.usable(agreed, steady)
        if estimate is None or agreed is None or answer is None or witness is None:
            return answer or witness or self.usable(self.overheard, steady)
        joined = intersect(witness, answer)
        if joined is not None:
            return joined
        # Where the machine was frozen after the answer, its tools have put the wall clock forward by at least as much
        # as the estimate is late; sources asked since then know better.
        jumped = sum(by for at, by in list(self.jumps) if estimate.at <= at <= agreed.at)
        overtaken = 0 < witness.earliest - answer.latest <= jumped
        return witness if overtaken or steady - estimate.at > OUTRANKS_FOR else answer

    def usable(self, said: Interval | None, steady: int) -> Interval | None:
        """Age a statement to a steady instant; None if it is older than `max_age`, or from another time line."""
        if said is None or not -MAX_LAG < steady - said.at <= self.settings.max_age:
            return None
        return said.aged(steady)

    def correction(self, domain: Domain, now: Reading) -> Correction:
        """Compare the wall clock with the estimate of a domain's clock.

        A correction in force ends at half the deadband: at its edge it would come and go with every answer.
        """
        estimate = self.of(domain, now.steady)
        offset = self.offset(estimate, now.wall, domain.announced.correction)
        limit = self.settings.max_offset
        if limit is not None and abs(offset) > limit:
            return Correction(estimate, 0, withheld=True)
        return Correction(estimate, offset, withheld=False)

    def offset(self, estimate: Interval | None, wall: int, in_force: int = 0) -> int:
        """Return by how much to correct the wall clock, ns, without `max_offset`; 0 if it may be right."""
        if estimate is None:
            return 0
        deadband = self.settings.deadband
        offset = estimate.midpoint - wall
        if in_force and abs(offset - in_force) <= deadband:
            deadband //= 2
        return 0 if estimate.earliest - deadband <= wall <= estimate.latest + deadband else offset

    def handed_out(self, domain: Domain, correction: Correction, wall: int) -> int:
        """Return the time to sign as of where no retry can mend it, ns.

        It is the wall clock's if that may be right, or is in doubt; else the estimate's earliest end, so that no server
        meets a date in its future.
        """
        estimate = correction.estimate
        if estimate is None or correction.withheld or estimate.earliest <= wall <= estimate.latest:
            return wall
        return wall if self.in_doubt(domain, estimate, wall) else estimate.earliest

    def in_doubt(self, domain: Domain, estimate: Interval | None, wall: int) -> bool:
        """Return whether the wall clock may be right although it contradicts the estimate.

        After a freeze an estimate is late, never early. So where the wall clock is ahead of the estimate, but would not
        be without its jumps since the last measurement, the machine's tools may have set a clock right that stood
        still, and the steady clock with it.
        """
        if estimate is None or not self.jumps or wall <= estimate.latest + self.settings.deadband:
            return False
        said = [domain.estimate]
        if domain is self.utc or (domain.seeded and self.usable(domain.estimate, estimate.at) is None):
            said = [self.utc.estimate, self.witness, self.overheard]
        measured = max((one.at for one in said if one is not None), default=0)
        jumped = sum(by for at, by in list(self.jumps) if at >= measured)
        return wall - jumped <= estimate.latest + self.settings.deadband

    def objection(self, said: Interval, steady: int) -> str | None:
        """Return why a source's statement may not count at a steady instant; None if it may."""
        numbers = (said.at, said.earliest, said.latest, said.trust, said.drift_ppb)
        if not all(isinstance(number, int) for number in numbers) or not isinstance(said.source, str):
            return "its interval is not one of whole nanoseconds, with a name"
        if said.earliest > said.latest or said.drift_ppb < 0:
            return "its interval ends before it begins, or shrinks with age"
        if self.usable(said, steady) is None:
            return "it is dated long ago, or in the future"
        if not plausible(said):
            return "it states an implausible date"
        if self.settings.require_authenticated and said.trust < Trust.AUTHENTICATED:
            return "it is not authenticated, and require_authenticated is set"
        return None


def response_interval(
    earliest: int, latest: int, sent: Reading, received: Reading, trust: Trust, source: str
) -> Interval:
    """Turn the server's clock in an answer into an interval as of its receipt.

    The server read its clock at some moment between sending and receipt, so the answer may be as old as the whole
    exchange. If the wall clock advanced more than the steady one meanwhile, the machine may have been frozen: then the
    answer may be older still; and a clock that is slow counts too little of the exchange.
    """
    elapsed = max(received.steady - sent.steady, received.wall - sent.wall, 0)
    return Interval(received.steady, earliest, latest + elapsed + drift_over(elapsed), trust, source)
