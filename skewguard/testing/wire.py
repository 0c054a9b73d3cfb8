"""HTTP/1.1 as the server speaks it: parsed strictly, each response in a single write.

The standard library's handler is not used: it parses headers with the email package, which costs more than checking
the signature, and it accepts what a test server should refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import responses
from typing import BinaryIO

MAX_LINE = 16 * 1024
MAX_HEAD = 64 * 1024
MAX_FIELDS = 200
MAX_BODY = 256 * 1024 * 1024

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(r"[\x21-\x7e\x80-\xff]+")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,12}[ \t]*(?:;[^\r\n]*)?")


class Malformed(ValueError):
    """This is no HTTP request that the server accepts; the connection cannot be used again."""


class Hangup(Exception):
    """The connection ends here, without a response."""


@dataclass
class Request:
    """One request as received; text is latin-1, so that no byte is lost."""

    method: str
    path: str
    """Still encoded."""
    query: str
    """Still encoded, without the question mark."""
    headers: dict[str, str]
    """Lower-case names; repeated ones are joined by a comma."""
    body: bytes = b""
    keep_alive: bool = True
    form: dict[str, str] | None = None
    """The parameters of a query-protocol request, once `formats.form` has parsed them."""


def read_head(stream: BinaryIO) -> Request:
    """Read a request line and its headers.

    Raises:
        Hangup: The connection ended before a first byte.
        Malformed: Anything else that is not a request.
    """
    line = _line(stream)
    if line == b"\r\n" or line == b"\n":  # one empty line may precede a request
        line = _line(stream)
    words = line.decode("latin-1").rstrip("\r\n").split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[0].isalpha() or not words[0].isascii():
        raise Malformed("request line")
    method, target, version = words
    if not _TARGET.fullmatch(target):
        raise Malformed("request target")
    headers = _headers(stream)
    if "host" not in headers and version == "HTTP/1.1":
        raise Malformed("no Host")
    rest = target
    if "://" in target[:8]:
        rest = "/" + target.partition("://")[2].partition("/")[2]
    elif not target.startswith("/"):
        raise Malformed("request target")
    path, _, query = rest.partition("?")
    said = headers.get("connection", "").lower()
    keep = "close" not in said if version == "HTTP/1.1" else "keep-alive" in said
    return Request(method, path, query, headers, keep_alive=keep)


def _line(stream: BinaryIO, *, first: bool = True) -> bytes:
    line = stream.readline(MAX_LINE + 1)
    if not line and first:
        raise Hangup
    if not line.endswith(b"\n"):
        raise Malformed("line cut off or too long")
    return line


def _headers(stream: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    total = 0
    for _ in range(MAX_FIELDS):
        line = _line(stream, first=False)
        if line == b"\r\n" or line == b"\n":
            return headers
        total += len(line)
        if total > MAX_HEAD:
            break
        raw, colon, value = line.partition(b":")
        if not colon or not _TOKEN.fullmatch(raw) or b"\0" in value or b"\r" in value.rstrip(b"\r\n"):
            raise Malformed("header field")
        name = raw.decode("ascii").lower()
        text = value.strip(b" \t\r\n").decode("latin-1")
        if name not in headers:
            headers[name] = text
        elif name in ("host", "content-length", "transfer-encoding", "authorization"):
            raise Malformed(f"repeated {name}")
        else:
            headers[name] += "," + text
    raise Malformed("too many headers")


def read_body(stream: BinaryIO, headers: Mapping[str, str]) -> bytes:
    """Read the body that `headers` announce.

    Raises:
        Malformed: It ends early, is too long, or is framed in two ways or none.
    """
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise Malformed("transfer-encoding")
        return _chunked(stream)
    if length is None:
        return b""
    if not length.isascii() or not length.isdigit() or len(length) > 12 or int(length) > MAX_BODY:
        raise Malformed("content-length")
    return _exactly(stream, int(length))


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise Malformed("body cut off")
    return data


def _chunked(stream: BinaryIO) -> bytes:
    parts: list[bytes] = []
    total = 0
    while True:
        line = _line(stream, first=False).rstrip(b"\r\n")
        if not _SIZE.fullmatch(line):
            raise Malformed("chunk size")
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            break
        total += size
        if total > MAX_BODY:
            raise Malformed("body too long")
        parts.append(_exactly(stream, size))
        if _exactly(stream, 2) != b"\r\n":
            raise Malformed("chunk end")
    _headers(stream)  # the trailers of the transfer coding are ignored
    return b"".join(parts)


def render(status: int, headers: list[tuple[str, str]], body: bytes, *, head: bool, keep_alive: bool) -> bytes:
    """Format a whole response, to be sent in one write, so that no packet waits for another.

    ``Content-Length`` is added unless given. For a HEAD request the body is left out.
    """
    lines = [f"HTTP/1.1 {status} {responses.get(status, 'Unknown')}"]
    sized = False
    for name, value in headers:
        if "\r" in value or "\n" in value:  # values may come from a request, and must not become headers of their own
            value = " ".join(value.split())
        lines.append(f"{name}: {value}")
        sized = sized or name.lower() == "content-length"
    if not sized and status != 204 and status >= 200:
        lines.append(f"Content-Length: {len(body)}")
    if not keep_alive:
        lines.append("Connection: close")
    top = "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n"
    return top if head or status == 204 else top + body
