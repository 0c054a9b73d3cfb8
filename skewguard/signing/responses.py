"""What botocore's responses and endpoints look like, as far as trusting a response needs to know."""

from __future__ import annotations

import http.client
from typing import Any

import botocore.awsrequest


def from_socket(http_response: Any) -> bool:
    """Tell whether a response was read from a network connection, rather than made up in this process.

    A ``before-send`` handler (moto, Stubber and the like) answers with an object of its own. One that replays
    recordings below urllib3 leaves its own class where ``http.client``'s should be, or botocore's, which reads an
    early answer to ``Expect: 100-continue``.
    """
    raw = getattr(http_response, "raw", None)
    kind = type(getattr(raw, "_original_response", None))
    return kind is http.client.HTTPResponse or kind is getattr(botocore.awsrequest, "AWSHTTPResponse", None)


def headers_of(http_response: Any) -> Any:
    """Answer a response's headers, to be looked up case-insensitively; a repeated one's values are joined."""
    return http_response.headers


def verified(endpoint: Any) -> bool:
    """Tell whether this endpoint's session checks certificates, and checks the server's own, not a proxy's."""
    session = getattr(endpoint, "http_session", None)
    if not getattr(session, "_verify", False):
        return False
    proxies = getattr(getattr(session, "_proxy_config", None), "settings", None) or {}
    return not proxies.get("proxy_use_forwarding_for_https")
