"""What has been said about time, and what follows from it at a given instant.

No clock is read here, nothing is locked and nobody is told: `timekeeper` does that.
"""

from __future__ import annotations

from collections import deque

from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval, Trust, drift_over, intersect, plausible
from skewguard.timekeeping.domain import Domain

OUTRANKS_FOR = 900 * SECOND
"""How long an authenticated answer outranks sources that contradict it."""

BACK = 60 * SECOND
"""A thread put aside may ask about a moment before the latest word, ns, but not so long before."""


class Knowledge:
    """All that a process has been told of UTC and not forgotten, and the rules by which it is used.

    Attributes:
        settings: Those in force.
        utc: The domain of AWS and all time sources.
        witness: What most sources agreed on.
        overheard: What somebody said who is neither source nor endpoint.
        jumps: How far the wall clock jumped forward, ns, each with the steady instant of the last look before that.
    """

    def __init__(self, settings: Settings, utc: Domain) -> None:
        self.settings = settings
        self.utc = utc
        self.witness: Interval | None = None
        self.overheard: Interval | None = None
        self.jumps: deque[tuple[int, int]] = deque(maxlen=32)

    def of(self, domain: Domain, steady: int) -> Interval | None:
        """Say what is known of a domain's clock at a steady instant, if it is still young enough to use."""
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
        # Where the machine stood still after the answer, its tools have put the wall clock forward by at least what
        # the anchor is late; sources asked since then know better.
        jumped = sum(by for at, by in list(self.jumps) if estimate.at <= at <= agreed.at)
        overtaken = 0 < witness.earliest - answer.latest <= jumped
        return witness if overtaken or steady - estimate.at > OUTRANKS_FOR else answer

    def usable(self, said: Interval | None, steady: int) -> Interval | None:
        """Age a statement to a steady instant; None if it is older than `max_age`, or of some other time altogether."""
        if said is None or not -BACK < steady - said.at <= self.settings.max_age:
            return None
        return said.aged(steady)

    def correction(self, known: Interval | None, wall: int, so_far: int = 0) -> int:
        """Say by how much to correct the wall clock, ns; 0 if it may be right.

        Args:
            known: What is known.
            wall: What the wall clock shows.
            so_far: The correction in force, ns. One that goes on ends at half the deadband: at its edge it would come
                and go with every answer.
        """
        if known is None:
            return 0
        deadband = self.settings.deadband
        wanted = known.midpoint - wall
        if so_far and abs(wanted - so_far) <= deadband:
            deadband //= 2
        return 0 if known.earliest - deadband <= wall <= known.latest + deadband else wanted

    def permits(self, correction: int) -> bool:
        """Tell whether `max_offset` allows a correction, ns."""
        limit = self.settings.max_offset
        return limit is None or abs(correction) <= limit

    def in_doubt(self, domain: Domain, known: Interval | None, wall: int) -> bool:
        """Tell whether the wall clock may be right against what is known.

        A frozen machine's anchor is late, never early. So where the wall clock is ahead of what is known, but would
        not be without the jumps it made since anybody has spoken, the machine's tools may have put right a clock that
        stood still, and the anchor with it.
        """
        if known is None or not self.jumps or wall <= known.latest + self.settings.deadband:
            return False
        said = [domain.estimate]
        if domain is self.utc or (domain.seeded and self.usable(domain.estimate, known.at) is None):
            said = [self.utc.estimate, self.witness, self.overheard]
        spoken = max((one.at for one in said if one is not None), default=0)
        jumped = sum(by for at, by in list(self.jumps) if at >= spoken)
        return wall - jumped <= known.latest + self.settings.deadband

    def objection(self, said: Interval, steady: int) -> str | None:
        """Say why a source's statement may not count at a steady instant; None if it may."""
        numbers = (said.at, said.earliest, said.latest, said.trust, said.drift_ppb)
        if not all(isinstance(number, int) for number in numbers) or not isinstance(said.source, str):
            return "its interval is not one of whole nanoseconds, with a name"
        if said.earliest > said.latest or said.drift_ppb < 0:
            return "its interval ends before it begins, or shrinks with age"
        if self.usable(said, steady) is None:
            return "it speaks of a moment long ago, or yet to come"
        if not plausible(said):
            return "it states an implausible date"
        if self.settings.require_authenticated and said.trust < Trust.AUTHENTICATED:
            return "nothing authenticates it, and require_authenticated is set"
        return None


def response_interval(
    earliest: int, latest: int, sent: Reading, received: Reading, trust: Trust, source: str
) -> Interval:
    """Turn what a server's clock showed in an answer into an interval as of its receipt.

    The server looked at its clock at some moment between sending and receipt, so the answer may be as old as the
    whole exchange. That the wall clock advanced more than the steady one meanwhile may mean the machine stood still:
    then the answer may be older still; and a clock that is slow counts too little of the exchange.
    """
    elapsed = max(received.steady - sent.steady, received.wall - sent.wall, 0)
    return Interval(received.steady, earliest, latest + elapsed + drift_over(elapsed), trust, source)
