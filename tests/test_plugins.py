"""botocore's plugin variable, and the AWS CLI's plugin. `tests/real/test_awscli.py` runs the CLI itself."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import botocore.session
import pytest
from botocore.hooks import HierarchicalEmitter

import skewguard
from skewguard import _api
from skewguard.contrib import awscli
from skewguard.signing.patches.signers import WHO
from skewguard.testing import StrictEndpoint
from tests.support import client, completed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PLUGIN = {"BOTOCORE_EXPERIMENTAL__PLUGINS": "skewguard=skewguard"}

PROGRAM = """
import boto3

for _ in range(2):
    boto3.client("sts").get_caller_identity()
boto3.Session().client("sts").get_caller_identity()
"""


class TestBotocoresPlugin:
    """``BOTOCORE_EXPERIMENTAL__PLUGINS=skewguard=skewguard``."""

    @pytest.mark.parametrize(("variables", "statuses"), [({}, [403]), (PLUGIN, [403, 200, 200, 200])])
    def test_an_unchanged_program_is_guarded(
        self, variables: dict[str, str], statuses: list[int], slow_host: StrictEndpoint
    ) -> None:
        """From its first client on; without the variable it fails."""
        environment = {**os.environ, **variables, "AWS_ENDPOINT_URL": slow_host.url}
        done = completed(sys.executable, "-c", PROGRAM, env=environment, cwd=ROOT)
        assert [record.status for record in slow_host.requests] == statuses, done.stderr
        assert done.returncode == (0 if variables else 1)

    def test_a_client_keeps_the_guard_it_has(self, slow_host: StrictEndpoint) -> None:
        """The session that guards it may know its profile; a client alone does not."""
        made = client("sts", slow_host)
        skewguard.attach(made, enabled=False)
        [(handler, _)] = made.meta.events.emit(WHO)
        skewguard.initialize_client_plugin(made)
        assert [each for each, _ in made.meta.events.emit(WHO)] == [handler]
        assert skewguard.status().installed

    def test_what_fails_is_a_warning(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        """Botocore would hide it."""

        def broken(**_: object) -> None:
            raise RuntimeError("broken")

        monkeypatch.setattr(_api, "install", broken)
        skewguard.initialize_client_plugin(object())
        [record] = caplog.records
        assert (record.levelno, record.name) == (logging.WARNING, "skewguard")
        assert record.getMessage().endswith("is not guarded: broken")


class TestTheAwsClisPlugin:
    """``awscli_initialize`` gets an emitter; the session follows, in an event."""

    def test_the_session_is_guarded_once_it_is_initialized(self) -> None:
        session = botocore.session.Session()
        emitter = session.get_component("event_emitter")
        awscli.awscli_initialize(emitter)
        assert not skewguard.status().installed
        session.emit("session-initialized", session=session, parsed_args=None)
        assert len(emitter.emit(WHO)) == 1
        assert skewguard.status().installed

    def test_an_unusable_session_raises_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        """An exception would end every command of the CLI."""
        emitter = HierarchicalEmitter()
        awscli.awscli_initialize(emitter)
        emitter.emit("session-initialized", session=object(), parsed_args=None)
        assert "is not guarded: " in caplog.text
