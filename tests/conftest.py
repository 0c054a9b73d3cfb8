"""Fixtures of all tests."""

from __future__ import annotations

import datetime
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import botocore.auth
import botocore.compat
import botocore.session
import botocore.signers
import pytest
from hypothesis import HealthCheck, settings

import skewguard
from skewguard import events
from skewguard.signing.patches import library
from skewguard.signing.patches.as_of import DatetimeModule
from skewguard.testing import FakeClocks, StrictEndpoint, reset
from tests.fakes import Emitted
from tests.roles import Metadata, without_keys
from tests.support import with_bucket

# How fast examples are drawn and run depends on the machine.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# Every session reads botocore's models for itself, which took most of the tests' time.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI on Linux if any test was skipped: there, every part is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if sys.platform == "linux" and os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="module")
def tls_endpoint() -> Iterator[StrictEndpoint]:
    """A strict server with TLS, shared by the tests of a module because its certificates take a while to make."""
    with StrictEndpoint(tls=True) as running:
        yield running


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    """A server 20 minutes ahead: this host is slow."""
    with StrictEndpoint(offset=1200) as running:
        yield running


@pytest.fixture
def slow_host() -> Iterator[StrictEndpoint]:
    """A server an hour ahead of this host, for children with the environment of `clean_process`."""
    with StrictEndpoint(offset=3600, credentials={"AKIDEXAMPLE": os.environ["AWS_SECRET_ACCESS_KEY"]}) as server:
        yield server


@pytest.fixture(scope="module")
def _aws() -> Iterator[StrictEndpoint]:
    with StrictEndpoint(tls=True) as running:
        with_bucket(running)
        yield running


@pytest.fixture
def aws(_aws: StrictEndpoint) -> Iterator[StrictEndpoint]:
    """AWS, as this process sees it: its names, over verified TLS, 20 minutes ahead of this host."""
    running = _aws
    running.offset, running.date_mode, running.explain = 1200, "honest", True
    running.clear()
    with running.as_aws():
        yield running
    running.clear()


@pytest.fixture
def metadata(tls_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Metadata]:
    """AWS, and a host with metadata services, for a program without keys of its own."""
    with without_keys(tls_endpoint, monkeypatch, tmp_path) as services, tls_endpoint.as_aws():
        yield services


@pytest.fixture
def emitted() -> Iterator[Emitted]:
    """Events of the test so far."""
    collected = Emitted()
    unsubscribe = events.subscribe(collected.append)
    yield collected
    unsubscribe()


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> FakeClocks:
    """Fake clocks that botocore reads too; `install` takes them as an option."""
    clocks = FakeClocks()
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)

    def now(remove_tzinfo: bool = True) -> datetime.datetime:
        moment = epoch + datetime.timedelta(microseconds=clocks.wall // 1000)
        return moment.replace(tzinfo=None) if remove_tzinfo else moment

    modules = [botocore.auth, botocore.signers]
    if botocore.compat.HAS_CRT:
        modules.append(importlib.import_module("botocore.crt.auth"))
    for module in modules:
        name = library.clock_name()
        stand_in = DatetimeModule(datetime, lambda _: now) if name == "datetime" else now
        monkeypatch.setattr(module, name, stand_in)
    return clocks


@pytest.fixture
def guarded(clocks: FakeClocks) -> None:
    """Install skewguard on the fake clocks, until the test ends."""
    skewguard.install(clocks=clocks)


@pytest.fixture(autouse=True)
def clean_process(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Begin and end every test unguarded, with invalid credentials and no settings of the machine's.

    A test and its children have their own shared file.
    """
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent/config",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
        "AWS_EC2_METADATA_DISABLED": "true",
        "XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime")),
        "SKEWGUARD_SHARE": "false",  # else tests would read and write the file of this user's programs
        "SKEWGUARD_SOURCES": "response",  # else tests would ask the host's sources, and time.aws.com
    }.items():
        monkeypatch.setenv(name, value)
    for name in (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_SESSION_TOKEN",
        "AWS_DISABLE_CLOCK_SKEW_CORRECTION",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(events.logger, "handlers", [])  # the AWS CLI's plugin adds one
    reset()
    yield
    reset()
