"""The hooks for aiobotocore, whose event handlers run on an event loop.

What would block runs in a thread, and is awaited. All else is as for botocore: the same signers and judgements.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from skewguard import clocks as _clocks
from skewguard._fail_open import fail_open
from skewguard.config import Switch
from skewguard.events import Refused, emit
from skewguard.signing.domains import origin
from skewguard.signing.errand import Errand, quietly
from skewguard.signing.guard import Guard, Route
from skewguard.signing.hooks import Hooks, Received
from skewguard.signing.patches import library, tls
from skewguard.signing.responses import AioResponses
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.evidence import Grade
from skewguard.timekeeping.timekeeper import Timekeeper

UNCHECKED_HOST_NAMES = "aws, host names unchecked"
"""The time domain of AWS as heard by sessions that check certificates, but not whose they are."""


class AioGuard(Guard):
    """The guard of one session or client of aiobotocore."""

    def __init__(self, switch: Switch, keeper: Timekeeper, session: Any = None) -> None:
        super().__init__(switch, keeper, session)
        self._starting = Errand()
        self._waiting = Errand()
        self.unchecked: Domain | None = None  # used instead of UTC once a host name was not checked

    async def handed_out_time_soon(self, url: str, auth_path: str | None) -> int | None:
        """Return what `handed_out_time` returns, without blocking the event loop."""
        due = self.sources_due(url, auth_path, handed_out=True)
        if due is not None:
            await due
        return self.handed_out_time(url, auth_path)

    def await_sources(self, domain: Domain) -> None:
        """Do nothing: they were awaited before the signing began, because this thread is the event loop's."""

    def sources_due(self, url: str, auth_path: str | None, *, handed_out: bool) -> Awaitable[None] | None:
        """Return what to await if signing for a URL would ask sources in its own thread: the event loop's."""
        route = self.last
        if not url.startswith(route.prefix):
            route = self.route(url, auth_path)
        if handed_out and self.corrects_handed_out() and self.keeper.lacks_sources(route.domain):
            return quietly(self._waiting.run(self.keeper.await_sources, route.domain))
        if self.keeper.settled(route.domain) or _clocks.faked():
            return None
        if self._starting.under_way:
            return quietly(self._starting.join())
        if self.keeper.due(route.domain):
            return quietly(self._starting.run(self.keeper.start))
        return None

    def route(self, url: str, auth_path: str | None) -> Route:
        """Return where a URL leads, and remember it."""
        return self._contained(super().route(url, auth_path))

    def contain_aws(self, route: Route, source: str) -> Route:
        """Keep what AWS says from teaching UTC from now on, because this session checks no host names."""
        if self.unchecked is None:
            self.unchecked = self.keeper.domain(UNCHECKED_HOST_NAMES, stand_in=Grade.PROOF)
            emit(Refused(source, "its certificate's host name is not checked"))
        return self._contained(route)

    def _contained(self, route: Route) -> Route:
        if self.unchecked is not None and route.domain is self.keeper.utc:
            route = self.last = Route(route.prefix, self.unchecked)
        return route


class AioHooks(Hooks):
    """The event handlers of one guarded session or client of aiobotocore."""

    responses = AioResponses
    guard: AioGuard

    def __init__(self, guard: AioGuard) -> None:
        super().__init__(guard)
        self._asking = Errand()

    def before_sign(self, *, request: Any, signature_version: Any = None, **_: Any) -> Awaitable[None] | None:
        """Record the call; return what to await if sources are to be asked before it is signed."""
        try:
            guard, handed_out = self.guard, signature_version in library.handed_out_versions()
            due = guard.sources_due(request.url, request.auth_path, handed_out=handed_out) if guard.is_on() else None
        except Exception as error:
            fail_open(error, "the sources were not asked")
            due = None
        if due is None:
            return super().before_sign(request=request, signature_version=signature_version)

        async def before() -> None:
            await due
            Hooks.before_sign(self, request=request, signature_version=signature_version)

        return before()

    def _hear(self, received: Received) -> Awaitable[float | None] | float | None:
        call, endpoint = received.call, received.endpoint
        if tls.judged(endpoint):
            if call.route.domain is self.guard.unchecked:  # which is shared with other processes
                call.route = self.guard.contain(call.route)
        elif call.route.domain is self.keeper.utc and AioResponses.host_names_unchecked(endpoint):
            call.route = self.guard.contain_aws(call.route, origin(received.http_response.url))
        return super()._hear(received)

    def _after_sources(
        self, domain: Domain, since: int, sign_again: Callable[[], float | None]
    ) -> Awaitable[float | None] | float | None:
        async def decide() -> float | None:
            await quietly(self._asking.run(self.keeper.ask_for, domain, since))
            try:
                return sign_again()
            except Exception as error:
                fail_open(error, "an answer was not heard")
                return None

        return decide()
