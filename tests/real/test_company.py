"""Libraries that patch botocore too, before and after skewguard: signatures stay valid, spans are recorded.

They live in a virtual environment of their own. Nothing they do leaves this machine: see `quiet`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skewguard.testing import StrictEndpoint
from tests.real.need import need
from tests.support import completed

ROOT = Path(__file__).parents[2]
BIN = Path(os.environ.get("TEST_COMPANY") or ROOT / ".venv-company").absolute() / "bin"
OPERATIONS = ["GetCallerIdentity", "CreateBucket", "PutObject", "SendMessage", "ListTables", "ListFunctions"]
STATUSES = [403, *[200] * len(OPERATIONS)]
KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    """A server that is an hour ahead of this host."""
    with StrictEndpoint(offset=3600, credentials={KEY: SECRET}) as server:
        yield server


NEW_RELIC = """
[newrelic]
app_name = test
developer_mode = true
license_key = 0000000000000000000000000000000000000000
"""
"""Settings with which it sends to no collector, and (below) looks for no cloud."""
CLOUDS = ("aws", "azure", "azurefunction", "azureappservice", "docker", "gcp", "kubernetes", "pcf")


def quiet(server: StrictEndpoint, directory: Path) -> dict[str, str]:
    """Make an environment without this machine's settings, in which no library can report to a server."""
    newrelic = directory / "newrelic.ini"
    newrelic.write_text(NEW_RELIC + "".join(f"utilization.detect_{name} = false\n" for name in CLOUDS))
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": "/nonexistent",
        "PYTHONPATH": str(ROOT),
        "SERVER": server.url,
        "KEY": KEY,
        "SECRET": SECRET,
        "SKEWGUARD_SOURCES": "response",
        "SKEWGUARD_SHARE": "false",  # else a process may know this port's clock from an earlier test's server
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        "DD_CRASHTRACKING_ENABLED": "false",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
        "NEW_RELIC_CONFIG_FILE": str(newrelic),
    }


def run(server: StrictEndpoint, directory: Path, library: str, order: str, *before: str) -> Any:
    need((BIN / "ddtrace-run").exists(), "the other libraries", "make setup")
    command = [*before, BIN / "python", "-m", "tests.real.company", library, order]
    # Not run here: the program must find skewguard by its environment.
    done = completed(*command, env=quiet(server, directory), cwd=BIN)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("library", ["opentelemetry", "ddtrace", "sentry", "xray", "newrelic", "moto"])
def test_both_do_their_work(library: str, order: str, endpoint: StrictEndpoint, tmp_path: Path) -> None:
    """The first of six calls takes one request more, the others one each; every call is one span."""
    spans = run(endpoint, tmp_path, library, order)
    assert [record.status for record in endpoint.requests] == STATUSES
    assert [record.operation for record in endpoint.requests][1:] == OPERATIONS
    if library == "moto":
        assert spans == ["https://sqs.us-east-1.amazonaws.com/123456789012/mocked"]
    else:
        assert [span.lower().rpartition(".")[2] for span in spans] == [name.lower() for name in OPERATIONS]


EXEC = ["python", "-m", "skewguard", "exec", "--"]


@pytest.mark.parametrize(
    ("library", "before"),
    [
        ("ddtrace", [*EXEC, "ddtrace-run"]),
        ("ddtrace", ["ddtrace-run", *EXEC]),
        ("newrelic", [*EXEC, "newrelic-admin", "run-program"]),
        ("newrelic", ["newrelic-admin", "run-program", *EXEC]),
    ],
    ids=["around ddtrace-run", "within ddtrace-run", "around newrelic-admin", "within newrelic-admin"],
)
def test_exec_and_their_commands(library: str, before: list[str], endpoint: StrictEndpoint, tmp_path: Path) -> None:
    """Each installs its own sitecustomize in front, and runs the other's."""
    command, *arguments = before
    spans = run(endpoint, tmp_path, library, "exec", str(BIN / command), *arguments)
    assert [record.status for record in endpoint.requests] == STATUSES
    assert len(spans) == len(OPERATIONS)
