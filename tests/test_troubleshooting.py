"""Each page about an error message quotes the real message, and describes what skewguard really does."""

from __future__ import annotations

import datetime
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import botocore.credentials
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

import skewguard
from skewguard.cli.doctor.machine import Machine
from skewguard.cli.doctor.remedies import choose
from skewguard.testing import StrictEndpoint
from tests import skew_fixtures
from tests.ntp_server import wall_server
from tests.pages import ROOT, blocks, masked
from tests.support import OPERATIONS, aws_client, https

INDEX = "docs/troubleshooting/index.md"
PAGES = ROOT / "docs" / "troubleshooting"
SLOW, FAST = 1200, -1200  # s: the server's clock minus this host's
EC2_KEY = ("AKIDSHORT", "secret", "token")


def kwargs(endpoint: StrictEndpoint) -> dict[str, Any]:
    return {name: value for name, value in endpoint.client_kwargs.items() if name != "endpoint_url"}


def calls(name: str) -> Callable[[StrictEndpoint], None]:
    """Return what makes one of `OPERATIONS` with a new client."""
    service, operation = OPERATIONS[name]
    return lambda endpoint: operation(aws_client(service, endpoint))


def presigned(endpoint: StrictEndpoint) -> None:
    """Make a URL that is valid for five minutes, and use it at once."""
    made = aws_client("s3", endpoint, signature_version="s3v4")
    url = made.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"}, ExpiresIn=300)
    trusting = ssl.create_default_context(cafile=endpoint.ca_bundle)
    with urllib.request.urlopen(url, context=trusting):
        pass


def old_token(service: str, operation: str) -> Callable[[StrictEndpoint], None]:
    """Use temporary credentials that have just expired."""

    def call(endpoint: StrictEndpoint) -> None:
        key, secret, token = EC2_KEY
        endpoint.add_credentials(key, secret, token, time.time() + endpoint.offset - 60)
        names = {"aws_access_key_id": key, "aws_secret_access_key": secret, "aws_session_token": token}
        getattr(boto3.client(service, **kwargs(endpoint) | names), operation)()

    return call


def refreshed(endpoint: StrictEndpoint) -> None:
    """Fetch credentials that are valid for ten minutes, by the server's clock."""
    boto3.Session()  # install() patches botocore's clocks with the first session
    now = datetime.datetime.now(datetime.timezone.utc)
    end = now + datetime.timedelta(seconds=endpoint.offset + 600)
    fetched = {"access_key": "k", "secret_key": "s", "token": "t", "expiry_time": end.isoformat()}
    made = botocore.credentials.RefreshableCredentials.create_from_metadata(fetched, lambda: fetched, "test")
    made.get_frozen_credentials()


def wrong_secret(endpoint: StrictEndpoint) -> None:
    boto3.client("sts", **kwargs(endpoint) | {"aws_secret_access_key": "wrong"}).get_caller_identity()


class Case(NamedTuple):
    """A page, a call that causes its error, and whether the call succeeds once skewguard knows the time."""

    page: str
    call: Callable[[StrictEndpoint], None]
    offset: int
    helped: bool


CASES = [
    Case("signature-expired", calls("sts"), SLOW, True),
    Case("signature-not-yet-current", calls("sts"), FAST, True),
    Case("request-time-too-skewed", calls("s3-list"), SLOW, True),
    Case("invalid-signature", calls("lambda"), SLOW, True),
    Case("auth-failure", calls("ec2"), SLOW, True),
    Case("request-expired", old_token("ec2", "describe_regions"), 0, False),
    Case("head-forbidden", calls("s3-head"), SLOW, True),
    Case("presigned-expired", presigned, SLOW, True),
    Case("presigned-not-yet-valid", presigned, FAST, True),
    Case("expired-token", old_token("sts", "get_caller_identity"), 0, False),
    Case("still-expired", refreshed, FAST, True),
    Case("signature-does-not-match", wrong_secret, 0, False),
]


