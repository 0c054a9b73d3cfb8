"""Fixtures for tests against real servers, each started once, when a test first needs it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.real import servers
from tests.real.faketime import FakeTime
from tests.real.servers import Authority, Server

Started = TypeVar("Started")


@contextlib.contextmanager
def started(server: AbstractContextManager[Started]) -> Iterator[Started]:
    """Start it without the machine's AWS settings, which the per-test fixture would remove too late."""
    with contextlib.ExitStack() as ending:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_CONFIG_FILE", os.devnull)
            running = ending.enter_context(server)
        yield running


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A throw-away certificate authority, shared by the servers."""
    return servers.authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def ministack() -> Iterator[Server]:
    """AWS's protocols, over http."""
    with started(servers.ministack()) as server:
        yield server


@pytest.fixture(scope="session")
def ministack_tls(authority: Authority) -> Iterator[Server]:
    """AWS's protocols, over https."""
    with started(servers.ministack(authority)) as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[Server]:
    """S3 that refuses a slow clock with 400 AccessDenied, over http."""
    with started(servers.rclone()) as server:
        yield server


@pytest.fixture(scope="session")
def both_seaweedfs(authority: Authority) -> Iterator[tuple[Server, Server]]:
    """One SeaweedFS, by http and by https."""
    with started(servers.seaweedfs(authority)) as both:
        yield both


@pytest.fixture(scope="session")
def seaweedfs(both_seaweedfs: tuple[Server, Server]) -> Server:
    """S3 that also checks the day in the credential scope, over http."""
    return both_seaweedfs[0]


@pytest.fixture(scope="session")
def seaweedfs_tls(both_seaweedfs: tuple[Server, Server]) -> Server:
    """The same server and data, over https."""
    return both_seaweedfs[1]


@pytest.fixture
def fake_time(tmp_path: Path) -> Iterator[FakeTime]:
    """A wall clock for child processes; they are ended after the test."""
    with FakeTime(tmp_path) as clock:
        yield clock
