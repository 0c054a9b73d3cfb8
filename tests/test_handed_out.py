"""What botocore signs for others to send: URLs, forms, database and cluster tokens. No retry can correct these."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.signers import CloudFrontSigner, RequestSigner

import skewguard
from skewguard.interval import SECOND
from skewguard.signing.call import Call
from skewguard.signing.guard import Guard
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from skewguard.testing.aws.verifier import Key, Verifier
from skewguard.testing.wire import Request
from tests.fakes import FakeSource, ahead_of
from tests.patience import PATIENCE
from tests.real.test_awscli import run_aws
from tests.support import attach, client, decoded, signed_at

KEYS = {"AKIDEXAMPLE": Key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}


@contextlib.contextmanager
def guarded(way: str, clocks: FakeClocks, ahead: int, **options: Any) -> Iterator[boto3.Session]:
    """Guard a session in one of the two ways; true time is `ahead` seconds ahead."""
    source = FakeSource(bound=0, truth=ahead_of(clocks, ahead))
    if way == "attach":
        session = boto3.Session()
        attach(session, clocks, source, **options)
        yield session
        skewguard.detach(session)
    else:
        with skewguard.install(clocks=clocks, sources=[source], **options):
            yield boto3.Session()


def rds(session: boto3.Session) -> str:
    made = session.client("rds").generate_db_auth_token("db.cluster-x.us-east-1.rds.amazonaws.com", 5432, "me")
    return f"https://{made}"


def dsql(session: boto3.Session) -> str:
    return "https://" + session.client("dsql").generate_db_connect_auth_token("x.dsql.us-east-1.on.aws")


def dsql_admin(session: boto3.Session) -> str:
    return "https://" + session.client("dsql").generate_db_connect_admin_auth_token("x.dsql.us-east-1.on.aws")


def eks_by_signer(session: boto3.Session) -> str:
    """Make an EKS token as scripts do: by a signer of their own on the session's events, for a nameless operation."""
    sts = session.client("sts")
    credentials: Any = session.get_credentials()
    signer = RequestSigner(sts.meta.service_model.service_id, "us-east-1", "sts", "v4", credentials, session.events)
    asked = {
        "method": "GET",
        "url": "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        "body": {},
        "headers": {"x-k8s-aws-id": "cluster"},
        "context": {},
    }
    made: str = signer.generate_presigned_url(asked, region_name="us-east-1", expires_in=60, operation_name="")
    return made


def eks_by_client(session: boto3.Session) -> str:
    """Make an EKS token as the AWS CLI does: a handler adds the header."""
    sts: Any = session.client("sts")
    add: Callable[..., None] = lambda request, **_: request.headers.add_header("x-k8s-aws-id", "cluster")
    sts.meta.events.register("before-sign.sts.GetCallerIdentity", add)
    made: str = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    return made


TOKENS = {
    rds: ("rds-db", 900, {}),
    eks_by_signer: ("sts", 60, {"x-k8s-aws-id": "cluster"}),
    eks_by_client: ("sts", 60, {"x-k8s-aws-id": "cluster"}),
}
if "dsql" in boto3.Session().get_available_services():  # since botocore 1.35
    TOKENS |= {dsql: ("dsql", 900, {}), dsql_admin: ("dsql", 900, {})}


def lead(clocks: FakeClocks, url: str) -> int:
    """Return how far a URL's time is ahead of the wall clock, s."""
    return signed_at(url) - clocks.wall // SECOND


@pytest.mark.parametrize("ahead", [-7200, 7200])
@pytest.mark.parametrize("way", ["install", "attach"])
@pytest.mark.parametrize("make", TOKENS, ids=lambda make: make.__name__)
def test_a_token_is_made_as_of_true_time(
    clocks: FakeClocks, make: Callable[[boto3.Session], str], way: str, ahead: int
) -> None:
    """To the second, with a signature that its service accepts at that time, and with the expiry asked for."""
    service, lasts, headers = TOKENS[make]
    assert lead(clocks, make(boto3.Session())) == 0
    with guarded(way, clocks, ahead) as session:
        url = make(session)
    assert lead(clocks, url) == ahead
    parts = urlsplit(url)
    fields = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert fields["X-Amz-Expires"] == str(lasts)
    assert set(fields["X-Amz-SignedHeaders"].split(";")) == {"host", *headers}
    verifier = Verifier(KEYS, service=service, tolerance=1)
    request = Request("GET", parts.path, parts.query, {"host": parts.netloc, **headers})
    verifier.check(verifier.read(request), clocks.wall / SECOND + ahead)


@pytest.mark.parametrize("given", ["date", "policy"])
def test_cloudfront_signs_the_time_it_is_given(clocks: FakeClocks, given: str) -> None:
    """The caller reads the clock, so the time is the caller's."""
    signer = CloudFrontSigner("key", lambda message: bytes(reversed(message)))
    until = datetime.datetime(2026, 1, 1, 1, tzinfo=datetime.timezone.utc)
    url = "https://d.cloudfront.net/x"
    asked = {"date_less_than": until} if given == "date" else {"policy": signer.build_policy(url, until)}
    plain = signer.generate_presigned_url(url, **asked)
    with guarded("install", clocks, 7200):
        made = signer.generate_presigned_url(url, **asked)
        if given == "policy":
            assert signer.build_policy(url, until) == asked["policy"]
    assert made == plain
    assert str(int(until.timestamp())) in json.dumps(asked, default=lambda moment: str(int(moment.timestamp())))


