"""What skewguard can know, and therefore must get right. The oracle knows true time, and none of skewguard's reasoning.

Each exception that the design admits is a condition here, marked EXCEPTION.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from skewguard.config import Settings
from skewguard.interval import SECOND, Interval
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.knowledge import OUTRANKS_FOR
from skewguard.timekeeping.sharing import OWN_CLOCK_FOR
from tests.simulation.servers import Server
from tests.simulation.world import Host

_DRIFT = 201  # ppm: 100 either way widen a statement as it ages, and one for rounding
_SPAN = 5 * SECOND // 2  # the width of a Date; a time in a message is narrower
_FAST = 3 * SECOND  # a cached offset counts for 30 s, in which the wall clock may be slewed by a tenth
_EDGE = 5 * SECOND  # near the end of a statement's life, either verdict is right
_FRESH = SECOND


@dataclass(frozen=True)
class Claim:
    """The last statement that skewguard learned about one clock.

    Attributes:
        at: Its steady instant, ns.
        width: The width of its interval, ns; None if it was a lie that the design believes.
        lost: The host's `lost` at that instant, ns.
        exact: Whether it, and everything it may have been intersected with, was honest and came without a freeze.
        proved: Whether a request that was dated by it was accepted.
        firm: Whether it is proved, or a refusal in words, so that what cannot be signed again may go by it.
        before: The claim that counts if this one does not, which `perhaps` is so.
    """

    at: int
    width: int | None
    lost: int
    exact: bool
    proved: bool = True
    firm: bool = True
    before: Claim | None = None
    perhaps: bool = False


Shared: TypeAlias = Mapping[str, tuple[Interval, Claim | None]]
"""The content of the shared file, by domain: an entry, and its writer's claim then."""


class Bound(NamedTuple):
    """The largest error allowed, ns: true time is at most `miss` outside an interval of at most `width`."""

    miss: int
    width: int


def outdated(shared: Shared, key: str) -> Shared:
    """Return what is shared once a domain's clock was set: its entry is a lie from then on."""
    return {
        each: (said, replace(claim, width=None, exact=False) if each == key and claim is not None else claim)
        for each, (said, claim) in shared.items()
    }


