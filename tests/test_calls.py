"""Calls as users make them: real boto3 clients, real sockets, a server as strict as AWS."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections import Counter
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, UnseekableStreamError

import skewguard
from skewguard.testing import StrictEndpoint
from tests.support import OPERATIONS, UNCHUNKED, client, code_of, retry_quota, with_bucket

WRONG_SECRET_CODES = ("", "SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure")
USELESS_DATES = [
    "omit",
    "duplicate",
    "cached",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "yesterday",
]


class TestCalls:
    """One extra request, once; never an error."""

    @pytest.mark.parametrize("offset", [1200, -1200, 7200, -7200, 90_000, -90_000])
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_succeed_on_a_wrong_clock(self, endpoint: StrictEndpoint, name: str, offset: float) -> None:
        """Unguarded: an error in one request. Guarded: two requests the first time, one ever after."""
        endpoint.offset = offset
        with_bucket(endpoint)
        service, operation = OPERATIONS[name]
        unguarded = client(service, endpoint)
        assert code_of(lambda: operation(unguarded))
        assert endpoint.count == 1
        with skewguard.install():
            guarded = client(service, endpoint)
            for expected in (3, 4, 5):
                operation(guarded)
                assert endpoint.count == expected

    @pytest.mark.parametrize("name", OPERATIONS)
    def test_on_a_healthy_clock_nothing_changes(self, strict_endpoint: StrictEndpoint, name: str) -> None:
        """One request, the same headers as botocore's own, no more and no fewer."""
        with_bucket(strict_endpoint)
        service, operation = OPERATIONS[name]
        operation(client(service, strict_endpoint))
        with skewguard.install():
            operation(client(service, strict_endpoint))
        plain, guarded = strict_endpoint.requests
        assert plain.headers.keys() == guarded.headers.keys()
        assert plain.headers["user-agent"].split("md/")[0] == guarded.headers["user-agent"].split("md/")[0]

    @pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
    def test_in_every_retry_mode(self, endpoint: StrictEndpoint, mode: str) -> None:
        """skewguard's own retry comes in each."""
        with skewguard.install():
            sts = client("sts", endpoint, retries={"mode": mode})
            sts.get_caller_identity()
            assert sts.get_caller_identity()["ResponseMetadata"]["RetryAttempts"] == 0
        assert endpoint.count == 3

    def test_multipart_and_presigned_work_with_what_was_learned(self, endpoint: StrictEndpoint) -> None:
        """A presigned URL made after a call is valid, its day and all."""
        import urllib.request

        endpoint.offset = 90_000
        with_bucket(endpoint)
        with skewguard.install():
            s3 = client("s3", endpoint, signature_version="s3v4")
            s3.list_objects_v2(Bucket="bucket")
            url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"}, ExpiresIn=60)
        with urllib.request.urlopen(url) as answer:
            assert answer.read() == b"here"

    @pytest.mark.parametrize("secure", [False, True])
    def test_every_part_of_a_transfer_is_signed_again(self, secure: bool) -> None:
        """The server's clock jumps during a transfer: each part is refused once at the most, and none is lost."""
        with StrictEndpoint(tls=secure) as server, skewguard.install():
            with_bucket(server)
            s3 = client("s3", server)
            s3.list_objects_v2(Bucket="bucket")
            moved = threading.Event()

            def move(**_: Any) -> None:
                if not moved.is_set():
                    moved.set()
                    server.offset += 3600

            s3.meta.events.register("before-parameter-build.s3.UploadPart", move)
            sent = os.urandom(6_000_000) * 4
            s3.upload_fileobj(io.BytesIO(sent), "bucket", "large")
            parts = Counter(record.status for record in server.requests if "partNumber=" in record.query)
            assert parts[200] == 3
            assert 1 <= parts[403] <= 3
            assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == sent

    def test_without_a_date_the_message_is_enough(self, endpoint: StrictEndpoint) -> None:
        """With a repeated, cached, false or missing Date, the error message states the server's time."""
        for mode in USELESS_DATES:
            endpoint.date_mode = mode
            endpoint.clear()
            with skewguard.install():
                sts = client("sts", endpoint)
                sts.get_caller_identity()
                sts.get_caller_identity()
            assert (mode, endpoint.count) == (mode, 3)

    @pytest.mark.parametrize("mode", USELESS_DATES)
    def test_a_date_that_means_nothing_teaches_nothing(self, strict_endpoint: StrictEndpoint, mode: str) -> None:
        """With a useless Date, requests are still signed by the wall clock."""
        strict_endpoint.date_mode = mode
        with skewguard.install():
            sts = client("sts", strict_endpoint)
            for _ in range(3):
                sts.get_caller_identity()
            assert skewguard.status().domains == {}
        assert strict_endpoint.count == 3

    def test_nothing_to_learn_from_is_no_retry(self, endpoint: StrictEndpoint) -> None:
        """Without Date, message and source, the caller sees the error after one request."""
        endpoint.date_mode, endpoint.explain = "omit", False
        with skewguard.install():
            assert code_of(client("sts", endpoint).get_caller_identity) == "SignatureDoesNotMatch"
        assert endpoint.count == 1


