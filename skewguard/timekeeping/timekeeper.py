"""The process's estimates of true time, per domain, and the time to sign with.

True time is anchored to the steady clock, so a step of the wall clock changes no estimate. A *domain* is a set of
servers that share a clock: all of AWS (and every time source) keeps UTC; any other endpoint keeps its own.

Reading is lock-free: a signing needs one tuple per domain, which is replaced whole. Learning locks.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import weakref
from collections import deque
from typing import TypeAlias

from skewguard import clocks as _clocks
from skewguard import host_clock
from skewguard.clocks import Clocks, Reading, stepped
from skewguard.config import Settings
from skewguard.events import CorrectionChanged, Stepped, emit
from skewguard.interval import SECOND, Interval, Vote, plausible
from skewguard.sources import Source
from skewguard.sources.auto import HostSources
from skewguard.timekeeping.certificates import Basis
from skewguard.timekeeping.domain import EXPIRED, UTC, Announced, Change, Domain
from skewguard.timekeeping.evidence import Evidence, Grade, Observation
from skewguard.timekeeping.knowledge import MAX_LAG, Correction, Knowledge
from skewguard.timekeeping.polling import MAX_WAIT, Poller, Result, Threads
from skewguard.timekeeping.shared_file import Store
from skewguard.timekeeping.sharing import SharedEstimates

_CACHE_FOR = 30 * SECOND  # a cached offset is valid this long...
_CACHE_SLACK = 2_000_000  # ... while wall and quick clock have not moved apart by more than this
_FRESH_FOR = SECOND  # after an answer, another success has nothing to add for this long
_POLL_MARGIN = 0.1  # s; a poll that took all its time must still be evaluated
_ROUND = 1.0  # s; while the time is waited for, the sources are asked no more often
_MAX_DOMAINS = 1024

Signing: TypeAlias = tuple[int, int, int]
"""(signed, wall, steady), ns: the time to sign with, which is the wall clock plus the correction; and both clocks then.

