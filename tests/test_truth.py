"""What may become truth, with real clients and a server as strict as AWS, and what the API returns of it."""

from __future__ import annotations

import email.utils
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore
import botocore.session
import freezegun
import moto
import pytest
import time_machine
from botocore.stub import Stubber

import skewguard
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.real.need import installed
from tests.support import GREENLETS, OPERATIONS, aws_client, client, code_of, run_python, with_bucket

MOCKET = """
import email.utils, os, time
import boto3, skewguard
from mocket import Mocketizer
from mocket.mocks.mockhttp import Entry
from skewguard.timekeeping import shared_file

shared_file.bases = lambda: iter([os.environ["XDG_RUNTIME_DIR"]])  # not the file of this user's other programs
skewguard.install()
with Mocketizer():
    headers = {"Content-Type": "text/xml", "Date": email.utils.formatdate(time.time() - 360, usegmt=True)}
    body = "<R><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></R>"
    Entry.single_register(Entry.POST, "https://sts.us-east-1.amazonaws.com/", body, headers=headers)
    account = boto3.client("sts").get_caller_identity()["Account"]
print(account, skewguard.status().domains, os.listdir(os.environ["XDG_RUNTIME_DIR"]))
"""

SOCKETS = (
    GREENLETS
    + """
import socket
kind, url = sys.argv[1:]
if kind == "PySocks":
    import socks
    socket.socket = socks.socksocket
elif kind == "pytest-socket":
    class GuardedSocket(socket.socket):
        pass
    socket.socket = GuardedSocket
import boto3, skewguard
skewguard.install()
sts = boto3.client("sts", endpoint_url=url)
for _ in range(2):
    sts.get_caller_identity()
print(len(skewguard.status().domains))
"""
)


@pytest.fixture(autouse=True)
def guarded_process() -> None:
    skewguard.install()


class TestTime:
    """What `status`, `now` and `offset` return."""

    def test_nothing_is_known_at_first(self) -> None:
        skewguard.uninstall()
        assert skewguard.now() is None
        assert skewguard.offset() is None
        status = skewguard.status()
        assert (status.installed, status.state, status.correcting) == (False, "unknown", False)

    def test_one_service_teaches_all(self, aws: StrictEndpoint) -> None:
        """UTC learned over verified TLS: the second service's first call takes one request."""
        aws_client("sts", aws).get_caller_identity()
        assert aws.count == 2
        for name in ("dynamodb", "lambda", "ec2", "s3-list"):
            service, operation = OPERATIONS[name]
            operation(aws_client(service, aws))
        assert aws.count == 6
        now, offset, status = skewguard.now(), skewguard.offset(), skewguard.status()
        assert now.earliest <= aws.now() <= now.latest + 10**9
        assert now.earliest <= now.midpoint <= now.latest
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
        ec2 = aws_client("ec2", aws)
        for _ in range(2):
            ec2.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId="snap-1")
        late = []
        for record in aws.requests:
            [url] = parse_qs(record.body.decode())["PresignedUrl"]
            [stamp] = parse_qs(urlsplit(url).query)["X-Amz-Date"]
            signed = parse_time(stamp)
            late.append(round((record.received_at / 1e9 - signed) / 60))
        assert [(record.status, minutes) for record, minutes in zip(aws.requests, late, strict=True)] == [
            (401, 20),
            (200, 20),
            (200, 0),
        ]


