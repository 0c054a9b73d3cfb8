"""botocore's plugin variable, and the AWS CLI's plugin. `tests/real/test_awscli.py` runs the CLI itself."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.session
import pytest
from botocore.config import Config
from botocore.hooks import HierarchicalEmitter

import skewguard
from skewguard import _api
from skewguard.contrib import awscli
from skewguard.signing.patches import library
from skewguard.signing.patches.signers import WHO
from skewguard.testing import StrictEndpoint
from tests.fakes import raising
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
        monkeypatch.setattr(_api, "install", raising(RuntimeError("broken")))
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

    def initialized(self, session: Any = None) -> None:
        """Let the plugin see a session, as the CLI does."""
        emitter = HierarchicalEmitter()
        awscli.awscli_initialize(emitter)
        emitter.emit("session-initialized", session=session or botocore.session.Session(), parsed_args=None)

    def test_an_unusable_session_raises_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        """An exception would end every command of the CLI, and it shows no log."""
        self.initialized(session=object())
        assert capsys.readouterr().err.startswith("skewguard: the AWS CLI is not guarded: <object ")

    def test_a_python_that_cannot_import_skewguard(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setitem(sys.modules, "skewguard._plugins", None)
        self.initialized()
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("skewguard: the AWS CLI is not guarded: import of skewguard._plugins halted")

    def test_a_botocore_that_cannot_be_corrected(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(botocore.auth, library.clock_name(), None)
        self.initialized()
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("skewguard: the AWS CLI is not guarded: this botocore (")


class TestTheBotocoreOfVersion2:
    """It has no initializers, and names the total of attempts otherwise. `tests/real/test_awscli2.py` runs it."""

    def test_its_sessions_are_guarded_while_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(library, "_HAS_INITIALIZERS", False)
        monkeypatch.setattr(botocore.session.Session, "__init__", botocore.session.Session.__init__)
        for _ in range(2):
            with skewguard.install():
                [_] = botocore.session.Session().get_component("event_emitter").emit(WHO)
            assert not botocore.session.Session().get_component("event_emitter").emit(WHO)

    def test_its_total_of_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        context = {"client_config": Config(retries={"max_attempts": 1})}
        assert library.total_attempts(context) is None
        monkeypatch.setattr(library, "_HAS_INITIALIZERS", False)
        assert library.total_attempts(context) == 1
