"""The patches for ``true_time_tls``: the TLS connections of guarded clients are judged on true time.

A client's HTTP session gets its judge when the client first sends a request, so a client that was made before `install`
has one too. The contexts that the session has by then are adopted, and those that it makes later, when it makes them.
The patches are applied only while the option is set.
"""

from __future__ import annotations

import functools
import ssl
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from skewguard import _late_imports
from skewguard._fail_open import fail_open
from skewguard.interval import Interval
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch
from skewguard.signing.patches.signers import guards_on
from skewguard.timekeeping.timekeeper import Timekeeper

if TYPE_CHECKING:  # not all builds of Python have what it needs, and without the option none does
    from skewguard.tls.connection import Judge

_PART = "TLS on true time"

_keeper: Timekeeper | None = None
_judges: weakref.WeakKeyDictionary[Any, Judge] = weakref.WeakKeyDictionary()  # by HTTP session
_armed: weakref.WeakSet[Any] = weakref.WeakSet()  # the HTTP sessions whose contexts have been adopted


def judge_on_true_time(keeper: Timekeeper) -> None:
    """Judge the certificates of guarded clients' servers on true time from now on."""
    global _keeper
    with _late_imports.importing:
        import skewguard.tls.connection  # noqa: F401 - if it fails, nothing is patched
    _keeper = keeper
    TLS.apply()
    if "aiobotocore.httpsession" in sys.modules:
        AIO_TLS.apply()


def stop() -> None:
    """Undo the patches. What was heard over connections judged so still proves no time."""
    for group in (TLS, AIO_TLS):
        group.undo()
    if _armed:
        from skewguard.tls.connection import release_all

        release_all()
        _armed.clear()


def judged(endpoint: Any) -> bool:
    """Return whether any connection of an endpoint's HTTP session was judged on true time."""
    session = getattr(endpoint, "http_session", None)
    judge = _judges.get(session) if _judges and session is not None else None
    return judge is not None and judge.used


def would_judge(endpoint: Any) -> bool:
    """Return whether a new connection of an endpoint's HTTP session would be judged on true time now."""
    session = getattr(endpoint, "http_session", None)
    return session in _armed and _true_time(weakref.ref(endpoint._event_emitter)) is not None


def _true_time(emitter: Callable[[], Any]) -> Interval | None:
    """Return the interval to judge a guarded client's connections by; None for the wall clock."""
    keeper, events = _keeper, emitter()
    if keeper is None or events is None or not keeper.settings.true_time_tls or not guards_on(events):
        return None
    return keeper.certificates().interval


def _arm(session: Any, emitter: Any) -> None:
    """Give an HTTP session its judge, and adopt the contexts that it has."""
    from skewguard.tls.connection import Judge, adopt

    # One judge, even if two threads send first: it remembers that it was used.
    judge = _judges.setdefault(session, Judge(functools.partial(_true_time, weakref.ref(emitter))))
    _armed.add(session)
    if getattr(session, "_cert_file", None) is None:  # OpenSSL shows a client certificate before we can judge
        for context in _contexts(session):
            adopt(context, judge)


def _contexts(session: Any) -> Iterable[Any]:
    """List the contexts that an HTTP session has made, of whichever library."""
    yield getattr(getattr(session, "_manager", None), "connection_pool_kw", {}).get("ssl_context")
    for manager in getattr(session, "_proxy_managers", {}).values():
        yield manager.connection_pool_kw.get("ssl_context")
    by_proxy = getattr(session, "_sessions", None) or {}  # aiohttp's
    connectors = [made.connector for made in by_proxy.values()]
    for connector in connectors:
        yield getattr(connector, "_ssl", None)
    if "ssl_context" in (getattr(session, "_connector_args", None) or {}):
        return  # the caller's own, and copies of it
    yield getattr(session, "_verify", None)  # httpx's
    if not session._proxy_config.settings.get("proxy_client_cert"):
        yield from getattr(session, "_proxy_ssl_contexts", {}).values()
        for connector in connectors:
            yield getattr(connector, "_proxy_ssl_context", None)


def _armed_send(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _send(self: Any, request: Any) -> Any:
        try:
            if self.http_session not in _armed:
                _arm(self.http_session, self._event_emitter)
        except Exception as error:
            fail_open(error, "certificates are judged by the wall clock")
        return original(self, request)

    return _send


def _adopted_context(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _get_ssl_context(self: Any) -> Any:
        context = original(self)
        try:
            if self in _armed:
                from skewguard.tls.connection import adopt

                adopt(context, _judges[self])
        except Exception as error:
            fail_open(error, "certificates are judged by the wall clock")
        return context

    return _get_ssl_context


def _proxy_context(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what makes a context for an HTTPS proxy; without a result, urllib3 makes one, which is not to be had."""

    @functools.wraps(original)
    def _setup_proxy_ssl_context(self: Any, proxy_url: str) -> Any:
        context = original(self, proxy_url)
        try:
            if context is None and self in _armed and urlsplit(proxy_url).scheme == "https":
                from skewguard.tls.connection import adopt

                made = _as_urllib3_makes_it(self._verify)
                return made if adopt(made, _judges[self]) else None
        except Exception as error:
            fail_open(error, "certificates are judged by the wall clock")
        return context

    return _setup_proxy_ssl_context


def _as_urllib3_makes_it(verify: Any) -> Any:
    """Make a proxy's context as urllib3 does: it has the certificates and the strictness of the session's own."""
    from botocore.httpsession import get_cert_path
    from urllib3.util.ssl_ import create_urllib3_context

    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
    if verify:
        context.check_hostname = True  # urllib3 1.26 compares no names if it is given a context
        context.load_verify_locations(get_cert_path(verify))
    return context


def _tls() -> Iterable[Patch]:
    from botocore.endpoint import Endpoint
    from botocore.httpsession import URLLib3Session

    yield NamePatch(_PART, Endpoint, "_send", _armed_send)
    yield NamePatch(_PART, URLLib3Session, "_get_ssl_context", _adopted_context)
    yield NamePatch(_PART, URLLib3Session, "_setup_proxy_ssl_context", _proxy_context)


def _aio_tls() -> Iterable[Patch]:
    part = f"{_PART} with aiobotocore"
    yield NamePatch(part, library.loaded("aiobotocore.endpoint", "AioEndpoint"), "_send", _armed_send)
    for module, name in (("httpsession", "AIOHTTPSession"), ("httpxsession", "HttpxSession")):
        session = library.loaded(f"aiobotocore.{module}", name)
        if session is not None:
            yield NamePatch(part, session, "_get_ssl_context", _adopted_context)


TLS = Group(_tls)
AIO_TLS = Group(_aio_tls)
"""To be applied when `aiobotocore.httpsession` is imported."""
