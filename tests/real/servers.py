"""Real servers on loopback that check signatures and dates, all written by others.

ministack speaks AWS's protocols in AWS's words; rclone and SeaweedFS are S3-compatible stores, each of which
refuses a wrong clock in its own way. They live in a virtual environment of their own, because ministack pins botocore.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.patience import PATIENCE
from tests.real.faketime import end
from tests.real.need import need
from tests.real.starting import NotReadyError, free_ports, persistently

BIN = Path(os.environ.get("TEST_SERVERS") or Path(__file__).parents[2] / ".venv-servers").absolute() / "bin"
BUCKET = "test-bucket"
"""A bucket on every server; some refuse names of two letters."""
KEY, BODY = "ready", b"steady"
"""An object in it."""
ACCESS_KEY, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: Where it listens, ``http://127.0.0.1:PORT`` or ``https://``.
        access_key: A key it knows, allowed everything.
        secret_key: Its secret.
        verify: The file of the authority that signed its certificate; None over plain http.
        pid: Its process id.
    """

    url: str
    access_key: str
    secret_key: str
    verify: str | None
    pid: int

    def client(self, service: str, *, session: Any = None, secret_key: str | None = None, **config: Any) -> Any:
        session = session or botocore.session.Session()
        make = getattr(session, "create_client", None) or session.client
        return make(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            verify=self.verify,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=secret_key or self.secret_key,
            # A proxy from the machine's environment does not lead to loopback.
            config=Config(**{"s3": {"addressing_style": "path"}, "proxies": {}, **config}),
        )

    def environment(self) -> dict[str, str]:
        """Return the environment in which ``boto3.client(service)`` alone is a client of this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            **({"AWS_CA_BUNDLE": self.verify} if self.verify else {}),
        }


def counted(client: Any) -> list[int | str]:
    """Collect the outcome of each request of this client from now on: the status, or the exception's name.

    Real servers do not count requests. Requests of other clients (STS for a role's credentials) and those sent without
    a client (presigned URLs) are not seen; S3's redirector sends a HeadBucket of its own after a bare 400 or 403.
    """
    seen: list[int | str] = []

    def note(response_dict: Mapping[str, Any] | None = None, exception: Exception | None = None, **_: Any) -> None:
        seen.append(type(exception).__name__ if response_dict is None else int(response_dict["status_code"]))

    client.meta.events.register("response-received", note)
    return seen


@dataclass(frozen=True)
class Authority:
    """A throw-away certificate authority, and one certificate of it for loopback: three PEM files."""

    ca: Path
    certificate: Path
    key: Path


def authority(directory: Path) -> Authority:
    made = Authority(directory / "ca.pem", directory / "certificate.pem", directory / "key.pem")
    ca = trustme.CA()
    issued = ca.issue_cert("127.0.0.1", "localhost")
    ca.cert_pem.write_to_path(str(made.ca))
    issued.private_key_pem.write_to_path(str(made.key))
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(str(made.certificate), append=number > 0)
    return made


def ministack(
    tls: Authority | None = None, environment: Mapping[str, str] | None = None
) -> AbstractContextManager[Server]:
    """Run ministack: every AWS protocol, with AWS's messages, and a tolerance of 15 minutes, or 5 for some services.

    Args:
        tls: Serve https with this.
        environment: More variables, such as `FakeTime.env()`, which lets a test step the *server's* clock.
    """
    return persistently(functools.partial(_ministack, tls, environment or {}))


@contextlib.contextmanager
def _ministack(tls: Authority | None, environment: Mapping[str, str]) -> Iterator[Server]:
    [port] = free_ports()
    variables = {
        "AUTH": "true",  # without it nothing at all is checked
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # these two would open ports of their own
        "SFTP_ENABLED": "0",
    }
    # Its own command would also take port 443 when it serves https; this is what its --detach runs, in one process.
    command = [_binary("python", "ministack"), "-m", "hypercorn", "ministack.app:app"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", "0", "--keep-alive", "75"]
    if tls:
        variables |= {"USE_SSL": "1", "MINISTACK_SSL_CERT": str(tls.certificate), "MINISTACK_SSL_KEY": str(tls.key)}
        command += ["--certfile", str(tls.certificate), "--keyfile", str(tls.key)]
    with _running(command, {**environment, **variables}) as process:
        url, verify = f"{'https' if tls else 'http'}://127.0.0.1:{port}", str(tls.ca) if tls else None
        # Root keys are not verified, so they create a user, whose key is.
        root = Server(url, "test", "test", verify, process.pid)
        iam = root.client("iam", **_ONCE)
        _until_ready(process, lambda: iam.create_user(UserName="user"))
        allowed = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam.put_user_policy(UserName="user", PolicyName="all", PolicyDocument=allowed)
        key = iam.create_access_key(UserName="user")["AccessKey"]
        server = Server(url, key["AccessKeyId"], key["SecretAccessKey"], verify, process.pid)
        _with_bucket(process, server)
        yield server


def rclone() -> AbstractContextManager[Server]:
    """Run ``rclone serve s3``, over plain http: a slow clock is 400 AccessDenied, a fast one 403 RequestTimeTooSkewed.

    Over https it refuses botocore's uploads, with no skew at all.
    """
    return persistently(_rclone)


@contextlib.contextmanager
def _rclone() -> Iterator[Server]:
    [port] = free_ports()
    address = f"127.0.0.1:{port}"
    command = [_binary("rclone", "rclone"), "serve", "s3", "--config", os.devnull, "--addr", address]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "."]
    with _running(command) as process:
        server = Server(f"http://{address}", ACCESS_KEY, SECRET_KEY, None, process.pid)
        _with_bucket(process, server)
        yield server


def seaweedfs(tls: Authority) -> AbstractContextManager[tuple[Server, Server]]:
    """Run SeaweedFS, one process with two addresses for the same data: http, and https with `tls`."""
    return persistently(functools.partial(_seaweedfs, tls))


@contextlib.contextmanager
def _seaweedfs(tls: Authority) -> Iterator[tuple[Server, Server]]:
    # Every port is given: the defaults are well-known ones, the same for every user of the machine.
    names = ["s3.port", "s3.port.https", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port"]
    names += ["volume.port.grpc", "filer.port", "filer.port.grpc"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    ports["admin.port"] = _free_pair(10_000)  # its second port is always 10 000 higher, whatever its options
    command = [_binary("weed", "seaweedfs"), "mini", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += [f"-s3.cert.file={tls.certificate}", f"-s3.key.file={tls.key}", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-admin.ui=false", "-webdav=false", "-master.telemetry=false"]
    try:
        with _running(command, {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}) as process:
            plain = Server(f"http://127.0.0.1:{ports['s3.port']}", ACCESS_KEY, SECRET_KEY, None, process.pid)
            url = f"https://127.0.0.1:{ports['s3.port.https']}"
            secured = Server(url, ACCESS_KEY, SECRET_KEY, str(tls.ca), process.pid)
            _with_bucket(process, plain)
            _with_bucket(process, secured)
            yield plain, secured
    finally:
        for port in [*ports.values(), ports["admin.port"] + 10_000]:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # it has no option for them
                left.unlink(missing_ok=True)


_ONCE: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 10}


def _binary(name: str, server: str) -> str:
    path = BIN / name
    need(path.exists(), server, "make setup")
    return str(path)


@contextlib.contextmanager
def _running(command: list[str], environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a temporary directory, without this process's settings."""
    with tempfile.TemporaryDirectory(prefix="server-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        own = {"PATH": os.environ["PATH"], "HOME": made, "TMPDIR": made, "LANG": "C.UTF-8"}
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*_tied_to_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**(environment or {}), **own},
            )
        try:
            yield process
        except NotReadyError as error:
            raise NotReadyError(f"{error}\n{(directory / 'log').read_text(errors='replace')[-4000:]}") from None
        finally:
            end(process)  # at once: on SIGTERM, SeaweedFS takes up to ten minutes


