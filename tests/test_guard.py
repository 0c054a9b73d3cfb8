"""The product as users meet it: real boto3 clients, real sockets, a server as strict as AWS."""

from __future__ import annotations

import contextlib
import copy
import email.utils
import io
import logging
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore
import botocore.session
import freezegun
import moto
import pytest
import time_machine
from botocore.exceptions import ClientError, UnseekableStreamError
from botocore.stub import Stubber

import skewguard
from skewguard import events
from skewguard.errors import ConfigError
from skewguard.signing.call import Call
from skewguard.signing.hooks import _IDS, Hooks
from skewguard.signing.patches import patching as names
from skewguard.signing.patches import signers
from skewguard.sources.auto import HostSources
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import Emitted, FakeSource
from tests.patience import PATIENCE
from tests.support import OPERATIONS, aws_client, client, code_of, with_bucket

WRONG_SECRET_CODES = ("", "SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure")
USELESS_DATES = [
    "omit",
    "duplicate",
    "cached",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "yesterday",
]


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    """A server 20 minutes ahead: this host is slow."""
    with StrictEndpoint(offset=1200) as running:
        yield running


@pytest.fixture(scope="module")
def _tls_endpoint() -> Iterator[StrictEndpoint]:
    with StrictEndpoint(tls=True) as running:
        with_bucket(running)
        yield running


@pytest.fixture
def aws(_tls_endpoint: StrictEndpoint) -> Iterator[StrictEndpoint]:
    """AWS, as this process sees it: its names, over verified TLS, 20 minutes ahead of this host."""
    running = _tls_endpoint
    running.offset, running.date_mode, running.explain = 1200, "honest", True
    running.clear()
    with running.as_aws():
        yield running
    running.clear()


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
    def test_other_errors_cost_one_request_on_a_wrong_clock(
        self, endpoint: StrictEndpoint, service: str, code: str
    ) -> None:
        """Before and after a correction, on a host ten minutes off; the JS SDK sends three."""
        endpoint.offset = 600
        with skewguard.install():
            guarded = client(service, endpoint)
            for _ in range(2):
                endpoint.clear()
                endpoint.fail_next(code)
                assert code_of(lambda: OPERATIONS[service][1](guarded)) == code
                assert endpoint.count == 1

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
                s3 = client("s3", endpoint, request_checksum_calculation="when_required")
                with contextlib.suppress(UnseekableStreamError, Exception):
                    s3.put_object(Bucket="bucket", Key="moved", Body=body, ContentLength=5)
            assert endpoint.count <= 1
            endpoint.clear()

    def test_the_retry_quota_stays_untouched(self, endpoint: StrictEndpoint) -> None:
        """Standard mode's tokens are for throttling and outages."""
        with skewguard.install():
            sts = client("sts", endpoint, retries={"mode": "standard"})
            quota = _quota(sts)
            before = quota.available_capacity
            sts.get_caller_identity()
            assert quota.available_capacity == before


def _quota(guarded: Any) -> Any:
    """Return the retry quota of a client in standard mode."""
    for handler in guarded.meta.events._emitter._handlers.prefix_search("needs-retry.sts.GetCallerIdentity"):
        policy = getattr(getattr(handler, "__self__", None), "_retry_quota", None)
        if policy is not None:
            return policy._quota
    raise AssertionError("no standard retry handler")


