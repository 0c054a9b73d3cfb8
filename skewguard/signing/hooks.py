"""The two hooks on botocore's events: before-sign marks, needs-retry learns, judges, and asks for one retry.

Thin, and fail open: whatever goes wrong in here, the call goes on as botocore alone would make it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from skewguard import clocks as _clocks
from skewguard.clocks import Reading
from skewguard.config import OFF_SWITCH_PROFILE_KEY, Settings, as_boolean
from skewguard.events import Refused, Retried, emit, logger
from skewguard.interval import Trust
from skewguard.signing import responses
from skewguard.signing.call import Call, Place, attempts_left, fits, useful
from skewguard.signing.domains import place, prefix, same_server, virtual_bucket
from skewguard.signing.patches import signers
from skewguard.signing.reply import Attempt, Judgement, Reply, Span, Verdict, judge, read
from skewguard.signing.report import Refusal, note_failure, report, why_not
from skewguard.timekeeping.domain import Change, Domain
from skewguard.timekeeping.knowledge import response_interval
from skewguard.timekeeping.timekeeper import NEVER, Timekeeper

BEFORE_SIGN = "before-sign.*.*"
NEEDS_RETRY = "needs-retry.*.*"
_IDS = {BEFORE_SIGN: "skewguard-before-sign", NEEDS_RETRY: "skewguard-needs-retry", signers.WHO: "skewguard-who"}

_MAX_PLACES = 1024


class Guard(Protocol):
    """Who is behind a set of hooks: the settings in force, or None while it is switched off."""

    settings: Settings | None


class Hooks:
    """The handlers of one session, client or resource."""

    from_socket = staticmethod(responses.from_socket)
    verified = staticmethod(responses.verified)
    headers_of = staticmethod(responses.headers_of)

    def __init__(self, guard: Guard, keeper: Timekeeper, session: Any = None) -> None:
        self.guard = guard
        self.keeper = keeper
        self.last: Place = ("\0", keeper.utc)  # where the last request went; no URL begins with that
        self._places: dict[str, Place] = {}
        self._session = session  # until its profile is read: a client often outlives its session
        self._profile_off: bool | None = None
        self._considered: object = self  # the settings under which it was found to be on

    def __deepcopy__(self, memo: object) -> Hooks:
        return self  # sessions get copied; a copy is guarded as its original

    def register(self, emitter: Any) -> None:
        """Put the handlers before all others on an emitter, instead of any hooks of ours that it has."""
        self.unregister(emitter)
        for event, handler in self._handlers():
            emitter.register_first(event, handler, unique_id=_IDS[event])

    @staticmethod
    def unregister(emitter: Any) -> None:
        """Take whatever hooks of ours it has off an emitter."""
        for event, unique_id in _IDS.items():
            emitter.unregister(event, unique_id=unique_id)

    def _handlers(self) -> tuple[tuple[str, Callable[..., Any]], ...]:
        return ((BEFORE_SIGN, self.before_sign), (NEEDS_RETRY, self.needs_retry), (signers.WHO, self.who))

    # -- the hooks ----------------------------------------------------------------------------------------------

    def before_sign(self, request: Any, signature_version: Any = None, **_: Any) -> Awaitable[None] | None:
        """Mark the request as guarded. No clock is read yet: a refresh of credentials may come first."""
        try:
            if self.guard.settings is self._considered or self.enabled():
                context = request.context
                if context.get(signers.KEY) is None:
                    call = context[signers.KEY] = Call(self, signature_version, request.data, context)
                    if call.timeless:
                        call.begin(request)  # no signer will; but the answer is to be heard
        except Exception:
            logger.debug("a request stays unguarded", exc_info=True)
        return None

    def needs_retry(
        self,
        response: Any = None,
        endpoint: Any = None,
        operation: Any = None,
        attempts: int = 0,
        request_dict: Any = None,
        caught_exception: BaseException | None = None,
        **_: Any,
    ) -> Awaitable[float | None] | float | None:
        """Learn from the answer; answer 0 (seconds to wait) if this attempt is to be signed again, once."""
        try:
            context = request_dict["context"]
            call: Call | None = context.get(signers.KEY)
            if call is None or call.signing is NEVER:
                return None
            if response is None:
                if caught_exception is not None:
                    note_failure(caught_exception, self.keeper)
                return None
            http_response, parsed = response
            wait = self._hear(call, http_response, parsed, endpoint, operation, attempts, context)
        except Exception:
            logger.debug("an answer went unheard", exc_info=True)
            return None
        if call.refusal is not None or call.signing[0] != call.signing[1]:
            self._report(call, parsed, attempts, context)
        return wait

    def who(self, **_: Any) -> Hooks | None:
        """Answer who guards this emitter."""
        return self if self.enabled() else None

    # -- behind them --------------------------------------------------------------------------------------------

    def enabled(self) -> bool:
        """Tell whether this session is guarded: switched on, and not switched off by its profile."""
        settings = self.guard.settings
        if settings is None:
            return False
        if settings is not self._considered:
            session = self._session
            if settings.enabled is None:
                if self._profile_off is None:  # else another thread has read it, and let the session go
                    self._profile_off = _switched_off(session)
                if self._profile_off:
                    return False
                self._session = None
            self._considered = settings
        return True

    def corrects_presigned(self) -> bool:
        """Tell whether what is handed out is to be corrected too."""
        settings = self.guard.settings
        return settings is not None and settings.correct_presigned

    def lasting_time(self, url: str, auth_path: str | None) -> int | None:
        """Answer the time (ns) to sign something handed out as of, or None for the wall clock."""
        return self.direct_time(url, auth_path, lasting=True)

    def direct_time(self, url: str, auth_path: str | None, *, lasting: bool) -> int | None:
        """Answer the time (ns) to sign as of where there is no `Call`, or None for the wall clock."""
        if not self.enabled() or (lasting and not self.corrects_presigned()):
            return None
        signed, wall, _ = self.keeper.signing_time(self.find(url, auth_path)[1], lasting)
        return None if signed == wall else signed

    def find(self, url: str, auth_path: str | None) -> Place:
        """Find where a URL leads, and remember it."""
        start = prefix(url)
        found = self._places.get(start)
        if found is None:
            where = place(start, virtual_bucket(url, auth_path))
            found = (f"{start}/", self.keeper.domain(where.key, seeded=where.seeded, shared=where.shared))
            if len(self._places) >= _MAX_PLACES:
                self._places = {}
            self._places[start] = found
        self.last = found
        return found

    def _hear(
        self, call: Call, http_response: Any, parsed: Any, endpoint: Any, operation: Any, attempts: int, context: Any
    ) -> Awaitable[float | None] | float | None:
        keeper = self.keeper
        signed, wall, steady = call.signing
        domain = call.place[1]
        status = http_response.status_code
        if status < 300:
            if call.retried:
                domain.unproved = None
                keeper.share(domain)
            if keeper.fresh(domain, steady):
                return None
        if _clocks.faked() or not self.from_socket(http_response):
            return None  # a test's clock, or a test's answer: none of our business
        reply = read(status, self.headers_of(http_response), parsed)
        now = keeper.clocks.read()
        elapsed = max(now.steady - steady, now.wall - wall, 0)
        judgement = judge(Attempt(signed, elapsed, exact=signed != wall), reply)
        lesson = None
        if judgement.verdict is not Verdict.NOT_TIME:
            # A stated clock counts only where judging has found the timestamp beside it to be this attempt's.
            lesson = self._learn(call, reply.heard, http_response, endpoint, now)
        elif reply.unexplained and domain.unproved is not None:
            keeper.revert(domain, domain.unproved)  # it did not help, so the Date was perhaps not the server's
        elif call.timeless or 300 <= status < 400 or fits(reply.date, signed, elapsed):
            lesson = self._learn(call, reply.date, http_response, endpoint, now)
        else:
            emit(Refused(prefix(http_response.url), "its Date contradicts the timestamp it accepted"))
        if lesson is not None and not reply.unexplained:
            keeper.share(domain)
        if judgement.verdict is Verdict.NOT_TIME or call.timeless:
            return None
        call.refusal = Refusal(call.signing, judgement)
        if reply.unexplained:
            domain.unproved = lesson
        if call.retried or not call.rewindable or not self.enabled() or not attempts_left(context, attempts):
            return None
        # Where the machine stood still under way, the wall clock alone shows how long it was.
        waited = elapsed if judgement.verdict is Verdict.STALE else now.steady - steady
        again = functools.partial(self._again, call, reply, judgement, operation, waited)
        if lesson is None and judgement.verdict is Verdict.SKEW:
            return self._once_told(domain, steady, again)
        return again()

    def _once_told(
        self, domain: Domain, since: int, again: Callable[[], float | None]
    ) -> Awaitable[float | None] | float | None:
        """Decide once the sources have been asked, as the answer did not tell the time."""
        self.keeper.ask_for(domain, since)
        return again()

    def _again(self, call: Call, reply: Reply, judgement: Judgement, operation: Any, waited: int) -> float | None:
        """Ask for the one retry, unless it would carry as bad a timestamp."""
        if judgement.verdict is Verdict.SKEW and not useful(self.keeper, call, reply):
            return None
        call.retried = True
        emit(
            Retried(
                operation.service_model.service_name,
                operation.name,
                judgement.verdict.value,
                judgement.reason,
                waited,
            )
        )
        return 0

    def _report(self, call: Call, parsed: Any, attempts: int, context: Any) -> None:
        """Tell the caller what became of the call so far; if it is signed again, this is never seen."""
        try:
            why = ""
            if call.refusal is not None:
                left = attempts_left(context, attempts)
                why = why_not(retried=call.retried, rewindable=call.rewindable, enabled=self.enabled(), left=left)
            report(parsed, self.keeper, call.place[1], call.signing, call.refusal, call.retried, why)
        except Exception:
            logger.debug("a call went unreported", exc_info=True)

    def _learn(self, call: Call, heard: Span | None, http_response: Any, endpoint: Any, now: Reading) -> Change | None:
        """Teach the timekeeper what the server's clock showed, if it may become truth."""
        settings = self.guard.settings
        if heard is None or settings is None or not settings.learn_from_responses:
            return None
        start, domain = call.place
        source = prefix(http_response.url)
        if f"{source}/" != start and not same_server(source, start):
            return None  # somebody sent the request elsewhere after it was signed
        authentic = domain is self.keeper.utc
        if authentic and not self.verified(endpoint):
            return None
        _, wall, steady = call.signing
        trust = Trust.AUTHENTICATED if authentic else Trust.WITNESS
        said = response_interval(heard.earliest, heard.latest, Reading(steady, wall), now, trust, source)
        lesson = self.keeper.learn(domain, said)
        if lesson is not None and self.guard.settings is not settings:
            self.keeper.revert(domain, lesson)  # it was switched off meanwhile
        return lesson


def _switched_off(session: Any) -> bool:
    """Tell whether a session's profile asks for no correction."""
    if session is None:
        return False
    try:
        return as_boolean(session.get_scoped_config().get(OFF_SWITCH_PROFILE_KEY, False))
    except Exception:  # no such profile: botocore will tell the caller itself
        logger.debug("the AWS profile could not be read", exc_info=True)
        return False
