"""Faults of skewguard's own, of event and log handlers, copies and forks: no call fails for them."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

import skewguard
from skewguard import events
from skewguard._reach import undo_patches
from skewguard.signing.call import Call
from skewguard.signing.guard import Guard
from skewguard.signing.patches import library, patching, signers
from skewguard.testing import StrictEndpoint
from tests.fakes import Emitted, FakeSource, raising
from tests.forking import forked_while, needs_fork
from tests.patience import PATIENCE
from tests.support import client, code_of


class TestFailOpen:
    """skewguard's own exceptions never reach a caller."""

    @pytest.mark.parametrize("name", ["signing_time", "learn", "domain"])
    def test_a_broken_timekeeper_is_as_if_we_were_not_there(
        self, strict_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Healthy calls work; refused ones fail as with botocore alone."""
        with skewguard.install():
            monkeypatch.setattr(skewguard.timekeeping.timekeeper.Timekeeper, name, raising(ZeroDivisionError()))
            for _ in range(2):
                client("sts", strict_endpoint).get_caller_identity()
            strict_endpoint.offset = 7200
            assert code_of(client("sts", strict_endpoint).get_caller_identity) == "SignatureDoesNotMatch"

    @pytest.mark.parametrize("way", ["install", "attach", "direct"])
    def test_where_signing_cannot_be_patched_nothing_is_retried_or_claimed(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, emitted: Emitted, way: str
    ) -> None:
        """One warning says so; a refusal is botocore's own, though a source knows the time."""
        monkeypatch.setattr(library, "clock_name", lambda: "some_new_clock")
        source = FakeSource(offset=1200)
        session = boto3.Session()
        if way == "attach":
            skewguard.attach(session, sources=[source])
        else:
            skewguard.install(sources=[source])
        if way == "direct":
            request = AWSRequest("GET", endpoint.url, {}, b"")
            SigV4Auth(session.get_credentials(), "sts", "us-east-1").add_auth(request)
        else:
            with pytest.raises(ClientError, match="SignatureDoesNotMatch") as caught:
                client("sts", endpoint, session if way == "attach" else None).get_caller_identity()
            assert not hasattr(caught.value, "__notes__")
            assert "SkewGuard" not in caught.value.response["ResponseMetadata"]
            assert endpoint.count == 1
        assert not skewguard.status().correcting
        assert {type(event) for event in emitted} <= {events.Degraded, events.Measured}
        assert emitted.of(events.Degraded)[0].part == "signing"

    def test_a_calls_context_can_be_copied_and_pickled(self) -> None:
        """Tracing libraries do so; a copy belongs to the same call, a pickled one to none."""
        process = skewguard._process.process
        call = Call(Guard(process.everywhere, process.keeper()), "v4", b"")
        context = {signers.KEY: call}
        assert copy.deepcopy(context)[signers.KEY] is call
        assert pickle.loads(pickle.dumps(context)) == {signers.KEY: None}

    @pytest.mark.slow
    def test_a_session_can_be_copied(self, endpoint: StrictEndpoint) -> None:
        """It can be copied unguarded, so it can be copied guarded; the copy is guarded."""
        with skewguard.install():
            copied = copy.deepcopy(boto3.Session())
            client("sts", endpoint, copied).get_caller_identity()
        assert [record.status for record in endpoint.requests] == [403, 200]

    def test_a_default_session_of_ones_own_kind(
        self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It need be no session. Whatever makes clients, those are guarded."""
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", object())
        made = client("sts", endpoint)
        with skewguard.install():
            made.get_caller_identity()
        assert "is not guarded" not in caplog.text

    @pytest.mark.parametrize("again", [{}, {"max_offset": 7}])
    def test_a_log_handler_may_make_sessions(self, again: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
        """In another thread, under a lock that the logging thread in `install` waits for."""
        made: list[bool] = []

        def use() -> None:
            boto3.Session()
            skewguard.install()

        def emit(record: logging.LogRecord) -> bool:
            if threading.current_thread() is threading.main_thread():
                thread = threading.Thread(target=use, daemon=True)
                thread.start()
                thread.join(PATIENCE)
                made.append(not thread.is_alive())
            return True

        caplog.set_level(logging.DEBUG, "skewguard")
        if again:
            skewguard.install()
        events.logger.addFilter(emit)
        try:
            skewguard.install(**again or {"sources": [FakeSource(offset=0)]})
        finally:
            events.logger.removeFilter(emit)
        assert made
        assert all(made)

    @needs_fork
    def test_a_child_forked_while_locks_are_held_makes_sessions(self) -> None:
        """gunicorn may fork at any time."""
        with skewguard.install():

            def hold(pause: Callable[[], None]) -> None:
                process = skewguard._process.process
                with patching._lock, process.lock, events._lock, process.keeper()._lock:
                    pause()

            def child() -> bool:
                boto3.Session().client("sts", region_name="us-east-1")
                events.subscribe(print)
                skewguard.status()
                skewguard.uninstall()
                return True

            undo_patches()
            assert forked_while(hold, child)

    def test_a_raising_listener_is_ignored(self, endpoint: StrictEndpoint) -> None:
        unsubscribe = events.subscribe(raising(ZeroDivisionError()))
        try:
            with skewguard.install():
                client("sts", endpoint).get_caller_identity()
        finally:
            unsubscribe()

    def test_events(self, endpoint: StrictEndpoint, emitted: Emitted) -> None:
        """A retry with its reason, then the correction, once."""
        with skewguard.install():
            sts = client("sts", endpoint)
            for _ in range(3):
                sts.get_caller_identity()
        changes = emitted.of(events.CorrectionChanged)
        retries = emitted.of(events.Retried)
        assert [(one.service, one.operation, one.verdict) for one in retries] == [("sts", "GetCallerIdentity", "skew")]
        assert len(changes) == 1
        assert changes[0].offset == pytest.approx(1200e9, abs=2e9)
