"""A real Celery worker that polls SQS, while the server's clock jumps under it and its message loop is blocked."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import skewguard
from skewguard.testing import StrictEndpoint
from tests.contrib_apps import aws
from tests.patience import PATIENCE, eventually
from tests.real.faketime import FakeTime
from tests.real.need import installed

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

APP = """
import pathlib, sys, time
import skewguard.contrib.celery
from celery import Celery
from kombu.asynchronous.http.curl import CurlClient

here = pathlib.Path(__file__).parent
app = Celery("tasks", broker="sqs://")
app.conf.broker_transport_options = {{
    "predefined_queues": {{"celery": {{"url": "{url}/123456789012/celery"}}}},
    "region": "us-east-1", "wait_time_seconds": 0, "polling_interval": 0.1,
}}
app.conf.update(worker_enable_remote_control=False, task_ignore_result=True)

@app.task(name="note")
def note(number):
    with open(here / "done", "a") as done:
        print(number, file=done)

if "worker" in sys.argv:
    skewguard.contrib.celery.init_app(app)
    add_request = CurlClient.add_request

    def blocked(self, request):
        add_request(self, request)  # it is signed now, and sent when the loop goes on
        if (here / "block").exists():
            (here / "block").rename(here / "blocked")
            while (here / "blocked").exists():
                time.sleep(0.01)

    CurlClient.add_request = blocked
"""


class Worker:
    """The worker, its tasks and its log."""

    def __init__(self, server: StrictEndpoint, clock: FakeTime, directory: Path) -> None:
        self.server, self.directory = server, directory
        (directory / "tasks.py").write_text(APP.format(url=server.url), "utf-8")
        command = ["--app", "tasks", "worker", "--loglevel", "INFO", "--concurrency", "1"]
        command += ["--without-mingle", "--without-gossip"]
        program = "import runpy, sys; sys.path.insert(0, ''); runpy.run_module('celery', run_name='__main__')"
        self._log = directory / "log"
        with self._log.open("w") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            environment = {**aws(server), "AWS_DEFAULT_REGION": "us-east-1"}
            self.process = clock.popen(program, *command, env=environment, cwd=directory, **streams)
        sys.path.insert(0, str(directory))
        try:
            import tasks
        finally:
            sys.path.remove(str(directory))
            sys.modules.pop("tasks", None)
        self._task = tasks.note
        self.sent = 0

    def works(self) -> None:
        """Send two tasks, one after another, and wait until both are done."""
        for _ in range(2):
            self._task.delay(self.sent)
            self.sent += 1
            eventually(lambda: len(self.done) >= self.sent or self.process.poll() is not None)

    @property
    def done(self) -> list[str]:
        found = self.directory / "done"
        return found.read_text("utf-8").split() if found.exists() else []

    def lines(self) -> list[str]:
        """Return what the log says of clocks."""
        return re.findall(r"this host's clock is.*|a request was refused.*", self._log.read_text("utf-8"))

    def refused(self) -> int:
        """Return how many requests were refused since the last call."""
        found = sum(record.status >= 400 for record in self.server.requests)
        self.server.clear()
        return found


def test_a_worker_outlives_jumps_and_a_blocked_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every task is done once; there is one line for each jump, and one for the poll that came late."""
    installed("celery", "pycurl")
    with StrictEndpoint() as server, FakeTime(tmp_path) as clock, skewguard.install():
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, aws(server)[name])
        worker = Worker(server, clock, tmp_path)
        worker.works()
        assert (worker.refused(), worker.lines()) == (0, [])
        for number, (offset, said) in enumerate([(8, "8 h"), (-1, "1 h"), (0, "near enough")], start=1):
            server.offset = offset * 3600
            worker.works()
            assert len(worker.lines()) == number
            assert said in worker.lines()[-1]
            assert 1 <= worker.refused() <= 3  # a poll; the sender's request; a deletion at the same moment
        (tmp_path / "block").touch()
        eventually((tmp_path / "blocked").exists)
        server.offset = 1200
        clock.shift("+20m")
        (tmp_path / "blocked").unlink()
        worker.works()
        assert len(worker.lines()) == 4
        assert re.match(r"a request was refused 1[12]\d\d s after", worker.lines()[-1])
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(PATIENCE)
        assert worker.done == [str(number) for number in range(worker.sent)]
