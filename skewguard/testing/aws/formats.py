"""Formats that several AWS protocols share: query parameters, XML, CBOR, timestamps."""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from skewguard.testing.wire import Request

XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

_XMLNS = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "sns": "http://sns.amazonaws.com/doc/2010-03-31/",
    "ses": "http://ses.amazonaws.com/doc/2010-12-01/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sqs": "http://queue.amazonaws.com/doc/2012-11-05/",
    "route53": "https://route53.amazonaws.com/doc/2013-04-01/",
    "ec2": "http://ec2.amazonaws.com/doc/2016-11-15/",
}


def xmlns(service: str) -> str:
    """Return the XML namespace of a service."""
    return _XMLNS.get(service, f"http://{service}.amazonaws.com/doc/")


def has_form(request: Request) -> bool:
    """Return whether the body is a URL-encoded form."""
    return "x-www-form-urlencoded" in request.headers.get("content-type", "")


def form(request: Request) -> dict[str, str]:
    """Return the parameters of a query-protocol request, from body and URL."""
    if request.form is None:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        if has_form(request):
            pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        request.form = dict(pairs)
    return request.form


def xml(content: object) -> str:
    """Format a mapping as elements, a sequence as `<item>` elements, anything else as escaped text."""
    if isinstance(content, Mapping):
        return "".join(f"<{name}>{xml(value)}</{name}>" for name, value in content.items())
    if isinstance(content, (list, tuple)):
        return "".join(f"<item>{xml(value)}</item>" for value in content)
    return escape(str(content))


def iso(seconds: int) -> str:
    """Format an instant as ``2006-01-02T15:04:05Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def cbor(content: object) -> bytes:
    """Format mappings, sequences, unsigned integers and text as CBOR (RFC 8949)."""
    if isinstance(content, Mapping):
        pairs = b"".join(cbor(name) + cbor(value) for name, value in content.items())
        return b"\xb9" + struct.pack(">H", len(content)) + pairs
    if isinstance(content, int):
        return b"\x1b" + struct.pack(">Q", content)
    if isinstance(content, Sequence) and not isinstance(content, str):
        return b"\x99" + struct.pack(">H", len(content)) + b"".join(map(cbor, content))
    raw = str(content).encode("utf-8", "replace")
    return b"\x79" + struct.pack(">H", len(raw)) + raw
