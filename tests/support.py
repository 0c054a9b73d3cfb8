"""Clients of a strict endpoint, and the calls that users make."""

from __future__ import annotations

import base64
import contextlib
import datetime
import gc
import http.server
import io
import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import botocore.session
import pytest
import trustme
from botocore.config import Config
from botocore.exceptions import ClientError

import skewguard
from skewguard.config import resolve
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import FakeSource
from tests.patience import PATIENCE, eventually

Operation = Callable[[Any], Any]

OPERATIONS: dict[str, tuple[str, Operation]] = {
    "sts": ("sts", lambda c: c.get_caller_identity()),
    "dynamodb": ("dynamodb", lambda c: c.list_tables()),
    "sqs": ("sqs", lambda c: c.send_message(QueueUrl="https://sqs.us-east-1.amazonaws.com/1/q", MessageBody="x")),
    "lambda": ("lambda", lambda c: c.list_functions()),
    "ec2": ("ec2", lambda c: c.describe_regions()),
    "s3-get": ("s3", lambda c: c.get_object(Bucket="bucket", Key="key")["Body"].read()),
    "s3-head": ("s3", lambda c: c.head_object(Bucket="bucket", Key="key")),
    "s3-put": ("s3", lambda c: c.put_object(Bucket="bucket", Key="new", Body=b"body")),
    "s3-put-stream": ("s3", lambda c: c.put_object(Bucket="bucket", Key="stream", Body=io.BytesIO(b"x" * 300_000))),
    "s3-list": ("s3", lambda c: c.list_objects_v2(Bucket="bucket")),
}
"""One call per protocol and shape: query, json, rest-json, ec2, rest-xml, with and without bodies."""


def config(**options: Any) -> Config:
    """Make a client's configuration: path-style addressing, and the given options."""
    return Config(s3={"addressing_style": "path"}, **options)


UNCHUNKED = {"request_checksum_calculation": "when_required"}
UNCHUNKED = {name: value for name, value in UNCHUNKED.items() if name in Config.OPTION_DEFAULTS}
"""Options of a client that sends bodies as they are. Before 1.36, every client did."""


def _session() -> Any:
    import boto3  # missing where aiobotocore's tests run

    return boto3.Session()


def client(service: str, endpoint: StrictEndpoint, session: Any = None, **options: Any) -> Any:
    return (session or _session()).client(service, **endpoint.client_kwargs, config=config(**options))


def without_awscrt(patch: pytest.MonkeyPatch) -> None:
    """Let botocore sign by itself, even if awscrt is installed."""
    names = {"v4": "SigV4Auth", "v4-query": "SigV4QueryAuth", "s3v4": "S3SigV4Auth", "s3v4-query": "S3SigV4QueryAuth"}
    for version, name in names.items():
        patch.setitem(botocore.auth.AUTH_TYPE_MAPS, version, getattr(botocore.auth, name))


def aws_client(service: str, endpoint: StrictEndpoint, session: Any = None, **options: Any) -> Any:
    """Make a client of AWS's names, for use within ``endpoint.as_aws()``."""
    kwargs = endpoint.client_kwargs
    del kwargs["endpoint_url"]
    return (session or _session()).client(service, **kwargs, config=config(**options))


def with_bucket(endpoint: StrictEndpoint) -> None:
    """Create a bucket with one object on the server, at its own time, and clear its requests."""
    offset, endpoint.offset = endpoint.offset, 0.0
    s3 = botocore.session.get_session().create_client("s3", **endpoint.client_kwargs, config=config())
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="key", Body=b"here")
    s3.close()
    endpoint.offset = offset
    endpoint.clear()


def code_of(call: Callable[[], Any]) -> str:
    try:
        call()
    except ClientError as error:
        return str(error.response.get("Error", error.response).get("Code", "unknown"))
    return ""


def statuses(endpoint: StrictEndpoint, call: Callable[[], Any]) -> list[int]:
    """Make a call, refused or not; return how its attempts ended."""
    endpoint.clear()
    code_of(call)
    return [record.status for record in endpoint.requests]


def signed_at(url: str) -> int:
    """Return the time, s since the Unix epoch, that a presigned URL is dated."""
    return parse_time(parse_qs(urlsplit(url).query)["X-Amz-Date"][0])


def decoded(part: str) -> bytes:
    """Decode a part of a token: URL-safe base64 without padding."""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextlib.contextmanager
