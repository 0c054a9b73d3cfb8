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
from typing import TypeAlias

from skewguard import clocks as _clocks
from skewguard.clocks import Clocks, Reading, stepped
from skewguard.config import Settings
from skewguard.events import CorrectionChanged, Refused, Stepped, emit
from skewguard.interval import SECOND, Interval, Vote, plausible
from skewguard.sources import Source
from skewguard.sources.auto import HostSources
from skewguard.timekeeping.domain import LOOK, UTC, Domain, Lesson
from skewguard.timekeeping.knowledge import BACK, Knowledge
from skewguard.timekeeping.polling import LONGEST, Poller, Result
from skewguard.timekeeping.shared_file import Store
from skewguard.timekeeping.sharing import Neighbours

_FAST_FOR = 30 * SECOND  # a verdict on the wall clock stands this long...
_FAST_SLACK = 2_000_000  # ... while wall and quick clock have not moved apart by more than this
_LISTEN_AGAIN = SECOND  # an answer younger than this has nothing to add on success
_COUNTING = 0.1  # s; a poll that took all its time has then still to be counted
_MAX_DOMAINS = 1024

Signing: TypeAlias = tuple[int, int, int]
"""(signed, wall, steady), ns: what to sign as of, which is the wall clock's time plus the correction, and when it was.

A bare tuple, for it is made at every signing.
"""

NEVER: Signing = (0, 0, 0)


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
            self._knowledge = Knowledge(settings, self.utc)
            self.clocks = _clocks.system() if clocks is None else clocks
            self._quick, self._wall = self.clocks.quick_ns, self.clocks.wall_ns
            self.results: tuple[Result, ...] = ()
            self._last_look = self.clocks.read()
            # Other clocks than the host's cannot be compared with other processes'.
            self._neighbours = Neighbours(Store() if clocks is None else None)
            self._age = age = object()
            self._poller = Poller(self.clocks, self._knowledge.objection, functools.partial(self._take, age))
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
                self._knowledge.settings = settings
                self._forget_fast()
                if self._askable != (settings.sources, self._attached, settings.min_sources):
                    self._have_asked()

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._knowledge.settings

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
        return self.known(self.utc, self.clocks.read().steady)

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
        knowledge = self._knowledge
        known = knowledge.of(domain, steady)
        wanted = knowledge.correction(known, wall, domain.announced)
        correction = wanted if knowledge.permits(wanted) else 0
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
        if lasting and knowledge.in_doubt(domain, known, wall):
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
        return self._knowledge.of(domain, steady)

    @staticmethod
    def _announce(domain: Domain, correction: int, known: Interval | None, wall: int, withheld: bool) -> None:
        if known is None:
            emit(CorrectionChanged(domain.key, correction, 0, "", wall, 0))
        else:
            found = known.midpoint - wall
            emit(CorrectionChanged(domain.key, correction, known.width // 2, known.source, wall, found, withheld))

    def _notice_step(self, now: Reading) -> None:
        before = self._last_look
        if before.steady - BACK < now.steady < before.steady:
            return  # another thread has looked since
        self._last_look = now
        if now.steady < before.steady:  # restored on another machine: all that is known is of another time line
            self._knowledge.jumps.clear()
            self._poller.expire()
            return
        moved = stepped(before, now)
        if not moved:
            return
        if moved > 0:
            self._knowledge.jumps.append((before.steady, moved))
        self._poller.expire()  # a jump is a signal: have the sources asked again soon
        emit(Stepped(moved))  # at last, for a listener may take its time

    @property
    def correcting(self) -> bool:
        """Whether AWS's requests are signed away from the wall clock."""
        steady, wall = self.clocks.read()
        wanted = self._knowledge.correction(self.known(self.utc, steady), wall, self.utc.announced)
        return wanted != 0 and self._knowledge.permits(wanted) and not _clocks.faked()

    @property
    def doubtful(self) -> bool:
        """Whether the wall clock may be right against what is known of UTC."""
        steady, wall = self.clocks.read()
        return self._knowledge.in_doubt(self.utc, self.known(self.utc, steady), wall)

    # -- learning -----------------------------------------------------------------------------------------------

    def learn(self, domain: Domain, said: Interval) -> Lesson | None:
        """Take a server's word for its own domain's clock.

        The newest direct word wins: it narrows what was known where the two agree, and replaces it where they do not.

        Returns:
            What `unlearn` needs to take it back; None if it was not believed.
        """
        if not plausible(said):
            emit(Refused(said.source, "it states an implausible date"))
            return None
        self._notice_step(self.clocks.read())
        with self._learned:
            lesson = domain.learn(said, self._knowledge.usable(domain.estimate, said.at))
            self._forget_fast()
            self._learned.notify_all()
        return lesson

    def overhear(self, said: Interval) -> None:
        """Take note of the clock of somebody who is neither source nor endpoint; it counts until one speaks.

        So the service that hands an instance its credentials tells a fresh host the time.
        """
        if self._knowledge.objection(said, self.clocks.read().steady) is None:
            with self._learned:
                self._knowledge.overheard = said
                if self.utc.estimate is None and self._knowledge.witness is None:
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
            domain.fast = LOOK

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
                jumps = self._knowledge.jumps
                self._knowledge.jumps = deque((jump for jump in jumps if jump[0] < look.steady), jumps.maxlen)
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
        wrong = self._knowledge.correction(said.aged(now.steady), now.wall) != 0
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

    def remove_sources(self) -> None:
        """Remove what `add_sources` has added."""
        with self._learned:
            self._attached = ()
            self._have_asked()

    def _have_asked(self) -> None:
        """Tell the poller whom to ask; call it with the lock held."""
        named, attached, quorum = self._askable = (self.settings.sources, self._attached, self.settings.min_sources)
        chosen = (named or ()) + attached
        self._poller.ask(self._host.tiers if named is None and not attached else lambda: [chosen], quorum)

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
                self._knowledge.witness = outcome.interval
                self._forget_fast()
            self._learned.notify_all()

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, what only lives in the parent: locks, the poll under way, a lesson half learned."""
        self._learned = threading.Condition()
        self._forget_fast()
        self._poller.reset_after_fork()
        self._neighbours.reset_after_fork()
