"""The event handlers: ``before-sign`` records the call, ``needs-retry`` learns, judges, and asks for a retry.

They carry out what `answer` decides, and fail open: whatever goes wrong here, the call goes on as botocore alone would
make it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from skewguard import clocks as _clocks
from skewguard._fail_open import fail_open
from skewguard.clocks import Reading
from skewguard.events import Degraded, Refused, Retried, emit, emit_once
from skewguard.http_date import response_interval
from skewguard.interval import Interval, Trust, plausible
from skewguard.signing.answer import Answer, Decision, Then, decide, would_help
from skewguard.signing.call import Call, First, attempts_left
from skewguard.signing.domains import is_named_for, origin
from skewguard.signing.guard import Guard
from skewguard.signing.patches import tls
from skewguard.signing.patches.signers import KEY, WHO
from skewguard.signing.reply import Verdict, read
from skewguard.signing.report import FailedAttempt, is_about_dates, is_ours, note_failure, report
from skewguard.signing.responses import Responses
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.evidence import Observation
from skewguard.timekeeping.timekeeper import NEVER

BEFORE_SIGN = "before-sign.*.*"
NEEDS_RETRY = "needs-retry.*.*"
_OFF = "skewguard is switched off"
_FORBIDDEN = "max_offset forbids the correction"
_IDS = {BEFORE_SIGN: "skewguard-before-sign", NEEDS_RETRY: "skewguard-needs-retry", WHO: "skewguard-who"}


def _no_guard(**_: Any) -> None:
    """Return no guard, for an emitter that is left alone."""


def _frozen(faked: str, ignored: bool) -> str:
    """Return why nothing is learned or repeated while a library fakes the clock."""
    fakes = f"{faked} fakes this process's clock"
    return f"{fakes}, so nothing is signed again" if ignored else f"{fakes}; ignore_frozen_clock signs by true time"


class Received(NamedTuple):
    """The outcome of an attempt, as the event after it hands it over.

    Attributes:
        call: The guarded call.
        http_response: The response as received; None if there is none.
        parsed: The response as botocore parsed it.
        endpoint: botocore's endpoint, which sent the request.
        operation: The model of the operation.
        attempts: How many attempts were made.
        context: The request's context.
    """

    call: Call
    http_response: Any
    parsed: Any
    endpoint: Any
    operation: Any
    attempts: int
    context: Any


class Hooks:
    """The event handlers of one guarded session, client or resource."""

    responses: type[Responses] = Responses

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.keeper = guard.keeper

    def __deepcopy__(self, memo: object) -> Hooks:
        return self  # sessions get copied; a copy is guarded as its original

    def register(self, emitter: Any) -> None:
        """Register the handlers before all others of an emitter, instead of any hooks of ours that it has."""
        self.unregister(emitter)
        for event, handler in ((BEFORE_SIGN, self.before_sign), (NEEDS_RETRY, self.after_attempt), (WHO, self.who)):
            emitter.register_first(event, handler, unique_id=_IDS[event])

    @staticmethod
    def unregister(emitter: Any) -> None:
        """Remove any hooks of ours from an emitter."""
        for event, unique_id in _IDS.items():
            emitter.unregister(event, unique_id=unique_id)

    @staticmethod
    def exempt(emitter: Any) -> None:
        """Mark an emitter without hooks of ours, so that it is not guarded unless it is attached."""
        emitter.register_first(WHO, _no_guard, unique_id=_IDS[WHO])

    # -- the event handlers -------------------------------------------------------------------------------------

    def before_sign(
        self,
        *,
        request: Any,
        signature_version: Any = None,
        signing_name: Any = None,
        region_name: Any = None,
        request_signer: Any = None,
        operation_name: Any = None,
        event_name: Any = None,
        **_: Any,
    ) -> Awaitable[None] | None:
        """Record the call. No clock is read yet, because a refresh of credentials may come first.

        All arguments of the event are named, because collecting the others costs more than all that is done here.
        """
        try:
            guard = self.guard
            if guard.switch.settings is guard.approved or guard.is_on():
                context = request.context
                if context.get(KEY) is None:
                    call = context[KEY] = Call(guard, signature_version, request.data, context)
                    if call.timeless:
                        call.begin(request)  # no signer will, but the answer is to be heard
        except Exception as error:
            fail_open(error, "a request is not guarded")
        return None

    def after_attempt(
        self,
        response: Any = None,
        endpoint: Any = None,
        operation: Any = None,
        attempts: int = 0,
        request_dict: Any = None,
        caught_exception: BaseException | None = None,
        event_name: Any = None,
        **_: Any,
    ) -> Awaitable[float | None] | float | None:
        """Learn from the answer; return 0 (seconds to wait) if this attempt is to be signed again."""
        try:
            context = request_dict["context"]
            call: Call | None = context.get(KEY)
            if call is None or call.signing is NEVER:
                return None
            if response is None:
                if caught_exception is None or not is_about_dates(caught_exception):
                    return None
                received = Received(call, None, None, endpoint, operation, attempts, context)
                return self._after_handshake(received, caught_exception)
            http_response, parsed = response
            signed, wall, steady = call.signing
            if http_response.status_code < 300 and signed == wall and not call.retried:
                domain, keeper = call.route.domain, self.keeper
                if keeper.fresh(domain, steady) if domain is keeper.utc else domain.evidence is None:
                    return None  # a healthy call: what a private server accepts needs no correction
            wait = self._hear(Received(call, http_response, parsed, endpoint, operation, attempts, context))
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return None
        if call.failed is not None or call.signing[0] != call.signing[1]:
            self._report(call, parsed)
        return wait

    def who(self, **_: Any) -> Guard | None:
        """Return the guard of this emitter, if it is on."""
        return self.guard if self.guard.is_on() else None

    # -- carrying out decisions ---------------------------------------------------------------------------------

    def _hear(self, received: Received) -> Awaitable[float | None] | float | None:
        """Learn from an answer, and carry out what is decided about it."""
        keeper, call = self.keeper, received.call
        status = received.http_response.status_code
        if status < 300 and not call.retried and keeper.fresh(call.route.domain, call.signing[2]):
            return None
        faked = _clocks.faked()
        if (faked and status < 400) or not self.responses.from_socket(received.http_response):
            return None  # a test's clock or a test's answer
        if call.route.domain is keeper.utc and (
            tls.judged(received.endpoint)
            or not is_named_for(call.route.prefix, received.operation.service_model.endpoint_prefix)
        ):
            call.route = self.guard.contain(call.route)
        now = keeper.clocks.read()
        answer = self._read(received, faked, now)
        decision = decide(call, answer)
        said = self._learn(call, answer, decision, now)
        if decision.disproves:
            keeper.disprove(call.route.domain)
        if decision.quietens:
            keeper.quieten(call.route.domain, call.route.prefix)
            call.failed = None
        if decision.then is Then.FIRST and call.first is not None:
            received.http_response.status_code = call.first.reply.status
            received.parsed.clear()
            received.parsed.update(call.first.parsed)
        if decision.then in {Then.FIRST, Then.CALLERS}:
            return None
        return self._after_failure(received, answer, decision, said, now)

    def _read(self, received: Received, faked: str | None, now: Reading) -> Answer:
        """Return all that decides about an answer."""
        keeper, (prefix, domain) = self.keeper, received.call.route
        _, wall, steady = received.call.signing
        response, ignored = received.http_response, keeper.settings.ignore_frozen_clock
        return Answer(
            reply=read(response.status_code, self.responses.headers_of(response), received.parsed),
            elapsed=max(now.steady - steady, 0 if faked else now.wall - wall, 0),
            source=origin(response.url),
            known=None if domain is keeper.utc else keeper.known(domain, steady),
            quiet=domain.quiet(prefix, now.steady),
            given_up=domain.given_up(now.steady),
            trusted=domain is not keeper.utc or self.responses.verified(received.endpoint),
            learns=self.guard.learns() and not faked,
            inactive=_frozen(faked, ignored) if faked else "" if self.guard.is_on() else _OFF,
            faked=_clocks.faked_wall_ns() if faked and not ignored else None,
            attempts_left=attempts_left(received.context, received.attempts),
        )

    def _after_failure(
        self, received: Received, answer: Answer, decision: Decision, said: Interval | None, now: Reading
    ) -> Awaitable[float | None] | float | None:
        """Sign a call again whose attempt failed because of its time, unless there is an obstacle."""
        call, judgement = received.call, decision.judgement
        signed, wall, steady = call.signing
        call.failed = FailedAttempt(call.signing, judgement, answer.reply.explicit)
        call.obstacle = decision.obstacle
        if decision.obstacle:
            if answer.faked is not None:
                emit_once(Degraded("correcting requests", decision.obstacle))
            return None
        if not answer.trusted:
            call.obstacle = "the server's certificate is not verified"
        elif not answer.learns:
            call.obstacle = "learn_from_responses is off"
        skewed = judgement.verdict is Verdict.SKEW
        # Where the machine stood still meanwhile, the wall clock alone shows how long that was.
        waited = now.steady - steady if skewed else answer.elapsed
        first = First(answer.reply, received.parsed, signed == wall)
        sign_again = functools.partial(self._sign_again, call, first, decision, said, received.operation, waited)
        in_line = not skewed or said is not None or decision.then is Then.BY_WALL
        return sign_again() if in_line else self._after_sources(call.route.domain, steady, sign_again)

    def _learn(self, call: Call, answer: Answer, decision: Decision, now: Reading) -> Interval | None:
        """Teach the timekeeper what the decision says; return the server's clock, as far as it may be believed."""
        keeper, domain = self.keeper, call.route.domain
        was_known = domain.learned_at <= call.signing[2]
        if decision.objection:
            emit(Refused(answer.source, decision.objection))
        said = None
        if decision.heard is not None:
            signed, wall, steady = call.signing
            earliest, latest = decision.heard
            trust = Trust.AUTHENTICATED if domain is keeper.utc else Trust.WITNESS
            said = response_interval(earliest, latest, Reading(steady, wall), now, trust, answer.source)
            if not plausible(said):
                emit(Refused(answer.source, "it states an implausible date"))
                said = None
            elif decision.shown is not None:
                seen = Observation(decision.shown, said, call.route.prefix, signed + now.steady - steady)
                self._observe(domain, seen, announces=decision.then is not Then.CALLERS or call.retried)
        if decision.lost and was_known:  # else it was signed before the last that was learned
            keeper.lose(domain)
        return said

    def _observe(self, domain: Domain, seen: Observation, *, announces: bool) -> None:
        keeper, settings = self.keeper, self.guard.switch.settings
        change = keeper.learn(domain, seen)
        if self.guard.switch.settings is not settings:
            keeper.revert(domain, change)  # the guard was switched off meanwhile
            return
        if announces:  # now, because there may be no next signing
            keeper.signing_time(domain)
        keeper.share(domain)

    def _after_handshake(self, received: Received, error: BaseException) -> Awaitable[float | None] | float | None:
        """Decide after a handshake has failed because of a certificate's dates. Nothing of the request was sent."""
        call, operation, keeper = received.call, received.operation, self.keeper

        def reconnect() -> float | None:
            if not tls.would_judge(received.endpoint):
                note_failure(error, keeper)
                return None
            waited = keeper.clocks.read().steady - call.signing[2]
            reason = "the server's certificate was judged by a wrong clock"
            emit(Retried(operation.service_model.service_name, operation.name, Verdict.SKEW.value, reason, waited))
            return 0

        allowed = keeper.settings.true_time_tls and self.guard.is_on() and not keeper.seems_right()
        left = attempts_left(received.context, received.attempts)
        repeatable = call.rewindable and not call.reconnected and left
        if not allowed or not repeatable or is_ours(error):
            note_failure(error, keeper)
            return None
        call.reconnected = True
        return self._after_sources(keeper.utc, call.signing[2], reconnect)

    def _after_sources(
        self, domain: Domain, since: int, sign_again: Callable[[], float | None]
    ) -> Awaitable[float | None] | float | None:
        """Decide after the sources have been asked, because the answer did not tell the time."""
        self.keeper.ask_for(domain, since)
        return sign_again()

    def _sign_again(
        self, call: Call, first: First, decision: Decision, said: Interval | None, operation: Any, waited: int
    ) -> float | None:
        """Ask for one more attempt, unless it would carry as bad a timestamp."""
        verdict, reason = decision.judgement
        if verdict is Verdict.SKEW:
            keeper, by_wall = self.keeper, decision.then is Then.BY_WALL
            if by_wall:
                said = None
            elif said is None:  # the answer did not tell the time, so what else is known counts
                known = keeper.known(call.route.domain, keeper.clocks.read().steady)
                said = known and known.estimate
            if said is None or not would_help(call.signing, keeper.time_by(said), first.reply):
                if not call.undoable:
                    if said is not None:
                        call.obstacle = _FORBIDDEN if keeper.forbids(said) else "another timestamp would not help"
                    return None
                by_wall, said = True, None
            call.first, call.known = None if by_wall else first, said
            call.renewed += 1
        call.retried = True
        emit(Retried(operation.service_model.service_name, operation.name, verdict.value, reason, waited))
        return 0

    def _report(self, call: Call, parsed: Any) -> None:
        """Add what became of the call so far to the response. If it is signed again, the caller never sees this."""
        try:
            report(parsed, self.keeper, call.route.domain, call.signing, call.failed, call.retried, call.obstacle)
        except Exception as error:
            fail_open(error, "a call was not reported")