class TestTime:
    """What `status`, `now` and `offset` return."""

    def test_nothing_is_known_at_first(self) -> None:
        """None instead of a guess."""
        assert skewguard.now() is None
        assert skewguard.offset() is None
        status = skewguard.status()
        assert (status.installed, status.state, status.correcting) == (False, "unknown", False)

    def test_one_service_teaches_all(self, aws: StrictEndpoint) -> None:
        """UTC learned over verified TLS: the second service's first call takes one request."""
        with skewguard.install():
            aws_client("sts", aws).get_caller_identity()
            assert aws.count == 2
            for name in ("dynamodb", "lambda", "ec2", "s3-list"):
                service, operation = OPERATIONS[name]
                operation(aws_client(service, aws))
            assert aws.count == 6
            now, offset, status = skewguard.now(), skewguard.offset(), skewguard.status()
        assert now is not None
        assert now.earliest <= aws.now() <= now.latest + 10**9
        assert now.earliest <= now.midpoint <= now.latest
        assert offset is not None
        assert offset.seconds == pytest.approx(1200, abs=2)
        assert offset.error_bound < 2
        assert offset.source.startswith("https://")
        assert offset.source.endswith("amazonaws.com")
        assert (status.state, status.correcting, status.installed) == ("synchronized", True, True)
        assert status.domains.keys() == {"utc"}

    def test_a_nested_call_changes_nothing(self, aws: StrictEndpoint) -> None:
        """An AssumeRole between handler and signing is a call of its own; the outer call is signed right."""
        inner = boto3.Session()
        from botocore.credentials import DeferredRefreshableCredentials, create_assume_role_refresher

        with skewguard.install():
            session = botocore.session.get_session()
            sts = aws_client("sts", aws, inner)
            skewguard.attach(sts)
            session._credentials = DeferredRefreshableCredentials(
                create_assume_role_refresher(sts, {"RoleArn": "arn:aws:iam::1:role/r", "RoleSessionName": "session"}),
                "test",
            )
            # The role's expiry is still judged by the wall clock: an hour is longer than the error of 20 minutes.
            dynamodb = session.create_client("dynamodb", region_name="us-east-1")
            dynamodb.list_tables()
        assert [(record.service, record.status) for record in aws.requests] == [
            ("sts", 403),
            ("sts", 200),
            ("dynamodb", 200),
        ]

    def test_a_url_inside_a_call_is_made_once(self, aws: StrictEndpoint) -> None:
        """It is made before the first attempt, so it is right from the second call on."""
        with skewguard.install():
            ec2 = aws_client("ec2", aws)
            for _ in range(2):
                ec2.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId="snap-1")
        late = []
        for record in aws.requests:
            [url] = parse_qs(record.body.decode())["PresignedUrl"]
            [stamp] = parse_qs(urlsplit(url).query)["X-Amz-Date"]
            signed = parse_time(stamp)
            assert signed is not None
            late.append(round((record.received_at / 1e9 - signed) / 60))
        assert [(record.status, minutes) for record, minutes in zip(aws.requests, late, strict=True)] == [
            (401, 20),
            (200, 20),
            (200, 0),
        ]


