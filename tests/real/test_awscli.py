"""Ways in without a line of code, on a clock 20 minutes fast, against a server of another project.

The AWS CLI (version 1, as PyPI has it) lives in a virtual environment of its own, which has no skewguard.
"""

from __future__ import annotations

import os
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.testing import StrictEndpoint
from tests.real.faketime import FakeTime
from tests.real.need import need
from tests.real.servers import BUCKET, Server
from tests.support import completed

ROOT = Path(__file__).parents[2]
AWS = Path(os.environ.get("TEST_AWSCLI") or ROOT / ".venv-awscli").absolute() / "bin" / "aws"
SIZE = 100_000_000
EXEC = [sys.executable, "-m", "skewguard", "exec", "--"]

TOLD = "skewguard: this host's clock is "
"""The beginning of the line that `exec` shows on stderr where the program has no logging; the plugin shows none."""

UPLOAD = """
import sys
import boto3

boto3.client("s3").upload_file(*sys.argv[1:])
"""

CONFIG = """
[default]
retry_mode = standard

[profile off]
disable_clock_skew_correction = true
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 100 MB, sparse, so that it takes no space."""
    path = tmp_path_factory.mktemp("large") / "file"
    with path.open("wb") as file:
        file.truncate(SIZE)
    yield path
    path.unlink()


@pytest.fixture
def own_aws(tmp_path: Path) -> Path:
    """The CLI in a virtual environment of its own, to which `skewguard awscli enable` may add a file."""
    need(AWS.exists(), "the AWS CLI", "make setup")
    venv.create(tmp_path / "cli", symlinks=True)
    [modules] = (tmp_path / "cli").glob("lib/python*/site-packages")
    [installed] = AWS.parents[1].glob("lib/python*/site-packages")
    (modules / "awscli.pth").write_text(f"{installed}\n")
    own = tmp_path / "cli" / "bin" / "aws"
    own.write_text(f"#!{own.with_name('python')}\n" + AWS.read_text().partition("\n")[2])
    own.chmod(0o755)
    return own


@pytest.fixture
def plugged(own_aws: Path, tmp_path: Path) -> dict[str, str]:
    """Set up the plugin in that CLI; return the environment with its config file."""
    config = tmp_path / "config"
    config.write_text(CONFIG)
    environment = {"AWS_CONFIG_FILE": str(config), "HOME": str(tmp_path)}
    path = f"{own_aws.parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "skewguard", "awscli", "enable"]
    done = completed(*command, env=os.environ | environment | {"PATH": path}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return environment


def aws(*arguments: str | Path) -> list[str | Path]:
    need(AWS.exists(), "the AWS CLI", "make setup")
    return [AWS, *arguments]


def run_aws(directory: Path, plugin: str, *arguments: str, stdin: str = "", **variables: str) -> str:
    """Run the CLI with a plugin of a test's and then skewguard's; it must succeed; return its output."""
    (directory / "plugin_of_the_test.py").write_text(plugin)
    config = directory / "config"
    config.write_text("[plugins]\nmine = plugin_of_the_test\nskewguard = skewguard.contrib.awscli\n")
    environment = {
        **os.environ,
        "AWS_CONFIG_FILE": str(config),
        "PYTHONPATH": os.pathsep.join((str(directory), str(ROOT))),
        **variables,
    }
    done = completed(*aws(*arguments), env=environment, cwd=ROOT, input=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def upload(way: str, command: list[str | Path], environment: dict[str, str], server: Server, key: str) -> None:
    """Run a command that uploads; check that it is refused if it is unguarded, and that else all arrives."""
    done = completed(*(EXEC if way == "exec" else ()), *command, env=environment, cwd=ROOT)
    if way == "unguarded":
        assert done.returncode == 1
        assert "RequestTimeTooSkewed" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert [line.startswith(TOLD) for line in done.stderr.splitlines()] == [True] * (way == "exec")
    found = server.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents", [])
    assert sum(item["Size"] for item in found) == (0 if way == "unguarded" else SIZE)


class TestALargeUploadOnAClock20MinutesFast:
    """With each way in; and without, to show that it would fail."""

    @pytest.mark.parametrize("way", ["unguarded", "plugin", "exec"])
    def test_aws_s3_cp(
        self, way: str, fake_time: FakeTime, seaweedfs: Server, large: Path, request: pytest.FixtureRequest
    ) -> None:
        fake_time.shift("+20m")
        environment = fake_time.env(**seaweedfs.environment())
        environment.pop("PYTHONPATH", None)
        program = AWS
        if way == "plugin":
            environment |= request.getfixturevalue("plugged")
            program = request.getfixturevalue("own_aws")
        command = aws("s3", "cp", "--no-progress", large, f"s3://{BUCKET}/cli-{way}")
        upload(way, [program, *command[1:]], environment, seaweedfs, f"cli-{way}")

    @pytest.mark.parametrize("way", ["unguarded", "exec"])
    def test_a_python_script(
        self, way: str, fake_time: FakeTime, seaweedfs: Server, large: Path, tmp_path: Path
    ) -> None:
        fake_time.shift("+20m")
        script = tmp_path / "script.py"
        script.write_text(UPLOAD)
        command = [sys.executable, script, large, BUCKET, f"script-{way}"]
        upload(way, command, fake_time.env(**seaweedfs.environment()), seaweedfs, f"script-{way}")


class TestThePlugin:
    """The cost, and the off switch."""

    @pytest.mark.parametrize(
        ("arguments", "statuses"), [([], [403, 200]), (["--profile", "off"], [403])], ids=["", "switched off"]
    )
    def test_the_profile_that_the_cli_uses_decides(
        self,
        arguments: list[str],
        statuses: list[int],
        own_aws: Path,
        plugged: dict[str, str],
        slow_host: StrictEndpoint,
    ) -> None:
        """A refused command takes one request more; a profile with the off switch gets no correction."""
        environment = {**os.environ, **plugged, "AWS_ENDPOINT_URL": slow_host.url}
        # A named profile ignores the keys in the environment, so they are written into its file.
        keys = Path(plugged["AWS_CONFIG_FILE"]).with_name("credentials")
        pair = "aws_access_key_id = {AWS_ACCESS_KEY_ID}\naws_secret_access_key = {AWS_SECRET_ACCESS_KEY}\n"
        keys.write_text("[off]\n" + pair.format_map(os.environ))
        environment["AWS_SHARED_CREDENTIALS_FILE"] = str(keys)
        done = completed(own_aws, "sts", "get-caller-identity", *arguments, env=environment, cwd=ROOT)
        assert [record.status for record in slow_host.requests] == statuses, done.stderr
        assert done.returncode == (0 if statuses[-1] == 200 else 255)