@functools.cache
def _tied_to_us() -> tuple[str, ...]:
    """Return what to put before a command so that it ends when this process is killed; [] if impossible."""
    tie = (shutil.which("setpriv") or "", "--pdeathsig", "KILL")
    known = tie[0] and subprocess.run([*tie, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return tie if known else ()


def _until_ready(process: subprocess.Popen[bytes], call: Callable[[], Any]) -> None:
    """Repeat a signed call until it is accepted: an open port does not mean that anything works."""
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            call()
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > limit:
                raise NotReadyError(f"not ready (exit code {process.poll()}): {error}") from error
            time.sleep(0.05)
        else:
            return


def _with_bucket(process: subprocess.Popen[bytes], server: Server) -> None:
    s3 = server.client("s3", **_ONCE)

    def fill() -> None:
        try:
            s3.create_bucket(Bucket=BUCKET)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
        s3.put_object(Bucket=BUCKET, Key=KEY, Body=BODY)

    _until_ready(process, fill)


def _free_pair(apart: int) -> int:
    """Find a free port below one that is free too."""
    for upper in (port for _ in range(100) for port in free_ports()):
        if upper - apart <= 1024:
            continue
        with socket.socket() as lower, contextlib.suppress(OSError):
            lower.bind(("127.0.0.1", upper - apart))
            return upper - apart
    pytest.fail("no free ports")