class TestTruth:
    """What may become truth, row by row of the table in `docs/architecture.md`."""

    def test_a_custom_endpoint_teaches_itself(self, endpoint: StrictEndpoint) -> None:
        client("sts", endpoint).get_caller_identity()
        assert skewguard.now() is None
        assert skewguard.status().domains.keys() == {f"http://127.0.0.1:{endpoint.port}"}

    def test_aws_over_plain_http_teaches_its_own_domain(self) -> None:
        """Anything on the path could have written that Date."""
        with StrictEndpoint(offset=1200) as server, server.as_aws():
            sts = boto3.client("sts", **{**server.client_kwargs, "endpoint_url": "http://sts.us-east-1.amazonaws.com"})
            sts.get_caller_identity()
            sts.get_caller_identity()
            assert server.count == 3
            assert skewguard.now() is None

    def test_unverified_tls_to_aws_teaches_nothing(self, aws: StrictEndpoint) -> None:
        sts = boto3.client("sts", **{**aws.client_kwargs, "endpoint_url": None, "verify": False})
        with pytest.warns(Warning, match="Unverified HTTPS"):
            assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
        assert aws.count == 1
        assert skewguard.status().domains == {}

    def test_unverified_tls_to_another_store_teaches_that_store(self, aws: StrictEndpoint) -> None:
        """It counts like plain http, which many private stores use."""
        sts = boto3.client("sts", **{**aws.client_kwargs, "verify": False})
        with pytest.warns(Warning, match="Unverified HTTPS"):
            sts.get_caller_identity()
        assert aws.count == 2
        assert skewguard.now() is None

    def test_moto_teaches_nothing(self) -> None:
        """Its answer came from no socket."""
        with moto.mock_aws():
            boto3.client("s3").list_buckets()
            boto3.client("sts").get_caller_identity()
            assert skewguard.status().domains == {}

    @pytest.mark.slow
    def test_mocket_teaches_nothing(self) -> None:
        """It replays below ``http.client``, here what AWS accepted 6 minutes ago; the user's programs hear nothing."""
        assert run_python(MOCKET, env=os.environ | {"SKEWGUARD_SHARE": "true"}) == "1 {} []\n"

    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["gevent", "eventlet", "PySocks", "pytest-socket"])
    def test_sockets_of_others_that_reach_the_kernel_teach(self, slow_host: StrictEndpoint, kind: str) -> None:
        """They are no mocks, whatever their class."""
        installed(*({"PySocks": ["socks"], "pytest-socket": []}.get(kind, [kind])))
        assert run_python(SOCKETS, kind, slow_host.url) == "1\n"
        assert slow_host.count == 3

    def test_a_stubber_teaches_nothing(self, aws: StrictEndpoint) -> None:
        """Its answers come from the test."""
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
        with freeze():
            assert skewguard.status().state == "faked"
            assert code_of(aws_client("sts", aws).get_caller_identity)
        assert skewguard.status().domains == {}

    @pytest.mark.parametrize("attempts", [1, 3])
    def test_an_intermediarys_clock_cannot_break_calls_that_are_right(self, aws: StrictEndpoint, attempts: int) -> None:
        """The server accepted the timestamp, so a proxy's Date, two hours off, is not that server's."""
        aws.offset = 0
        aws.date_mode = lambda now: email.utils.formatdate(now / 1e9 - 7200, usegmt=True)
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

        sts = aws_client("sts", aws)
        sts.meta.events.register("before-send", divert)
        code_of(sts.get_caller_identity)
        assert skewguard.status().domains == {}
        assert endpoint.count == 1

    def test_responses_can_be_left_unheard(self, endpoint: StrictEndpoint) -> None:
        """With `learn_from_responses=False` an answer is judged, but teaches nothing."""
        skewguard.uninstall()
        with skewguard.install(learn_from_responses=False):
            assert code_of(client("sts", endpoint).get_caller_identity)
            assert skewguard.status().domains == {}
        assert endpoint.count == 1

    def test_a_loopback_server_on_the_same_wrong_clock_is_left_alone(
        self, aws: StrictEndpoint, strict_endpoint: StrictEndpoint
    ) -> None:
        """Its clock is the wall clock, so UTC would be wrong there."""
        aws_client("sts", aws).get_caller_identity()
        client("sts", strict_endpoint).get_caller_identity()
        assert strict_endpoint.count == 1
