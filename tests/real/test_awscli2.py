"""The AWS CLI version 2, as Debian ships it, on clocks 20 minutes off, with the plugin.

The tests move AWS's clock instead of the host's: the CLI's processes need nothing for that, and the difference is the
same.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import ntplib
import pytest

import skewguard
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.real import awscli_cells
from tests.real.awscli import LARGE, SMALL, Host, as_aws, furnish, log_in, temporary
from tests.real.awscli_cells import CLOCKS, COMMANDS, RELEASES, Command, has
from tests.real.test_awscli import TOLD
from tests.support import client, decoded, with_bucket
from tests.tunnel import proxy

pytestmark = pytest.mark.slow

CELLS = [
    pytest.param(release, clock, command, id=f"{release}-{clock}-{command.name}")
    for release in RELEASES
    for clock in CLOCKS
    for command in COMMANDS
    if has(release, command)
]


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory in /tmp, which the releases see, too."""
    with tempfile.TemporaryDirectory(prefix="skewguard-", dir="/tmp") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def _aws() -> Iterator[StrictEndpoint]:
    with StrictEndpoint(tls=True) as running:
        with_bucket(running)
        s3 = client("s3", running)
        for key, body in (("small", SMALL), ("large", LARGE)):
            s3.put_object(Bucket="bucket", Key=key, Body=body)
        s3.close()
        yield running


@pytest.fixture(scope="module")
def through(_aws: StrictEndpoint) -> Iterator[str]:
    with proxy(_aws.port) as made:
        yield made.url


@pytest.fixture(scope="module")
def homes(directory: Path, _aws: StrictEndpoint, through: str) -> dict[str, Host]:
    return {}


@pytest.fixture
def aws(_aws: StrictEndpoint) -> Iterator[StrictEndpoint]:
    """AWS, as programs see it by a proxy."""
    _aws.clear()
    yield _aws
    _aws.offset = 0
    _aws.clear()


def own(release: str, aws: StrictEndpoint, through: str, home: Path, **variables: str) -> Host:
    """Make a machine with a new home."""
    return Host(release, home, as_aws(aws, through) | variables)


@pytest.fixture
def host(release: str, homes: dict[str, Host], aws: StrictEndpoint, through: str, directory: Path) -> Host:
    """A machine whose processes know nothing of the time, with the plugin set up."""
    if release not in homes:
        homes[release] = own(release, aws, through, directory / release)
        furnish(homes[release].home, aws, by_crt=release == "sid")
        done = homes[release].skewguard("awscli", "enable")
        assert done.returncode == 0, done.stderr
    found = homes[release]
    found.forget()
    return found


def accepted(aws: StrictEndpoint, url: str, headers: dict[str, str]) -> int:
    """Send what was handed out to the server; return its status."""
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", aws.port, context=ssl.create_default_context(cafile=aws.ca_bundle)
    )
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Host": parts.netloc, **headers})
    status = connection.getresponse().status
    connection.close()
    return status


def is_right(aws: StrictEndpoint, command: Command, output: str) -> bool:
    """Return whether the server accepts what a command has handed out, or would."""
    if "codecommit" in command.name:
        stamp, _, signature = output.partition("password=")[2].strip().partition("Z")
        return abs(parse_time(f"{stamp}Z") - aws.now() / 1e9) < 60 and len(signature) == 64
    if "eks" in command.name:
        token = json.loads(output)["status"]["token"].removeprefix("k8s-aws-v1.")
        return accepted(aws, decoded(token).decode(), {"x-k8s-aws-id": "cluster"}) == 200
    return accepted(aws, (output if "presign" in command.name else f"https://{output}").strip(), {}) == 200


@pytest.mark.parametrize(("release", "clock", "command"), CELLS)
def test_a_cell_of_the_table(host: Host, aws: StrictEndpoint, clock: str, command: Command) -> None:
    """One request more in the first process, none in later ones; what is handed out is right once the time is known."""
    if "login" in command.name:
        log_in(host.home, aws, 3600)
    aws.offset = CLOCKS[clock]
    first = host.run(command.lines.format(n=f"{clock}-1") if command.wasted is not None else COMMANDS[0].lines)
    assert (first.returncode, first.stderr) == (0, "")
    statuses = [record.status for record in aws.requests]
    aws.clear()
    later = host.run(command.lines.format(n=f"{clock}-2"))
    assert (later.returncode, later.stderr) == (0, "")
    if command.wasted is None:
        assert is_right(aws, command, later.stdout)
        return
    wasted = command.wasted_by(host.release)
    assert [status for status in statuses if status >= 300] == statuses[:wasted]
    assert all(record.status < 300 for record in aws.requests)
    assert len(statuses) == aws.count + wasted


