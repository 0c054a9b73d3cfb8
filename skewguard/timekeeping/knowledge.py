"""The measurements of UTC, and what follows from them at a given instant.

No clock is read here, nothing is locked and no event is emitted: `timekeeper` does that.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval, Trust, intersect, plausible
from skewguard.timekeeping.certificates import Basis, Known, basis
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.evidence import Evidence, Grade

OUTRANKS_FOR = 900 * SECOND
"""How long an authenticated answer outranks sources that contradict it."""

_BEYOND = 60 * SECOND  # how far into a wide interval the wall clock is corrected

MAX_LAG = 60 * SECOND
"""An interrupted thread may ask about a moment before the latest measurement, ns, but not so long before."""


class Correction(NamedTuple):
    """What follows for signing in a domain at one instant.

    Attributes:
        evidence: What is known of its clock; None if nothing is.
        offset: What to add to the wall clock, ns; 0 if that may be right.
        withheld: Whether `max_offset` forbids a correction.
    """

    evidence: Evidence | None
    offset: int
    withheld: bool


class Knowledge:
    """The measurements of UTC that a process has, and the rules by which they are used.

    Attributes:
        utc: The domain of AWS and all time sources.
        witness: What most sources agreed on.
        voters: The statements of those that agreed.
        named: Whether the user has named the sources.
        newest: The newest time that an authenticated statement has shown, ns; 0 without one.
        overheard: The clock of a metadata service.
        jumps: How far the wall clock jumped forward, ns, each with the steady instant of the last reading before.
    """

    def __init__(self, settings: Settings, utc: Domain) -> None:
        self.settings = settings
        self.utc = utc
        self.witness: Interval | None = None
        self.voters: tuple[Interval, ...] = ()
        self.named = False
        self.newest = 0
        self.overheard: Interval | None = None
        self.jumps: deque[tuple[int, int]] = deque(maxlen=32)

    def of(self, domain: Domain, steady: int) -> Evidence | None:
        """Return what is known of a domain's clock, as of a steady instant; None if that is nothing, or too old."""
        if domain is self.utc:
            return self._of_utc(steady)
        if domain.given_up(steady):
            return None
        known = self.own(domain, steady)
        if known is None and domain.stand_in:
            known = self._of_utc(steady)
            known = known and known._replace(grade=min(known.grade, domain.stand_in))
        return known

    def own(self, domain: Domain, steady: int) -> Evidence | None:
        """Return what a domain's own answers taught, aged to a steady instant; None if it is too old."""
        evidence = domain.evidence
        usable = evidence and self.usable(evidence.estimate, steady)
        return evidence and usable and evidence._replace(estimate=usable)

    def _of_utc(self, steady: int) -> Evidence | None:
        answer, agreed = self.own(self.utc, steady), self.witness
        voted = self.usable(agreed, steady)
        if voted is None or agreed is None:
            overheard = self.usable(self.overheard, steady)
            return answer or (overheard and Evidence(Grade.GUESS, overheard))
        vote = Evidence(Grade.VOTE, voted)
        if answer is None or answer.grade is Grade.GUESS:
            return vote
        joined = intersect(voted, answer.estimate)
        if joined is not None:
            return answer._replace(estimate=joined) if answer.grade is Grade.PROOF else vote
        # Where the machine was frozen after the answer, its tools have put the wall clock forward by at least as much
        # as the estimate is late; sources asked since then know better.
        learned = self.utc.learned_at
        jumped = sum(by for at, by in list(self.jumps) if learned <= at <= agreed.at)
        overtaken = 0 < voted.earliest - answer.estimate.latest <= jumped
        return vote if overtaken or steady - learned > OUTRANKS_FOR else answer

    def usable(self, said: Interval | None, steady: int) -> Interval | None:
        """Age a statement to a steady instant; None if it is older than `max_age`, or from another time line."""
        if said is None or not -MAX_LAG < steady - said.at <= self.settings.max_age:
            return None
        return said.aged(steady)

    def correction(self, domain: Domain, now: Reading) -> Correction:
        """Compare the wall clock with what is known of a domain's clock.

        A correction in force ends at half the deadband: at its edge it would come and go with every answer.
        """
        evidence = self.of(domain, now.steady)
        offset = 0 if evidence is None else self.offset(evidence.estimate, now.wall, domain.announced.correction)
        if self.forbids(offset):
            return Correction(evidence, 0, withheld=True)
        return Correction(evidence, offset, withheld=False)

    def offset_by(self, said: Interval, wall: int) -> int:
        """Return by how much to correct the wall clock, ns, by one statement; 0 if `max_offset` forbids it."""
        offset = self.offset(said, wall)
        return 0 if self.forbids(offset) else offset

    def forbids(self, offset: int) -> bool:
        """Return whether `max_offset` forbids a correction, ns."""
        limit = self.settings.max_offset
        return limit is not None and abs(offset) > limit

    def offset(self, estimate: Interval, wall: int, in_force: int = 0) -> int:
        """Return by how much to correct the wall clock, ns, without `max_offset`; 0 if it may be right.

        It is corrected to the middle of the interval, but not far beyond its near end: a refusal after a long wait
        states a wide interval, and the wall clock may be no further off than its near end.
        """
        deadband = self.settings.deadband
        middle = estimate.midpoint - wall
        if in_force and abs(middle - in_force) <= deadband:
            deadband //= 2
        if estimate.earliest - deadband <= wall <= estimate.latest + deadband:
            return 0
        if middle > 0:
            return min(middle, estimate.earliest - wall + _BEYOND)
        return max(middle, estimate.latest - wall - _BEYOND)

    def irrevocable(self, domain: Domain, correction: Correction, where: str, wall: int) -> int:
        """Return the time to sign as of where no retry can mend it, ns.

        It is the wall clock's if that may be right, is in doubt, or is not disproved by evidence that suffices at this
        origin; else the estimate's earliest end, so that no server meets a date in its future.
        """
        evidence = correction.evidence
        if evidence is None or correction.withheld or not evidence.suffices(where):
            return wall
        estimate = evidence.estimate
        if estimate.earliest <= wall <= estimate.latest or self.in_doubt(domain, estimate, wall):
            return wall
        return estimate.earliest

    def is_firm(self, domain: Domain, correction: Correction, wall: int) -> bool:
        """Return whether a correction may date what no retry can mend, at every origin of a domain."""
        evidence = correction.evidence
        if evidence is None or evidence.grade < Grade.VOTE:
            return False
        return not self.in_doubt(domain, evidence.estimate, wall)

    def in_doubt(self, domain: Domain, estimate: Interval | None, wall: int) -> bool:
        """Return whether the wall clock may be right although it contradicts the estimate.

        After a freeze an estimate is late, never early. So where the wall clock is ahead of the estimate, and at least
        half of that is due to its jumps since the last measurement, the machine's tools may have set a clock right that
        stood still, and the steady clock with it. By the other half it may have been wrong before.
        """
        if estimate is None or not self.jumps or wall <= estimate.latest + self.settings.deadband:
            return False
        of_utc = domain is self.utc or (domain.stand_in > 0 and self.own(domain, estimate.at) is None)
        evidence = self.utc.evidence if of_utc else domain.evidence
        others = (self.witness, self.overheard) if of_utc else ()
        said = sorted(one for one in (evidence and evidence.estimate, *others) if one is not None)
        # The newest statement may be so wide that only an older one, which may be late, contradicts the wall clock.
        newest = said[-1] if said else estimate
        since = newest.at if wall > newest.aged(estimate.at).latest + self.settings.deadband else said[0].at
        jumped = sum(by for at, by in list(self.jumps) if at >= since)
        return wall - jumped <= estimate.latest + max(self.settings.deadband, jumped)

    def certificates(self, now: Reading) -> Basis:
        """Return what certificates are to be judged by at one instant."""
        answer = self.own(self.utc, now.steady)
        proved = answer is not None and answer.grade is Grade.PROOF and answer.estimate.trust >= Trust.AUTHENTICATED
        known = Known(
            answer.estimate if answer is not None and proved else None,
            self.usable(self.witness, now.steady),
            tuple(said for each in self.voters if (said := self.usable(each, now.steady)) is not None),
            self.named,
            self.newest,
        )
        found = basis(
            known,
            now.wall,
            lambda said: self.offset(said, now.wall),
            authenticated_only=self.settings.require_authenticated,
        )
        if found.interval is None:
            return found
        if self.forbids(self.offset(found.interval, now.wall)):
            return Basis(None, "max_offset forbids the correction")
        if self.in_doubt(self.utc, found.interval, now.wall):
            return Basis(None, "the clock has jumped since, and may be right")
        return found

    def authenticated(self, said: Interval) -> None:
        """Note an authenticated statement: what is earlier than it has passed."""
        if said.trust >= Trust.AUTHENTICATED:
            self.newest = max(self.newest, said.earliest)

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