class Oracle:
    """Records what one timekeeper is given.

    Attributes:
        accepted: The domains of which a server has ever accepted a request.
    """

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self._settings = settings
        self._answers: dict[str, Claim] = {}
        self._witness: Claim | None = None
        self._shared: Shared = {}  # as last seen in the file
        self._begun: set[str] = set()
        self._dropped: set[str] = set()
        self.accepted: set[str] = set()

    # -- what skewguard was given -------------------------------------------------------------------------------

    def listens(self, key: str, sent: int) -> bool | None:
        """Return whether a success teaches: not within a second of the last claim of its domain. None: perhaps.

        Args:
            key: The domain.
            sent: The steady instant at which the request was signed, ns.
        """
        said = self._possible(key)
        verdicts = {claim is None or sent - claim.at >= _FRESH or self._unproved(key, claim) for claim in said}
        return verdicts.pop() if len(verdicts) == 1 else None

    def _unproved(self, key: str, claim: Claim) -> bool | None:
        """Return whether a claim is no proof. None: perhaps, because a refusal that agrees with a proof renews it."""
        return not claim.proved and (None if key in self.accepted else True)

    def heard(
        self, key: str, honest: bool, seen: int, passed: int, *, firm: bool, perhaps: bool, proved: bool = False
    ) -> None:
        """Record an answer that skewguard may learn from.

        Args:
            key: The domain it teaches.
            honest: Whether it showed that domain's clock.
            seen: The length of the exchange, by the longer of the host's two clocks, ns.
            passed: Its true length, ns.
            firm: Whether it is proved, or a refusal in words.
            perhaps: Whether it may not count: perhaps it was ignored, or is used for one retry only.
            proved: Whether the request was accepted.
        """
        seen += seen // 10_000 + 1  # a slow clock counts too little, by 100 ppm at the most
        missed = max(0, passed - seen)  # EXCEPTION: a freeze in between that no clock shows
        last = self._answers.get(key)
        before = last
        while last is not None and last.perhaps and self._exact(last):
            last = last.before
        chain = last is None or self._exact(last) or self._host.steady - last.at > self._settings.max_age + _EDGE
        if proved:
            self.accepted.add(key)
        if not perhaps:
            self._dropped.discard(key)
        claim = self._claim(self._host.steady, seen + _SPAN if honest else None, missed, chain)
        self._answers[key] = replace(
            claim, firm=firm, proved=proved, before=before if perhaps else None, perhaps=perhaps
        )

    def dropped(self, key: str) -> None:
        """Record that what is claimed of a private server's clock may have been dropped, as it did not help."""
        self._dropped.add(key)

    def moved(self, key: str) -> None:
        """Record that a domain's clock was set: its claim is a lie from then on."""
        if key in self._answers:
            self._answers[key] = replace(self._answers[key], width=None, exact=False)
        self._shared = outdated(self._shared, key)

    def polled(self, honest: bool, width: int, lost: int) -> None:
        """Record a poll's outcome: whether an honest majority decided it, its width, and the host's `lost` before."""
        missed = self._host.lost - lost  # EXCEPTION: a freeze while the sources were asked
        self._witness = self._claim(self._host.steady, width if honest else None, missed, True)

    def read_file(self, shared: Shared) -> None:
        """Record that this process has read the shared file, what was in it, and where that came from."""
        self._shared = shared

    def begins(self, key: str) -> None:
        """Record a signing for a domain: the first takes over what other processes learned of it and of UTC."""
        if not self._settings.share or not self._settings.learn_from_responses:
            return
        for each in {UTC, key} - self._begun:
            self._begun.add(each)
            said, claim = self._shared.get(each, (None, None))
            if said is None or claim is None or each in self._answers:
                continue
            self.accepted.add(each)
            if each == UTC:
                self._answers[each] = claim
            elif self._host.steady - said.at <= OWN_CLOCK_FOR:  # a guess, which may be ignored
                self._answers[each] = replace(claim, firm=False, proved=False, before=None, perhaps=True)

    def answer(self, key: str) -> Claim | None:
        """Return the claim of a domain's servers, if any."""
        return self._answers.get(key)

    def _claim(self, at: int, width: int | None, missed: int, chain: bool) -> Claim:
        exact = chain and width is not None and not missed
        return Claim(at, width, self._host.lost - missed, exact)

    def _exact(self, claim: Claim) -> bool:
        return claim.exact and claim.lost == self._host.lost

    # -- what follows -------------------------------------------------------------------------------------------

    def misled(self) -> bool:
        """Return whether what is known of UTC may be a lie that the design believes."""
        said = [*self._possible(UTC), self._witness]
        return any(claim is not None and (claim.width is None or not claim.exact) for claim in said)

    def late(self, server: Server) -> bool:
        """Return whether the host was frozen since a server's clock was last shown."""
        said = self._possible(server.key)
        if server.aws:
            said = [*said, *self._possible(UTC), self._witness]
        return any(claim is not None and claim.lost != self._host.lost for claim in said)

    def hidden(self, server: Server, lead: int) -> bool:
        """Return whether the host was frozen since, and too little of the wall clock's lead is due to jumps."""
        heard = self._since(server)
        returned = any(at >= heard for at in self._host.returns)
        jumped = sum(by for at, by in self._host.jumps if at >= heard)
        return self.late(server) and (returned or 2 * jumped < lead + SECOND)

    def silent(self, server: Server) -> bool:
        """Return whether nothing was ever learned of this server's clock, so that the wall clock must sign."""
        own = self._answers.get(server.key)
        return (
            own is None
            and not server.tenant
            and (server.loopback or ("utc" not in self._answers and self._witness is None))
        )

    def bound(self, server: Server) -> Bound | None:
        """Return the error that is allowed for this server's clock; None if any is."""
        if server.tenant or server.two_faced:
            return None  # EXCEPTION: a tenant's words are as it likes, and one of two clocks is as good as the other
        if server.utc:
            return self._worst([self._utc(answer) for answer in self._possible("utc")])
        if server.local and self._host.touched:
            return None  # EXCEPTION: a server on this host, whose clock was set with the host's
        found = []
        for own in self._possible(server.key):
            if own is not None:
                found.append(self._of(own))
            elif server.local or server.offset:
                return None  # EXCEPTION: an endpoint with a clock of its own that was never learned; UTC is used
            else:
                found += [self._utc(answer) for answer in self._possible("utc")]
        return self._worst(found)

    def _possible(self, key: str) -> list[Claim | None]:
        """Return the claims that may count. EXCEPTION: what is not proved may be dropped."""
        claim = self._answers.get(key)
        found = [claim]
        while claim is not None and claim.perhaps:
            claim = claim.before
            found.append(claim)
        return [*found, None] if key in self._dropped else found

    @staticmethod
    def _worst(found: list[Bound | None]) -> Bound | None:
        bounds = [bound for bound in found if bound is not None]
        if len(bounds) < len(found):
            return None
        return Bound(max(bound.miss for bound in bounds), max(bound.width for bound in bounds))

    def shared_bound(self, server: Server) -> Bound | None:
        """Return the error that is allowed in the shared file: that of the server's answers, whatever sources find."""
        if server.local and self._host.touched:
            return None  # EXCEPTION: as for signing
        return self._worst([self._of(answer) for answer in self._possible(server.key)])

    def firm(self, server: Server) -> bool:
        """Return whether a server's clock is proved, or shown by a refusal in words; a vote counts for UTC."""
        said = self._possible(server.key)
        voted = server.aws and self._witness is not None
        return voted or any(claim is not None and claim.firm for claim in said)

    def proved(self, server: Server) -> bool:
        """Return whether a server's clock is proved beyond doubt, or for UTC by a vote."""
        said = self._possible(server.key)
        if said == [None] and server.utc:
            return self._witness is not None
        return all(claim is not None and claim.proved for claim in said)

    def jumped_since_heard(self, server: Server) -> bool:
        """Return whether the wall clock went forward since the last claim, so that what is known is in doubt."""
        heard = self._since(server)
        # The timekeeper knows when a jump happened only from its last reading before it.
        return any(at >= heard for at, _ in self._host.jumps)

    def _since(self, server: Server) -> int:
        """Return when a server's clock was last shown. Of claims that may not count, the oldest does."""
        said = self._possible(server.key)
        if server.utc or None in said:
            said = [*said, *self._possible("utc"), self._witness]
        return min((claim.at for claim in said if claim is not None), default=0)

    def _age(self, claim: Claim) -> int:
        return self._host.steady - claim.at

    def _of(self, claim: Claim | None) -> Bound | None:
        if claim is None or claim.width is None or self._age(claim) > self._settings.max_age - _EDGE:
            return None  # EXCEPTION: a lie that the design believes, or a claim that is too old
        width = claim.width + self._age(claim) * _DRIFT // 1_000_000 + 2
        late = self._host.lost - claim.lost
        # EXCEPTION: freezes of which nothing can tell make it late by their length. And where a late or false
        # statement was intersected with a true one, the truth may have been cut away, but not by more than the width.
        return Bound(late if claim.exact else late + width, width)

    def _utc(self, answer: Claim | None) -> Bound | None:
        witness = self._witness
        if answer is None or witness is None:
            return self._of(answer or witness)
        by_answer, by_witness = self._of(answer), self._of(witness)
        limit = self._settings.max_age
        if abs(self._age(answer) - limit) <= _EDGE or abs(self._age(witness) - limit) <= _EDGE:
            return None
        if self._age(answer) > limit or self._age(witness) > limit:
            return by_answer or by_witness
        if by_answer and by_witness and by_answer.miss == by_witness.miss == 0:
            # A claim does not narrow a vote.
            return Bound(0, min(by_answer.width, by_witness.width) if answer.proved else by_witness.width)
        # One of them is off. If they contradict each other, the answer counts for 15 minutes, then the witnesses. If
        # they meet, what is known lies within the chosen one all the same.
        age = self._age(answer) - OUTRANKS_FOR
        chosen = [by_answer] * (age < _EDGE) + [by_witness] * (age > -_EDGE)
        if any(at >= answer.at for at, _ in self._host.jumps):
            chosen.append(by_witness)  # EXCEPTION: after a jump, sources asked since may outrank an answer of before it
        worst = self._worst(chosen)
        return worst and Bound(worst.miss + worst.width, worst.width)

    def healthy(self, corrected: int) -> int:
        """Return the error up to which a wall clock must be left alone, ns.

        Args:
            corrected: The correction of the last timestamp for this clock, ns.
        """
        # EXCEPTION: a cached verdict counts for a while, in which a slewed clock may have become healthy
        deadband = self._settings.deadband
        if 0 < abs(corrected) < 3 * deadband:
            deadband //= 2  # EXCEPTION: a correction under way goes on
        return deadband - SECOND // 10 - (_FAST if self._host.touched else 0)

    def slack(self, bound: Bound) -> int:
        """Return how far from the server's clock a timestamp may be, ns."""
        return bound.miss + bound.width + self._settings.deadband + _FAST
