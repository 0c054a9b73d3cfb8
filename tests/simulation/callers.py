"""A process on the simulated host: its timekeeper, event handlers and calls; and the invariants of every step."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

from skewguard import events
from skewguard.config import Settings
from skewguard.interval import SECOND, Interval
from skewguard.signing.call import Call
from skewguard.signing.guard import Guard
from skewguard.signing.hooks import Hooks
from skewguard.signing.patches import library, signers
from skewguard.signing.reply import TOLERANCE
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import Emitted
from tests.simulation.oracle import Oracle
from tests.simulation.servers import Answer, Server, mocked, reply
from tests.simulation.sharing import ObservedStore
from tests.simulation.sources import TRUTHFUL, SimulatedSource
from tests.simulation.threads import SimulatedThreads
from tests.simulation.world import World

_POSSIBLE = 230 * SECOND  # a silent refusal of a timestamp further off than this may be about time
_ACCEPTED, _GREY = (
    900 * SECOND,
    10 * SECOND,
)  # ns; how near an accepted timestamp is, give or take


class _Unread:
    """A body that cannot be sent again."""


class Program:
    """A guarded process and its calls.

    Attributes:
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
        self.signed = self.succeeded = self.retried = 0
        self.emitted = Emitted()
        self.ended = False
        self.calls: list[SimulatedCall] = []
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
            call.dropped = True

    # -- invariants ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that each known interval holds the true time of its domain."""
        steady = self.world.host.steady
        for key, domain in self.keeper._domains.items():
            known = self.keeper.known(domain, steady)
            server = self._by_key.get(key)
            if known is None or server is None:
                continue
            bound = self.oracle.bound(server)
            if bound is None:
                continue
            clock = server.clock(self.world)
            miss = max(known.earliest - clock, clock - known.latest)
            if miss > bound.miss:
                self.world.fail(f"the interval {self.name} has of {key} misses its clock by {miss / SECOND:.6f} s")

    def check_shared(self, key: str, said: Interval) -> None:
        """Check what is written for other processes: only what servers said, and nothing from plain http."""
        world, server = self.world, self._by_key.get(key)
        if server is None or self.oracle.answer(key) is None:
            world.fail(f"the shared file has of {key}'s clock what no server has said")
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

    def check_timestamp(self, server: Server, stamp: int, *, lasting: bool) -> None:
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
        # What is handed out has no deadband.
        if not lasting and not bound.miss and abs(wall - clock) <= oracle.healthy(corrected) and stamp != wall:
            world.fail(f"a healthy clock was corrected by {(stamp - wall) / SECOND:.3f} s")
        if lasting and oracle.jumped_since_heard(server):
            return  # EXCEPTION: what is handed out follows the wall clock while that may have been corrected
        limit = self.settings.max_offset
        slack = oracle.slack(bound)
        if limit is not None and abs(clock - wall) > limit - slack:
            return  # EXCEPTION: the user forbids so large a correction
        wrong = abs(stamp - clock)
        if wrong > slack:
            world.fail(f"signed {wrong / SECOND:.3f} s from {server.url}'s clock; {slack / SECOND:.3f} s are excusable")

    # -- calls --------------------------------------------------------------------------------------------------

    def call(self, server: Server, **options: Any) -> SimulatedCall:
        """Start a call to a server; the scheduler does the rest."""
        made = SimulatedCall(self, server, **options)
        self.calls.append(made)
        return made


