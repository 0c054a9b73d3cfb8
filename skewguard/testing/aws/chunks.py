"""aws-chunked bodies: parsing them, and checking their chunk signatures and trailing checksums."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Mapping
from importlib import import_module

from skewguard.testing.aws import sigv4

_MAX_TRAILER = 16 * 1024


class BadChunks(ValueError):
    """The framing is broken, or the length is not the announced one."""


class BadChecksum(ValueError):
    """The checksum is not the body's; `args[0]` names the algorithm."""


class BadChunkSignature(ValueError):
    """The signature of a chunk is wrong."""


def decode(raw: bytes, headers: Mapping[str, str], signed: sigv4.Signed, secret: str) -> bytes:
    """Return the content of an aws-chunked body, from which any ``Transfer-Encoding`` has been removed.

    The request's own signature is the first link of the chain of chunk signatures.

    Raises:
        BadChunks: Broken framing, or a length other than ``x-amz-decoded-content-length``.
        BadChunkSignature: A signed chunk or trailer does not match.
        BadChecksum: From `check`: the trailing checksum is not the body's.
    """
    kind = headers.get("x-amz-content-sha256", "")
    chain = _Chain(secret, signed) if kind.startswith("STREAMING-AWS4-HMAC-SHA256") else None
    parts: list[bytes] = []
    at = 0
    while True:
        end = raw.find(b"\r\n", at, at + 4096)
        if end < 0:
            raise BadChunks("chunk header missing")
        size_text, _, extension = raw[at:end].partition(b";")
        if not size_text or len(size_text) > 12 or not all(c in b"0123456789abcdefABCDEF" for c in size_text):
            raise BadChunks("chunk size is not hexadecimal")
        size = int(size_text, 16)
        at = end + 2
        data = raw[at : at + size]
        if len(data) != size:
            raise BadChunks("chunk is shorter than it says")
        if chain is not None:
            chain.check("AWS4-HMAC-SHA256-PAYLOAD", data, extension.partition(b"chunk-signature=")[2])
        at += size
        if size == 0:
            break
        parts.append(data)
        if raw[at : at + 2] != b"\r\n":
            raise BadChunks("chunk does not end where it says")
        at += 2
    body = b"".join(parts)
    announced = headers.get("x-amz-decoded-content-length")
    if announced is not None and announced != str(len(body)):
        raise BadChunks("decoded length is not x-amz-decoded-content-length")
    trailers = _trailers(raw[at:])
    for name in headers.get("x-amz-trailer", "").split(","):
        if name.strip() and name.strip().lower() not in trailers:
            raise BadChunks("announced trailer is missing")
    if chain is not None and kind == sigv4.STREAMING_SIGNED_TRAILER:
        text = "".join(f"{k}:{v}\n" for k, v in sorted(trailers.items()) if k != "x-amz-trailer-signature")
        chain.check("AWS4-HMAC-SHA256-TRAILER", text.encode(), trailers.get("x-amz-trailer-signature", "").encode())
    check(body, trailers)
    return body


def _trailers(raw: bytes) -> dict[str, str]:
    if len(raw) > _MAX_TRAILER:
        raise BadChunks("trailer is too long")
    trailers = {}
    for line in raw.decode("latin-1").split("\r\n"):
        # SDKs may end a signed trailer's line with \n alone; strip() removes either.
        name, colon, value = line.partition(":")
        if colon:
            trailers[name.strip().lower()] = value.strip()
        elif line.strip():
            raise BadChunks("trailer is not a header")
    return trailers


class _Chain:
    """The chain of chunk signatures: each signs the one before it."""

    def __init__(self, secret: str, signed: sigv4.Signed) -> None:
        self._key = sigv4.signing_key(secret, signed.scope)
        self._stamp = f"{signed.timestamp}\n{signed.scope}"
        self._last = signed.signature

    def check(self, algorithm: str, data: bytes, given: bytes) -> None:
        lines = [algorithm, self._stamp, self._last]
        if algorithm.endswith("PAYLOAD"):
            lines.append(sigv4.EMPTY_SHA256)
        lines.append(hashlib.sha256(data).hexdigest())
        wanted = hmac.digest(self._key, "\n".join(lines).encode("utf-8", "replace"), "sha256").hex()
        if not hmac.compare_digest(wanted.encode(), given.strip()):
            raise BadChunkSignature(algorithm)
        self._last = wanted


def check(body: bytes, fields: Mapping[str, str]) -> None:
    """Compare a body with the checksums among headers or trailers. Those that cannot be computed here are accepted.

    Raises:
        BadChecksum: One is not the body's.
    """
    for name, given in fields.items():
        computed = _checksum(name, body)
        if computed is not None and base64.b64encode(computed).decode() != given:
            raise BadChecksum("Content-MD5" if name == "content-md5" else name.rpartition("-")[2].upper())


def _checksum(name: str, body: bytes) -> bytes | None:
    algorithm = name.rpartition("-")[2]
    match name:
        case "content-md5":
            return hashlib.md5(body, usedforsecurity=False).digest()
        case "x-amz-checksum-crc32":
            return zlib.crc32(body).to_bytes(4, "big")
        case "x-amz-checksum-sha1" | "x-amz-checksum-sha256" | "x-amz-checksum-sha512":
            return hashlib.new(algorithm, body, usedforsecurity=False).digest()
        case "x-amz-checksum-crc32c" | "x-amz-checksum-crc64nvme":
            try:
                checksums = import_module("awscrt.checksums")  # optional
            except ImportError:
                return None
            return bytes(getattr(checksums, algorithm)(body).to_bytes(4 if algorithm == "crc32c" else 8, "big"))
    return None
