"""A process on the simulated host: its timekeeper, event handlers and calls; and the invariants of every step."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from skewguard import events
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval
from skewguard.signing.guard import Guard
from skewguard.signing.hooks import Hooks
from skewguard.timekeeping.evidence import Grade
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import Emitted
from tests.simulation.calls import Plan
from tests.simulation.credentials import SimulatedCredentials
from tests.simulation.guarded import GuardedCall
from tests.simulation.oracle import Oracle
from tests.simulation.servers import Server
from tests.simulation.sharing import ObservedStore
from tests.simulation.sources import TRUTHFUL, SimulatedSource
from tests.simulation.threads import SimulatedThreads
from tests.simulation.twins import Twins
from tests.simulation.world import World


class Program:
    """A guarded process and its calls.

    Attributes:
        credentials: What it signs with, if that expires.
        twins: Compares its calls with botocore's.
        quiet: For each URL at which a retry did not help, the instant of true time until which there is none.
        lost: For each private URL at which a call was lost, until when corrections there may be given up.
        ended: Whether it was killed; its calls never finish then.
    """

    def __init__(
        self,
        world: World,
        rng: random.Random,
        servers: list[Server],
        sources: list[SimulatedSource],
        settings: Settings,
        name: str = "it",
        credentials: str = "",
    ) -> None:
        self.name = name
        self.world = world
        self.rng = rng
        self.servers = servers
        self.sources = {source.name: source for source in sources}
        self.settings = settings
        self.oracle = Oracle(world.host, settings)
        self.keeper = Timekeeper(settings, world.host, threads=SimulatedThreads(world), store=ObservedStore(self))
        self.hooks = Hooks(Guard(SimpleNamespace(settings=settings), self.keeper))
        self.credentials = SimulatedCredentials(self, credentials, rng) if credentials else None
        self.twins = Twins(self)
        self.signed = self.retried = 0
        self.quiet: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self.emitted = Emitted()
        self.ended = False
        self.calls: list[GuardedCall] = []
        self._by_key = {server.key: server for server in servers}
        self._corrected: dict[str, int] = {}  # the correction of each clock's last timestamp, ns

    # -- events -------------------------------------------------------------------------------------------------

    def on_event(self, event: events.Event) -> None:
        """Collect an event; the oracle needs the outcome of polls."""
        self.emitted.append(event)
        if isinstance(event, events.Measured) and event.interval is not None:
            spoken = event.truechimers + event.falsetickers
            if not self.sources.keys() >= set(spoken):
                return  # another process has asked its own
            truthful = [name for name in spoken if self.sources[name].kind in TRUTHFUL]
            # Each point of the outcome is in an honest statement, and each of those holds true time.
            width = 2 * max((self.sources[name].width for name in truthful), default=0) + SECOND
            lost = min((self.sources[name].lost for name in truthful), default=0)
            self.oracle.polled(2 * len(truthful) > len(spoken), width, lost)

    def start(self) -> None:
        """Start, which asks the sources, if there are any."""
        self.world.programs.append(self)
        self.keeper.start()

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.world.programs.remove(self)

    def disconnect(self) -> None:
        for call in self.calls:
            call.dropped = call.twin.dropped = True

    # -- invariants ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that each known interval holds the true time of its domain."""
        steady = self.world.host.steady
        for key, domain in self.keeper._domains.items():
            evidence = self.keeper.known(domain, steady)
            server = self._by_key.get(key)
            if evidence is None or evidence.grade < Grade.VOTE or server is None:
                continue  # EXCEPTION: what is neither proved nor voted promises nothing
            known = evidence.estimate
            bound = self.oracle.bound(server)
            if bound is None:
                continue
            clock = server.clock(self.world)
            miss = max(known.earliest - clock, clock - known.latest)
            if miss > bound.miss:
                self.world.fail(f"the interval {self.name} has of {key} misses its clock by {miss / SECOND:.6f} s")

    def check_shared(self, key: str, said: Interval) -> None:
        """Check what is written for other processes: only what servers accepted, and nothing from plain http."""
        world, server = self.world, self._by_key.get(key)
        if server is None or key not in self.oracle.accepted:
            world.fail(f"the shared file has of {key}'s clock what no server has accepted")
            return
        if server.url.startswith("http:") and not server.local:
            world.fail(f"the shared file has what was learned over plain http of {key}")
        bound = self.oracle.shared_bound(server)
        if bound is None:
            return
        known, clock = said.aged(world.host.steady), server.clock(world)
        miss = max(known.earliest - clock, clock - known.latest)
        if miss > bound.miss:
            world.fail(f"the shared interval misses {key}'s clock by {miss / SECOND:.6f} s")

    def check_timestamp(self, server: Server, stamp: int, *, irrevocable: bool) -> None:
        """Check that no request is signed worse than what is known allows, and that a healthy clock is left alone."""
        world, oracle = self.world, self.oracle
        clock, wall = server.clock(world), world.host.wall
        if oracle.silent(server):
            if stamp != wall:
                world.fail(f"signed {(stamp - wall) / SECOND:.3f} s from the wall clock, though nothing is known")
            return
        bound = oracle.bound(server)
        if bound is None:
            return
        corrected, self._corrected[server.key] = self._corrected.get(server.key, 0), stamp - wall
        if self.credentials is not None:
            corrected = corrected or 1  # EXCEPTION: whether they expire was judged by a correction, perhaps
        # What is handed out has no deadband.
        if not irrevocable and not bound.miss and abs(wall - clock) <= oracle.healthy(corrected) and stamp != wall:
            world.fail(f"a healthy clock was corrected by {(stamp - wall) / SECOND:.3f} s")
        if irrevocable and stamp == wall and (oracle.jumped_since_heard(server) or not oracle.proved(server)):
            return  # EXCEPTION: what cannot be signed again goes by the wall clock while that is not disproved
        if stamp == wall and world.truth < self.lost.get(server.url, 0):
            return  # EXCEPTION: after lost calls, two clocks may answer there
        limit = self.settings.max_offset
        slack = oracle.slack(bound)
        if limit is not None and abs(clock - wall) > limit - slack:
            return  # EXCEPTION: the user forbids so large a correction
        wrong = abs(stamp - clock)
        if wrong > slack:
            world.fail(f"signed {wrong / SECOND:.3f} s from {server.url}'s clock; {slack / SECOND:.3f} s are excusable")

    # -- calls --------------------------------------------------------------------------------------------------

    def call(self, server: Server, **options: Any) -> GuardedCall:
        """Start a call to a server; the scheduler does the rest."""
        made = GuardedCall(self, server, Plan(**{"seed": self.rng.getrandbits(32)} | options))
        self.calls.append(made)
        return made
