"""Signature Version 4, written from its specification and sharing no code with any SDK.

Pure functions. Nothing here reads a clock or knows which keys exist.
"""

from __future__ import annotations

import calendar
import email.utils
import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

S3_NAMES = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
"""Signing names whose paths are neither normalised nor encoded twice."""

_BASIC = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SPACES = re.compile(r" {2,}")


class Unreadable(ValueError):
    """The request is signed, but parts of the signature are missing or malformed."""


class Scope(NamedTuple):
    """A credential: access key, day, region and service."""

    access_key: str
    day: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True)
class Signed:
    """The signature of a request, parsed but not yet checked."""

    form: str
    """Where it was: ``header``, ``query`` or ``post``."""
    scope: Scope
    signature: str
    token: str | None = None
    timestamp: str = ""
    """As it was signed; empty if the request has none."""
    signed_at: int | None = None
    """`timestamp` in seconds since the Unix epoch; None if it cannot be parsed."""
    names: tuple[str, ...] = ()
    """The signed headers, lower case."""
    expires: int | None = None
    """Seconds for which a presigned URL is valid."""


@lru_cache(maxsize=256)
def parse_time(text: str) -> int | None:
    """Parse ``20060102T150405Z`` or an RFC 1123 date as seconds since the Unix epoch; None if it is neither."""
    try:
        if _BASIC.fullmatch(text):
            return calendar.timegm(time.strptime(text, "%Y%m%dT%H%M%SZ"))
        parsed = email.utils.parsedate_tz(text)
        return None if parsed is None else email.utils.mktime_tz(parsed)
    except (ValueError, OverflowError, TypeError):
        return None


def parse_credential(text: str) -> Scope:
    """Split ``key/day/region/service/aws4_request``. Unreadable if it has other parts than these."""
    parts = text.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not all(parts):
        raise Unreadable("Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term")
    return Scope(parts[0], parts[1], parts[2], parts[3])


def find(query: str, headers: Mapping[str, str]) -> Signed | None:
    """Return the signature of a request, whose query is as sent and whose headers' names are in lower case.

    None if it is not signed; Unreadable if it is signed in a way that cannot be parsed.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        return _from_header(authorization, headers)
    if "X-Amz-" in query:
        fields = dict(split_query(query))
        if "X-Amz-Signature" in fields or "X-Amz-Algorithm" in fields:
            return _from_query(fields)
    return None


def _from_header(authorization: str, headers: Mapping[str, str]) -> Signed | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme == "Bearer":
        return None
    if scheme != ALGORITHM:
        raise Unreadable("Unsupported Authorization Type")
    fields: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        fields[name] = value
    try:
        scope = parse_credential(fields["Credential"])
        names = tuple(fields["SignedHeaders"].split(";"))
        signature = fields["Signature"]
    except KeyError as missing:
        raise Unreadable(f"Authorization header requires {missing} parameter.") from None
    stamp = headers.get("x-amz-date") or headers.get("date", "")
    when = parse_time(stamp)
    if when is not None and not _BASIC.fullmatch(stamp):
        stamp = basic(when)  # a Date header is signed by its instant, not by its text
    token = headers.get("x-amz-security-token") or headers.get("x-amz-s3session-token")
    return Signed("header", scope, signature, token, stamp, when, names)


def _from_query(fields: Mapping[str, str]) -> Signed:
    if fields.get("X-Amz-Algorithm") != ALGORITHM:
        raise Unreadable('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    try:
        scope = parse_credential(fields["X-Amz-Credential"])
        names = tuple(fields["X-Amz-SignedHeaders"].split(";"))
        signature = fields["X-Amz-Signature"]
        stamp = fields["X-Amz-Date"]
    except KeyError:
        raise Unreadable(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        ) from None
    expires = fields.get("X-Amz-Expires", "300" if scope.service not in S3_NAMES else "")
    if not expires.isascii() or not expires.isdigit() or len(expires) > 6 or int(expires) > 604_800:
        raise Unreadable("X-Amz-Expires must be a number, at most 604800 seconds")
    token = fields.get("X-Amz-Security-Token") or fields.get("X-Amz-S3session-Token")
    return Signed("query", scope, signature, token, stamp, parse_time(stamp), names, int(expires))


def basic(seconds: int) -> str:
    """Format an instant as ``20060102T150405Z``."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))


def split_query(query: str) -> list[tuple[str, str]]:
    """Decode a query string, keeping order, repeats and empty values."""
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_decode(name), _decode(value)))
    return pairs


def _decode(text: str) -> str:
    if "%" not in text and "+" not in text:
        return text
    return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8", "surrogateescape")


def _encode(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def canonical_request(
    method: str, path: str, query: str, headers: Mapping[str, str], names: tuple[str, ...], payload: str, *, s3: bool
) -> bytes:
    """Return the text whose hash is signed. Method, path and query are as sent, headers decoded as latin-1.

    `payload` is the body's hash, or one of the constants above. For S3, the path is neither normalised nor encoded
    twice.
    """
    if s3:
        uri = quote_from_bytes(unquote_to_bytes(path.encode("latin-1")), safe="/~") or "/"
    else:
        uri = quote(_normalise(path), safe="/~", encoding="latin-1")
    pairs = sorted((_encode(k), _encode(v)) for k, v in split_query(query) if k != "X-Amz-Signature")
    lines = [method, uri, "&".join(f"{k}={v}" for k, v in pairs)]
    lines += [f"{name}:{_SPACES.sub(' ', headers.get(name, '').strip())}" for name in sorted(names)]
    lines += ["", ";".join(names), payload]
    return "\n".join(lines).encode("latin-1", "replace")  # the header bytes are again as they were on the wire


def _normalise(path: str) -> str:
    if "//" not in path and "/." not in path:
        return path or "/"
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part not in ("", "."):
            kept.append(part)
    tail = "/" if kept and parts[-1] in ("", ".", "..") else ""
    return "/" + "/".join(kept) + tail


@lru_cache(maxsize=1024)
def signing_key(secret: str, scope: Scope) -> bytes:
    """Derive the key of one day, region and service."""
    key = ("AWS4" + secret).encode()
    for part in (scope.day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8", "replace"), "sha256")
    return key


def signature_of(secret: str, signed: Signed, canonical: bytes) -> str:
    """Return the signature of `canonical` by `secret`."""
    text = "\n".join((ALGORITHM, signed.timestamp, str(signed.scope), hashlib.sha256(canonical).hexdigest()))
    return hmac.digest(signing_key(secret, signed.scope), text.encode("utf-8", "replace"), "sha256").hex()


def same(one: str, other: str) -> bool:
    """Return whether two signatures are equal."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))


def is_hash(text: str) -> bool:
    """Return whether this is a SHA-256 in lower-case hex, and not one of the constants above."""
    return _HEX_SHA256.fullmatch(text) is not None
