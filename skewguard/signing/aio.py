"""The hooks for aiobotocore, whose handlers run on an event loop: what would block is done in a thread, and awaited.

Everything else is as for botocore: the same signer classes, handlers and judgements. Only a response looks different.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from botocore.awsrequest import HeadersDict

from skewguard import clocks as _clocks
from skewguard.events import Refused, emit, logger
from skewguard.signing import responses
from skewguard.signing.call import Call, Place
from skewguard.signing.domains import prefix
from skewguard.signing.errand import Errand, quietly
from skewguard.signing.hooks import Guard, Hooks
from skewguard.signing.patches import metadata, patching
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.timekeeper import Timekeeper

NAMELESS = "aws, host names unchecked"
"""The time domain of AWS as heard by sessions that check certificates, but not whose they are."""


class AioHooks(Hooks):
    """The handlers of one session or client of aiobotocore's."""

    def __init__(self, guard: Guard, keeper: Timekeeper, session: Any = None) -> None:
        super().__init__(guard, keeper, session)
        self._starting = Errand()
        self._asking = Errand()
        self._nameless: Domain | None = None

    def before_sign(self, request: Any, signature_version: Any = None, **_: Any) -> Awaitable[None] | None:
        """Mark the request as guarded; answer what to await if the sources are to be asked before it is signed."""
        try:
            due = self._ask_if_due(request.url, request.auth_path) if self.enabled() else None
        except Exception:
            logger.debug("the sources were not asked", exc_info=True)
            due = None
        if due is None:
            return super().before_sign(request, signature_version)

        async def before() -> None:
            await due
            Hooks.before_sign(self, request, signature_version)

        return before()

    async def lasting_time_soon(self, url: str, auth_path: str | None) -> int | None:
        """Do as `lasting_time`, but do not block the event loop."""
        due = self._ask_if_due(url, auth_path)
        if due is not None:
            await due
        return self.lasting_time(url, auth_path)

    def _ask_if_due(self, url: str, auth_path: str | None) -> Awaitable[None] | None:
        """Have the sources asked that a signing would ask in its own thread, which here is the event loop's."""
        found = self.last
        if not url.startswith(found[0]):
            found = self.find(url, auth_path)
        domain = found[1]
        if self.keeper.settled(domain) or _clocks.faked():
            return None
        if self._starting.under_way or self.keeper.due(domain):
            return quietly(self._starting.run(self.keeper.start))
        return None

    def _hear(
        self, call: Call, http_response: Any, parsed: Any, endpoint: Any, operation: Any, attempts: int, context: Any
    ) -> Awaitable[float | None] | float | None:
        if call.place[1] is self.keeper.utc and _nameless(endpoint):
            if self._nameless is None:
                self._nameless = self.keeper.domain(NAMELESS, seeded=True)
                emit(Refused(prefix(http_response.url), "its certificate's host name is not checked"))
            call.place = self._contained(call.place)
        return super()._hear(call, http_response, parsed, endpoint, operation, attempts, context)

    def find(self, url: str, auth_path: str | None) -> Place:
        """Find where a URL leads, and remember it."""
        return self._contained(super().find(url, auth_path))

    def _contained(self, found: Place) -> Place:
        """Let AWS, heard without a look at its host name, teach nobody but those who hear it so."""
        if self._nameless is not None and found[1] is self.keeper.utc:
            found = self.last = (found[0], self._nameless)
        return found

    def _once_told(
        self, domain: Domain, since: int, again: Callable[[], float | None]
    ) -> Awaitable[float | None] | float | None:
        async def decide() -> float | None:
            await quietly(self._asking.run(self.keeper.ask_for, domain, since))
            try:
                return again()
            except Exception:
                logger.debug("an answer went unheard", exc_info=True)
                return None

        return decide()

    # -- what aiobotocore's responses and sessions look like ----------------------------------------------------

    @staticmethod
    def from_socket(http_response: Any) -> bool:
        """Tell whether a response was read from a network connection, rather than made up in this process.

        aiohttp's has begun on a connection, whose protocol it keeps; httpx's still names the stream it came from.
        """
        raw = getattr(http_response, "raw", None)
        aiohttp = sys.modules.get("aiohttp")
        if aiohttp is not None and type(raw) is aiohttp.ClientResponse:
            return getattr(raw, "_protocol", None) is not None
        extensions = getattr(raw, "extensions", None)
        return isinstance(extensions, dict) and extensions.get("network_stream") is not None

    @staticmethod
    def headers_of(http_response: Any) -> Any:
        """Answer a response's headers, looked up case-insensitively, repeated ones joined.

        What aiobotocore makes of aiohttp's is neither.
        """
        headers: Any = getattr(http_response.raw, "headers", None)
        if not hasattr(headers, "getall"):
            return http_response.headers
        found = HeadersDict()
        for name, value in headers.items():
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    @staticmethod
    def verified(endpoint: Any) -> bool:
        """Tell whether this endpoint's session checks certificates, and checks the server's own, not a proxy's."""
        return responses.verified(endpoint) and all(
            rules.verify_mode is ssl.CERT_REQUIRED and rules.check_hostname for rules in _rules(endpoint)
        )


class AioListening(metadata.Listening):
    """A metadata fetcher's HTTP session, with somebody listening."""

    from_socket = staticmethod(AioHooks.from_socket)
    headers_of = staticmethod(AioHooks.headers_of)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Lend the session, which is closed when nobody uses it any more."""
        async with self._session.acquire() as session:
            yield AioListening(session)

    async def send(self, request: Any) -> Any:
        """Send a request, and hear the answer."""
        sent = self.now()
        response = await self._session.send(request)
        self.hear(response, sent)
        return response


def open_aio_expiry() -> None:
    """Listen to the metadata services, once, where aiobotocore asks them with classes of its own."""
    if "aiobotocore.utils" in sys.modules:
        patching.once(_overhear)


def _overhear() -> None:
    metadata.overhear(sys.modules["aiobotocore.utils"], "Aio", AioListening)


def _nameless(endpoint: Any) -> bool:
    """Tell whether an endpoint's session checks certificates, but not whose they are.

    aiobotocore did so with aiohttp until 3.x: the caller asked for verification, so the answers may teach this
    caller's own calls, as those over plain http may; but nobody else.
    """
    rules = _rules(endpoint)
    checked = responses.verified(endpoint) and all(rule.verify_mode is ssl.CERT_REQUIRED for rule in rules)
    return checked and not all(rule.check_hostname for rule in rules)


def _rules(endpoint: Any) -> list[ssl.SSLContext]:
    """List the TLS settings in use at an endpoint: httpx's session has one, aiohttp's one for each proxy."""
    session = getattr(endpoint, "http_session", None)
    made = (getattr(session, "_sessions", None) or {}).values()
    found = [
        getattr(session, "_verify", None),
        *(getattr(getattr(one, "connector", None), "_ssl", None) for one in made),
    ]
    return [rules for rules in found if isinstance(rules, ssl.SSLContext)]
