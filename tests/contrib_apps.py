"""Run the example applications on a wrong clock, each with and without skewguard's line."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from skewguard.testing import StrictEndpoint
from tests.real.faketime import FakeTime, end

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SHIFT = "-20m"
LIMIT = 60
"""How long a child may take, s. On an idle machine it takes a few seconds."""

REFUSED, READ = ("GET", "s3", "RequestTimeTooSkewed"), ("GET", "s3", "")
"""Outcomes, as in `Run.outcomes`."""

SERVING = r"^(?!skewguard: ).*http://127\.0\.0\.1:([1-9]\d*)"


class Run(NamedTuple):
    clock: FakeTime
    endpoint: StrictEndpoint
    directory: Path

    def start(self, module: str, *arguments: str, **more: str) -> Child:
        """Run a Python module, or a file, in the example's directory, as its users would."""
        run = f"runpy.run_path({module!r}" if module.endswith(".py") else f"runpy.run_module({module!r}, alter_sys=True"
        program = f"import runpy, sys\nsys.path.insert(0, '')\nsys.argv[0] = {module!r}\n{run}, run_name='__main__')"
        return Child(self.clock, program, self.directory, arguments, {**aws(self.endpoint), **more})

    @property
    def outcomes(self) -> list[tuple[str, str, str]]:
        """Method, service and error code of each request to the endpoint."""
        return [(record.method, record.service, record.code) for record in self.endpoint.requests]


class Child:
    """A program whose output is read line by line."""

    def __init__(
        self, clock: FakeTime, program: str, directory: Path, arguments: tuple[str, ...], env: dict[str, str]
    ) -> None:
        where: dict[str, Any] = {"cwd": directory, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        self.process = clock.popen(program, *arguments, env=env, **where)
        self._lines: list[str] = []

    def await_line(self, pattern: str) -> str:
        """Wait for a matching line, and return its first group; AssertionError, with all output, if none comes."""
        watchdog = threading.Timer(LIMIT, end, [self.process])
        watchdog.start()
        try:
            for line in self.process.stdout:
                self._lines.append(line)
                found = re.search(pattern, line)
                if found:
                    return found[1]
        finally:
            watchdog.cancel()
        raise AssertionError(f"no line matches {pattern!r}:\n{''.join(self._lines)}")

    def output(self) -> str:
        return self.process.stdout.read()

    def ask(self) -> tuple[int, str]:
        """Request its page over HTTP; return status and text."""
        port = self.await_line(SERVING)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def aws(endpoint: StrictEndpoint) -> dict[str, str]:
    kwargs = endpoint.client_kwargs
    return {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": str(kwargs["aws_access_key_id"]),
        "AWS_SECRET_ACCESS_KEY": str(kwargs["aws_secret_access_key"]),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }


def with_photo(endpoint: StrictEndpoint) -> None:
    """Create a bucket with the object that the programs read, and clear the requests."""
    s3 = boto3.client("s3", **endpoint.client_kwargs)
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="photo", Body=b"a photo")
    s3.close()
    endpoint.clear()


@contextmanager
def with_and_without(tmp_path: Path, file: str, line: str, instead: str = "") -> Iterator[tuple[Run, Run]]:
    """Prepare two copies of the examples: unchanged, and with some text replaced."""
    with ExitStack() as ending:
        runs = []
        for name in ("with", "without"):
            directory = tmp_path / name
            shutil.copytree(EXAMPLES, directory / "examples")
            endpoint = ending.enter_context(StrictEndpoint())
            with_photo(endpoint)
            clock = ending.enter_context(FakeTime(directory, SHIFT))
            runs.append(Run(clock, endpoint, (directory / "examples" / file).parent))
        changed = tmp_path / "without" / "examples" / file
        text = changed.read_text("utf-8")
        assert line in text
        changed.write_text(text.replace(line, instead), "utf-8")
        yield runs[0], runs[1]
