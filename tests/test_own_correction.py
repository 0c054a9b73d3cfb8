"""A botocore that one day corrects its requests' time by itself is noticed, and left to it."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any, NamedTuple

import botocore.auth
import botocore.compat
import pytest

import skewguard
from skewguard.events import Degraded
from skewguard.signing.patches import own_correction as noticing
from skewguard.testing import StrictEndpoint, reset
from skewguard.testing.aws.sigv4 import parse_time
from tests import own_correction
from tests.fakes import Emitted, FakeSource
from tests.support import OPERATIONS, aws_client, client, code_of, with_bucket, without_awscrt

KINDS = ["python", *(["crt"] if botocore.compat.HAS_CRT else [])]
SERVICES = ["sts", "dynamodb", "s3-get", "s3-put-stream"]


class Outcome(NamedTuple):
    """What some calls took: requests, and errors."""

    requests: int
    errors: int


@contextlib.contextmanager
def correcting(kind: str, where: str, **options: Any) -> Iterator[None]:
    """Run the block with such a botocore, with awscrt or without."""
    with pytest.MonkeyPatch.context() as patch:
        if kind == "python":
            without_awscrt(patch)
        own_correction.apply(patch, where, **options)
        yield
        reset()  # before what is patched below us goes


def thirty_calls(endpoint: StrictEndpoint, operation: str) -> Outcome:
    """Make thirty calls by one client."""
    service, call = OPERATIONS[operation]
    made = client(service, endpoint)
    endpoint.clear()
    errors = sum(bool(code_of(lambda: call(made))) for _ in range(30))
    return Outcome(endpoint.count, errors)


@pytest.mark.slow
@pytest.mark.parametrize("offset", [1200, -1200])
@pytest.mark.parametrize("where", ["signer", "clock"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", SERVICES)
def test_thirty_calls_are_as_good_as_without_skewguard(operation: str, kind: str, where: str, offset: int) -> None:
    """Neither a request nor an error more, wherever botocore adds what it has learned."""
    with StrictEndpoint(offset=offset) as endpoint:
        with_bucket(endpoint)
        with correcting(kind, where):
            plain = thirty_calls(endpoint, operation)
        with correcting(kind, where):
            skewguard.install()
            guarded = thirty_calls(endpoint, operation)
    assert plain == (31, 0)
    assert guarded == plain


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_told_once(kind: str, endpoint: StrictEndpoint, emitted: Emitted) -> None:
    """And logged, as any part that is switched off."""
    with correcting(kind, "signer"):
        skewguard.install()
        thirty_calls(endpoint, "sts")
        thirty_calls(endpoint, "dynamodb")
    [event] = [event for event in emitted if isinstance(event, Degraded)]
    assert event.part == "correcting requests"
    assert event.reason.endswith("corrects their time by itself")


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_handed_out_is_corrected_once(kind: str, everywhere: bool, endpoint: StrictEndpoint) -> None:
    """By skewguard where botocore does not do it, else by botocore: no parameter is written twice."""
    with correcting(kind, "signer", everywhere=everywhere):
        source = FakeSource(offset=1200)
        skewguard.install(sources=[source])
        thirty_calls(endpoint, "sts")
        s3 = aws_client("s3", endpoint, signature_version="s3v4")
        for _ in range(3):
            url = s3.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
            form = s3.generate_presigned_post("b", "k")
            assert url.count("X-Amz-Date=") == url.count("X-Amz-Signature=") == 1
            now = datetime.datetime.now(datetime.timezone.utc).timestamp() + 1200
            for stamp in (url.partition("X-Amz-Date=")[2][:16], form["fields"]["x-amz-date"]):
                assert abs(parse_time(stamp) - now) < 60


class TestAnUnknownRequest:
    """It is signed once, whatever cannot be read of it."""

    def test_cannot_be_remembered(self) -> None:
        signer = botocore.auth.SigV4QueryAuth(None, "sts", "us-east-1")
        noticing.undoing(signer, object())()

    @pytest.mark.parametrize("stamp", ["soon", "", b"20260101T000000Z"])
    def test_has_no_readable_time(self, stamp: Any) -> None:
        request = botocore.awsrequest.AWSRequest("GET", "https://example.com/")
        request.context["timestamp"] = stamp
        assert not noticing.carries_another_time(request, 1_767_225_600 * 10**9)
