"""The strict endpoint's parsers alone: what each refuses, and in which words."""

from __future__ import annotations

import base64
import json

import pytest

from skewguard.testing.aws import chunks, post, sigv4
from skewguard.testing.aws.dialects import Problem
from skewguard.testing.aws.sigv4 import Unreadable

SCOPE = sigv4.Scope("AKID", "20260101", "us-east-1", "s3")
SIGNED = sigv4.Signed("header", SCOPE, "0" * 64, None, "20260101T000000Z", 0, ("host",))
CREDENTIAL = "AKID/20260101/us-east-1/s3/aws4_request"
QUERY = f"X-Amz-Credential={CREDENTIAL}&X-Amz-SignedHeaders=host&X-Amz-Signature=a&X-Amz-Date=20260101T000000Z"

BEGUN = f"X-Amz-Algorithm={sigv4.ALGORITHM}&{QUERY}"


@pytest.mark.parametrize(
    ("query", "authorization", "words"),
    [
        ("", "Basic abc", "Unsupported Authorization Type"),
        ("", f"{sigv4.ALGORITHM} Credential=a/b, SignedHeaders=host, Signature=a", "exactly 5 slash-delimited"),
        ("", f"{sigv4.ALGORITHM} Credential={CREDENTIAL}, Signature=a", "requires 'SignedHeaders' parameter"),
        ("", f"{sigv4.ALGORITHM} SignedHeaders=host, Signature=a", "requires 'Credential' parameter"),
        (f"{QUERY}&X-Amz-Algorithm=none", "", "only supports"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=a", "", "requires the X-Amz-Algorithm"),
        (BEGUN, "", "X-Amz-Expires must be"),
        (f"{BEGUN}&X-Amz-Expires=-1", "", "X-Amz-Expires must be"),
        (f"{BEGUN}&X-Amz-Expires=604801", "", "X-Amz-Expires must be"),
    ],
)
def test_a_signature_that_cannot_be_read(query: str, authorization: str, words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        sigv4.find(query, {"authorization": authorization} if authorization else {})


def test_what_is_not_signed() -> None:
    """A bearer token is no signature; nor is a query with other X-Amz fields."""
    assert sigv4.find("", {"authorization": "Bearer abc"}) is None
    assert sigv4.find("X-Amz-Meta=1", {}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20260101T000000Z", 1_767_225_600),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 1_767_225_600),
        ("20261301T000000Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_timestamps(text: str, seconds: int | None) -> None:
    assert sigv4.parse_time(text) == seconds


@pytest.mark.parametrize(
    ("path", "signed"),
    [
        ("", "/"),
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("/a/./b/", "/a/b/"),
        ("/a/../b", "/b"),
        ("/../..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
    ],
)
def test_paths_are_signed_without_dots(path: str, signed: str) -> None:
    """Elsewhere than in S3, as RFC 3986 removes them."""
    text = sigv4.canonical_request("GET", path, "", {}, (), "", s3=False)
    assert text.split(b"\n")[1].decode() == signed


@pytest.mark.parametrize(
    ("raw", "headers", "words"),
    [
        (b"5", {}, "chunk header missing"),
        (b"x\r\n", {}, "not hexadecimal"),
        (b"5\r\nab", {}, "shorter than it says"),
        (b"2\r\nabc\r\n0\r\n\r\n", {}, "does not end where it says"),
        (b"0\r\n\r\n", {"x-amz-decoded-content-length": "1"}, "decoded length"),
        (b"0\r\n\r\n", {"x-amz-trailer": "x-amz-checksum-crc32"}, "announced trailer is missing"),
        (b"0\r\nno header\r\n\r\n", {}, "trailer is not a header"),
        (b"0\r\na:" + b"b" * 70_000, {}, "trailer is too long"),
    ],
)
def test_chunks_that_are_none(raw: bytes, headers: dict[str, str], words: str) -> None:
    with pytest.raises(chunks.BadChunks, match=words):
        chunks.decode(raw, headers, SIGNED, "secret")


def test_a_chunk_that_another_secret_signed() -> None:
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}
    with pytest.raises(chunks.BadChunkSignature):
        chunks.decode(b"1;chunk-signature=00\r\na\r\n0\r\n\r\n", headers, SIGNED, "secret")


@pytest.mark.parametrize(
    "name", ["content-md5", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-crc64nvme"]
)
def test_a_checksum_of_another_body(name: str) -> None:
    """It is refused; one that cannot be computed here is accepted."""
    with pytest.raises(chunks.BadChecksum):
        chunks.check(b"abc", {name: "AAAA"})
    chunks.check(b"abc", {"x-amz-checksum-other": "AAAA", "x-amz-meta": "AAAA"})


PART = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (PART % (b"file", b"x") + b"--b--", "multipart/form-data", "MalformedPOSTRequest"),
        (PART % (b"file", b"x"), "multipart/form-data; boundary=b", "MalformedPOSTRequest"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b", "MalformedPOSTRequest"),
        (PART % (b"key", b"x") + b"--b--", "multipart/form-data; boundary=b", "InvalidArgument"),
    ],
)
def test_a_form_that_is_none(body: bytes, content_type: str, code: str) -> None:
    with pytest.raises(Problem) as caught:
        post.read(body, content_type)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"x-amz-algorithm": "none"}, "x-amz-algorithm must be"),
        ({"x-amz-algorithm": sigv4.ALGORITHM, "x-amz-date": "20260101T000000Z"}, "named 'x-amz-credential'"),
    ],
)
def test_a_form_s_signature_that_is_none(fields: dict[str, str], words: str) -> None:
    with pytest.raises(Unreadable, match=words):
        post.find(post.Form({"policy": "x", **fields}, b"", ""))


def policy(conditions: list[object], expiration: str = "2030-01-01T00:00:00Z") -> str:
    """Encode a form's policy."""
    return base64.b64encode(json.dumps({"expiration": expiration, "conditions": conditions}).encode()).decode()


KEY = ["starts-with", "$key", "a"]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("no base64", "Invalid JSON"),
        (policy([["near", "$key", "a"]]), "Invalid JSON"),
        (policy([KEY], "2020-01-01T00:00:00"), "Policy expired"),
        (policy([{"key": "b"}]), "Policy Condition failed"),
        (policy([["eq", "$key", "a"], ["starts-with", "$acl", "p"]]), "Policy Condition failed"),
        (policy([KEY, ["content-length-range", 4, 9]]), "outside the allowed size"),
        (policy([KEY, ["content-length-range", 0, 2]]), "outside the allowed size"),
        (policy([]), "Extra input fields: key"),
    ],
)
def test_a_policy_that_does_not_allow_its_form(written: str, words: str) -> None:
    with pytest.raises(Problem, match=words):
        post.check_policy(post.Form({"policy": written, "key": "a"}, b"abc", ""), "bucket", 1_767_225_600)


def test_a_policy_that_allows_its_form() -> None:
    form = post.Form({"policy": policy([KEY, ["content-length-range", 0, 9]]), "key": "a"}, b"abc", "")
    post.check_policy(form, "bucket", 1_767_225_600)