def error_of(call: Callable[[StrictEndpoint], None], endpoint: StrictEndpoint) -> str:
    try:
        call(endpoint)
    except ClientError as error:
        return f"{error}\n{error.response}"
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except RuntimeError as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.fixture
def endpoint(aws: StrictEndpoint) -> StrictEndpoint:
    """AWS, on time until a test moves its clock."""
    aws.offset = 0
    return aws


def quoted(page: str) -> list[str]:
    """List the messages that a page shows, with numbers and the operation masked."""
    return [
        comparable(each.text) for each in blocks("text", again=True) if each.page == f"docs/troubleshooting/{page}.md"
    ]


def comparable(message: str) -> str:
    """Mask what differs between calls in a message."""
    return re.sub(r"when calling the \w+ operation", "when calling", masked(message)).strip()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.page)
def test_the_message_is_the_real_one(case: Case, endpoint: StrictEndpoint) -> None:
    """It matches word for word, except for numbers and the order of S3's elements."""
    endpoint.offset = case.offset
    found = comparable(error_of(case.call, endpoint))
    for part in re.split(r"(?<=>)(?=<)", quoted(case.page)[0].removeprefix("<Error>").removesuffix("</Error>")):
        assert part in found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.page)
def test_what_skewguard_does_about_it(case: Case, endpoint: StrictEndpoint) -> None:
    """The call succeeds, or it costs one request as without skewguard."""
    endpoint.offset = case.offset
    with wall_server(case.offset) as server, skewguard.install(sources=[server.uri], wait=5):
        assert (error_of(case.call, endpoint) == "") == case.helped
        assert endpoint.count <= 1


def test_the_message_of_other_stores() -> None:
    """The second message of the page is the one recorded from MinIO and Ceph."""
    message = quoted("request-time-too-skewed")[1]
    assert message == comparable(f"An error occurred (RequestTimeTooSkewed) when calling: {skew_fixtures.SERVERS}")


def test_certificates(tmp_path: Path) -> None:
    """TLS fails before any request, and the note shows what is known about the clock."""
    with https(tmp_path, 1, 10) as (url, variables):
        options = {"verify": variables["AWS_CA_BUNDLE"], "config": Config(retries={"total_max_attempts": 1})}
        with skewguard.install(), pytest.raises(SSLError) as raised:
            boto3.client("sts", region_name="us-east-1", endpoint_url=url, **options).get_caller_identity()
    (shown,) = quoted("certificate")
    expected = comparable(f"{type(raised.value).__module__}.SSLError: {raised.value}")
    expected = expected.replace(" or the system clock is incorrect", "")  # what OpenSSL 3.6 adds
    assert shown.replace("https://sts.amazonaws.com/", "URL") == re.sub(r"https://\S+", "URL", expected)
    assert not hasattr(raised.value, "add_note") or "this host's clock" in raised.value.__notes__[0]


def test_every_page_is_listed_and_tested() -> None:
    """The index links to each page, each has all sections, and these tests cover it."""
    names = {path.stem for path in PAGES.glob("*.md")} - {"index", "doctor"}
    assert names == {case.page for case in CASES} | {"certificate"}
    contents = (PAGES / "index.md").read_text("utf-8")
    for name in names:
        assert f"({name}.md)" in contents
        written = (PAGES / f"{name}.md").read_text("utf-8")
        for needed in ("## What it means", "## Is it the clock?", "## The fix", "## With skewguard"):
            assert written.count(f"\n{needed}\n") == 1
        for command in ("$ skewguard doctor", "`date -u`", "`chronyc tracking`"):
            assert command in " ".join(written.split()), (name, command)


def test_the_fixes_are_doctors() -> None:
    """The index shows the same commands as `skewguard doctor`."""
    typed = {line for each in blocks("console", again=True) if each.page == INDEX for line in each.commands()}
    systemd = Machine("linux", systemd=True, tools=frozenset({"timedatectl"}))
    places = [choose(systemd, (daemon,)) for daemon in ("chronyd", "systemd-timesyncd", "ntpd")]
    places += [choose(systemd, ()), choose(Machine("darwin"), None), choose(Machine("win32"), None)]
    assert typed == {"skewguard doctor", *(command for place in places for command in place.commands)}
