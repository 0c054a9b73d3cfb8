"""Real libraries that use botocore's signers without a client: opensearch-py, and the signer of Kafka's tokens."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

import skewguard
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource
from tests.real.need import need
from tests.support import decoded, signed_at

AHEAD = 7200  # s: the lead of true time over this host's clock
HOST = "search-mine.us-east-1.es.amazonaws.com"


def load(module: str, package: str) -> Any:
    """Import a library, or skip."""
    need(importlib.util.find_spec(module.partition(".")[0]) is not None, package, f"pip install {package}")
    return importlib.import_module(module)


@pytest.fixture
def aws() -> Iterator[StrictEndpoint]:
    """AWS's names, on true time."""
    with StrictEndpoint(tls=True, offset=AHEAD) as endpoint, endpoint.as_aws():
        yield endpoint


@pytest.mark.parametrize("kind", ["Urllib3", "Requests"])
def test_opensearch_py(aws: StrictEndpoint, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused for its clock by itself, served once skewguard is installed: signature and time are checked."""
    library = load("opensearchpy", "opensearch-py")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # these would override the CA file below
        monkeypatch.delenv(name, raising=False)
    keys = aws.client_kwargs
    session = botocore.session.Session()
    session.set_credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"])
    search = library.OpenSearch(
        hosts=[{"host": HOST, "port": 443}],
        http_auth=getattr(library, f"{kind}AWSV4SignerAuth")(session.get_credentials(), "us-east-1", "es"),
        connection_class=getattr(library, f"{kind}HttpConnection"),
        use_ssl=True,
        verify_certs=True,
        ca_certs=str(aws.ca_bundle),
        max_retries=0,
    )
    try:
        with pytest.raises(library.exceptions.AuthorizationException):
            search.transport.perform_request("GET", "/_search", params={"q": "a"})
        with skewguard.install(sources=[FakeSource(offset=AHEAD)]):
            search.transport.perform_request("GET", "/_search", params={"q": "a"})
            search.transport.perform_request("POST", "/mine/_doc", body={"a": "é"})
    finally:
        search.close()
    assert [record.status for record in aws.requests] == [403, 200, 200]


def test_kafkas_tokens() -> None:
    """A presigned URL, dated by true time; and its expiry, which Kafka's clients compare with the wall clock."""
    library = load("aws_msk_iam_sasl_signer.MSKAuthTokenProvider", "aws-msk-iam-sasl-signer-python")

    def made() -> tuple[int, int]:
        token, until = library.generate_auth_token("us-east-1")
        return signed_at(decoded(token).decode()), until

    plain, expires = made()
    assert expires == (plain + 900) * 1000
    with skewguard.install(sources=[FakeSource(offset=AHEAD)]):
        when, until = made()
    assert AHEAD <= when - plain < AHEAD + 30
    assert 0 <= until - expires < 30_000
    plain, expires = made()
    assert expires == (plain + 900) * 1000


@pytest.mark.parametrize("ahead", [1200, -1200])
def test_kafkas_client(ahead: int) -> None:
    """It takes the token on a host that is slow or fast, and will renew it in time: it is good for 15 minutes."""
    library = load("aws_msk_iam_sasl_signer.MSKAuthTokenProvider", "aws-msk-iam-sasl-signer-python")
    kafka = load("confluent_kafka", "confluent-kafka")
    lengths = []

    def token(_config: str) -> tuple[str, float]:
        made, until = library.generate_auth_token("us-east-1")
        lengths.append(until / 1000 - time.time())
        return made, until / 1000

    with skewguard.install(sources=[FakeSource(offset=ahead)]):
        kafka.Producer(
            {
                "bootstrap.servers": "127.0.0.1:1",
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanisms": "OAUTHBEARER",
                "oauth_cb": token,
                "log_level": 0,
            }
        )
    assert lengths[0] == pytest.approx(900, abs=30)