class TestTruth:
    """What may become truth, row by row of the table in `docs/architecture.md`."""

    def test_aws_over_verified_tls_teaches_utc(self, aws: StrictEndpoint) -> None:
        """UTC comes only from there."""
        with skewguard.install():
            aws_client("sts", aws).get_caller_identity()
            assert skewguard.now() is not None

    def test_a_custom_endpoint_teaches_itself(self, endpoint: StrictEndpoint) -> None:
        """No other endpoint learns from it."""
        with skewguard.install():
            client("sts", endpoint).get_caller_identity()
            assert skewguard.now() is None
            assert skewguard.status().domains.keys() == {f"http://127.0.0.1:{endpoint.port}"}

    def test_aws_over_plain_http_teaches_its_own_domain(self) -> None:
        """Anything on the path could have written that Date."""
        with StrictEndpoint(offset=1200) as server, server.as_aws(), skewguard.install():
            sts = boto3.client("sts", **{**server.client_kwargs, "endpoint_url": "http://sts.us-east-1.amazonaws.com"})
            sts.get_caller_identity()
            sts.get_caller_identity()
            assert server.count == 3
            assert skewguard.now() is None

    def test_unverified_tls_to_aws_teaches_nothing(self, aws: StrictEndpoint) -> None:
        """Without verification, all is as with botocore alone."""
        with skewguard.install():
            sts = boto3.client("sts", **{**aws.client_kwargs, "endpoint_url": None, "verify": False})
            with pytest.warns(Warning, match="Unverified HTTPS"):
                assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
            assert aws.count == 1
            assert skewguard.status().domains == {}

    def test_unverified_tls_to_another_store_teaches_that_store(self, aws: StrictEndpoint) -> None:
        """It counts like plain http, which many private stores use."""
        with skewguard.install():
            sts = boto3.client("sts", **{**aws.client_kwargs, "verify": False})
            with pytest.warns(Warning, match="Unverified HTTPS"):
                sts.get_caller_identity()
            assert aws.count == 2
            assert skewguard.now() is None

    def test_moto_teaches_nothing(self) -> None:
        """Its answer came from no socket."""
        with skewguard.install(), moto.mock_aws():
            boto3.client("s3").list_buckets()
            boto3.client("sts").get_caller_identity()
            assert skewguard.status().domains == {}

    def test_a_stubber_teaches_nothing(self, aws: StrictEndpoint) -> None:
        """Its answers come from the test."""
        with skewguard.install():
            sts = aws_client("sts", aws)
            with Stubber(sts) as stubber:
                stubber.add_response("get_caller_identity", {"Account": "1"})
                stubber.add_client_error("get_caller_identity", "RequestTimeTooSkewed", http_status_code=403)
                sts.get_caller_identity()
                assert code_of(sts.get_caller_identity) == "RequestTimeTooSkewed"
            assert skewguard.status().domains == {}
        assert aws.count == 0

    @pytest.mark.parametrize(
        "freeze", [lambda: freezegun.freeze_time("2026-12-01"), lambda: time_machine.travel("2026-12-01")]
    )
    def test_a_faked_clock_teaches_nothing(self, aws: StrictEndpoint, freeze: Callable[[], Any]) -> None:
        """The test chose that time; the host's clock is not wrong."""
        with skewguard.install():
            with freeze():
                assert skewguard.status().state == "faked"
                assert code_of(aws_client("sts", aws).get_caller_identity)
            assert skewguard.status().domains == {}

    @pytest.mark.parametrize("attempts", [1, 3])
    def test_an_intermediarys_clock_cannot_break_calls_that_are_right(self, aws: StrictEndpoint, attempts: int) -> None:
        """The server accepted the timestamp, so a proxy's Date, two hours off, is not that server's."""
        aws.offset = 0
        aws.date_mode = lambda now: email.utils.formatdate(now / 1e9 - 7200, usegmt=True)
        with skewguard.install():
            sts = aws_client("sts", aws, retries={"total_max_attempts": attempts})
            for _ in range(4):
                sts.get_caller_identity()
            assert skewguard.status().domains == {}
        assert aws.count == 4

    @pytest.mark.parametrize("attempts", [1, 3])
    def test_an_intermediarys_clock_on_errors_breaks_nothing_for_good(
        self, strict_endpoint: StrictEndpoint, attempts: int
    ) -> None:
        """A store behind a proxy that writes its own Date, an hour off: missing keys, then a denied HEAD."""
        with_bucket(strict_endpoint)
        strict_endpoint.date_mode = lambda now: email.utils.formatdate(now / 1e9 + 3600, usegmt=True)
        with skewguard.install():
            s3 = client("s3", strict_endpoint, retries={"total_max_attempts": attempts})
            for _ in range(2):
                assert code_of(lambda: s3.head_object(Bucket="bucket", Key="missing")) == "404"
                assert code_of(lambda: s3.get_object(Bucket="bucket", Key="missing")) == "NoSuchKey"
                s3.head_object(Bucket="bucket", Key="key")
            strict_endpoint.fail_next("AccessDenied", times=2 if attempts > 1 else 1)
            assert code_of(lambda: s3.head_object(Bucket="bucket", Key="key")) == "403"
            if attempts == 1:  # the next call finds out what the refusal taught
                code_of(lambda: s3.head_object(Bucket="bucket", Key="key"))
            for _ in range(3):
                s3.head_object(Bucket="bucket", Key="key")

    def test_a_redirect_accepts_nothing_and_teaches(self, aws: StrictEndpoint) -> None:
        """Its Date is the server's own, whatever the request's timestamp."""
        with skewguard.install():
            aws.reply_next(301, {"x-amz-bucket-region": "us-east-1"})
            s3 = aws_client("s3", aws)
            code_of(lambda: s3.head_object(Bucket="bucket", Key="key"))
            assert skewguard.now() is not None

    def test_a_request_sent_elsewhere_after_signing_teaches_nothing(
        self, aws: StrictEndpoint, endpoint: StrictEndpoint
    ) -> None:
        """A before-send handler that changes the address does not make its clock AWS's."""

        def divert(request: Any, **_: Any) -> None:
            request.url = endpoint.url + "/"

        with skewguard.install():
            sts = aws_client("sts", aws)
            sts.meta.events.register("before-send", divert)
            code_of(sts.get_caller_identity)
            assert skewguard.status().domains == {}
        assert endpoint.count == 1

    def test_responses_can_be_left_unheard(self, endpoint: StrictEndpoint) -> None:
        """With `learn_from_responses=False` an answer is judged, but teaches nothing."""
        with skewguard.install(learn_from_responses=False):
            assert code_of(client("sts", endpoint).get_caller_identity)
            assert skewguard.status().domains == {}
        assert endpoint.count == 1

    def test_a_loopback_server_on_the_same_wrong_clock_is_left_alone(
        self, aws: StrictEndpoint, strict_endpoint: StrictEndpoint
    ) -> None:
        """Its clock is the wall clock, so UTC would be wrong there."""
        with skewguard.install():
            aws_client("sts", aws).get_caller_identity()
            client("sts", strict_endpoint).get_caller_identity()
        assert strict_endpoint.count == 1


