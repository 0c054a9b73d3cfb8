"""Celery's and Lambda's examples, run by a real worker and by AWS's own runtime client, on a clock 20 minutes slow."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skewguard.testing import StrictEndpoint
from tests.contrib_apps import LIMIT, READ, REFUSED, Run, with_and_without, with_photo
from tests.patience import eventually
from tests.real.faketime import FakeTime
from tests.real.need import installed
from tests.support import running

pytestmark = pytest.mark.slow


def test_celerys_example_reads_from_s3_and_without_its_line_does_not(tmp_path: Path) -> None:
    """A worker with a forked pool; the same program sends the task."""
    installed("celery")
    line = "skewguard.contrib.celery.init_app(app)"
    with with_and_without(tmp_path, "celery_app.py", line) as runs:
        sent = [run.start("celery_app.py", MAIL=str(run.directory)) for run in runs]
        for run in runs:  # a worker that ran meanwhile might take a message that is not yet written
            eventually(lambda run=run: any(file.stat().st_size for file in run.directory.glob("*/queue/*.msg")))
        command = ["--app", "celery_app", "worker", "--loglevel", "INFO", "--pool", "prefork", "--concurrency", "1"]
        command += ["--without-mingle", "--without-gossip"]
        workers = [run.start("celery", *command, MAIL=str(run.directory)) for run in runs]
        assert sent[0].await_line(r"^(a photo)$")
        assert sent[1].await_line(r"\((RequestTimeTooSkewed)\)")
        assert runs[0].outcomes == [REFUSED, READ]
        assert runs[1].outcomes == [REFUSED]
        for worker in workers:
            worker.process.terminate()  # the pool with it
        for worker in workers:
            worker.process.wait(LIMIT)


HEADERS = {  # AWS's client needs each of them
    "Aws-Request-Id": "one",
    "Deadline-Ms": "9999999999999",
    "Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:f",
    "Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
    "Client-Context": "{}",
    "Cognito-Identity": "{}",
    "Aws-Tenant-Id": "t",
    "Invocation-Id": "one",
}


class Runtime:
    """Lambda's runtime API, on loopback: one event, one response, and a restore."""

    def __init__(self, event: dict[str, Any], restore: Callable[[], None]) -> None:
        self.answers: queue.Queue[tuple[str, str]] = queue.Queue()
        self.done = threading.Event()
        self.events: list[dict[str, Any]] = [event]
        self.restore = restore
        runtime = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                if self.path.endswith("/restore/next"):
                    runtime.restore()
                    return self.reply(200, b"")
                if not runtime.events:
                    runtime.done.wait(LIMIT)  # no further event
                    self.close_connection = True
                    return None
                return self.reply(200, json.dumps(runtime.events.pop()).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                runtime.answers.put((self.path.rpartition("/")[2], body.decode()))
                self.reply(202, b"{}")

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                for name, value in HEADERS.items():
                    self.send_header(f"Lambda-Runtime-{name}", value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def invoke(run: Run, restore: Callable[[], None] = lambda: None, **env: str) -> tuple[str, str]:
    """Run a function on AWS's runtime client, with one event; return the response's kind and body."""
    api = Runtime({"key": "photo"}, restore)
    with running(api.server) as port:
        env |= {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}", "AWS_REGION": "us-east-1"}
        child = run.start("awslambdaric", "lambda_function.handler", **env)
        ending = threading.Thread(target=lambda: api.answers.put(("ended", child.output())))
        ending.start()
        try:
            return api.answers.get(timeout=LIMIT)
        finally:
            child.process.kill()
            ending.join()
            api.done.set()


def test_lambdas_example_reads_from_s3_and_without_its_line_does_not(tmp_path: Path) -> None:
    """With the runtime client of AWS's managed runtimes."""
    installed("awslambdaric")
    with with_and_without(tmp_path, "lambda_function.py", "aws_lambda.install()", "pass") as (guarded, unguarded):
        assert invoke(guarded) == ("response", '"a photo"')
        kind, text = invoke(unguarded)
        assert (kind, json.loads(text)["errorType"]) == ("error", "ClientError")
        assert guarded.outcomes == [REFUSED, READ]
        assert unguarded.outcomes == [REFUSED]


SNAPPED = """
import sys
import boto3
from skewguard.contrib import aws_lambda
if {hidden}:
    sys.modules["snapshot_restore_py"] = None  # skewguard alone must not find it
aws_lambda.install()
if {hidden}:
    del sys.modules["snapshot_restore_py"]
s3 = boto3.client("s3", region_name="us-east-1")

def handler(event, _):
    return s3.get_object(Bucket="bucket", Key=event["key"])["Body"].read().decode()

handler({{"key": "photo"}}, None)
"""


@pytest.mark.parametrize(("hidden", "expected"), [(False, [READ]), (True, [REFUSED, READ])])
def test_snapstart_drops_the_estimate_from_before_the_snapshot(tmp_path: Path, hidden: bool, expected: object) -> None:
    """The clock is slow before the snapshot, right after the restore an hour later; the steady clock noticed nothing.

    Without the hook, the old estimate is used, at the cost of one request.
    """
    installed("awslambdaric", "snapshot_restore_py")
    (tmp_path / "lambda_function.py").write_text(SNAPPED.format(hidden=hidden), "utf-8")
    with StrictEndpoint() as endpoint, FakeTime(tmp_path, "-20m") as clock:
        with_photo(endpoint)
        run = Run(clock, endpoint, tmp_path)
        before: list[object] = []

        def restore() -> None:
            before.extend(run.outcomes)
            endpoint.clear()
            endpoint.offset = 3600
            clock.shift("+1h")

        assert invoke(run, restore, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start") == ("response", '"a photo"')
        assert before == [REFUSED, READ]
        assert run.outcomes == expected
