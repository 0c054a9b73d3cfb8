"""`skewguard.testing.reset`: after it, skewguard is as if it had just been imported."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
import botocore.auth
import pytest

import skewguard
from skewguard import events
from skewguard.clocks import system
from skewguard.errors import StoreError
from skewguard.interval import SECOND
from skewguard.testing import StrictEndpoint, reset
from skewguard.timekeeping import shared_file
from tests.fakes import Emitted, FakeSource
from tests.support import client, run_python, statuses


def test_what_install_guards_is_guarded_no_more(endpoint: StrictEndpoint) -> None:
    """Neither sessions that exist nor new ones; and the handle knows."""
    installed = skewguard.install()
    sts = client("sts", endpoint)
    reset()
    assert not installed.in_force
    assert not skewguard.status().installed
    assert statuses(endpoint, sts.get_caller_identity) == [403]
    assert statuses(endpoint, client("sts", endpoint).get_caller_identity) == [403]


def test_what_is_attached_is_guarded_no_more(endpoint: StrictEndpoint) -> None:
    """Until it is attached again."""
    sts = client("sts", endpoint)
    skewguard.attach(sts)
    assert statuses(endpoint, sts.get_caller_identity) == [403, 200]
    reset()
    assert statuses(endpoint, sts.get_caller_identity) == [403]
    skewguard.attach(sts)
    assert statuses(endpoint, sts.get_caller_identity) == [403, 200]


def test_the_default_session_can_be_guarded_again(endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 makes one for the whole process."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", boto3.Session())
    for _ in range(2):
        skewguard.install()
        assert statuses(endpoint, boto3.client("sts", **endpoint.client_kwargs).get_caller_identity) == [403, 200]
        reset()
        assert statuses(endpoint, boto3.client("sts", **endpoint.client_kwargs).get_caller_identity) == [403]


def test_what_was_learned_is_forgotten(endpoint: StrictEndpoint) -> None:
    """Both UTC and an endpoint's own clock, and the sources that were attached."""
    sts = client("sts", endpoint)
    skewguard.attach(sts, sources=[FakeSource(offset=60)])
    statuses(endpoint, sts.get_caller_identity)
    assert skewguard.offset() is not None
    assert skewguard.status().domains
    reset()
    assert skewguard.offset() is None
    status = skewguard.measure()
    assert (status.domains, status.sources) == ({}, ())


def test_settings_are_read_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at the reset, which may come before a test has set its variables."""
    skewguard.status()
    reset()
    monkeypatch.setenv("SKEWGUARD_MIN_SOURCES", "3")
    assert skewguard._process.process.keeper().settings.min_sources == 3


def test_listeners_are_removed(emitted: Emitted) -> None:
    """Ending a subscription that is over does nothing: the fixture does it."""
    reset()
    events.emit(events.Stepped(SECOND))
    assert not emitted


def test_a_log_line_that_comes_once_per_episode_may_come_again(caplog: pytest.LogCaptureFixture) -> None:
    """Here that of a stale signature, at most once in a quarter of an hour."""
    for _ in range(2):
        for _ in range(2):
            events.emit(events.Retried("s3", "PutObject", "stale", "late", 400 * SECOND))
        assert len(caplog.records) == 1
        caplog.clear()
        reset()


def test_a_warning_that_comes_once_per_process_may_come_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here that of a botocore without a function that is to be patched."""
    monkeypatch.delattr(botocore.auth, "get_current_datetime")
    for _ in range(2):
        for _ in range(2):
            skewguard.attach(boto3.Session())
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        caplog.clear()
        reset()


def test_botocore_is_as_it_was() -> None:
    before = botocore.auth.get_current_datetime, botocore.auth.SigV4Auth.add_auth
    skewguard.install()
    boto3.Session()
    assert botocore.auth.SigV4Auth.add_auth is not before[1]
    reset()
    assert (botocore.auth.get_current_datetime, botocore.auth.SigV4Auth.add_auth) == before


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is shared elsewhere")
def test_nothing_is_shared_while_a_server_plays_aws(
    endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However often a suite resets; once the last server has stopped, a reset ends that."""
    monkeypatch.setattr(shared_file, "bases", lambda: iter([str(tmp_path)]))
    for stop in (False, True):
        if stop:
            endpoint.stop()
        reset()
        with pytest.raises(StoreError, match="there is no file" if stop else "keeps to itself"):
            shared_file.Store().read(system())


def test_reset_loads_nothing_that_was_not_loaded() -> None:
    """A suite that uses no AWS does not pay for botocore's signers, nor for the server."""
    program = "import skewguard.testing as t, sys; t.reset(); t.reset(); print(*sys.modules)"
    loaded = run_python(program).split()
    assert not {"boto3", "botocore.auth", "botocore.session", "skewguard.testing.endpoint"} & set(loaded)