@pytest.mark.parametrize(("release", "clock"), [("sid", clock) for clock in CLOCKS])
def test_a_login_is_renewed_by_a_proof_dated_now(host: Host, aws: StrictEndpoint, clock: str) -> None:
    """Once the time is known. Without that, the proof would be refused."""
    aws.offset = CLOCKS[clock]
    assert host.run("aws sts get-caller-identity").returncode == 0
    log_in(host.home, aws, 60)
    new = {"accessToken": temporary(aws, "ASIANEW", 900), "expiresIn": 900, "refreshToken": "r", "tokenType": "t"}
    aws.clear()
    aws.reply_next(200, {"Content-Type": "application/json"}, json.dumps(new).encode())
    done = host.run("aws sts get-caller-identity --profile login")
    assert (done.returncode, done.stderr) == (0, "")
    renewal, used = aws.requests
    assert (used.status, used.access_key) == (200, "ASIANEW")
    issued = json.loads(decoded(renewal.headers["dpop"].split(".")[1]))["iat"]
    assert abs(issued - aws.now() / 1e9) < 60


@pytest.mark.parametrize("release", ["sid"])
def test_on_a_right_clock_awscrts_client_is_left_alone(host: Host, aws: StrictEndpoint) -> None:
    seen = []
    for variables in ({}, {"AWS_DISABLE_CLOCK_SKEW_CORRECTION": "true"}):
        aws.clear()
        assert host.run("aws s3 cp large s3://bucket/right", **variables).returncode == 0
        seen.append(sorted((record.operation, record.status) for record in aws.requests))
        assert all("CRTS3NativeClient" in record.headers["user-agent"] for record in aws.requests)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("release", RELEASES)
def test_one_attempt_is_never_made_two(host: Host, aws: StrictEndpoint) -> None:
    """And the error says why."""
    aws.offset = 1200
    done = host.run("aws sts get-caller-identity", AWS_MAX_ATTEMPTS="1")
    assert "Signature expired: " in done.stderr
    assert [record.status for record in aws.requests] == [403]


@pytest.mark.parametrize("release", RELEASES)
def test_exec(release: str, aws: StrictEndpoint, through: str, directory: Path) -> None:
    """`skewguard exec -- aws ...` needs no config file."""
    aws.offset = 1200
    host = own(release, aws, through, directory / f"{release}-exec", AWS_DEFAULT_REGION="us-east-1")
    home = host.home
    package = Path(skewguard.__file__).parent
    shutil.copytree(package, home / "skewguard", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ntplib.__file__, home)
    done = host.skewguard("exec", "--", "aws", "sts", "get-caller-identity", cwd=home)
    assert done.returncode == 0, done.stderr
    assert [line.startswith(TOLD) for line in done.stderr.splitlines()] == [True]
    assert [record.status for record in aws.requests] == [403, 200]


@pytest.mark.parametrize("release", RELEASES)
def test_a_plugin_that_fails(release: str, aws: StrictEndpoint, through: str, directory: Path) -> None:
    """It says so once, and the command goes on. After `disable`, the file is as it was."""
    host = own(release, aws, through, directory / f"{release}-own")
    home = host.home
    furnish(home, aws)
    before = (home / ".aws" / "config").read_bytes()
    assert host.skewguard("awscli", "enable").returncode == 0
    assert host.skewguard("awscli", "status").returncode == 0
    shutil.rmtree(home / ".local" / "share" / "skewguard" / "awscli" / "skewguard")
    done = host.run("aws sts get-caller-identity")
    assert done.returncode == 0
    assert done.stderr == "skewguard: the AWS CLI is not guarded: No module named 'skewguard'\n"
    assert host.skewguard("awscli", "status").returncode == 1
    assert host.skewguard("awscli", "disable").returncode == 0
    assert (home / ".aws" / "config").read_bytes() == before


def test_the_table() -> None:
    """It is generated: `python -m tests.real.awscli_cells --write`."""
    assert awscli_cells.PAGE.read_text("utf-8") == awscli_cells.page()
