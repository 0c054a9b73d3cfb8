"""What this process knows of true time, per domain, and what to sign with.

True time is anchored to the steady clock, so a step of the wall clock changes nothing that is known. A *domain* is a
set of servers that share a clock: all of AWS (and every time source) keeps UTC; any other endpoint keeps its own.

Reading is lock-free: what a signing needs sits in one tuple per domain, replaced whole. Learning locks.
"""

from __future__ import annotations

import functools
import threading
import time
import weakref
from collections import deque
from typing import Literal, TypeAlias

from skewguard import clocks as _clocks
from skewguard.clocks import Clocks, Reading, stepped
from skewguard.config import Settings
from skewguard.events import CorrectionChanged, Refused, Stepped, tell
from skewguard.interval import SECOND, Interval, Trust, Vote, drift_over, intersect
from skewguard.neighbours import Neighbours
from skewguard.polling import LONGEST, Poller, Result
from skewguard.sources import Source
from skewguard.sources.host import HostSources
from skewguard.store import UTC, Store

EARLIEST = 1_761_955_200 * SECOND
"""2025-11-01, a year before this package was first released: whoever claims an earlier time is wrong."""

LATEST = EARLIEST + 40 * 366 * 86_400 * SECOND
"""Decades ahead: whoever claims a later time is wrong too."""

OUTRANKS_FOR = 900 * SECOND
"""How long an authenticated answer outranks sources that contradict it."""

_FAST_FOR = 30 * SECOND  # a verdict on the wall clock stands this long...
_FAST_SLACK = 2_000_000  # ... while wall and quick clock have not moved apart by more than this
_BACK = 60 * SECOND  # a thread put aside may ask about a moment before the latest word, but not long before
_LISTEN_AGAIN = SECOND  # an answer younger than this has nothing to add on success
_COUNTING = 0.1  # s; a poll that took all its time has then still to be counted
_MAX_DOMAINS = 1024


Signing: TypeAlias = tuple[int, int, int]
"""(signed, wall, steady), ns: what to sign as of, which is the wall clock's time plus the correction, and when it was.

A bare tuple, for it is made at every signing.
"""

NEVER: Signing = (0, 0, 0)

Lesson: TypeAlias = tuple[Interval | None, Interval]
"""What was known of a domain before something was learned, and after."""

_LOOK: tuple[int, int, int, int, int] = (-1, 0, 0, 0, 0)


class Domain:
    """One set of servers that share a clock.

    Attributes:
        key: `UTC`, or the endpoint's origin.
        seeded: Whether UTC stands in until the domain's own first answer. A loopback endpoint shares the host's wall
            clock, so for it UTC would be a guess in the wrong direction.
        shared: Whether what it taught may become a neighbour process's estimate.
        estimate: What its answers taught.
        inherited: The estimate that a neighbour's was, at the beginning; False until neighbours are looked for.
        unproved: What a refusal taught that did not say it was about time, until a call has succeeded with it.
        fast: (until, low, high, correction, to_steady), ns: while the quick clock is before `until` and the wall
            clock between `low` and `high` ahead of it, sign at wall + `correction`; steady is quick + `to_steady`.
        announced: The correction last told of, ns.
        way: Whether it was then told that requests are corrected, and that `max_offset` forbids it.
    """

    def __init__(self, key: str, *, seeded: bool, shared: bool = True) -> None:
        self.key = key
        self.seeded = seeded
        self.shared = shared
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.estimate: Interval | None = None
        self.inherited: Interval | Literal[False] | None = False
        self.unproved: Lesson | None = None
        self.fast = _LOOK
        self.announced = 0
        self.way: tuple[bool, bool] = (False, False)