class TestLeftAlone:
    """With `correct_presigned=False`, what is handed out follows the wall clock; what is sent does not."""

    @pytest.mark.parametrize("way", ["install", "attach"])
    @pytest.mark.parametrize("correct", [True, False])
    @pytest.mark.parametrize("version", ["s3v4", "s3"])
    def test_urls_and_forms(self, clocks: FakeClocks, way: str, version: str, correct: bool) -> None:
        """Both times of a form, and the URL's."""
        expected = 7200 if correct else 0
        with guarded(way, clocks, 7200, correct_presigned=correct) as session:
            s3: Any = session.client("s3", config=Config(signature_version=version))
            form = s3.generate_presigned_post("bucket", "key", ExpiresIn=60)["fields"]
            policy = json.loads(base64.b64decode(form["policy"]))
            until = datetime.datetime.strptime(policy["expiration"] + "+0000", "%Y-%m-%dT%H:%M:%SZ%z").timestamp()
            assert until - 60 - clocks.wall // SECOND == expected
            if version == "s3v4":
                stamp = parse_time(form["x-amz-date"])
                assert stamp - clocks.wall // SECOND == expected
                url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
                assert lead(clocks, url) == expected

    @pytest.mark.parametrize("way", ["install", "attach"])
    def test_tokens(self, clocks: FakeClocks, way: str) -> None:
        with guarded(way, clocks, 7200, correct_presigned=False) as session:
            for make in TOKENS:
                assert lead(clocks, make(session)) == 0

    def test_the_environment_and_the_profile_ask_for_it(
        self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        """For `install` and for `attach`; options in code override both."""
        path = tmp_path / "config"
        path.write_text("[default]\nskewguard =\n  correct_presigned = false\n")
        for name, value in {"AWS_CONFIG_FILE": str(path), "SKEWGUARD_CORRECT_PRESIGNED": "false"}.items():
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                for way in ("install", "attach"):
                    with guarded(way, clocks, 7200) as session:
                        assert lead(clocks, rds(session)) == 0
                    with guarded(way, clocks, 7200, correct_presigned=True) as session:
                        assert lead(clocks, rds(session)) == 7200

    def test_calls_are_corrected_still(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a call that is signed in its headers, and of one that is signed in its URL."""
        with StrictEndpoint(offset=7200) as endpoint, skewguard.install(correct_presigned=False):
            for version in ("v4", "v4-query"):
                endpoint.clear()
                ec2 = client("ec2", endpoint, signature_version=version)
                ec2.describe_regions()
                assert [record.status for record in endpoint.requests][-1] == 200


def test_only_what_is_handed_out_lasts(clocks: FakeClocks) -> None:
    """A client that signs its own calls in the URL can retry them."""
    guard = Guard(skewguard._process.Switch(), skewguard._process.process.keeper())
    sent, asked, bare = {"client_config": None}, {"client_config": None, "is_presign_request": True}, {}
    assert [Call(guard, "v4-query", b"", context).handed_out for context in (sent, asked, bare)] == [False, True, True]
    assert not Call(guard, "v4", b"", bare).handed_out


PLUGIN = """
import threading
from skewguard import host_clock
from skewguard.sources.auto import HostSources
from skewguard.timekeeping.polling import Poller
from tests.fakes import FakeSource

asked_for, join = threading.Event(), Poller.join
source = FakeSource(offset={ahead}, instant=False, gate=asked_for)
HostSources.tiers = lambda self: [(source,)]
Poller.join = lambda *arguments: (asked_for.set(), join(*arguments))[1]
host_clock.ask_kernel = lambda: (5, host_clock.TIMEX.pack(0, 0, 0, {error}, *[0] * 17))

def awscli_initialize(emitter):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [7200, -7200], ids=["slow", "fast"])
@pytest.mark.parametrize("error", [16_000_000, 1000], ids=["unsynchronized", "synchronized"])
def test_the_aws_cli_waits_for_the_hosts_own_sources(ahead: int, error: int, tmp_path: Path) -> None:
    """`aws eks get-token` makes no call, so only a source can tell the time; this one answers what waits for it."""
    arguments = ("eks", "get-token", "--cluster-name", "cluster")
    own = {"SKEWGUARD_SOURCES": "auto", "SKEWGUARD_TIMEOUT": str(PATIENCE)}
    printed = run_aws(tmp_path, PLUGIN.format(ahead=ahead, error=error), *arguments, **own)
    token = json.loads(printed)["status"]["token"].removeprefix("k8s-aws-v1.")
    expected = ahead if error > 1000 else 0
    assert signed_at(decoded(token).decode()) - time.time() == pytest.approx(expected, abs=60)