class TestRefusals:
    """What must not be retried, and what must not be retried again."""

    @pytest.mark.parametrize(
        ("service", "code"),
        [("dynamodb", "ValidationException"), ("sts", "AccessDenied"), ("lambda", "AccessDeniedException")],
    )
    def test_other_errors_on_a_wrong_clock(self, endpoint: StrictEndpoint, service: str, code: str) -> None:
        """On a host ten minutes off; the first time one more, because AWS says skew by such codes too."""
        endpoint.offset = 600
        with skewguard.install():
            guarded = client(service, endpoint)
            for requests in (2, 1, 1):
                endpoint.clear()
                endpoint.fail_next(code, times=3)
                assert code_of(lambda: OPERATIONS[service][1](guarded)) == code
                assert endpoint.count == requests

    def test_a_missing_key_costs_one_request(self, endpoint: StrictEndpoint) -> None:
        """GET and HEAD of what is not there, ten minutes off."""
        endpoint.offset = 600
        with_bucket(endpoint)
        with skewguard.install():
            s3 = client("s3", endpoint)
            assert code_of(lambda: s3.get_object(Bucket="bucket", Key="none")) == "NoSuchKey"
            assert code_of(lambda: s3.head_object(Bucket="bucket", Key="none")) == "404"
        assert endpoint.count == 2

    @pytest.mark.parametrize("service", ["sts", "dynamodb", "lambda", "s3-get", "s3-head", "ec2"])
    @pytest.mark.parametrize(("signature_first", "most"), [(True, 2), (False, 2)])
    def test_a_wrong_secret_costs_at_most_one_extra_request(
        self, service: str, signature_first: bool, most: int
    ) -> None:
        """Also if the server checks the signature first; the caller sees the second error."""
        name, operation = OPERATIONS[service]
        with StrictEndpoint(offset=1200, signature_first=signature_first) as server:
            with_bucket(server)
            kwargs = {**server.client_kwargs, "aws_secret_access_key": "wrong"}
            with skewguard.install():
                guarded = boto3.client(name, **kwargs)
                assert code_of(lambda: operation(guarded))
                first = server.count
                assert first <= (1 if signature_first and service not in ("s3-head", "ec2") else most)
                assert server.requests[-1].code in WRONG_SECRET_CODES
                code_of(lambda: operation(guarded))
                # Corrected by now; or as before, if there was only a Date, which did not help.
                assert server.count - first <= (2 if service in ("s3-head", "ec2") else 1)

    def test_a_second_refusal_is_what_the_caller_sees(self, endpoint: StrictEndpoint) -> None:
        """The caller sees the error of the second of two requests."""
        endpoint.script(None)
        endpoint.fail_next("AccessDenied", "not you")
        with skewguard.install(), pytest.raises(ClientError, match="not you"):
            client("sts", endpoint).get_caller_identity()
        assert endpoint.count == 2

    def test_a_server_that_always_objects_is_asked_twice(self, endpoint: StrictEndpoint) -> None:
        """One retry per call, whatever the server replies."""
        endpoint.date_mode = lambda now: "Fri, 01 Jan 2027 00:00:00 GMT"
        endpoint.fail_next("RequestTimeTooSkewed", times=9)
        with skewguard.install():
            assert code_of(client("sts", endpoint).get_caller_identity)
        assert endpoint.count == 2

    @pytest.mark.parametrize(
        "retries", [{"total_max_attempts": 1}, {"max_attempts": 0}, {"total_max_attempts": 1, "mode": "standard"}]
    )
    def test_no_retry_if_the_caller_allows_one_attempt(self, endpoint: StrictEndpoint, retries: dict[str, Any]) -> None:
        """The refusal teaches all the same."""
        with skewguard.install():
            sts = client("sts", endpoint, retries=retries)
            assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
            assert endpoint.count == 1
            sts.get_caller_identity()

    def test_no_retry_of_a_body_that_cannot_be_sent_again(self, endpoint: StrictEndpoint) -> None:
        """A stream that cannot seek, or one given from its middle, which botocore would rewind too far."""

        class Pipe(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: Any) -> int:
                return 0

        moved = io.BytesIO(b"0123456789")
        moved.seek(5)
        with_bucket(endpoint)
        for body in (moved, Pipe()):
            with skewguard.install():
                s3 = client("s3", endpoint, **UNCHUNKED)
                with contextlib.suppress(UnseekableStreamError, Exception):
                    s3.put_object(Bucket="bucket", Key="moved", Body=body, ContentLength=5)
            assert endpoint.count <= 1
            endpoint.clear()

    def test_the_retry_quota_stays_untouched(self, endpoint: StrictEndpoint) -> None:
        """Standard mode's tokens are for throttling and outages."""
        with skewguard.install():
            sts = client("sts", endpoint, retries={"mode": "standard"})
            quota = retry_quota(sts)
            before = quota.available_capacity
            sts.get_caller_identity()
            assert quota.available_capacity == before
