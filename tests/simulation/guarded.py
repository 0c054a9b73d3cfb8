"""Calls of guarded clients, and what must hold of each of their attempts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from skewguard.events import Retried
from skewguard.interval import SECOND
from skewguard.signing.call import Call
from skewguard.signing.patches import signers
from skewguard.signing.reply import TOLERANCE
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import MOVES
from tests.simulation.calls import DIRECT, REQUEST, URL, PlainCall, Plan
from tests.simulation.servers import Answer, Server
from tests.simulation.twins import risk

if TYPE_CHECKING:
    from tests.simulation.callers import Program

_POSSIBLE = 230 * SECOND  # a silent refusal of a timestamp further off than this may be about time
_ACCEPTED, _GREY = 900 * SECOND, 10 * SECOND  # how near an accepted timestamp is, give or take, ns

_REFUSALS = (400, 401, 403)


class _Unread:
    """A body that cannot be sent again."""


class GuardedCall(PlainCall):
    """A call of a guarded client.

    Attributes:
        asked: How often skewguard asked for a retry.
        diverged: When it began, if it has made other requests than its twin since, in ns of true time; else 0.
        risk: Why its last attempt may be worse than its twin's.
        twin: The same call by botocore alone.
    """

    risk = ""
    _undoable = False  # whether its first attempt was dated by another clock than the wall clock
    _corrected = 0  # how often it was repeated with another time, rather than because it was late
    _needless = (0, "")  # the error for which it was repeated, if that did not name the time

    plain = False

    def __init__(self, program: Program, server: Server, plan: Plan) -> None:
        self.asked = self.diverged = 0
        self._context: dict[str, Any] = {
            "client_config": SimpleNamespace(retries={"total_max_attempts": plan.attempts}),
            "is_presign_request": plan.kind == URL,
        }
        self._request = SimpleNamespace(
            context=self._context, data=b"" if plan.rewindable else _Unread(), url=f"{server.url}/x", auth_path=None
        )
        self._operation = SimpleNamespace(
            name="Operation", service_model=SimpleNamespace(service_name="service", endpoint_prefix=server.name)
        )
        self.twin = PlainCall(program, server, plan)
        self.twin.guarded = self.guarded = self
        self._began = program.world.truth
        super().__init__(program, server, plan)
        if program.world.truth > self._began:
            self.diverged = self._began
        if plan.kind == URL and self.stamps:
            program.world.after(plan.delay, self._compare)

    @property
    def irrevocable(self) -> bool:
        """Whether what was signed last could not be signed again."""
        return self.plan.irrevocable or (not self.asked and self._count >= self.plan.attempts)

    def _sign(self) -> None:
        program, world, plan = self.program, self.program.world, self.plan
        self._draw()
        self._context["retries"] = {"attempt": self._count, "max": plan.attempts}
        if plan.kind == DIRECT:
            signed = program.hooks.guard.time_without_call(self._request.url, None, handed_out=False)
            program.oracle.begins(self.server.key)
            self._send(self._check(signed))
            return
        program.hooks.before_sign(request=self._request, signature_version=plan.signed_as)
        call = self._context.get(signers.KEY)
        if not isinstance(call, Call):
            world.fail("the call is not guarded")
            return
        loaded = self._load_credentials()
        if program.keeper.utc.inherited is not False:
            program.oracle.begins(UTC)  # judging their expiry has read the file
        if not loaded:
            return
        self._by_wall = True
        host = world.host
        if not self._timeless or self._count == 1:
            self._sent = (world.truth, host.steady, host.wall)
        if self._timeless:
            program.oracle.begins(self.server.key)  # `before_sign` has read the file
            self._send(None)
            return
        try:
            signed = call.begin(self._request)
        except Exception as error:  # the patch would catch it, and sign by the wall clock
            world.fail(f"an exception inside skewguard: {error!r}")
            return
        if program.ended:
            return  # it was killed while it waited for its sources
        program.oracle.begins(self.server.key)
        self._by_wall = signed is None
        stamp = self._check(signed)
        if signed is None and plan.kind == REQUEST and self._late:
            world.sleep(self._late)  # botocore reads the clock a little later
            if 0 <= host.wall - stamp <= 4 * SECOND:  # a step in between cannot be helped, and is left out here
                stamp = host.wall
        self._send(stamp)

    def _check(self, signed: int | None) -> int:
        """Check the time that is signed as of, and return it."""
        program, world, server = self.program, self.program.world, self.server
        stamp = world.host.wall if signed is None else signed
        self.risk = "" if stamp == world.host.wall else risk(self, stamp)
        program.signed += 1
        off = (stamp - server.clock(world)) / SECOND
        world.note("%s signs (%s) for %s, %.3f s off its clock", program.name, self.plan.kind, server.url, off)
        if not self._corrected:
            self._undoable = signed is not None
        if not self.asked:  # what is signed again is dated by what the refusal said
            irrevocable = self.plan.irrevocable or self._count >= self.plan.attempts
            program.check_timestamp(server, stamp, irrevocable=irrevocable)
        return stamp

    def _read(self, answer: Answer | None, stamp: int | None) -> None:
        program, asked = self.program, None
        if program.ended:
            return
        if self.plan.kind == REQUEST:
            if answer is not None:
                self._inform_oracle(answer, stamp)
            asked = program.hooks.after_attempt(
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
        if self.outcome == "":
            self._proceed(answer, again=asked is not None)

    def _inform_oracle(self, answer: Answer, stamp: int | None) -> None:
        """Give the oracle what skewguard may learn from this answer."""
        server, program = self.server, self.program
        world, oracle = program.world, program.oracle
        if not self._by_wall and not server.utc and answer.status in _REFUSALS:
            oracle.dropped(server.key)
        if not server.teaches or not answer.from_socket or self.plan.redirected:
            return
        if not program.settings.learn_from_responses:
            return
        if not 200 <= answer.status < 300 and not 400 <= answer.status < 500:
            return
        refused = answer.cause in ("time", "customer")
        truth, steady, wall = self._sent
        seen = max(world.host.steady - steady, world.host.wall - wall, 0)
        if self._by_wall and not server.utc and not refused:
            # A private server that accepts the wall clock needs no correction; what is known to the contrary ends.
            oracle.heard(server.key, False, seen, world.truth - truth, firm=True, perhaps=True, proved=True)
            return
        if answer.honest is None or answer.shown is None:
            return
        listens = oracle.listens(server.key, steady) if answer.status < 300 and not self.asked else True
        if listens is False:
            return
        # Other Dates than those of acceptances and of refusals in words are hints.
        told = answer.status < 300 and stamp is not None
        if refused:
            disproved = self._by_wall and seen < TOLERANCE
            told = answer.explained and (server.utc or answer.quoted or disproved)
        perhaps = not told or listens is None or seen > 3_600 * SECOND
        if stamp is not None and answer.explained and not refused and answer.status not in _REFUSALS:
            # Its Date must fit the timestamp that was accepted; near the limit, either verdict is right.
            off = max(stamp - answer.shown, answer.shown - stamp - seen)
            if off > _ACCEPTED + _GREY:
                return
            perhaps = perhaps or off > (_ACCEPTED if server.utc else MOVES) - _GREY
        honest = answer.honest and truth > server.moved
        firm, proved = told, not refused and stamp is not None and (told or bool(self.asked))
        oracle.heard(server.key, honest, seen, world.truth - truth, firm=firm, perhaps=perhaps, proved=proved)

    def _judge_retry(self, answer: Answer | None, stamp: int | None) -> None:
        """Check that a call has one retry at the most, and none if it did not fail for its time."""
        world = self.program.world
        self.asked += 1
        self.diverged = self._began
        self.program.retried += 1
        program, url = self.program, self.server.url
        stale = program.emitted.of(Retried)[-1].verdict == "stale"
        self._corrected += not stale
        if self._corrected > 1 + self._undoable:
            world.fail("a call was repeated twice")
        if not self.plan.rewindable or self._count >= self.plan.attempts:
            world.fail("a call was repeated that could not be")
        if answer is None or stamp is None or not answer.from_socket:
            world.fail("a call was repeated that no server has refused")
            return
        if (answer.cause in ("time", "customer") and answer.explained) or stale:
            return
        # Any refusal may be about time, if a clock beside it says so, or if the timestamp was a guess.
        off = answer.shown is not None and abs(answer.shown - stamp) >= _POSSIBLE
        if answer.status not in _REFUSALS or (answer.cause == "wrong secret" and answer.explained):
            world.fail(f"a call was repeated that failed for another reason: {answer.cause}")
        elif not off and self._by_wall:
            world.fail(f"a refusal was repeated whose timestamp was right: {answer.cause}")
        elif self._by_wall and world.truth < program.quiet.get(url, 0):
            world.fail("a refusal was repeated twice within a minute, though that did not help the first time")
        if self._by_wall:
            self._needless = answer.error

    def _end(self, outcome: str, answer: Answer | None) -> None:
        program, url = self.program, self.server.url
        if outcome == "ok" and program.quiet.get(url):
            program.quiet[url] = 1  # perhaps over: what teaches nothing does not end it
        elif answer is not None and answer.error == self._needless:
            program.quiet[url] = program.world.truth + 59 * SECOND
        if outcome == "time" and not self.server.utc:
            program.lost[url] = program.world.truth + 61 * SECOND
            program.oracle.dropped(self.server.key)
        super()._end(outcome, answer)

    def _judge_no_retry(self, answer: Answer, stamp: int | None) -> None:
        """Check that a call that was refused for its time is repeated, if that can help."""
        settings, server = self.program.settings, self.server
        if answer.cause != "time" or not answer.honest or not server.teaches or self.plan.redirected or self.asked:
            return
        if not self.plan.rewindable or self._count >= self.plan.attempts or not settings.learn_from_responses:
            return
        host = self.program.world.host
        if host.wall - self._sent[2] - (host.steady - self._sent[1]) > TOLERANCE:
            return  # EXCEPTION: the wall clock jumped so far under way that the answer may be that old
        if not answer.explained and self.program.quiet.get(server.url, 0):
            return  # EXCEPTION: the last refusal without words was not about time
        if server.two_faced or server.tenant or self.program.world.truth < self.program.lost.get(server.url, 0):
            return  # EXCEPTION: servers that contradict themselves, or seem to, are given up for a while
        if settings.max_offset is None and answer.from_socket:
            self.program.world.fail("a call that was refused for its time was not repeated")
