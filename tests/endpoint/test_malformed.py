"""Requests that are malformed: refused, and never a server error."""

from __future__ import annotations

import re
import socket
import urllib.parse
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.testing import StrictEndpoint
from skewguard.testing.aws import sigv4
from skewguard.testing.endpoint import ACCESS_KEY
from tests.endpoint.helpers import Raw, client


def exchange(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except TimeoutError:
            raise  # a hung server must not pass for one that hung up
        except OSError:
            return b""


BAD = {
    "noise": b"\x16\x03\x01\x00\xff\x00\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "future version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no slash": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "huge": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
    "cut off": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    "head cut off": b"POST / HTTP/1.1\r\nHost: a\r\nCont",
    "both framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunk end": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunk huge": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    "long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_requests(endpoint: StrictEndpoint, case: str) -> None:
    """They get 400 and a closed connection; the server goes on."""
    answer = exchange(endpoint.port, BAD[case])
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert Raw(endpoint).send()[0] == 200


HEAD = b"POST /b/k?X-Amz-Date=1&a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabcdefghi"

PIECES = st.sampled_from(
    [
        b"Authorization: ",
        sigv4.ALGORITHM.encode() + b" ",
        b"Credential=A/20260101/r/s3/aws4_request, ",
        b"Signature=a, ",
        b"SignedHeaders=host, ",
        b"X-Amz-Date: 20260101T000000Z",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n\r\n",
        b"Content-Type: multipart/form-data; boundary=x\r\n",
        b"\r\n--x\r\n",
        b"--x--",
        b"Expect: 100-continue\r\n",
        b"\0",
        b"Content-Length: 5\r\n",
        b"0\r\n\r\n",
        b"X-Amz-Target: A.B\r\n",
        b"GET /?X-Amz-Signature=%ff HTTP/1.1\r\nHost: b\r\n",
    ]
)

REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12).map(b"".join),
    st.tuples(st.integers(0, len(HEAD)), st.binary(max_size=9)).map(lambda t: HEAD[: t[0]] + t[1] + HEAD[t[0] :]),
    st.lists(PIECES, max_size=8).map(lambda parts: b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(parts) + b"\r\n\r\n"),
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        yield running


@given(REQUESTS)
def test_fuzz(fuzzed: StrictEndpoint, data: bytes) -> None:
    """Any bytes: a response or a closed connection, never a server error."""
    answer = exchange(fuzzed.port, data)
    assert answer == b"" or re.match(rb"HTTP/1\.1 [1234]\d\d ", answer), answer
    assert b"HTTP/1.1 500" not in answer


@given(st.text(), st.text(), st.text(), st.sampled_from(["s3", "sts", "lambda", "ec2", ""]), st.binary(max_size=100))
def test_fuzz_signed_parts(
    fuzzed: StrictEndpoint, stamp: str, credential: str, query: str, service: str, body: bytes
) -> None:
    """A request whose signature has the right outline and nothing right inside is refused, never a server error."""
    quoted = urllib.parse.quote(query, errors="replace")
    scope = urllib.parse.quote(credential or ACCESS_KEY, safe="", errors="replace")
    when = re.sub(r"[^\x20-\xff]", "?", stamp)[:50]
    rest = "SignedHeaders=host, Signature=0"
    lines = [
        f"PUT /{quoted}?{quoted}={quoted}&X-Amz-Date=1 HTTP/1.1",
        "Host: a",
        f"X-Amz-Date: {when}",
        f"Authorization: AWS4-HMAC-SHA256 Credential={scope}/20260101/r/{service}/aws4_request, {rest}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    answer = exchange(fuzzed.port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer


def test_what_is_no_tls(tls_endpoint: StrictEndpoint) -> None:
    exchange(tls_endpoint.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    exchange(tls_endpoint.port, b"")
    exchange(tls_endpoint.port, b"\x16\x03\x01\x02\x00")
    client(tls_endpoint, "sts").get_caller_identity()
