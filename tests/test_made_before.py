"""Clients, sessions and resources that were made before `install`: guarded from their next signing on."""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from botocore.model import ServiceId
from botocore.session import Session
from botocore.signers import RequestSigner

import skewguard
from skewguard import _reach
from skewguard.events import Degraded
from skewguard.signing import unrecorded
from skewguard.signing.patches import library
from skewguard.signing.patches.signers import WHO
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import Emitted, FakeSource
from tests.patience import PATIENCE, in_threads
from tests.support import OPERATIONS, client, code_of, statuses, with_bucket

OFF = "disable_clock_skew_correction = true"


@pytest.fixture(params=[1200, -1200], ids=["slow", "fast"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[StrictEndpoint]:
    """A server 20 minutes from this host's clock, either way."""
    with StrictEndpoint(offset=request.param) as running:
        yield running


def from_a_session(endpoint: StrictEndpoint) -> Callable[[], Any]:
    session, made = boto3.Session(), []

    def call() -> Any:
        if not made:  # after `install`
            made.append(client("sts", endpoint, session))
        return made[0].get_caller_identity()

    return call


def from_a_botocore_session(endpoint: StrictEndpoint) -> Callable[[], Any]:
    made = botocore.session.get_session().create_client("sts", **endpoint.client_kwargs)
    return made.get_caller_identity  # type: ignore[no-any-return]


def from_a_resource(endpoint: StrictEndpoint) -> Callable[[], Any]:
    with_bucket(endpoint)
    bucket = boto3.resource("s3", **endpoint.client_kwargs).Bucket("bucket")
    return lambda: [item.key for item in bucket.objects.all()]


WAYS: dict[str, Callable[[StrictEndpoint], Callable[[], Any]]] = {
    "client": lambda endpoint: client("sts", endpoint).get_caller_identity,
    "session": from_a_session,
    "botocore_session": from_a_botocore_session,
    "resource": from_a_resource,
    "default_session": lambda endpoint: boto3.client("sts", **endpoint.client_kwargs).get_caller_identity,
}


@pytest.mark.parametrize("way", WAYS)
def test_the_first_call_takes_one_retry_and_the_next_none(
    way: str, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it had been made after `install`; it is as before after `uninstall`, and guarded by the next one."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    call = WAYS[way](endpoint)
    for _ in range(2):
        with skewguard.install():
            assert statuses(endpoint, call) == [403, 200]
            assert statuses(endpoint, call) == [200]
        assert statuses(endpoint, call) == [403]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_protocol(operation: str, endpoint: StrictEndpoint) -> None:
    with_bucket(endpoint)
    service, call = OPERATIONS[operation]
    made = client(service, endpoint)
    with skewguard.install():
        call(made)
        assert endpoint.count == 2
        call(made)
        assert endpoint.count == 3


def test_a_client_that_has_made_calls(endpoint: StrictEndpoint) -> None:
    """What botocore has cached of its event handlers does not matter."""
    sts = client("sts", endpoint)
    assert statuses(endpoint, sts.get_caller_identity) == [403]
    with skewguard.install():
        assert statuses(endpoint, sts.get_caller_identity) == [403, 200]


def test_the_caller_decides_how_often_it_is_tried(endpoint: StrictEndpoint) -> None:
    sts = client("sts", endpoint, retries={"total_max_attempts": 1})
    with skewguard.install():
        assert statuses(endpoint, sts.get_caller_identity) == [403]
        assert statuses(endpoint, sts.get_caller_identity) == [200]  # the first call has taught the time


def test_it_is_adopted_once(endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on its calls are recorded by its event handlers."""
    sts = client("sts", endpoint)
    with skewguard.install():
        sts.get_caller_identity()
        monkeypatch.setattr(unrecorded, "signing_of", lambda _: pytest.fail("searched"))
        assert statuses(endpoint, sts.get_caller_identity) == [200]


def test_what_plain_botocore_would_date_is_dated_by_true_time() -> None:
    """URLs, forms and tokens, the first included. Some have no context, so only a wrong clock shows who signs."""
    ways: list[Callable[[], str]] = [
        lambda: client_of("s3").generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"}),
        lambda: str(client_of("s3").generate_presigned_post("bucket", "key")["fields"]["x-amz-date"]),
        lambda: client_of("rds").generate_db_auth_token("db.abc.us-east-1.rds.amazonaws.com", 3306, "me"),
        eks_token,
    ]
    for hand_out in ways:
        client_of.cache_clear()
        client_of("s3"), client_of("rds"), client_of("sts")
        with skewguard.install(sources=[FakeSource(offset=7200)]):
            for _ in range(2):
                assert 7190 < lead(hand_out()) < 7260
        assert abs(lead(hand_out())) < 60


@functools.cache
def client_of(service: str) -> Any:
    """Return the client of a service, which is made once."""
    options = botocore.config.Config(signature_version="s3v4") if service == "s3" else None
    return boto3.Session().client(service, region_name="us-east-1", config=options)


def eks_token() -> str:
    """Sign as programs do that make tokens for Kubernetes."""
    session = botocore.session.get_session()
    emitter = session.get_component("event_emitter")
    signer = RequestSigner(ServiceId("STS"), "us-east-1", "sts", "v4", session.get_credentials(), emitter)
    url = "https://sts.us-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15"
    request = {"method": "GET", "url": url, "body": {}, "headers": {"x-k8s-aws-id": "c"}, "context": {}}
    return str(signer.generate_presigned_url(request, operation_name="", expires_in=60, region_name="us-east-1"))


def lead(text: str) -> float:
    """Return the lead of the time that a URL or form carries over the wall clock, s."""
    query = urllib.parse.parse_qs(text.partition("?")[2])
    stamp = query["X-Amz-Date"][0] if query else text
    return parse_time(stamp) - datetime.datetime.now(datetime.timezone.utc).timestamp()


class TestLeftAlone:
    """What is decided about one client or session, `install` does not change."""

    @pytest.mark.parametrize(
        "decide",
        [lambda target: skewguard.attach(target, enabled=False), skewguard.detach],
        ids=["attached switched off", "detached"],
    )
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_client(self, decide: Callable[[Any], None], when: str, endpoint: StrictEndpoint) -> None:
        """It stays unguarded until it is attached."""
        sts = client("sts", endpoint)
        if when == "before":
            decide(sts)
        with skewguard.install():
            if when == "after":
                decide(sts)
            assert statuses(endpoint, sts.get_caller_identity) == [403]
            skewguard.attach(sts)
            assert statuses(endpoint, sts.get_caller_identity) == [403, 200]

    def test_a_sessions_later_clients(self, endpoint: StrictEndpoint) -> None:
        """They inherit it."""
        session = boto3.Session()
        skewguard.detach(session)
        with skewguard.install():
            assert statuses(endpoint, client("sts", endpoint, session).get_caller_identity) == [403]

    def test_what_is_attached_keeps_its_guard(self, endpoint: StrictEndpoint) -> None:
        sts = client("sts", endpoint)
        skewguard.attach(sts)
        with skewguard.install():
            assert statuses(endpoint, sts.get_caller_identity) == [403, 200]
        assert statuses(endpoint, sts.get_caller_identity) == [403, 200]

    @pytest.fixture
    def profiles(self, endpoint: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        keys = "".join(f"{name} = {text}\n" for name, text in endpoint.client_kwargs.items() if name.startswith("aws_"))
        path = tmp_path / "config"
        path.write_text(f"[profile on]\n{keys}[profile off]\n{keys}{OFF}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))

    @pytest.mark.usefixtures("profiles")
    @pytest.mark.parametrize(("profile", "expected"), [("off", [403]), ("on", [403, 200])])
    def test_a_profile(self, profile: str, expected: list[int], endpoint: StrictEndpoint) -> None:
        """Its session is found among those that exist."""
        session = boto3.Session(profile_name=profile)
        sts = session.client("sts", region_name="us-east-1", endpoint_url=endpoint.url)
        with skewguard.install():
            assert statuses(endpoint, sts.get_caller_identity) == expected
        with skewguard.install(enabled=True):
            assert statuses(endpoint, sts.get_caller_identity) == [403, 200]

    @pytest.mark.usefixtures("profiles")
    def test_a_profile_that_cannot_be_found(self, endpoint: StrictEndpoint) -> None:
        """The session is gone, and a profile that switches correction off exists: that may have been its own."""
        sts = boto3.Session(profile_name="on").client("sts", region_name="us-east-1", endpoint_url=endpoint.url)
        gc.collect()
        with skewguard.install():
            assert statuses(endpoint, sts.get_caller_identity) == [403]

    @pytest.mark.usefixtures("profiles")
    def test_the_profile_of_the_default_session(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is found in a frozen heap, too, which gunicorn and others make before they fork."""
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session(profile_name="on"))
        sts = boto3.client("sts", region_name="us-east-1", endpoint_url=endpoint.url)
        monkeypatch.setattr(gc, "get_objects", list)
        with skewguard.install():
            assert statuses(endpoint, sts.get_caller_identity) == [403, 200]


class TestNothingBreaks:
    def test_switched_off_nothing_is_patched(self) -> None:
        """What makes clients, and what judges credentials, is botocore's own."""
        held = lambda: (Session.create_client, RefreshableCredentials._is_expired)
        before = held()
        with skewguard.install(enabled=False):
            assert held() == before
        with skewguard.install():
            assert Session.create_client is not before[0]

    def test_threads_that_adopt_at_once(self, endpoint: StrictEndpoint) -> None:
        """The client gets one set of event handlers, and every call is guarded."""
        for _ in range(5):
            sts = client("sts", endpoint, max_pool_connections=20)
            together = threading.Barrier(8)
            codes: list[str] = []

            def call(sts: Any = sts, together: threading.Barrier = together, codes: list[str] = codes) -> None:
                together.wait(PATIENCE)
                codes.append(code_of(sts.get_caller_identity))

            with skewguard.install():
                in_threads(8, call)
                assert codes == [""] * 8
                assert len(sts.meta.events.emit(WHO)) == 1
                for event in ("before-sign.sts.GetCallerIdentity", "needs-retry.sts.GetCallerIdentity"):
                    handlers = sts.meta.events._emitter._handlers.prefix_search(event)
                    assert sum(getattr(each, "__module__", "").startswith("skewguard") for each in handlers) == 1

    def test_a_failure_leaves_the_call_to_botocore(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever goes wrong while a client is adopted."""
        endpoint.offset = 0
        sts = client("sts", endpoint)
        monkeypatch.setattr(_reach, "hook", lambda *_, **__: 1 / 0)
        with skewguard.install():
            assert statuses(endpoint, sts.get_caller_identity) == [200]

    def test_where_signing_cannot_be_corrected_nothing_is_retried_or_told(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, emitted: Emitted
    ) -> None:
        """One event says why."""
        monkeypatch.delattr(botocore.auth, library.clock_name())
        sts = client("sts", endpoint)
        with skewguard.install():
            with contextlib.suppress(NameError):  # raised by botocore itself, unless it signs with awscrt
                assert statuses(endpoint, sts.get_caller_identity) == [403]
            assert not skewguard.status().correcting
        assert [type(event) for event in emitted] == [Degraded]
