"""How a response shows where it comes from, and an endpoint whether it checks certificates."""

from __future__ import annotations

import _socket
import http.client
import socket
import ssl
import sys
from typing import Any

import botocore.awsrequest


class Responses:
    """The responses and endpoints of botocore."""

    @staticmethod
    def from_socket(http_response: Any) -> bool:
        """Return whether a response was read from a network connection, rather than made up in this process.

        A ``before-send`` handler (moto, Stubber and the like) returns an object of its own. One that replays
        recordings below urllib3 leaves its own class where ``http.client``'s should be, or botocore's, which reads an
        early answer to ``Expect: 100-continue``. One below those (mocket) shows only in the class of sockets.
        """
        raw = getattr(http_response, "raw", None)
        kind = type(getattr(raw, "_original_response", None))
        botocores = getattr(botocore.awsrequest, "AWSHTTPResponse", None)
        return kind in (http.client.HTTPResponse, botocores) and sockets_are_real()

    @staticmethod
    def headers_of(http_response: Any) -> Any:
        """Return a response's headers, looked up case-insensitively; the values of a repeated one are joined."""
        return http_response.headers

    @staticmethod
    def verified(endpoint: Any) -> bool:
        """Return whether this endpoint's session checks certificates, and the server's own, not a proxy's."""
        session = getattr(endpoint, "http_session", None)
        if not getattr(session, "_verify", False):
            return False
        proxies = getattr(getattr(session, "_proxy_config", None), "settings", None) or {}
        return not proxies.get("proxy_use_forwarding_for_https")


class AioResponses(Responses):
    """The responses and endpoints of aiobotocore, with aiohttp or httpx."""

    @staticmethod
    def from_socket(http_response: Any) -> bool:
        """Return whether a response was read from a network connection, rather than made up in this process.

        aiohttp's has begun on a connection, whose protocol it keeps; httpx's still names the stream it came from.
        """
        raw = getattr(http_response, "raw", None)
        aiohttp = sys.modules.get("aiohttp")
        if aiohttp is not None and type(raw) is aiohttp.ClientResponse:
            return getattr(raw, "_protocol", None) is not None and sockets_are_real()
        extensions = getattr(raw, "extensions", None)
        named = isinstance(extensions, dict) and extensions.get("network_stream") is not None
        return named and sockets_are_real()

    @staticmethod
    def headers_of(http_response: Any) -> Any:
        """Return a response's headers, looked up case-insensitively; the values of a repeated one are joined.

        What aiobotocore makes of aiohttp's is neither.
        """
        headers: Any = getattr(http_response.raw, "headers", None)
        if not hasattr(headers, "getall"):
            return http_response.headers
        found = botocore.awsrequest.HeadersDict()
        for name, value in headers.items():
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found

    @staticmethod
    def verified(endpoint: Any) -> bool:
        """Return whether this endpoint's session checks certificates, and the server's own, not a proxy's."""
        return Responses.verified(endpoint) and all(
            context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname for context in _tls_contexts(endpoint)
        )

    @staticmethod
    def host_names_unchecked(endpoint: Any) -> bool:
        """Return whether this endpoint's session checks certificates, but not whose they are.

        aiobotocore did so with aiohttp until 3.x: the caller asked for verification, so the answers may teach this
        caller's own calls, as those over plain http may, but no other's.
        """
        contexts = _tls_contexts(endpoint)
        checked = Responses.verified(endpoint) and all(one.verify_mode is ssl.CERT_REQUIRED for one in contexts)
        return checked and not all(one.check_hostname for one in contexts)


def sockets_are_real() -> bool:
    """Return whether this process's sockets reach the kernel, as all but a mock's do.

    The response cannot tell, because it has let go of its socket by now. PySocks's and pytest-socket's classes derive
    from the standard one; gevent's and eventlet's use one.
    """
    kind = socket.socket
    if isinstance(kind, type) and issubclass(kind, _socket.socket):
        return True
    return getattr(kind, "__module__", "").partition(".")[0] in {"gevent", "eventlet"}


def _tls_contexts(endpoint: Any) -> list[ssl.SSLContext]:
    """Return the TLS settings in use at an endpoint: httpx's session has one, aiohttp's one for each proxy."""
    session = getattr(endpoint, "http_session", None)
    made = (getattr(session, "_sessions", None) or {}).values()
    found = [
        getattr(session, "_verify", None),
        *(getattr(getattr(one, "connector", None), "_ssl", None) for one in made),
    ]
    return [context for context in found if isinstance(context, ssl.SSLContext)]
