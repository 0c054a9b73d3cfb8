"""The event handlers: ``before-sign`` records the call, ``needs-retry`` learns, judges, and asks for one retry.

They carry out what `answer` decides, and fail open: whatever goes wrong here, the call goes on as botocore alone would
make it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from skewguard import clocks as _clocks
from skewguard._fail_open import fail_open
from skewguard.clocks import Reading
from skewguard.events import Refused, Retried, emit
from skewguard.interval import Trust
from skewguard.signing.answer import Answer, Decision, attempts_left, decide, would_help
from skewguard.signing.call import Call
from skewguard.signing.domains import is_named_for, origin
from skewguard.signing.guard import Guard
from skewguard.signing.patches.signers import KEY, WHO
from skewguard.signing.reply import Reply, Span, Verdict, read
from skewguard.signing.report import Refusal, note_failure, report
from skewguard.signing.responses import Responses
from skewguard.timekeeping.domain import Change, Domain
from skewguard.timekeeping.knowledge import response_interval
from skewguard.timekeeping.timekeeper import NEVER

BEFORE_SIGN = "before-sign.*.*"
NEEDS_RETRY = "needs-retry.*.*"
_IDS = {BEFORE_SIGN: "skewguard-before-sign", NEEDS_RETRY: "skewguard-needs-retry", WHO: "skewguard-who"}


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
        for event, handler in ((BEFORE_SIGN, self.before_sign), (NEEDS_RETRY, self.needs_retry), (WHO, self.who)):
            emitter.register_first(event, handler, unique_id=_IDS[event])

    @staticmethod
    def unregister(emitter: Any) -> None:
        """Remove any hooks of ours from an emitter."""
        for event, unique_id in _IDS.items():
            emitter.unregister(event, unique_id=unique_id)

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

    def needs_retry(
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
        """Learn from the answer; return 0 (seconds to wait) if this attempt is to be signed again, once."""
        try:
            context = request_dict["context"]
            call: Call | None = context.get(KEY)
            if call is None or call.signing is NEVER:
                return None
            if response is None:
                if caught_exception is not None:
                    note_failure(caught_exception, self.keeper)
                return None
            http_response, parsed = response
            signed, wall, steady = call.signing
            if http_response.status_code < 300 and signed == wall and not call.retried:
                domain, keeper = call.route.domain, self.keeper
                if domain is not keeper.utc or keeper.fresh(domain, steady):
                    return None  # a healthy call: what a private server accepts needs no correction
            wait = self._hear(call, http_response, parsed, endpoint, operation, attempts, context)
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return None
        if call.refusal is not None or call.signing[0] != call.signing[1]:
            self._report(call, parsed)
        return wait

    def who(self, **_: Any) -> Guard | None:
        """Return the guard of this emitter, if it is on."""
        return self.guard if self.guard.is_on() else None

    # -- carrying out decisions ---------------------------------------------------------------------------------

    def _hear(
        self, call: Call, http_response: Any, parsed: Any, endpoint: Any, operation: Any, attempts: int, context: Any
    ) -> Awaitable[float | None] | float | None:
        keeper = self.keeper
        domain = call.route.domain
        _, wall, steady = call.signing
        status = http_response.status_code
        if status < 300:
            if call.retried:
                domain.unproved = None
                keeper.share(domain)
            if keeper.fresh(domain, steady):
                return None
        if _clocks.faked() or not self.responses.from_socket(http_response):
            return None  # a test's clock or a test's answer
        if domain is keeper.utc and not is_named_for(call.route.prefix, operation.service_model.endpoint_prefix):
            call.route = self.guard.contain(call.route)
            domain = call.route.domain
        now = keeper.clocks.read()
        answer = Answer(
            reply=read(status, self.responses.headers_of(http_response), parsed),
            elapsed=max(now.steady - steady, now.wall - wall, 0),
            source=origin(http_response.url),
            trusted=domain is not keeper.utc or self.responses.verified(endpoint),
            learns=self.guard.learns(),
            enabled=self.guard.is_on(),
            attempts_left=attempts_left(context, attempts),
        )
        decision = decide(call, answer)
        change = self._learn(call, answer, decision, now)
        if not decision.refused:
            return None
        call.refusal, call.obstacle = Refusal(call.signing, decision.judgement), decision.obstacle
        if answer.reply.unexplained:
            domain.unproved = change
        if decision.obstacle:
            return None
        skewed = decision.judgement.verdict is Verdict.SKEW
        # Where the machine stood still meanwhile, the wall clock alone shows how long that was.
        waited = now.steady - steady if skewed else answer.elapsed
        sign_again = functools.partial(self._sign_again, call, answer.reply, decision, operation, waited)
        return self._after_sources(domain, steady, sign_again) if skewed and change is None else sign_again()

    def _learn(self, call: Call, answer: Answer, decision: Decision, now: Reading) -> Change | None:
        """Teach the timekeeper what the decision says."""
        keeper, domain = self.keeper, call.route.domain
        change = None
        if decision.reverts and domain.unproved is not None:
            keeper.revert(domain, domain.unproved)
        elif decision.objection:
            emit(Refused(answer.source, decision.objection))
        elif decision.heard is not None:
            change = self._learn_clock(call, answer.source, decision.heard, now)
        if change is not None and decision.proved:
            keeper.share(domain)
        return change

    def _learn_clock(self, call: Call, source: str, heard: Span, now: Reading) -> Change | None:
        settings = self.guard.switch.settings
        domain = call.route.domain
        _, wall, steady = call.signing
        trust = Trust.AUTHENTICATED if domain is self.keeper.utc else Trust.WITNESS
        said = response_interval(heard.earliest, heard.latest, Reading(steady, wall), now, trust, source)
        change = self.keeper.learn(domain, said)
        if change is not None and self.guard.switch.settings is not settings:
            self.keeper.revert(domain, change)  # the guard was switched off meanwhile
        return change

    def _after_sources(
        self, domain: Domain, since: int, sign_again: Callable[[], float | None]
    ) -> Awaitable[float | None] | float | None:
        """Decide after the sources have been asked, because the answer did not tell the time."""
        self.keeper.ask_for(domain, since)
        return sign_again()

    def _sign_again(self, call: Call, reply: Reply, decision: Decision, operation: Any, waited: int) -> float | None:
        """Ask for the one retry, unless it would carry as bad a timestamp."""
        verdict, reason = decision.judgement
        if verdict is Verdict.SKEW:
            again = self.keeper.signing_time(call.route.domain)
            if not would_help(call.signing, again, reply):
                return None
            call.known = self.keeper.known(call.route.domain, again[2])
        call.retried = True
        emit(Retried(operation.service_model.service_name, operation.name, verdict.value, reason, waited))
        return 0

    def _report(self, call: Call, parsed: Any) -> None:
        """Add what became of the call so far to the response. If it is signed again, the caller never sees this."""
        try:
            report(parsed, self.keeper, call.route.domain, call.signing, call.refusal, call.retried, call.obstacle)
        except Exception as error:
            fail_open(error, "a call was not reported")