A bare tuple, because each signing makes one: a named one takes 2,700 instructions more, half a percent of a signing.
"""

NEVER: Signing = (0, 0, 0)


class Timekeeper:
    """One per process. All times are in integer nanoseconds."""

    def __init__(
        self,
        settings: Settings,
        clocks: Clocks | None = None,
        *,
        threads: Threads | None = None,
        store: Store | None = None,
    ) -> None:
        """Start with no estimate.

        Args:
            settings: The options.
            clocks: The clocks to follow; by default the host's.
            threads: Runs the polls; for simulations.
            store: The shared file; by default the user's for the host's clocks, and none for others.
        """
        self.utc = Domain(UTC)
        self._domains = {UTC: self.utc}
        # Domains beyond the bound are kept by the sessions that use them, and must be reset like the others.
        self._all: weakref.WeakSet[Domain] = weakref.WeakSet([self.utc])
        self._make_lock()
        self._generation = 0  # counts what was learned
        self._host = HostSources()
        self._attached: tuple[Source, ...] = ()
        self._threads = threads or Threads()
        self._store = store
        self.reset(settings, clocks)

    def reset(self, settings: Settings, clocks: Clocks | None = None) -> None:
        """Forget all estimates and start again. The result of a poll under way is ignored."""
        with self._lock:
            self._knowledge = Knowledge(settings, self.utc)
            self.clocks = _clocks.system() if clocks is None else clocks
            self._quick, self._wall = self.clocks.quick_ns, self.clocks.wall_ns
            self.results: tuple[Result, ...] = ()
            self._last_reading = self.clocks.read()
            # Other clocks than the host's cannot be compared with other processes'.
            store = Store() if clocks is None and self._store is None else self._store
            self._others = SharedEstimates(store, self.clocks)
            self._era = era = object()
            self._poller = Poller(
                self.clocks, self._knowledge.objection, functools.partial(self._on_results, era), self._threads
            )
            self._set_sources()
            for domain in list(self._all):
                domain.forget()
            self._generation += 1

    def configure(self, settings: Settings, clocks: Clocks | None = None) -> None:
        """Change the settings and keep the estimates; with other clocks, start again."""
        if clocks is not None:
            self.reset(settings, clocks)
        else:
            with self._lock:
                self._knowledge.settings = settings
                self._expire_caches()
                if self._pollable != (settings.sources, self._attached, settings.min_sources):
                    self._set_sources()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._knowledge.settings

    # -- reading ------------------------------------------------------------------------------------------------

    def domain(self, key: str, *, stand_in: Grade, shared: bool = True) -> Domain:
        """Find or create a domain. The number of those that all sessions share is bounded."""
        found = self._domains.get(key)
        if found is None:
            with self._lock:
                found = self._domains.get(key) or Domain(key, stand_in=stand_in, shared=shared)
                self._all.add(found)
                if len(self._domains) < _MAX_DOMAINS:
                    self._domains[key] = found
        return found

    def heard(self) -> list[Domain]:
        """List the domains that have evidence of their own."""
        return [domain for domain in list(self._domains.values()) if domain.evidence is not None]

    def signing_time(self, domain: Domain) -> Signing:
        """Return the time to sign with in this domain, now, where a retry can mend it."""
        until, low, high, correction, to_steady = domain.cached
        quick, wall = self._quick(), self._wall()
        if quick < until and low < wall - quick < high:
            if not correction:
                return wall, wall, quick + to_steady
            if not _clocks.faked():
                return wall + correction, wall, quick + to_steady
        return self._signing_time(domain)[0]

    def irrevocable_time(self, domain: Domain, where: str) -> Signing:
        """Return the time to sign with now at an origin of this domain, where no retry can mend it."""
        signing, correction = self._signing_time(domain)
        if correction is None:
            return signing
        _, wall, steady = signing
        return self._knowledge.irrevocable(domain, correction, where, wall), wall, steady

    def await_sources(self, domain: Domain) -> None:
        """Wait, no longer than `timeout`, for sources that may yet tell the time of what no retry can mend."""
        if self.lacks_sources(domain):
            if self.due(domain):
                self.start()
            self._poller.join(self.settings.timeout)

    def lacks_sources(self, domain: Domain) -> bool:
        """Return whether what no retry can mend is to wait for the sources, because nothing else tells the time.

        Only for those that are named, or with a ``wait``: a host's own may be silent, where a network lets no UDP pass.
        The AWS CLI has no second chance, so it waits for those too, where the kernel vouches for no clock.
        """
        settings = self.settings
        named = bool(settings.sources or self._attached or settings.wait)
        if not (named or (settings.sources is None and "awscli" in sys.modules)) or _clocks.faked():
            return False
        if domain is not self.utc and domain.stand_in <= Grade.GUESS:
            return False
        self._inherit(domain)
        known = self.known(domain, self.clocks.read().steady)
        return (known is None or known.grade <= Grade.GUESS) and (named or host_clock.is_unsynchronized())

    def time_by(self, said: Interval | None) -> Signing:
        """Return the time to sign with now by a statement about the server's clock; without one, by the wall clock."""
        steady, wall = self.clocks.read()
        offset = 0 if said is None else self._knowledge.offset_by(said.aged(steady), wall)
        return wall + offset, wall, steady

    def forbids(self, said: Interval) -> bool:
        """Return whether `max_offset` forbids the correction that a statement about the server's clock demands."""
        steady, wall = self.clocks.read()
        return self._knowledge.forbids(self._knowledge.offset(said.aged(steady), wall))

    def _signing_time(self, domain: Domain) -> tuple[Signing, Correction | None]:
        """Compute the time to sign with, and cache the correction; None stands for it where the clock is faked."""
        if _clocks.faked():
            return self._frozen_time(domain), None
        self._inherit(domain)
        if self.due(domain):
            self.start()
        generation = self._generation
        quick, now = self._quick(), self.clocks.read()
        correction = self._knowledge.correction(domain, now)
        if self._cache(domain, correction, quick, now, generation):
            self._announce(domain, correction, now.wall)
        return (now.wall + correction.offset, now.wall, now.steady), correction

    def _frozen_time(self, domain: Domain) -> Signing:
        """Return the time to sign with where the clock is faked. Nothing is learned then, so no retry mends it."""
        steady, wall = self.clocks.read()
        if not self.settings.ignore_frozen_clock:
            return wall, wall, steady
        real = _clocks.unfaked_wall_ns()
        correction = self._knowledge.correction(domain, Reading(steady, real))
        return self._knowledge.irrevocable(domain, correction, "", real), _clocks.faked_wall_ns(), steady

    def _cache(self, domain: Domain, correction: Correction, quick: int, now: Reading, generation: int) -> bool:
        """Cache a correction for the next signings, unless it is outdated; return whether it must be announced."""
        with self._lock:
            if generation != self._generation:  # something was learned meanwhile
                return False
            ahead = now.wall - quick
            low, high = ahead - _CACHE_SLACK, ahead + _CACHE_SLACK
            domain.firm = self._knowledge.is_firm(domain, correction, now.wall)
            if not self.settings.ignore_frozen_clock:  # else each signing asks whether the clock is faked
                domain.cached = (quick + _CACHE_FOR, low, high, correction.offset, now.steady - quick)
            return domain.announce(Announced(correction.offset, correction.withheld), self.settings.deadband)

    @staticmethod
    def _announce(domain: Domain, correction: Correction, wall: int) -> None:
        evidence, offset, withheld = correction
        if evidence is None:
            emit(CorrectionChanged(domain.key, offset, 0, "", wall, 0))
        else:
            known = evidence.estimate
            found, bound, grade = known.midpoint - wall, known.width // 2, evidence.grade.label
            emit(CorrectionChanged(domain.key, offset, bound, known.source, wall, found, withheld, grade))

    def now(self) -> Interval | None:
        """Return the estimate of UTC as of now."""
        known = self._now()
        return known and known.estimate

    def _now(self) -> Evidence | None:
        self._inherit(self.utc)
        return self.known(self.utc, self.clocks.read().steady)

    def fresh(self, domain: Domain, steady: int) -> bool:
        """Return whether this domain's clock was proved so recently that another success has nothing to add."""
        evidence = domain.evidence
        return evidence is not None and evidence.grade is Grade.PROOF and steady - evidence.estimate.at < _FRESH_FOR

    def settled(self, domain: Domain) -> bool:
        """Return whether the cached offset is valid, so that the next signing does no more than read two clocks."""
        until, low, high, _, _ = domain.cached
        quick = self._quick()
        return quick < until and low < self._wall() - quick < high

    def due(self, domain: Domain) -> bool:
        """Detect a step of the wall clock; return whether the next signing in this domain should ask the sources."""
        reading = self.clocks.read()
        self._detect_step(reading)
        return (domain is self.utc or domain.stand_in > 0) and self._poller.due(
            reading.steady, self.settings.refresh_interval
        )

    def known(self, domain: Domain, steady: int) -> Evidence | None:
        """Return what is known of a domain's clock, as of a steady instant; None if that is nothing, or too old."""
        return self._knowledge.of(domain, steady)

    def _detect_step(self, now: Reading) -> None:
        before = self._last_reading
        if before.steady - MAX_LAG < now.steady < before.steady:
            return  # another thread has read the clocks since
        self._last_reading = now
        if now.steady < before.steady:  # restored on another machine: all estimates are of another time line
            self._knowledge.jumps.clear()
            self._poller.expire()
            return
        moved = stepped(before, now)
        if not moved:
            return
        if moved > 0:
            self._knowledge.jumps.append((before.steady, moved))
        with self._lock:
            for domain in list(self._all):
                if domain.evidence is not None and domain.evidence.by_wall:
                    domain.evidence = None
        self._poller.expire()  # after a jump the sources are asked again soon
        emit(Stepped(moved))  # last, because a listener may be slow

    @property
    def correcting(self) -> bool:
        """Whether requests to AWS are signed as of true time, not by the wall clock."""
        if _clocks.faked():
            return self.settings.ignore_frozen_clock
        return self._knowledge.correction(self.utc, self.clocks.read()).offset != 0

    def certificates(self) -> Basis:
        """Return what certificates are to be judged by now. While a library fakes the wall clock, that judges them."""
        if _clocks.faked():
            return Basis(None)
        self._inherit(self.utc)
        now = self.clocks.read()
        self._detect_step(now)
        return self._knowledge.certificates(now)

    def seems_right(self) -> bool:
        """Return whether all that is known allows the wall clock to be right; also while a test library fakes it."""
        found = self.certificates()
        return found == Basis(None) and (self.now() is not None or _clocks.faked() is not None)

    @property
    def doubtful(self) -> bool:
        """Whether the wall clock may be right although it contradicts the estimate of UTC."""
        steady, wall = self.clocks.read()
        known = self.known(self.utc, steady)
        return self._knowledge.in_doubt(self.utc, known and known.estimate, wall)

    # -- learning -----------------------------------------------------------------------------------------------

    def learn(self, domain: Domain, seen: Observation) -> Change:
        """Learn what an answer shows of its own domain's clock; return the change, for `revert`."""
        self._detect_step(self.clocks.read())
        with self._lock:
            usable = self._knowledge.own(domain, seen.estimate.at) is not None
            change = domain.learn(seen, domain.evidence if usable else None)
            if domain is self.utc and change.after.grade is Grade.PROOF:
                self._knowledge.authenticated(change.after.estimate)
            self._expire_caches()
            self._learned.notify_all()
        return change

    def quieten(self, domain: Domain, where: str) -> None:
        """Try nothing again for a bare ``Date`` at an origin for a while, because it did not help there."""
        with self._lock:
            domain.quieten(where, self.clocks.read().steady)

    def disprove(self, domain: Domain) -> None:
        """Forget a claim that did not help."""
        with self._lock:
            domain.evidence = None
            self._expire_caches()

    def lose(self, domain: Domain) -> None:
        """Count a call that was refused although it was corrected; after some in a row, give up for a while."""
        with self._lock:
            domain.lose(self.clocks.read().steady)
            self._expire_caches()

    def overhear(self, said: Interval) -> None:
        """Use the clock of a metadata service, until a source or an answer has given the time.

        So a new instance learns the time from the service that provides its credentials.
        """
        if self._knowledge.objection(said, self.clocks.read().steady) is None:
            with self._lock:
                self._knowledge.overheard = said
                if self.utc.evidence is None and self._knowledge.witness is None:
                    self._expire_caches()

    def revert(self, domain: Domain, change: Change) -> None:
        """Undo a change, unless something else has been learned since."""
        with self._lock:
            if domain.revert(change):
                self._expire_caches()

    def _expire_caches(self) -> None:
        """Make every domain compute its correction anew; call this with the lock held."""
        self._generation += 1
        for domain in list(self._all):
            domain.cached = EXPIRED

    # -- sharing ------------------------------------------------------------------------------------------------

    @property
    def _sharing(self) -> bool:
        return self.settings.share and self.settings.learn_from_responses and not _clocks.faked()

    def _inherit(self, domain: Domain) -> None:
        """Start with another process's estimate, once, until this process has one of its own."""
        if domain.inherited is not False or not self._sharing:
            return
        written = self._others.load()
        if written is not None and written.steady > self._last_reading.steady:
            self._detect_step(written)  # so that a later jump counts as later than what was written then
        steady = self.clocks.read().steady
        with self._lock:
            if written is not None and written.steady <= self._last_reading.steady:
                # So that a step since then is detected, and may raise doubt; and is detected only once.
                self._last_reading = written
                jumps = self._knowledge.jumps
                self._knowledge.jumps = deque((jump for jump in jumps if jump[0] < written.steady), jumps.maxlen)
            for each in (self.utc, domain):
                if each.inherited is False:
                    said = self._others.estimate(each.key, steady) if each.evidence is None and each.shared else None
                    # Another endpoint's word for it may be outdated; what proves UTC was AWS.
                    grade = Grade.PROOF if each is self.utc else Grade.GUESS
                    each.inherited = Evidence(grade, said) if said is not None and plausible(said) else None
                    each.evidence = each.evidence or each.inherited
                    if each is self.utc and each.inherited is not None:
                        self._knowledge.authenticated(each.inherited.estimate)
                    self._expire_caches()

    def share(self, domain: Domain) -> None:
        """Give other processes what answers taught this one, if it is proved and new to them."""
        evidence = domain.evidence
        if evidence is None or evidence.grade is not Grade.PROOF or not domain.shared or not self._sharing:
            return
        now = self.clocks.read()
        said = evidence.estimate
        wrong = self._knowledge.offset(said.aged(now.steady), now.wall) != 0
        self._others.publish(domain.key, said, wrong, self.settings.deadband)

    def inherited(self) -> list[Domain]:
        """List the domains of which no more is known than another process told."""
        return [domain for domain in self.heard() if domain.evidence is domain.inherited]

    # -- measuring ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a poll of the sources, if there are any; those that answer at once have been asked on return."""
        self._poller.start(self.settings.timeout)

    def add_sources(self, sources: tuple[Source, ...]) -> None:
        """Add sources, which are asked whatever is installed or uninstalled."""
        with self._lock:
            new = tuple(source for source in sources if source not in self._attached)
            self._attached += new
            if new:
                self._set_sources()

    def remove_sources(self) -> None:
        """Remove the sources that `add_sources` has added."""
        with self._lock:
            self._attached = ()
            self._set_sources()

    def _set_sources(self) -> None:
        """Give the poller its sources; call this with the lock held."""
        named, attached, quorum = self._pollable = (self.settings.sources, self._attached, self.settings.min_sources)
        chosen = (named or ()) + attached
        self._poller.set_sources(self._host.tiers if named is None and not attached else lambda: [chosen], quorum)

    def ask_for(self, domain: Domain, since: int) -> None:
        """Ask the sources and wait, if they can help this domain and have not agreed since a steady instant."""
        if (domain is self.utc or domain.stand_in) and not self._poller.agreed_since(since):
            self.measure()

    def measure(self, timeout: int | None = None) -> None:
        """Ask every source now, in parallel, and wait for the answers, but not longer than `timeout` ns.

        A call during a poll joins that poll.
        """
        limit = self.settings.timeout if timeout is None else timeout
        done = self._poller.start(limit)
        if done is not None:
            done.wait(min(limit, MAX_WAIT) / SECOND + _POLL_MARGIN)

    def wait_until(self, within: int, timeout: int) -> bool:
        """Block until UTC is known within +/- `within` ns, asking the sources as often as they allow.

        Returns:
            False if `timeout` ns have passed without it.
        """
        end = time.monotonic() + timeout / SECOND
        while not self._known_within(within):
            began = time.monotonic()
            if began >= end:
                return False
            self.measure(min(self.settings.timeout, int((end - began) * SECOND)))
            with self._lock:
                if not self._known_within(within):
                    self._learned.wait(max(0.0, min(began + _ROUND, end) - time.monotonic()))
        return True

    def _known_within(self, within: int) -> bool:
        known = self._now()
        return known is not None and known.grade >= Grade.VOTE and known.estimate.width <= 2 * within

    def _on_results(self, era: object, results: tuple[Result, ...], outcome: Vote) -> None:
        """Store the result of a poll, unless there was a `reset` since it began."""
        self._detect_step(self.clocks.read())
        with self._lock:
            if era is not self._era:
                return
            self.results = results
            if outcome.interval is not None:
                self._knowledge.witness, self._knowledge.voters = outcome.interval, outcome.truechimers
                self._knowledge.named = self.settings.sources is not None or bool(self._attached)
                for said in outcome.truechimers:
                    self._knowledge.authenticated(said)
                self._expire_caches()
            self._learned.notify_all()

    def _make_lock(self) -> None:
        self._lock = threading.RLock()  # `with` uses this, not the Condition: an interrupt could leave that locked
        self._learned = threading.Condition(self._lock)

    def reset_after_fork(self) -> None:
        """Drop, in a forked child, what only the parent's threads will finish: locks, the poll, a change half made."""
        self._make_lock()
        self._expire_caches()
        self._poller.reset_after_fork()
        self._others.reset_after_fork()
