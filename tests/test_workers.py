"""Programs that serve from several processes or greenlets, on a clock that libfaketime makes 20 minutes slow.

Each worker knows what the parent learned before the fork: its first request is signed right.
"""

from __future__ import annotations

import os
import signal
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from skewguard.testing import StrictEndpoint
from tests.contrib_apps import LIMIT, READ, REFUSED, SERVING, SHIFT, Run, with_photo
from tests.real.faketime import FakeTime
from tests.real.need import installed

pytestmark = pytest.mark.slow


@contextmanager
def on_a_slow_clock(directory: Path, file: str, text: str) -> Iterator[Run]:
    """Write a program, and run a server with one file in one bucket for it."""
    (directory / file).write_text(text, "utf-8")
    with StrictEndpoint() as endpoint, FakeTime(directory, SHIFT) as clock:
        with_photo(endpoint)
        yield Run(clock, endpoint, directory)


CLIENT = """
def read(client):
    return client.get_object(Bucket="bucket", Key="photo")["Body"].read().decode()

if os.environ.get("LEARN"):
    own = boto3.client("s3", region_name="us-east-1")
    read(own)
    own.close()  # else all workers would talk over its one connection

s3 = boto3.client("s3", region_name="us-east-1")
"""

WSGI = (
    """
import os
import boto3, skewguard

skewguard.install()
"""
    + CLIENT
    + """
parent = os.getpid()

def app(environ, start_response):
    body = f"{parent} {os.getpid()} {read(s3)}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
)

PATCHED = "from gevent import monkey\nmonkey.patch_all()\n"


def ask(port: str) -> tuple[str, str]:
    """Ask gunicorn for its page; return the process that imported the app, and the worker that answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT) as answer:
        parent, worker, text = answer.read().decode().split(" ", 2)
    assert text == "a photo"
    return parent, worker


@pytest.mark.parametrize(
    ("kind", "settings", "taught"),
    [("sync", "", "parent"), ("sync", "", "neighbour"), ("gevent", PATCHED, "parent"), ("gevent", "", "none")],
)
def test_gunicorns_preforked_workers(tmp_path: Path, kind: str, settings: str, taught: str) -> None:
    """Four workers of an app that was loaded before they were forked.

    If the parent has made a call before, or the workers share what they learn, no worker's request is refused.
    """
    installed("gunicorn", *(["gevent"] if kind == "gevent" else []))
    (tmp_path / "gunicorn.conf.py").write_text(settings, "utf-8")
    command = ["--preload", "--workers", "4", "--worker-class", kind, "--bind", "127.0.0.1:0", "wsgi:app"]
    env = {
        "LEARN": "yes" if taught == "parent" else "",
        "SKEWGUARD_SHARE": "true" if taught == "neighbour" else "false",
        "NO_FAKE_STAT": "1",  # gunicorn compares a file's time with the monotonic clock, so that is not moved either
    }
    with on_a_slow_clock(tmp_path, "wsgi.py", WSGI) as run:
        child = run.start("gunicorn", *command, **env)
        port = child.await_line(SERVING)
        seen = [ask(port)] if taught == "neighbour" else []
        with ThreadPoolExecutor(8) as clients:
            while len(set(seen)) < 4:
                seen += clients.map(ask, [port] * 8)
            if taught == "none":
                refused = run.outcomes.count(REFUSED)
                seen += clients.map(ask, [port] * 16)
        if taught != "none":  # a worker that replaces a killed one knows it too
            os.kill(int(seen[-1][1]), signal.SIGKILL)
            while len(set(seen)) < 5:
                seen.append(ask(port))
        child.process.terminate()
        child.process.wait(LIMIT)
    assert len(dict(seen)) == 1, "one process loaded the app for all"
    found = Counter(run.outcomes)
    assert found[READ] == len(seen) + (taught == "parent")
    if taught == "none":
        assert found[REFUSED] == refused >= 4, "each worker's first requests, no later ones"
    else:
        assert found[REFUSED] == 1
    assert found.total() == found[READ] + found[REFUSED]


CELERY = (
    """
import os, sys, time
from pathlib import Path
import boto3, skewguard.contrib.celery
from celery import Celery

for name in ("queue", "control", "results"):
    Path(name).mkdir(exist_ok=True)
here = Path.cwd()
app = Celery("tasks", broker="filesystem://", backend=f"file://{here / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.05
}
skewguard.contrib.celery.init_app(app)
"""
    + CLIENT
    + """
@app.task(name="work", bind=True)
def work(self):
    (here / f"{self.request.id}.begun").touch()
    while len(list(here.glob("*.begun"))) < 2:  # so that each is worked on by another worker
        time.sleep(0.05)
    return [os.getpid(), read(s3)]

if __name__ == "__main__":
    sent = [work.delay() for _ in range(2)]
    print("sent", flush=True)
    (one, text), (other, same) = [each.get(timeout=50) for each in sent]
    print("read:", text, same, one != other)
"""
)


@pytest.mark.parametrize("pool", ["prefork", "gevent", "eventlet"])
def test_celerys_pools(tmp_path: Path, pool: str) -> None:
    """Two tasks at once, in two processes forked from one that has learned, or in two of its greenlets."""
    installed("celery", *([] if pool == "prefork" else [pool]))
    options = ["--pool", pool, "--concurrency", "2", "--loglevel", "INFO", "--without-mingle", "--without-gossip"]
    with on_a_slow_clock(tmp_path, "tasks.py", CELERY) as run:
        sender = run.start("tasks.py")
        sender.await_line("^(sent)$")  # a worker that ran meanwhile might take a message that is not yet written
        worker = run.start("celery", "--app", "tasks", "worker", *options, LEARN="yes")
        assert sender.await_line("^read: (.*)") == f"a photo a photo {pool == 'prefork'}"
        worker.process.terminate()  # the pool with it
        worker.process.wait(LIMIT)
        assert run.outcomes == [REFUSED, READ, READ, READ]