class Timekeeper:
    """One per process. Every time it takes or gives is in integer nanoseconds."""

    def __init__(self, settings: Settings, clocks: Clocks | None = None) -> None:
        self.utc = Domain(UTC, seeded=False)
        self._domains = {UTC: self.utc}
        # Endpoints beyond the bound are remembered by the sessions that use them, and must forget like the others.
        self._all: weakref.WeakSet[Domain] = weakref.WeakSet([self.utc])
        self._learned = threading.Condition()
        self._generation = 0  # counts what was learned
        self._host = HostSources()
        self._attached: tuple[Source, ...] = ()
        self.reset(settings, clocks)

    def reset(self, settings: Settings, clocks: Clocks | None = None) -> None:
        """Forget what time it is, and begin anew. A poll under way concerns nobody any more."""
        with self._learned:
            self.settings = settings
            self.clocks = _clocks.system() if clocks is None else clocks
            self._quick, self._wall = self.clocks.quick_ns, self.clocks.wall_ns
            self.results: tuple[Result, ...] = ()
            self._witness: Interval | None = None
            self._overheard: Interval | None = None
            self._last_look = self.clocks.read()
            # Other clocks than the host's cannot be compared with other processes'.
            self._neighbours = Neighbours(Store() if clocks is None else None)
            # How far the wall clock jumped forward, ns, and the steady instant of the last look before that.
            self._jumps: deque[tuple[int, int]] = deque(maxlen=32)
            self._age = age = object()
            self._poller = Poller(self.clocks, self._objection, functools.partial(self._take, age))
            self._have_asked()
            for domain in list(self._all):
                domain.forget()
            self._generation += 1

    def configure(self, settings: Settings, clocks: Clocks | None = None) -> None:
        """Change the settings, and keep what is known; other clocks, however, begin anew."""
        if clocks is not None:
            self.reset(settings, clocks)
        else:
            with self._learned:
                self.settings = settings
                self._forget_fast()
                if self._askable != (settings.sources, self._attached, settings.min_sources):
                    self._have_asked()

    # -- reading ------------------------------------------------------------------------------------------------

    def domain(self, key: str, *, seeded: bool, shared: bool = True) -> Domain:
        """Find or make a domain. The number of those that all sessions share is bounded."""
        found = self._domains.get(key)
        if found is None:
            with self._learned:
                found = self._domains.get(key) or Domain(key, seeded=seeded, shared=shared)
                self._all.add(found)
                if len(self._domains) < _MAX_DOMAINS:
                    self._domains[key] = found
        return found

    def heard(self) -> list[Domain]:
        """List the domains that have spoken for themselves."""
        return [domain for domain in list(self._domains.values()) if domain.estimate is not None]

    def signing_time(self, domain: Domain, lasting: bool = False) -> Signing:
        """Say what time to sign with, in this domain, now.

        Args:
            domain: Whose servers will check the signature.
            lasting: The signature will be handed out (a presigned URL), so no retry can mend it: in doubt the wall
                clock is followed.
        """
        until, low, high, correction, to_steady = domain.fast
        quick, wall = self._quick(), self._wall()
        if quick < until and low < wall - quick < high:
            if not correction:
                return wall, wall, quick + to_steady
            if not lasting and not _clocks.faked():
                return wall + correction, wall, quick + to_steady
        return self._look(domain, lasting)

    def now(self) -> Interval | None:
        """Say what is known of UTC, as of now."""
        if self.utc.inherited is False:
            self._inherit(self.utc)
        return self._utc(self.clocks.read().steady)

    def fresh(self, domain: Domain, steady: int) -> bool:
        """Tell whether this domain has been heard so recently that another success has nothing to add."""
        estimate = domain.estimate
        return estimate is not None and steady - estimate.at < _LISTEN_AGAIN

    def _look(self, domain: Domain, lasting: bool) -> Signing:
        if _clocks.faked():
            steady, wall = self.clocks.read()
            return wall, wall, steady
        if domain.inherited is False:
            self._inherit(domain)
        self._keep_fresh(domain)
        generation = self._generation
        quick = self._quick()
        steady, wall = self.clocks.read()
        known = self.known(domain, steady)
        wanted = self._wanted(known, wall)
        correction = wanted if self._permitted(wanted) else 0
        withheld = correction != wanted
        news = False
        with self._learned:
            if generation == self._generation:  # else this verdict is old by now
                low, high = wall - quick - _FAST_SLACK, wall - quick + _FAST_SLACK
                domain.fast = (quick + _FAST_FOR, low, high, correction, steady - quick)
                moved = abs(correction - domain.announced)
                news = moved > self.settings.deadband or (bool(correction), withheld) != domain.way
                if news:
                    domain.announced, domain.way = correction, (bool(correction), withheld)
        if news:
            self._announce(domain, correction, known, wall, withheld)
        if lasting and self._in_doubt(domain, known, wall):
            correction = 0
        return wall + correction, wall, steady

    def _keep_fresh(self, domain: Domain) -> None:
        """Notice what has moved, and have the sources asked if it is time: those that answer at once, at once."""
        if self.due(domain):
            self._poller.start(self.settings.timeout)

    def settled(self, domain: Domain) -> bool:
        """Tell whether the last verdict on the wall clock stands, so that the next signing takes no closer look."""
        until, low, high, _, _ = domain.fast
        quick = self._quick()
        return quick < until and low < self._wall() - quick < high

    def due(self, domain: Domain) -> bool:
        """Notice what has moved; tell whether the next signing in this domain should have the sources asked."""
        reading = self.clocks.read()
        self._notice_step(reading)
        return (domain is self.utc or domain.seeded) and self._poller.due(
            reading.steady, self.settings.refresh_interval
        )

    def known(self, domain: Domain, steady: int) -> Interval | None:
        """Say what is known of this domain's clock at a steady instant, if it is still young enough to use."""
        if domain is self.utc:
            return self._utc(steady)
        own = self._usable(domain.estimate, steady)
        return self._utc(steady) if own is None and domain.seeded else own

    def _utc(self, steady: int) -> Interval | None:
        estimate, agreed = self.utc.estimate, self._witness
        answer, witness = self._usable(estimate, steady), self._usable(agreed, steady)
        if estimate is None or agreed is None or answer is None or witness is None:
            return answer or witness or self._usable(self._overheard, steady)
        joined = intersect(witness, answer)
        if joined is not None:
            return joined
        # Where the machine stood still after the answer, its tools have put the wall clock forward by at least what
        # the anchor is late; sources asked since then know better.
        jumped = sum(by for at, by in list(self._jumps) if estimate.at <= at <= agreed.at)
        overtaken = 0 < witness.earliest - answer.latest <= jumped
        return witness if overtaken or steady - estimate.at > OUTRANKS_FOR else answer

    def _usable(self, said: Interval | None, steady: int) -> Interval | None:
        if said is None or not -_BACK < steady - said.at <= self.settings.max_age:
            return None
        return said.aged(steady)

    def _wanted(self, known: Interval | None, wall: int) -> int:
        """Say by how much to correct the wall clock, ns; 0 if it may be right."""
        deadband = self.settings.deadband
        if known is None or known.earliest - deadband <= wall <= known.latest + deadband:
            return 0
        return known.midpoint - wall

    def _permitted(self, correction: int) -> bool:
        limit = self.settings.max_offset
        return limit is None or abs(correction) <= limit

    @staticmethod
    def _announce(domain: Domain, correction: int, known: Interval | None, wall: int, withheld: bool) -> None:
        if known is None:
            tell(CorrectionChanged(domain.key, correction, 0, "", wall, 0))
        else:
            found = known.midpoint - wall
            tell(CorrectionChanged(domain.key, correction, known.width // 2, known.source, wall, found, withheld))

    def _notice_step(self, now: Reading) -> None:
        before = self._last_look
        if now.steady < before.steady:
            return  # another thread has looked since
        self._last_look = now
        moved = stepped(before, now)
        if not moved:
            return
        tell(Stepped(moved))
        self._poller.expire()  # a jump is a signal: have the sources asked again soon
        if moved > 0:
            self._jumps.append((before.steady, moved))

    def _in_doubt(self, domain: Domain, known: Interval | None, wall: int) -> bool:
        """Tell whether the wall clock may be right against what is known.

        A frozen machine's anchor is late, never early. So where the wall clock is ahead of what is known, but would
        not be without the jumps it made since anybody has spoken, the machine's tools may have put right a clock that
        stood still, and the anchor with it.
        """
        if known is None or not self._jumps or wall <= known.latest + self.settings.deadband:
            return False
        said = [domain.estimate]
        if domain is self.utc or (domain.seeded and self._usable(domain.estimate, known.at) is None):
            said = [self.utc.estimate, self._witness, self._overheard]
        spoken = max((one.at for one in said if one is not None), default=0)
        jumped = sum(by for at, by in list(self._jumps) if at >= spoken)
        return wall - jumped <= known.latest + self.settings.deadband

    @property
    def correcting(self) -> bool:
        """Whether AWS's requests are signed away from the wall clock."""
        steady, wall = self.clocks.read()
        wanted = self._wanted(self._utc(steady), wall)
        return wanted != 0 and self._permitted(wanted) and not _clocks.faked()

    @property
    def doubtful(self) -> bool:
        """Whether the wall clock may be right against what is known of UTC."""
        steady, wall = self.clocks.read()
        return self._in_doubt(self.utc, self._utc(steady), wall)

    # -- learning -----------------------------------------------------------------------------------------------

    def learn(self, domain: Domain, said: Interval) -> Lesson | None:
        """Take a server's word for its own domain's clock.

        The newest direct word wins: it narrows what was known where the two agree, and replaces it where they do not.

        Returns:
            What `unlearn` needs to take it back; None if it was not believed.
        """
        if not plausible(said):
            tell(Refused(said.source, "it states an implausible date"))
            return None
        self._notice_step(self.clocks.read())
        with self._learned:
            before = domain.estimate
            old = self._usable(before, said.at)
            after = domain.estimate = (intersect(old, said) if old is not None else None) or said
            self._forget_fast()
            self._learned.notify_all()
        return before, after

    def overhear(self, said: Interval) -> None:
        """Take note of the clock of somebody who is neither source nor endpoint; it counts until one speaks.

        So the service that hands an instance its credentials tells a fresh host the time.
        """
        if self._objection(said) is None:
            with self._learned:
                self._overheard = said
                if self.utc.estimate is None and self._witness is None:
                    self._forget_fast()

    def unlearn(self, domain: Domain, lesson: Lesson) -> None:
        """Take back what was learned, unless something else has been learned since."""
        before, after = lesson
        with self._learned:
            if domain.estimate is after:
                domain.estimate = before
                self._forget_fast()

    def _forget_fast(self) -> None:
        """Have every domain looked at afresh; call it with the lock held."""
        self._generation += 1
        for domain in list(self._all):
            domain.fast = _LOOK

    # -- neighbours ---------------------------------------------------------------------------------------------

    @property
    def _sharing(self) -> bool:
        return self.settings.share and self.settings.learn_from_responses and not _clocks.faked()

    def _inherit(self, domain: Domain) -> None:
        """Begin with what another process has learned, until this one has heard for itself."""
        if not self._sharing:
            return
        look = self._neighbours.look(self.clocks)
        steady = self.clocks.read().steady
        with self._learned:
            if look is not None and look.steady <= self._last_look.steady:
                self._last_look = look  # so that a step since then is noticed, and may raise doubt; and is so once
                self._jumps = deque((jump for jump in self._jumps if jump[0] < look.steady), self._jumps.maxlen)
            for each in (self.utc, domain):
                if each.inherited is False:
                    said = self._neighbours.said(each.key, steady) if each.estimate is None else None
                    each.inherited = said if said is not None and plausible(said) and each.shared else None
                    each.estimate = each.estimate or each.inherited
                    self._forget_fast()

    def share(self, domain: Domain) -> None:
        """Let other processes begin with what this one has been taught by answers, if it is proved and new to them."""
        said = domain.estimate
        if said is None or domain.unproved or not domain.shared or not self._sharing:
            return
        now = self.clocks.read()
        wrong = self._wanted(said.aged(now.steady), now.wall) != 0
        self._neighbours.tell(domain.key, said, self.clocks, wrong, self.settings.deadband)

    def inherited(self) -> list[Domain]:
        """List the domains of which nothing is known but what a neighbour has learned."""
        return [domain for domain in self.heard() if domain.estimate is domain.inherited]

    # -- measuring ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask the sources, if there are any, in the background."""
        self._poller.start(self.settings.timeout)

    def add_sources(self, sources: tuple[Source, ...]) -> None:
        """Have these sources asked too, whatever is installed or uninstalled."""
        with self._learned:
            new = tuple(source for source in sources if source not in self._attached)
            self._attached += new
            if new:
                self._have_asked()

    def _have_asked(self) -> None:
        """Tell the poller whom to ask; call it with the lock held."""
        named, attached, quorum = self._askable = (self.settings.sources, self._attached, self.settings.min_sources)
        chosen = (named or ()) + attached
        self._poller.ask(self._host.tiers if named is None and not attached else lambda: [chosen], quorum)

    def _objection(self, said: Interval) -> str | None:
        """Say why a source's statement may not count; None if it may."""
        if not plausible(said):
            return "it states an implausible date"
        if self.settings.require_authenticated and said.trust < Trust.AUTHENTICATED:
            return "nothing authenticates it, and require_authenticated is set"
        return None

    def ask_for(self, domain: Domain, since: int) -> None:
        """Have the sources asked, and wait, if they can help this domain and have not told since a steady instant."""
        if (domain is self.utc or domain.seeded) and not self._poller.knows_since(since):
            self.measure()

    def measure(self, timeout: int | None = None) -> None:
        """Ask every source now, in parallel, and wait for the answers, but not longer than `timeout` ns.

        Calls that come while one is under way join it.
        """
        limit = self.settings.timeout if timeout is None else timeout
        done = self._poller.start(limit)
        if done is not None:
            done.wait(min(limit, LONGEST) / SECOND + _COUNTING)

    def wait_until(self, within: int, timeout: int) -> bool:
        """Block until UTC is known within +/- `within` ns, asking the sources as often as they allow.

        Returns:
            False when `timeout` ns have passed without it.
        """
        end = time.monotonic() + timeout / SECOND
        while not self._known_within(within):
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.measure(min(self.settings.timeout, int(left * SECOND)))
            with self._learned:
                if not self._known_within(within):
                    self._learned.wait(max(0.0, min(1.0, end - time.monotonic())))
        return True

    def _known_within(self, within: int) -> bool:
        known = self.now()
        return known is not None and known.width <= 2 * within

    def _take(self, age: object, results: tuple[Result, ...], outcome: Vote) -> None:
        """Take what the sources said, unless everything was forgotten since they were asked."""
        self._notice_step(self.clocks.read())
        with self._learned:
            if age is not self._age:
                return
            self.results = results
            if outcome.interval is not None:
                self._witness = outcome.interval
                self._forget_fast()
            self._learned.notify_all()

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, what only lives in the parent: locks, the poll under way, a lesson half learned."""
        self._learned = threading.Condition()
        self._forget_fast()
        self._poller.reset_after_fork()
        self._neighbours.reset_after_fork()


def plausible(said: Interval) -> bool:
    """Tell whether a statement lies between the year before this package's first release and some decades ahead."""
    return said.earliest >= EARLIEST and said.latest <= LATEST


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
