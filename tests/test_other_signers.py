"""The signers of other libraries, which read true time if `install` names them."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import skewguard
from skewguard.config import OTHER_SIGNERS
from skewguard.events import Degraded
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import Emitted, FakeSource
from tests.real.need import need
from tests.support import client

AHEAD = 1200
KEYS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
URL = "https://sts.us-east-1.amazonaws.com/"


def load(module: str, name: str) -> Any:
    """Import a library, or skip."""
    need(importlib.util.find_spec(module.partition(".")[0]) is not None, name, f"pip install {name}")
    return importlib.import_module(module)


def prepared(auth: Any) -> str:
    """Sign a request of requests' by one of its authenticators; return the timestamp."""
    import requests

    request = requests.Request("GET", URL, auth=auth).prepare()
    return str(request.headers["x-amz-date"])


def awscrt() -> str:
    auth = load("awscrt.auth", "awscrt")
    when: datetime.datetime = auth.AwsSigningConfig().date
    return when.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def aws_requests_auth() -> str:
    module = load("aws_requests_auth.aws_auth", "aws-requests-auth")
    return prepared(module.AWSRequestsAuth(*KEYS, "sts.us-east-1.amazonaws.com", "us-east-1", "sts"))


def hvac() -> str:
    module = load("hvac.aws_utils", "hvac")
    signed = module.generate_sigv4_auth_request()
    module.SigV4Auth(*KEYS).add_auth(signed)
    return str(signed.headers["X-Amz-Date"])


def minio() -> str:
    module = load("minio.time", "minio")
    return str(module.to_amz_date(module.utcnow()))


def requests_auth_aws_sigv4() -> str:
    module = load("requests_auth_aws_sigv4", "requests-auth-aws-sigv4")
    keys = dict(zip(("aws_access_key_id", "aws_secret_access_key"), KEYS, strict=True))
    return prepared(module.AWSSigV4("sts", region="us-east-1", **keys))


def requests_aws4auth() -> str:
    module = load("requests_aws4auth.aws4auth", "requests-aws4auth")
    return prepared(module.AWS4Auth(*KEYS, "us-east-1", "sts"))


def s3cmd() -> str:
    module = load("S3.Crypto", "s3cmd")
    config = importlib.import_module("S3.Config").Config()
    config.access_key, config.secret_key = KEYS
    signed = module.sign_request_v4("GET", "bucket.s3.amazonaws.com", "/", {}, "us-east-1", {}, "")
    return str(signed["x-amz-date"])


SIGNERS: dict[str, Callable[[], str]] = {
    sign.__name__.replace("_", "-"): sign
    for sign in (awscrt, aws_requests_auth, hvac, minio, requests_auth_aws_sigv4, requests_aws4auth, s3cmd)
}


def test_each_is_tried() -> None:
    assert set(SIGNERS) == set(OTHER_SIGNERS)


def off_by(stamp: str) -> float:
    """How far a timestamp is ahead of this host's clock, s."""
    return parse_time(stamp) - datetime.datetime.now(datetime.timezone.utc).timestamp()


@pytest.mark.parametrize("ahead", [AHEAD, -AHEAD])
@pytest.mark.parametrize("name", SIGNERS)
@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")
def test_right_once_the_time_is_known(name: str, ahead: int) -> None:
    """And by the wall clock before, without being named, and after."""
    sign = SIGNERS[name]
    assert abs(off_by(sign())) < 30
    with skewguard.install(sources=[FakeSource(offset=ahead)]):
        assert abs(off_by(sign())) < 30
    with skewguard.install(sources=[FakeSource(offset=ahead)], other_signers=[name]):
        assert abs(off_by(sign()) - ahead) < 30
    assert abs(off_by(sign())) < 30


def test_a_server_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    module = load("requests_aws4auth", "requests-aws4auth")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with StrictEndpoint(offset=AHEAD, tls=True) as aws, aws.as_aws(), requests.Session() as session:
        session.auth = module.AWS4Auth(*KEYS, "us-east-1", "sts")
        options: dict[str, Any] = {"params": {"Action": "GetCallerIdentity", "Version": "2011-06-15"}}
        options["verify"] = aws.ca_bundle
        assert session.get(URL, **options).status_code == 403
        with skewguard.install(sources=[FakeSource(offset=AHEAD)], other_signers="requests-aws4auth"):
            assert session.get(URL, **options).status_code == 200


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A library whose module reads the clock by the class."""
    made = ModuleType("other_signer")
    made.datetime = datetime.datetime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "other_signer", made)
    monkeypatch.setitem(OTHER_SIGNERS, "other", "other_signer")
    return made


def test_the_class_stays_one(library: Any) -> None:
    """All else that the library does with it works as before."""
    with skewguard.install(sources=[FakeSource(offset=AHEAD)], other_signers=["other"]):
        when = library.datetime(2026, 1, 2)
        assert isinstance(when, library.datetime)
        assert library.datetime.strptime("2026", "%Y").year == 2026
        assert library.datetime.now().tzinfo is None


def test_a_claim_is_not_enough(library: Any) -> None:
    """Whatever a server has refused elsewhere: no retry could mend what is signed here."""
    with StrictEndpoint(offset=AHEAD) as endpoint, skewguard.install(sources="response", other_signers="other"):
        client("sts", endpoint).get_caller_identity()
        assert abs((library.datetime.now() - datetime.datetime.now()).total_seconds()) < 30


def test_a_library_that_has_changed(library: Any, emitted: Emitted) -> None:
    """It is left alone, and an event says so."""
    del library.datetime
    skewguard.install(sources="response", other_signers=["other"])
    (found,) = emitted.of(Degraded)
    assert (found.part, found.reason) == (
        "signing by other_signer",
        "other_signer reads the wall clock by another name than datetime",
    )


def test_an_unknown_one() -> None:
    with pytest.raises(
        skewguard.ConfigError, match="'boto' is not a library whose signer is known; there are awscrt, "
    ):
        skewguard.install(other_signers=["requests-aws4auth", "boto"])
