"""The AWS CLI version 2, as Debian ships it, on clocks 20 minutes off, with the plugin.

The tests move AWS's clock instead of the host's: the CLI's processes need nothing for that, and the difference is the
same.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from skewguard.testing import StrictEndpoint
from tests.real import awscli_cells
from tests.real.awscli import CLASSIC, LARGE, SMALL, Host, as_aws, furnish, log_in, proxy
from tests.real.awscli_cells import CLOCKS, COMMANDS, RELEASES, Command, has
from tests.support import client, with_bucket

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
    with proxy(_aws.port) as url:
        yield url


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


@pytest.fixture
def host(release: str, homes: dict[str, Host], aws: StrictEndpoint, through: str, directory: Path) -> Host:
    """A machine whose processes know nothing of the time, with the plugin set up."""
    if release not in homes:
        home = directory / release
        home.mkdir()
        homes[release] = Host(release, home, as_aws(aws, through))
        furnish(home, aws, CLASSIC if release == "sid" else "\n\n")
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


def handed_out(command: Command, output: str) -> tuple[str, dict[str, str]]:
    """Return the URL and the headers of the request for which a command has handed out a signature."""
    if "eks" in command.name:
        token = json.loads(output)["status"]["token"].removeprefix("k8s-aws-v1.")
        return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode(), {"x-k8s-aws-id": "cluster"}
    return (output if "presign" in command.name else f"https://{output}").strip(), {}


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
        url, headers = handed_out(command, later.stdout)
        assert accepted(aws, url, headers) == 200
        return
    assert [status for status in statuses if status >= 300] == statuses[: command.wasted]
    assert all(record.status < 300 for record in aws.requests)
    assert len(statuses) == aws.count + command.wasted


def test_the_table() -> None:
    """It is generated: `python -m tests.real.awscli_cells --write`."""
    assert awscli_cells.PAGE.read_text("utf-8") == awscli_cells.page()
