"""The patches on the fetchers of the metadata services.

The instance's and the container's metadata services hand out credentials without any event. On a fresh host they are
the first servers whose clock can be read.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from skewguard import clocks as _clocks
from skewguard._fail_open import fail_open
from skewguard.config import Settings
from skewguard.http_date import read_date, response_interval
from skewguard.interval import Trust
from skewguard.signing.domains import is_loopback, origin
from skewguard.signing.patches.patching import Group, NamePatch, Patch
from skewguard.signing.responses import AioResponses, Responses
from skewguard.timekeeping.timekeeper import Timekeeper

_FETCHES = (
    ("IMDSFetcher", "_fetch_metadata_token"),
    ("IMDSFetcher", "_get_request"),
    ("ContainerMetadataFetcher", "_get_response"),
)


class MetadataListener:
    """A listener to what the metadata services' clocks show."""

    def __init__(self, keeper: Timekeeper, settings: Callable[[], Settings | None]) -> None:
        """Describe the listener. `settings` returns None while nothing is guarded."""
        self._settings = settings
        self.keeper = keeper

    def hear(self, url: str, headers: Any, sent: _clocks.Reading) -> None:
        """Note a metadata service's clock. It counts until a source or an endpoint has spoken."""
        settings = self._settings()
        if settings is None or not settings.learn_from_responses or _clocks.faked():
            return
        source = origin(url)
        date = read_date(headers)
        if date is None or is_loopback(urlsplit(source).hostname or ""):  # that would be this host's own clock
            return
        now = self.keeper.clocks.read()
        self.keeper.overhear(response_interval(date.earliest, date.latest, sent, now, Trust.WITNESS, source))


_listener: MetadataListener | None = None


def hear_metadata_services(listener: MetadataListener) -> None:
    """Hand the metadata services' answers to this listener from now on."""
    global _listener
    _listener = listener
    METADATA.apply()


class HeardSession:
    """A metadata fetcher's HTTP session whose answers are heard."""

    responses: type[Responses] = Responses

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send a request, and hear the answer."""
        sent = self._read_clocks()
        response = self._session.send(request)
        self._hear(response, sent)
        return response

    @staticmethod
    def _read_clocks() -> _clocks.Reading | None:
        return None if _listener is None else _listener.keeper.clocks.read()

    def _hear(self, response: Any, sent: _clocks.Reading | None) -> None:
        try:
            if _listener is not None and sent is not None and self.responses.from_socket(response):
                _listener.hear(response.url, self.responses.headers_of(response), sent)
        except Exception as error:
            fail_open(error, "the answer of a metadata service was not heard")


class AioHeardSession(HeardSession):
    """The same for aiobotocore's fetchers."""

    responses = AioResponses

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """Lend the session, which its owner closes when it is not used any more."""
        async with self._session.acquire() as session:
            yield AioHeardSession(session)

    async def send(self, request: Any) -> Any:
        """Send a request, and hear the answer."""
        sent = self._read_clocks()
        response = await self._session.send(request)
        self._hear(response, sent)
        return response


def _heard_fetch(kind: type[HeardSession], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = getattr(self, "_session", None)
        if _listener is not None and hasattr(session, "send") and not isinstance(session, HeardSession):
            self._session = kind(session)
        return original(self, *args, **kwargs)

    return fetch


def _fetchers(module: Any, start: str, kind: type[HeardSession]) -> Iterable[Patch]:
    for owner, name in _FETCHES:
        fetcher = getattr(module, start + owner, None)
        yield NamePatch("hearing the metadata services", fetcher, name, functools.partial(_heard_fetch, kind))


def _metadata() -> Iterable[Patch]:
    import botocore.utils

    return _fetchers(botocore.utils, "", HeardSession)


METADATA = Group(_metadata)
AIO_METADATA = Group(lambda: _fetchers(sys.modules["aiobotocore.utils"], "Aio", AioHeardSession))
"""To be applied when `aiobotocore.utils` is imported."""