class TestWaysIn:
    """The effect of install, attach and session before and after, and on other sessions."""

    def guarded(self, endpoint: StrictEndpoint, sts: Any) -> bool:
        """Return whether a client's calls are guarded, by making one."""
        endpoint.offset += 3600
        return not code_of(sts.get_caller_identity)

    def test_install_reaches_the_default_session_made_before(self, endpoint: StrictEndpoint) -> None:
        """`boto3.client()` works after install, even with a default session made before."""
        boto3.setup_default_session()
        try:
            with skewguard.install():
                assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))
        finally:
            boto3.DEFAULT_SESSION = None

    def test_install_reaches_sessions_made_after(self, endpoint: StrictEndpoint) -> None:
        """boto3's and botocore's."""
        with skewguard.install():
            assert self.guarded(endpoint, client("sts", endpoint))
            plain = botocore.session.get_session()
            assert self.guarded(endpoint, plain.create_client("sts", **endpoint.client_kwargs))

    @pytest.mark.parametrize("wrong", [float("inf"), float("nan"), -1, "soon", True])
    def test_a_wrong_number_of_seconds_is_one_clear_error(self, wrong: Any) -> None:
        """For each option that takes one."""
        for ask in (
            lambda: skewguard.measure(timeout=wrong),
            lambda: skewguard.wait_until_synchronized(wrong),
            lambda: skewguard.wait_until_synchronized(1, within=wrong),
            lambda: skewguard.install(wait=wrong),
        ):
            with pytest.raises(ConfigError, match=r"number of seconds|negative"):
                ask()

    @pytest.mark.parametrize("way", ["code", "environment", "profile", "the host"])
    def test_sources_are_chosen(self, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the same names everywhere; by default, those that the host has."""
        uri = "ntp://127.0.0.1:9"
        monkeypatch.delenv("SKEWGUARD_SOURCES")
        monkeypatch.setattr(HostSources, "uris", lambda _self: iter([uri if way == "the host" else "chrony:/none"]))
        if way == "environment":
            monkeypatch.setenv("SKEWGUARD_SOURCES", uri)
        if way == "profile":
            config = tmp_path / "config"
            config.write_text(f"[profile dev]\nskewguard =\n  sources = {uri}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
            monkeypatch.setenv("AWS_PROFILE", "dev")
        with skewguard.install(**({"sources": [uri]} if way == "code" else {})):
            (result,) = skewguard.measure(timeout=0.2).sources
        assert result.name == uri
        assert result.error

    def test_a_chosen_source_is_asked_before_the_first_request(self, aws: StrictEndpoint) -> None:
        """If it is instant, the first request is signed right without any waiting."""
        aws.offset = 1200
        with skewguard.install(sources=[FakeSource(offset=1200)]):
            aws_client("sts", aws).get_caller_identity()
        assert aws.count == 1

    def test_uninstall_ends_it_and_install_begins_it_again(self, endpoint: StrictEndpoint) -> None:
        """Clients of the first installation are guarded by the second."""
        sts_before = client("sts", endpoint)
        with skewguard.install():
            sts = client("sts", endpoint)
        assert not self.guarded(endpoint, sts)
        assert skewguard.now() is None
        with skewguard.install():
            assert self.guarded(endpoint, sts)
            assert not self.guarded(endpoint, sts_before)

    def test_install_twice_is_once(self, caplog: pytest.LogCaptureFixture) -> None:
        """Other options are ignored with a warning; any handle can uninstall, once."""
        first = skewguard.install(deadband=5)
        again = skewguard.install()
        assert skewguard.install(deadband=5).settings is first.settings
        assert not caplog.records
        assert skewguard.install(deadband=6).settings is first.settings
        assert "uninstall() first" in caplog.text
        assert first.in_force
        assert "in force" in repr(again)
        again.uninstall()
        skewguard.uninstall()
        assert not first.in_force
        assert "ended" in repr(first)
        first.uninstall()

    def test_a_librarys_with_block_leaves_the_programs_installation(self, endpoint: StrictEndpoint) -> None:
        """Only the block that installed uninstalls."""
        skewguard.install()
        with skewguard.install():
            pass
        assert skewguard.status().installed
        assert self.guarded(endpoint, client("sts", endpoint))

    def test_install_leaves_what_is_attached_to_its_own_guard(self, endpoint: StrictEndpoint) -> None:
        """The default session, attached before, is guarded before, during and after."""
        boto3.setup_default_session()
        try:
            skewguard.attach(boto3.DEFAULT_SESSION)
            with skewguard.install():
                assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))
            assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))
        finally:
            boto3.DEFAULT_SESSION = None

    def test_sources_of_code_replace_those_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty list turns them off; what attach adds outlives uninstall."""
        monkeypatch.setenv("SKEWGUARD_SOURCES", "ntp://127.0.0.1:1")

        def names() -> list[str]:
            return [result.name for result in skewguard.measure(timeout=2).sources]

        with skewguard.install():
            assert names() == ["ntp://127.0.0.1:1"]
        with skewguard.install(sources=["ntp://127.0.0.1:2"]):
            assert names() == ["ntp://127.0.0.1:2"]
        with skewguard.install(sources=[]):
            assert names() == []
            skewguard.attach(boto3.Session(), sources=["ntp://127.0.0.1:3"])
            assert names() == ["ntp://127.0.0.1:3"]
        assert names() == ["ntp://127.0.0.1:1", "ntp://127.0.0.1:3"]

    @pytest.mark.parametrize("wait", ["soon", None, -1])
    def test_a_wrong_wait_is_an_error_before_anything_happens(self, wait: Any) -> None:
        """Like any other option."""
        with pytest.raises(ConfigError, match="'wait'"):
            skewguard.install(wait=wait)
        assert not skewguard.status().installed

    def test_switched_off_it_asks_no_source(self) -> None:
        """No packet leaves a host that is switched off."""
        with skewguard.install(enabled=False, sources=["ntp://127.0.0.1:1"]):
            assert skewguard.status().sources == ()
            assert skewguard._process.process.keeper()._poller._asked is None

    @pytest.mark.parametrize("service", ["imagebuilder", "greengrassv2", "amplifyuibuilder"])
    def test_attach_knows_a_client_from_a_session(self, service: str) -> None:
        """Some services have an operation called GetComponent, and sessions have a method of that name."""
        made = boto3.client(service, region_name="us-east-1")
        skewguard.attach(made)
        skewguard.detach(made)

    def test_an_old_handle_ends_nothing_new(self) -> None:
        """A handle ends its own installation only."""
        first = skewguard.install()
        skewguard.uninstall()
        skewguard.install()
        first.uninstall()
        assert skewguard.status().installed

    @pytest.mark.parametrize(
        "target",
        [
            lambda s: s,
            lambda s: s._session,
        ],
    )
    def test_attach_guards_a_session_alone(self, endpoint: StrictEndpoint, target: Callable[[Any], Any]) -> None:
        """Its later clients, and no others."""
        mine, other = boto3.Session(), boto3.Session()
        skewguard.attach(target(mine))
        assert self.guarded(endpoint, client("sts", endpoint, mine))
        assert not self.guarded(endpoint, client("sts", endpoint, other))
        skewguard.detach(target(mine))
        assert not self.guarded(endpoint, client("sts", endpoint, mine))

    def test_attach_guards_a_client(self, endpoint: StrictEndpoint) -> None:
        """One that exists already."""
        sts, other = client("sts", endpoint), client("sts", endpoint)
        skewguard.attach(sts)
        skewguard.attach(sts)
        assert self.guarded(endpoint, sts)
        assert not self.guarded(endpoint, other)
        skewguard.detach(sts)
        assert not self.guarded(endpoint, sts)
        skewguard.detach(sts)

    def test_attach_guards_a_resource(self, endpoint: StrictEndpoint) -> None:
        """And the clients made of it."""
        with_bucket(endpoint)
        s3 = boto3.resource("s3", **endpoint.client_kwargs)
        skewguard.attach(s3)
        assert [item.key for item in s3.Bucket("bucket").objects.all()] == ["key"]

    def test_attach_can_exempt_from_install(self, endpoint: StrictEndpoint) -> None:
        """With `enabled=False` one client stays as it was."""
        with skewguard.install():
            sts = client("sts", endpoint)
            skewguard.attach(sts, enabled=False)
            assert not self.guarded(endpoint, sts)

    def test_session_is_plain_and_guarded(self, endpoint: StrictEndpoint) -> None:
        """A boto3.Session, no subclass."""
        made = skewguard.session(region_name="eu-west-1")
        assert type(made) is boto3.Session
        assert made.region_name == "eu-west-1"
        assert self.guarded(endpoint, client("sts", endpoint, made))

    @pytest.mark.parametrize("target", [None, 5, "s3", object()])
    def test_what_cannot_be_guarded_is_one_clear_error(self, target: object) -> None:
        """It is no AttributeError from deep inside."""
        with pytest.raises(ConfigError, match="no boto3 or botocore session, client or resource"):
            skewguard.attach(target)

    def test_hooks_come_first_and_once(self) -> None:
        """However often a session is guarded."""
        with skewguard.install():
            session = botocore.session.get_session()
            skewguard.attach(session)
            emitter = session.get_component("event_emitter")
            handlers = emitter._emitter._handlers.prefix_search("needs-retry.s3.GetObject")
            ours = [handler for handler in handlers if getattr(handler, "__module__", "").startswith("skewguard")]
            assert len(ours) == 1
            assert handlers[0] is ours[0]
        assert len(set(_IDS.values())) == 3


class TestOffSwitches:
    """AWS's own switches."""

    def test_the_environment(self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """One request, and botocore's own error."""
        monkeypatch.setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "true")
        with skewguard.install():
            assert code_of(client("sts", endpoint).get_caller_identity)
        assert endpoint.count == 1
        with skewguard.install(enabled=True):
            assert not code_of(client("sts", endpoint).get_caller_identity)

    def test_the_profile_counts_in_every_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many make their first call while it is being read."""
        session = botocore.session.get_session()
        entered, leave = threading.Event(), threading.Event()

        def slowly() -> dict[str, str]:
            entered.set()
            leave.wait(PATIENCE)
            return {"disable_clock_skew_correction": "true"}

        monkeypatch.setattr(session, "get_scoped_config", slowly)
        with skewguard.install():
            hooks = Hooks(skewguard._process.process.everywhere, skewguard._process.process.keeper(), session)
            answers: list[bool] = []
            threads = [threading.Thread(target=lambda: answers.append(hooks.enabled())) for _ in range(3)]
            for thread in threads:
                thread.start()
            assert entered.wait(PATIENCE)
            leave.set()
            for thread in threads:
                thread.join()
            assert answers == [False] * 3
            assert not hooks.enabled()

    def test_the_profile(self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """One profile is switched off, another is not; the session may be gone before the call."""
        path = tmp_path / "config"
        path.write_text("[profile off]\ndisable_clock_skew_correction = true\n[profile on]\nregion = us-east-1\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        with skewguard.install():
            assert code_of(client("sts", endpoint, boto3.Session(profile_name="off")).get_caller_identity)
            assert endpoint.count == 1
            assert not code_of(client("sts", endpoint, boto3.Session(profile_name="on")).get_caller_identity)
        monkeypatch.setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "false")
        with skewguard.install():
            assert not code_of(client("sts", endpoint, boto3.Session(profile_name="off")).get_caller_identity)


class TestFailOpen:
    """skewguard's own exceptions never reach a caller."""

    @pytest.mark.parametrize("name", ["signing_time", "learn", "domain"])
    def test_a_broken_timekeeper_is_as_if_we_were_not_there(
        self, strict_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Healthy calls work; refused ones fail as with botocore alone."""

        def fail(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError

        with skewguard.install():
            monkeypatch.setattr(skewguard.timekeeping.timekeeper.Timekeeper, name, fail)
            for _ in range(2):
                client("sts", strict_endpoint).get_caller_identity()
            strict_endpoint.offset = 7200
            assert code_of(client("sts", strict_endpoint).get_caller_identity) == "SignatureDoesNotMatch"

    def test_a_calls_context_can_be_copied_and_pickled(self) -> None:
        """Tracing libraries do so; a copy belongs to the same call, a pickled one to none."""
        process = skewguard._process.process
        call = Call(Hooks(process.everywhere, process.keeper()), "v4", b"")
        context = {signers.KEY: call}
        assert copy.deepcopy(context)[signers.KEY] is call
        assert pickle.loads(pickle.dumps(context)) == {signers.KEY: None}

    def test_a_session_can_be_copied(self, endpoint: StrictEndpoint) -> None:
        """It can be copied unguarded, so it can be copied guarded; the copy is guarded."""
        with skewguard.install():
            copied = copy.deepcopy(boto3.Session())
            client("sts", endpoint, copied).get_caller_identity()
        assert [record.status for record in endpoint.requests] == [403, 200]

    def test_a_default_session_of_ones_own_kind(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A warning for the session that cannot be guarded; all others are guarded."""
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", object())
        with skewguard.install():
            client("sts", endpoint).get_caller_identity()
        assert "stays unguarded" in caplog.text

    @pytest.mark.parametrize("again", [{}, {"max_offset": 7}])
    def test_a_log_handler_may_make_sessions(self, again: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        """In another thread, under a lock that the logging thread in `install` waits for."""
        made: list[bool] = []

        def use() -> None:
            boto3.Session()
            skewguard.install()

        def emit(record: logging.LogRecord) -> bool:
            if threading.current_thread() is threading.main_thread():
                thread = threading.Thread(target=use, daemon=True)
                thread.start()
                thread.join(PATIENCE)
                made.append(not thread.is_alive())
            return True

        caplog.set_level(logging.DEBUG, "skewguard")
        if again:
            skewguard.install()
        events.logger.addFilter(emit)
        try:
            skewguard.install(**again or {"sources": [FakeSource(offset=0)]})
        finally:
            events.logger.removeFilter(emit)
        assert made
        assert all(made)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_child_forked_while_locks_are_held_makes_sessions(self) -> None:
        """gunicorn may fork at any time."""
        with skewguard.install():
            held, release = threading.Event(), threading.Event()

            def hold() -> None:
                process = skewguard._process.process
                with names._lock, process.lock, events._lock, process.keeper()._learned:
                    held.set()
                    release.wait(PATIENCE)

            signers.close_seam()
            thread = threading.Thread(target=hold)
            thread.start()
            assert held.wait(PATIENCE)
            child = os.fork()
            if not child:
                import signal

                signal.alarm(int(PATIENCE))
                boto3.Session().client("sts", region_name="us-east-1")
                events.subscribe(print)
                skewguard.status()
                skewguard.uninstall()
                os._exit(0)
            release.set()
            thread.join()
            assert os.waitpid(child, 0)[1] == 0

    def test_a_raising_listener_is_ignored(self, endpoint: StrictEndpoint) -> None:
        """An event handler cannot break a call."""

        def fail(event: events.Event) -> None:
            raise ZeroDivisionError

        unsubscribe = events.subscribe(fail)
        try:
            with skewguard.install():
                client("sts", endpoint).get_caller_identity()
        finally:
            unsubscribe()

    def test_events(self, endpoint: StrictEndpoint, emitted: Emitted) -> None:
        """A retry with its reason, then the correction, once."""
        with skewguard.install():
            sts = client("sts", endpoint)
            for _ in range(3):
                sts.get_caller_identity()
        changes = emitted.of(events.CorrectionChanged)
        retries = emitted.of(events.Retried)
        assert [(one.service, one.operation, one.verdict) for one in retries] == [("sts", "GetCallerIdentity", "skew")]
        assert len(changes) == 1
        assert changes[0].offset == pytest.approx(1200e9, abs=2e9)