def nothing_left_open() -> Iterator[None]:
    """Fail if the block leaves files open, on a platform that lists them."""
    gc.collect()  # what other tests have left open
    before = _open_files()
    yield
    eventually(lambda: _open_files() <= before)  # other tests' may be closed, or opened and closed, meanwhile


def _open_files() -> int:
    listed = Path("/proc/self/fd")
    return len(list(listed.iterdir())) if listed.is_dir() else 0


def retry_quota(made: Any) -> Any:
    """Return the retry quota of a client of STS; None in legacy mode."""
    for handler in made.meta.events._emitter._handlers.prefix_search("needs-retry.sts.GetCallerIdentity"):
        policy = getattr(getattr(handler, "__self__", None), "_retry_quota", None)
        if policy is not None:
            return policy._quota
    return None


def attach(target: Any, clocks: FakeClocks, source: FakeSource, **options: Any) -> None:
    """Attach with other clocks than the system's, which only `install` offers."""
    skewguard._process.process.keeper().configure(resolve({"sources": ["response"]}), clocks)
    skewguard.attach(target, sources=[source], **options)


TO_AWS = """
from skewguard.testing.tls import AWS_SUFFIXES, redirected
def to_aws(name, asked):
    return int(sys.argv[1]) if asked == 443 and name.endswith(AWS_SUFFIXES) else None
"""
"""For programs of `run_as_aws`: ``with redirected(to_aws, {"no_proxy": "*"}):``."""


def completed(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; return its exit code and output."""
    options = {"capture_output": True, "text": True, "check": False, "timeout": 5 * PATIENCE, **options}
    return subprocess.run(command, **options)  # noqa: PLW1510 - `check` is among the options


def run_python(program: str, *arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> str:
    """Run a program, which must succeed; return its output. `prefix` goes before the command."""
    done = completed(*prefix, sys.executable, "-c", program, *arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def exit_code(*arguments: str) -> object:
    """Run the command `skewguard` in this process; return its exit code."""
    from skewguard.cli import main

    try:
        return main([*arguments])
    except SystemExit as ended:
        return ended.code


def aws_environment(endpoint: StrictEndpoint) -> dict[str, str]:
    """Return the environment of a program that takes this endpoint, which has TLS, for AWS."""
    keys = endpoint.client_kwargs
    return os.environ | {
        "AWS_ACCESS_KEY_ID": str(keys["aws_access_key_id"]),
        "AWS_SECRET_ACCESS_KEY": str(keys["aws_secret_access_key"]),
        "AWS_CA_BUNDLE": str(endpoint.ca_bundle),
    }


GREENLETS = """
import sys
if "gevent" in sys.argv:
    from gevent import monkey
    monkey.patch_all()
elif "eventlet" in sys.argv:
    import eventlet
    eventlet.monkey_patch()
"""
"""For programs whose arguments may name a library of greenlets; it comes first."""


def run_as_aws(endpoint: StrictEndpoint, program: str, *arguments: str) -> Any:
    """Run a program that takes this endpoint, which has TLS, for AWS; return its output, which is JSON."""
    endpoint.clear()
    return json.loads(run_python(program, str(endpoint.port), *arguments, env=aws_environment(endpoint)))


@contextlib.contextmanager
def https(directory: Path, begins: int, ends: int) -> Iterator[tuple[str, dict[str, str]]]:
    """A server whose certificate is valid from `begins` to `ends` days from now: its URL, and variables to trust it."""
    now = datetime.datetime.now(datetime.timezone.utc)
    first, last = (now + datetime.timedelta(days=days) for days in (begins, ends))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", not_before=first, not_after=last).configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client hangs up, as it should
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with running(server) as port:
        yield f"https://127.0.0.1:{port}", {"AWS_CA_BUNDLE": str(directory / "ca.pem")}


@contextlib.contextmanager
def running(server: socketserver.BaseServer) -> Iterator[int]:
    """Run a server in a thread until the block ends; yield its port."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]  # type: ignore[misc]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def valid_around(moment: datetime.datetime, patch: pytest.MonkeyPatch) -> None:
    """Let strict endpoints have certificates that are valid for five days before and after a time."""
    issue = trustme.CA.issue_cert
    dates = {f"not_{side}": moment + datetime.timedelta(days=days) for side, days in (("before", -5), ("after", 5))}
    patch.setattr(trustme.CA, "issue_cert", lambda *names: issue(*names, **dates))  # type: ignore[arg-type]
