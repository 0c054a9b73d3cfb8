"""First calls over TLS on clocks that are years off, with processes, packets and OpenSSL's own reading of the clock.

The certificates of AWS, which the tests play, are valid for ten days around now, as those of real servers may be.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.testing import StrictEndpoint
from skewguard.timekeeping.certificates import RELEASED
from tests.ntp_server import SECOND, wall_server
from tests.real.faketime import FakeTime
from tests.real.test_awscli import own_aws, plugged  # noqa: F401 - fixtures
from tests.support import TO_AWS, aws_environment, completed, valid_around

pytestmark = pytest.mark.slow

PROGRAM = (
    """
import json, sys
import boto3
import skewguard
from skewguard.interval import Trust
from skewguard.sources import from_uri
"""
    + TO_AWS
    + """
class Authenticating:
    # As NTS would be: what an NTP server says, with proof.
    def __init__(self, uri):
        self.name, self.server = "nts" + uri, from_uri(uri)
    def measure(self, clocks, deadline):
        return self.server.measure(clocks, deadline)._replace(trust=Trust.AUTHENTICATED)

sources = [Authenticating(uri[1:]) if uri[0] == "+" else uri for uri in sys.argv[2:]]
with redirected(to_aws, {"no_proxy": "*"}):
    skewguard.install(sources=sources, share=False)
    sts = boto3.client("sts")
    try:
        sts.get_caller_identity()
        print("ok")
    except Exception as error:
        print(type(error).__name__, error)
        print(*getattr(error, "__notes__", [""]))
        sys.exit(1)
    for line in sys.stdin:
        boto3.client("sts").get_caller_identity()
        print("ok", flush=True)
"""
)

RELEASE = datetime.datetime.fromtimestamp(RELEASED / SECOND, datetime.timezone.utc)
BEFORE_RELEASE = f"@{RELEASE - datetime.timedelta(days=40):%Y-%m-%d} 00:00:00"
AFTER_RELEASE = f"@{RELEASE + datetime.timedelta(days=1):%Y-%m-%d} 00:00:00"


@pytest.fixture(scope="module")
def aws() -> Iterator[StrictEndpoint]:
    """AWS, with certificates that are valid now."""
    with pytest.MonkeyPatch.context() as patch:
        valid_around(datetime.datetime.now(datetime.timezone.utc), patch)
        with StrictEndpoint(tls=True) as running:
            yield running


@contextlib.contextmanager
def ntp(count: int) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(wall_server()).uri for _ in range(count)]


def environment(aws: StrictEndpoint, *, option: bool) -> dict[str, str]:
    found = {name: value for name, value in aws_environment(aws).items() if name.startswith("AWS_")}
    return found | {"SKEWGUARD_TRUE_TIME_TLS": str(option).lower(), "PYTHONWARNINGS": "ignore"}


@pytest.mark.parametrize(
    ("when", "sources", "authenticated"),
    [
        ("@1970-01-01 00:01:00", 1, False),
        (BEFORE_RELEASE, 1, False),  # an image's own day, before the release
        (AFTER_RELEASE, 2, False),  # and after it
        ("@2040-01-01 00:00:00", 1, True),
    ],
)
def test_boto3(when: str, sources: int, authenticated: bool, aws: StrictEndpoint, tmp_path: Path) -> None:
    """With the option, the first request is right; without it, none is sent, and a note names the option."""
    with ntp(sources) as uris, FakeTime(tmp_path, when) as clock:
        named = ["+" * authenticated + uri for uri in uris]
        aws.clear()
        done = clock.run(PROGRAM, str(aws.port), *named, env=environment(aws, option=True))
        assert done.stdout == "ok\n"
        assert [one.status for one in aws.requests] == [200]
        aws.clear()
        done = clock.run(PROGRAM, str(aws.port), *named, env=environment(aws, option=False), check=False)
        assert done.stdout.startswith("SSLError SSL validation failed for https://sts.us-east-1.amazonaws.com/ [SSL:")
        assert "true_time_tls=True would judge them by true time" in done.stdout + done.stderr
        assert aws.requests == []


@pytest.mark.parametrize("when", [AFTER_RELEASE, "@2040-01-01 00:00:00"])
def test_one_server_is_not_enough_everywhere(when: str, aws: StrictEndpoint, tmp_path: Path) -> None:
    """It may be a liar, and the clock may be right."""
    aws.clear()
    with ntp(1) as uris, FakeTime(tmp_path, when) as clock:
        done = clock.run(PROGRAM, str(aws.port), *uris, env=environment(aws, option=True), check=False)
    assert "true_time_tls does not apply: one source is not enough" in done.stdout + done.stderr
    assert aws.requests == []


@pytest.mark.parametrize(("when", "succeeds"), [("@1970-01-02 00:00:00", True), ("@2040-01-01 00:00:00", False)])
def test_a_clock_that_is_set_wrong(when: str, succeeds: bool, aws: StrictEndpoint, tmp_path: Path) -> None:
    """What AWS has answered before is authenticated knowledge, without any source.

    But after a jump forward the machine may have been frozen until 2040.
    """
    aws.clear()
    with FakeTime(tmp_path) as clock:
        child = clock.popen(PROGRAM, str(aws.port), "response", env=environment(aws, option=True))
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ok\n"
        clock.shift(when)
        child.stdin.write("again\n")
        child.stdin.flush()
        assert child.stdout.readline() == ("ok\n" if succeeds else "")
    assert [one.status for one in aws.requests] == [200] * (1 + succeeds)


@pytest.mark.parametrize("option", [True, False])
def test_the_plugin_of_the_aws_cli(
    option: bool,
    aws: StrictEndpoint,
    own_aws: Path,  # noqa: F811
    plugged: dict[str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Version 1, at 1970, with one NTP server."""
    aws.clear()
    with ntp(1) as uris, FakeTime(tmp_path, "@1970-01-01 00:01:00") as clock:
        own = environment(aws, option=option) | plugged | {"SKEWGUARD_SOURCES": uris[0], "SKEWGUARD_SHARE": "false"}
        command = [own_aws, "sts", "get-caller-identity", "--endpoint-url", f"https://localhost:{aws.port}"]
        done = completed(*command, env=clock.env(**own), cwd=os.sep)
    if option:
        assert done.returncode == 0, done.stderr
        assert aws.requests[-1].status == 200
    else:
        assert "certificate is not yet valid" in done.stderr
        assert aws.requests == []
