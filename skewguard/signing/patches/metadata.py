"""The metadata services, which hand out credentials without any event: their answers are heard here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import botocore.utils

from skewguard import clocks as _clocks
from skewguard.config import Settings
from skewguard.events import logger
from skewguard.interval import Trust
from skewguard.signing.domains import is_loopback, prefix
from skewguard.signing.patches import patching
from skewguard.signing.reply import read_date
from skewguard.signing.responses import from_socket, headers_of
from skewguard.timekeeping.knowledge import response_interval
from skewguard.timekeeping.timekeeper import Timekeeper

_PART = "hearing the metadata services"


class Ear:
    """Takes note of what the metadata services' clocks show."""

    def __init__(self, keeper: Timekeeper, settings: Callable[[], Settings | None]) -> None:
        self.keeper = keeper
        self._settings = settings

    def hear(self, url: str, headers: Any, sent: _clocks.Reading) -> None:
        """Take note of a metadata service's clock, if nobody else has spoken yet."""
        settings = self._settings()
        if settings is None or not settings.learn_from_responses or _clocks.faked():
            return
        source = prefix(url)
        date = read_date(headers)
        if date is None or is_loopback(urlsplit(source).hostname or ""):  # there, this host's own clock was read
            return
        now = self.keeper.clocks.read()
        self.keeper.overhear(response_interval(date.earliest, date.latest, sent, now, Trust.WITNESS, source))


_ear: Ear | None = None


def open_metadata(ear: Ear) -> None:
    """Hear the metadata services from now on."""
    global _ear
    _ear = ear
    patching.once(_overhear)


def _overhear() -> None:
    overhear(botocore.utils, "", Listening)


def overhear(module: Any, start: str, kind: type[Listening]) -> None:
    """Have somebody listen to what the metadata services answer to the fetchers of a module. For `names.once`.

    Args:
        module: botocore's, or another's with the same classes.
        start: What the names of its classes begin with.
        kind: What listens there.
    """
    for owner, name in (
        ("IMDSFetcher", "_fetch_metadata_token"),
        ("IMDSFetcher", "_get_request"),
        ("ContainerMetadataFetcher", "_get_response"),
    ):
        patching.replace(_PART, getattr(module, start + owner, None), name, functools.partial(_listening, kind))


class Listening:
    """A metadata fetcher's HTTP session, with somebody listening."""

    from_socket = staticmethod(from_socket)
    headers_of = staticmethod(headers_of)

    def __init__(self, session: Any) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def send(self, request: Any) -> Any:
        """Send a request, and hear the answer."""
        sent = self.now()
        response = self._session.send(request)
        self.hear(response, sent)
        return response

    def now(self) -> _clocks.Reading | None:
        """Read the clocks, if anybody is interested."""
        return None if _ear is None else _ear.keeper.clocks.read()

    def hear(self, response: Any, sent: _clocks.Reading | None) -> None:
        """Have an answer judged; `sent` is when its request was."""
        try:
            if _ear is not None and sent is not None and self.from_socket(response):
                _ear.hear(response.url, self.headers_of(response), sent)
        except Exception:
            logger.debug("a metadata service went unheard", exc_info=True)


def _listening(kind: type[Listening], original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def fetch(self: Any, *args: Any, **kwargs: Any) -> Any:
        session = getattr(self, "_session", None)
        if _ear is not None and hasattr(session, "send") and not isinstance(session, Listening):
            self._session = kind(session)
        return original(self, *args, **kwargs)

    return fetch