class SimulatedCall:
    """A call, as botocore makes it.

    It may `wait` ns in a connection pool before it is sent, and its answer may `linger` in a buffer before it is read.

    Attributes:
        outcome: "" while it is under way, then "ok", the cause of its failure, or "handed out".
        stamps: The timestamp of each attempt, ns.
        asked: How often skewguard asked for a retry.
    """

    def __init__(
        self,
        program: Program,
        server: Server,
        *,
        fault: str = "",
        wait: int = 0,
        linger: int = 0,
        version: str = "v4",
        rewindable: bool = True,
        attempts: int = 3,
        mock: bool = False,
        redirected: bool = False,
    ) -> None:
        self.program, self.server, self.fault = program, server, fault
        self._wait, self._linger = wait, linger
        self.outcome = ""
        self.stamps: list[int] = []
        self.asked = 0
        self.dropped = False
        self._mock, self._redirected, self._version, self._limit = mock, redirected, version, attempts
        self._count = 1
        self._context: dict[str, Any] = {
            "client_config": SimpleNamespace(retries={"total_max_attempts": attempts}),
            "is_presign_request": version in library.handed_out_versions(),
        }
        self._rewindable = rewindable
        self._request = SimpleNamespace(
            context=self._context, data=b"" if rewindable else _Unread(), url=f"{server.url}/x", auth_path=None
        )
        self._operation = SimpleNamespace(
            name="Operation",
            service_model=SimpleNamespace(service_name="service", endpoint_prefix=server.name),
        )
        self._sign()

    def _sign(self) -> None:
        program, world = self.program, self.program.world
        host = world.host
        program.hooks.before_sign(request=self._request, signature_version=self._version)
        call = self._context.get(signers.KEY)
        if not isinstance(call, Call):
            world.fail("the call is not guarded")
            return
        timeless = self._version in library.timeless_versions()
        self._by_wall = True
        if not timeless or self._count == 1:
            self._sent = (world.truth, host.steady, host.wall)
        if timeless:
            program.oracle.begins(self.server.key)  # `before_sign` has read the file
        lasting = self._version in library.handed_out_versions()
        stamp = None
        if not timeless:
            try:
                signed = call.begin(self._request)
            except Exception as error:  # the patch would catch it, and sign by the wall clock
                world.fail(f"an exception inside skewguard: {error!r}")
                return
            program.oracle.begins(self.server.key)
            self._by_wall = signed is None
            stamp = host.wall if signed is None else signed
            self.stamps.append(stamp)
            program.signed += 1
            off = (stamp - self.server.clock(world)) / SECOND
            world.note("%s signs for %s, %.3f s off its clock", program.name, self.server.url, off)
            program.check_timestamp(self.server, stamp, lasting=lasting)
            if lasting:
                self.outcome = "handed out"
                return
            if signed is None and program.rng.random() < 0.02:  # botocore reads the clock a little later
                world.sleep(program.rng.randrange(3 * SECOND))
                stamp = self._read_again(stamp)
        wait, self._wait = self._wait, 0
        travel = [int(10 ** program.rng.uniform(*self.server.travel) * SECOND) for _ in range(2)]
        travel[1] += self._linger
        world.after(wait + travel[0], lambda: self._arrive(stamp, travel[1]), on_host=bool(wait))

    def _read_again(self, stamp: int) -> int:
        """Read the wall clock when botocore does; a step in between cannot be helped, and is left out here."""
        wall = self.program.world.host.wall
        return wall if 0 <= wall - stamp <= 4 * SECOND else stamp

    def _arrive(self, stamp: int | None, travel: int) -> None:
        world, rng = self.program.world, self.program.rng
        if self.program.ended:
            return
        if self.dropped or self.fault == "reset":
            self.fault = ""
            world.after(travel, lambda: self._read(None, stamp), on_host=True)
            return
        answer = mocked(world, rng) if self._mock else reply(self.server, world, stamp, self.fault, rng)
        if self._redirected:
            answer.url = "https://elsewhere.example/x"
        if self.fault == "busy":
            self.fault = ""  # it is over by the next attempt
        world.after(travel, lambda: self._read(answer, stamp), on_host=True)

    def _read(self, answer: Answer | None, stamp: int | None) -> None:
        """Handle the answer, or its absence, as botocore does."""
        program = self.program
        if program.ended:
            return
        if answer is not None:
            self._inform_oracle(answer, stamp)
        asked = program.hooks.needs_retry(
            response=None if answer is None else (answer, answer.parsed),
            endpoint=self.server.endpoint,
            operation=self._operation,
            attempts=self._count,
            request_dict={"context": self._context},
        )
        if program.ended:
            return  # it was killed while it waited for its sources
        if asked is not None:
            self._judge_retry(answer, stamp)
        elif answer is not None:
            self._judge_no_retry(answer, stamp)
        if asked is None and (answer is None or answer.status >= 500):
            asked = 0 if self._count < self._limit else None  # botocore's own
        if asked is None:
            self.outcome = "unreachable" if answer is None else answer.cause or "ok"
            program.succeeded += self.outcome == "ok"
            return
        self._count += 1
        self._sign()

    def _inform_oracle(self, answer: Answer, stamp: int | None) -> None:
        """Give the oracle what skewguard may learn from this answer."""
        server, program = self.server, self.program
        world, oracle = program.world, program.oracle
        if not server.teaches or not answer.from_socket or self._redirected:
            return
        if answer.honest is None or answer.shown is None or not program.settings.learn_from_responses:
            return
        if not 200 <= answer.status < 300 and not 400 <= answer.status < 500:
            return
        if self._by_wall and not server.utc and answer.explained and answer.cause != "time":
            return  # a private server that accepts the wall clock needs no correction
        truth, steady, wall = self._sent
        listens = oracle.listens(server.key, steady) if answer.status < 300 else True
        if listens is False:
            return
        seen = max(world.host.steady - steady, world.host.wall - wall, 0)
        doubtful = not answer.explained or listens is None  # what a silent refusal taught can be reverted
        if stamp is not None and answer.explained and answer.cause != "time":
            # Its Date must fit the timestamp that was accepted; near the limit, either verdict is right.
            off = max(stamp - answer.shown, answer.shown - stamp - seen)
            if off > _ACCEPTED + _GREY:
                return
            doubtful = doubtful or off > _ACCEPTED - _GREY
        honest = answer.honest and truth > server.moved
        oracle.heard(server.key, honest, seen, world.truth - truth, probation=doubtful)

    def _judge_retry(self, answer: Answer | None, stamp: int | None) -> None:
        """Check that a call has one retry at the most, and none if it did not fail for its time."""
        world = self.program.world
        self.asked += 1
        self.program.retried += 1
        if self.asked > 1:
            world.fail("a call was repeated twice")
        if not self._rewindable or self._count >= self._limit:
            world.fail("a call was repeated that could not be")
        if answer is None or stamp is None:
            world.fail("a call was repeated that no server has refused")
            return
        if answer.cause == "time" and answer.from_socket:
            return
        if answer.explained or answer.shown is None:
            world.fail(f"a call was repeated that failed for another reason: {answer.cause}")
            return
        if abs(answer.shown - stamp) < _POSSIBLE:
            world.fail(f"a silent refusal was repeated whose timestamp was right: {answer.cause}")

    def _judge_no_retry(self, answer: Answer, stamp: int | None) -> None:
        """Check that a call that was refused for its time is repeated, if that can help."""
        settings, server = self.program.settings, self.server
        if answer.cause != "time" or not answer.honest or not server.teaches or self._redirected or self.asked:
            return
        if not self._rewindable or self._count >= self._limit or not settings.learn_from_responses:
            return
        host = self.program.world.host
        if host.wall - self._sent[2] - (host.steady - self._sent[1]) > TOLERANCE:
            return  # EXCEPTION: the wall clock jumped so far under way that the answer may be that old
        if settings.max_offset is None and answer.from_socket:
            self.program.world.fail("a call that was refused for its time was not repeated")
