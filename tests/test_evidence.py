"""Healthy calls are never made worse: each case is run by plain botocore too, and a guard must not be behind it."""

from __future__ import annotations

import contextlib
import email.utils
import io
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.exceptions
import pytest
from botocore.config import Config

import skewguard
from skewguard import events
from skewguard.interval import SECOND
from skewguard.testing import Canned, StrictEndpoint
from skewguard.testing.listener import Response
from skewguard.testing.wire import Request
from tests.fakes import Emitted, FakeSource
from tests.support import OPERATIONS, aws_client, client, code_of, config, signed_at, with_bucket

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
            return [*codes, "presigned" if abs(signed_at(url) - time.time()) < 5 else "presigned wrongly"]

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


class Hides(StrictEndpoint):
    """Words a refusal for time as a denial."""

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        answer = super()._handle(request, receive)
        head, _, body = answer.data.partition(b"\r\n\r\n")
        if b"Signature expired" not in body and b"Signature not yet current" not in body:
            return answer
        shorter = re.sub(rb"Signature (expired|not yet current): [^<\"]*", b"not allowed", body)
        for code in (b"SignatureDoesNotMatch", b"InvalidSignature"):
            shorter, head = shorter.replace(code, b"AccessDenied"), head.replace(code, b"AccessDenied")
        return answer._replace(data=head + b"\r\n\r\n" + shorter.ljust(len(body)))


@contextlib.contextmanager
def in_front(kind: type[StrictEndpoint], aws: bool, **options: Any) -> Iterator[tuple[StrictEndpoint, Any]]:
    """Run a server as AWS, or as a private endpoint; yield it with what makes clients for it."""
    with kind(tls=aws, **options) as server, server.as_aws() if aws else contextlib.nullcontext():
        yield server, aws_client if aws else client


@pytest.mark.parametrize("aws", [True, False])
@pytest.mark.parametrize("offset", [1200, -1200])
@pytest.mark.parametrize(("service", "code"), [("sts", "AccessDenied"), ("dynamodb", "AccessDeniedException")])
def test_skew_said_as_a_denial(aws: bool, offset: int, service: str, code: str) -> None:
    """Two requests, then one; a plain client is denied."""
    with in_front(Hides, aws, offset=offset) as (server, make):
        assert code_of(lambda: OPERATIONS[service][1](make(service, server))) == code
        server.clear()
        with skewguard.install():
            guarded = make(service, server)
            for requests in (2, 1, 1):
                server.clear()
                assert code_of(lambda: OPERATIONS[service][1](guarded)) == ""
                assert server.count == requests


@pytest.mark.parametrize("aws", [True, False])
@pytest.mark.parametrize("code", ["AccessDenied", "ValidationError"])
def test_a_genuine_error_on_a_cold_skewed_host(aws: bool, code: str) -> None:
    """Five requests for four calls; and right at once when there is no error any more."""
    with in_front(StrictEndpoint, aws, offset=1200) as (server, make), skewguard.install():
        sts = make("sts", server)
        server.fail_next(code, times=9)
        assert [code_of(sts.get_caller_identity) for _ in range(4)] == [code] * 4
        assert server.count <= 5
        server.script()
        server.clear()
        assert code_of(sts.get_caller_identity) == ""


@pytest.mark.parametrize("attempts", [1, 2, 3])
@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_the_caller_gets_the_first_answer_if_another_timestamp_did_not_help(
    strict_endpoint: StrictEndpoint, attempts: int, mode: str
) -> None:
    """A proxy 10 min ahead dates a genuine error: what is signed by its clock is refused for its time."""
    strict_endpoint.tolerance = 300
    strict_endpoint.date_mode = dated(600)
    with skewguard.install():
        sts = client("sts", strict_endpoint, retries={"total_max_attempts": attempts, "mode": mode})
        for requests in (min(attempts, 2), 1, 1):
            strict_endpoint.clear()
            strict_endpoint.fail_next("ValidationError", "wrong", status=400)
            with pytest.raises(botocore.exceptions.ClientError) as caught:
                sts.get_caller_identity()
            error = caught.value.response
            assert (error["Error"]["Code"], error["Error"]["Message"]) == ("ValidationError", "wrong")
            assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
            assert strict_endpoint.count == requests
            assert code_of(sts.get_caller_identity) == ""


@pytest.mark.parametrize("attempts", [1, None])
def test_a_store_with_the_hosts_own_wrong_clock(attempts: int | None) -> None:
    """UTC is known to be 2 h ahead, and proves nothing there: what no retry can mend goes by the wall clock."""
    with a_store() as store:
        retries = {} if attempts is None else {"total_max_attempts": attempts}
        place = store.client_kwargs | {"endpoint_url": f"http://[::ffff:127.0.0.1]:{store.port}"}

        def run() -> list[str]:
            options = {"signature_version": "s3v4", "request_checksum_calculation": "when_required"}
            s3 = boto3.client("s3", **place, config=config(retries=retries, **options))
            body = io.BytesIO(b"x" * 20)
            body.seek(10)
            url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"}, ExpiresIn=60)
            return [
                code_of(lambda: s3.put_object(Bucket="bucket", Key="key", Body=body)),
                code_of(lambda: s3.put_object(Bucket="bucket", Key="key", Body=b"x")),
                code_of(lambda: s3.head_object(Bucket="bucket", Key="key")),
                "presigned" if abs(signed_at(url) - time.time()) < 5 else "presigned wrongly",
            ]

        expected = run()
        with skewguard.install(sources=[FakeSource(offset=7200)]):
            assert run() == expected == ["", "", "", "presigned"]


def test_what_is_told_says_how_well_it_is_proved(aws: StrictEndpoint) -> None:
    """A bare Date is a guess, a refusal in words a claim, an accepted request a proof, a source's word a vote."""
    aws.offset = 1200
    with skewguard.install(sources=["response"]):
        sts = aws_client("sts", aws, retries={"total_max_attempts": 1})
        aws.fail_next("AccessDenied")
        told = []
        for _ in range(3):
            code_of(sts.get_caller_identity)
            known = skewguard.offset()
            assert known is not None
            told.append((known.grade, known.proved, skewguard.status().state))
        assert told[0] == ("guess", False, "unproved")
        assert told[1] == ("claim", False, "unproved")
        assert told[2] == ("proof", True, "synchronized")
    with skewguard.install(sources=[FakeSource(offset=1200)]):
        known = skewguard.measure().offset
        assert known is not None
        assert (known.grade, skewguard.status().state) == ("vote", "synchronized")


@pytest.mark.parametrize("year", [1970, 2020, 2100, 9999])
def test_implausible_dates_are_refused(strict_endpoint: StrictEndpoint, year: int, emitted: Emitted) -> None:
    """Before this package was built, or decades ahead: not believed, reported, and no reason to try again."""
    strict_endpoint.date_mode = f"Thu, 01 Jan {year} 00:00:00 GMT"
    strict_endpoint.offset, strict_endpoint.explain = 1200, False
    with skewguard.install(sources=["response"]):
        assert code_of(client("sts", strict_endpoint).get_caller_identity) == "SignatureDoesNotMatch"
        assert skewguard.status().domains == {}
    assert strict_endpoint.count == 1
    assert emitted.of(events.Refused) == [events.Refused(strict_endpoint.url, "it states an implausible date")]
