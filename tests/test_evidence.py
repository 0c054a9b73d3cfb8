"""Healthy calls are never made worse: each case is run by plain botocore too, and a guard must not be behind it."""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config

import skewguard
from skewguard import events
from skewguard.interval import SECOND
from skewguard.testing import Canned, StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.support import aws_client, client, code_of, with_bucket

Run = Callable[[], list[str]]


def both(run: Run, reset: Callable[[], None]) -> tuple[list[str], list[str]]:
    """Return the error codes of a run without a guard and with one."""
    plain = run()
    reset()
    with skewguard.install():
        return plain, run()


def dated(ahead: int) -> Callable[[int], str]:
    """Return a proxy: it writes a Date of its own."""
    return lambda now: email.utils.formatdate(now // SECOND + ahead, usegmt=True)


@contextlib.contextmanager
def a_store() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        with_bucket(running)
        yield running


@pytest.mark.parametrize("ahead", [600, -600, 800, -800])
def test_a_proxy_with_a_clock_of_its_own_costs_no_request(ahead: int) -> None:
    """Host and store are right; each call takes one request, and a presigned URL is good."""
    with a_store() as store:
        store.date_mode = dated(ahead)

        def run() -> list[str]:
            s3 = client("s3", store, signature_version="s3v4")
            codes = [code_of(lambda: s3.head_object(Bucket="bucket", Key="key")) for _ in range(5)]
            url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"}, ExpiresIn=60)
            stamp = parse_time(parse_qs(urlsplit(url).query)["X-Amz-Date"][0])
            assert stamp is not None
            return [*codes, "presigned" if abs(stamp - time.time()) < 5 else "presigned wrongly"]

        plain, guarded = both(run, store.clear)
        assert guarded == plain == ["", "", "", "", "", "presigned"]
        assert store.count == 5  # of the guarded run


@pytest.mark.parametrize("status", [301, 302, 307, 407, 500, 502, 503])
def test_what_stands_in_between_teaches_nothing(strict_endpoint: StrictEndpoint, status: int) -> None:
    """A captive portal's redirect, a proxy's 407 or a gateway's 5xx, dated yesterday."""
    yesterday = email.utils.formatdate(time.time() - 86_000, usegmt=True)
    options = {"retries": {"total_max_attempts": 1}}

    def run() -> list[str]:
        sts = client("sts", strict_endpoint, **options)
        strict_endpoint.script(Canned(status, {"Date": yesterday}, b"<E><Error><Code>Portal</Code></Error></E>"))
        return [code_of(sts.get_caller_identity), code_of(sts.get_caller_identity)]

    plain, guarded = both(run, strict_endpoint.clear)
    assert guarded == plain
    assert strict_endpoint.count == 2
    assert skewguard.status().domains == {}


CORAL = (
    "<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>Signature expired: {signed} "
    "is now earlier than {bound} ({now} - 5 min.)</Message></Error><RequestId>1</RequestId></ErrorResponse>"
)


def words(signed: float, ahead: int) -> Canned:
    """A refusal in AWS's words, for a time that is wrong."""
    now = int(signed) + ahead

    def text(second: int) -> str:
        return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))

    body = CORAL.format(signed=text(int(signed)), bound=text(now - 300), now=text(now))
    return Canned(403, {"Date": email.utils.formatdate(now, usegmt=True)}, body.encode())


@pytest.mark.parametrize(
    "host", ["abc.s3-object-lambda.us-east-1.amazonaws.com", "abc.lambda-url.us-east-1.on.aws", "abc.new.amazonaws.com"]
)
def test_customers_code_under_awss_names_teaches_no_other_endpoint(aws: StrictEndpoint, host: str) -> None:
    """It says that it is a year later; the host is right, and AWS's other endpoints go on."""
    aws.offset = 0

    def run() -> list[str]:
        s3 = boto3.client(
            "s3", endpoint_url=f"https://{host}", config=Config(s3={"addressing_style": "path"}), verify=aws.ca_bundle
        )
        year = 365 * 86_400
        aws.script(words(time.time(), year), words(time.time(), year))
        first = code_of(lambda: s3.get_object(Bucket="bucket", Key="key"))
        aws.clear()
        return [first, *(code_of(aws_client("sts", aws).get_caller_identity) for _ in range(3))]

    plain, guarded = both(run, aws.clear)
    assert guarded == plain
    assert [record.service for record in aws.requests] == ["sts"] * 3
    with skewguard.install():
        run()
        known = skewguard.offset()
        assert known is None or abs(known.seconds) < 5
        assert skewguard.status().inherited == ()


def test_uninstall_between_refusal_and_retry_lets_the_call_finish(endpoint: StrictEndpoint) -> None:
    """As it began: the retry is dated by what the refusal taught."""

    def stop(event: events.Event) -> None:
        if isinstance(event, events.Retried):
            skewguard.uninstall()

    skewguard.install()
    unsubscribe = events.subscribe(stop)
    try:
        sts: Any = client("sts", endpoint)
        assert sts.get_caller_identity()["Account"]
    finally:
        unsubscribe()
    assert endpoint.count == 2
    assert not skewguard.status().installed
    assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"  # plain again
