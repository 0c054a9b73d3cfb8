"""Passwords for Git: CodeCommit's helpers read the clock themselves, and never call `add_auth`."""

from __future__ import annotations

import datetime
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import skewguard
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import FakeSource
from tests.real.need import need
from tests.real.test_awscli import run_aws
from tests.support import run_python

HOST, PATH = "git-codecommit.us-east-1.amazonaws.com", "/v1/repos/repository"
KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
each_clock = pytest.mark.parametrize("ahead", [7200, -7200], ids=["slow", "fast"])


@pytest.fixture
def helper() -> Any:
    need(importlib.util.find_spec("git_remote_codecommit") is not None, "it", "pip install git-remote-codecommit")
    return importlib.import_module("git_remote_codecommit")


def password(helper: Any, host: str = HOST) -> str:
    """Let git-remote-codecommit make a password."""
    return str(helper.sign(host, PATH, "us-east-1", KEYS))


def lead(made: str) -> float:
    """Return how far a password's time is ahead of the wall clock, s; its signature must be of that time."""
    stamp, signature = made.split("Z")
    assert signature == by_steps(stamp)[1]
    return parse_time(f"{stamp}Z") - datetime.datetime.now(datetime.timezone.utc).timestamp()


def by_steps(stamp: str, method: str = "GIT") -> tuple[str, str]:
    """Return the time and the signature of a request whose signer is called step by step."""
    request = AWSRequest(method, f"https://{HOST}{PATH}")
    request.context["timestamp"] = stamp
    signer = botocore.auth.SigV4Auth(KEYS, "codecommit", "us-east-1")
    text = signer.string_to_sign(request, f"GIT\n{PATH}\n\nhost:{HOST}\n\nhost\n")
    return request.context["timestamp"], signer.signature(text, request)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # the helper calls it
class TestGitRemoteCodecommit:
    @each_clock
    def test_a_password_is_dated_by_true_time(self, helper: Any, ahead: int) -> None:
        """As soon as it is known, and while skewguard is installed."""
        with skewguard.install(sources=[FakeSource(offset=ahead)]):
            assert lead(password(helper)) == pytest.approx(ahead, abs=60)
        assert lead(password(helper)) == pytest.approx(0, abs=60)

    def test_it_is_handed_out(self, helper: Any) -> None:
        """So `correct_presigned` decides, and a host that is not AWS's keeps a clock of its own."""
        with skewguard.install(sources=[FakeSource(offset=7200)], correct_presigned=False):
            assert lead(password(helper)) == pytest.approx(0, abs=60)
        with skewguard.install(sources=[FakeSource(offset=7200)]):
            stamp = password(helper, "git.example.com").partition("Z")[0]
            assert parse_time(f"{stamp}Z") == pytest.approx(datetime.datetime.now().timestamp(), abs=60)


@pytest.mark.usefixtures("helper")
class TestSteps:
    """What else calls a signer step by step chooses its time."""

    @pytest.mark.parametrize("stamp", ["20200101T000000Z", "soon"])
    def test_a_time_that_is_not_the_wall_clocks(self, stamp: str) -> None:
        with skewguard.install(sources=[FakeSource(offset=7200)]):
            assert by_steps(stamp)[0] == stamp

    def test_other_methods(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        with skewguard.install(sources=[FakeSource(offset=7200)]):
            assert by_steps(now, "GET")[0] == now
            assert by_steps(now, "GIT")[0] != now


@pytest.mark.usefixtures("helper")
def test_without_a_helper_nothing_is_patched() -> None:
    """So no other signing pays for it."""
    run_python("""if True:
        import botocore.auth, skewguard
        plain = botocore.auth.SigV4Auth.string_to_sign
        with skewguard.install():
            assert botocore.auth.SigV4Auth.string_to_sign is plain
            import git_remote_codecommit
            assert botocore.auth.SigV4Auth.string_to_sign is not plain
        """)


PLUGIN = """
import skewguard
from tests.fakes import FakeSource

def awscli_initialize(emitter):
    skewguard.install(sources=[FakeSource(offset={ahead})])
"""


@pytest.mark.slow
@each_clock
def test_the_aws_clis_credential_helper(ahead: int, tmp_path: Path) -> None:
    """`aws codecommit credential-helper get`, in the CLI itself."""
    asked = f"protocol=https\nhost={HOST}\npath={PATH[1:]}\n"
    printed = run_aws(tmp_path, PLUGIN.format(ahead=ahead), "codecommit", "credential-helper", "get", stdin=asked)
    [made] = re.findall("password=(.*)", printed)
    assert lead(made) == pytest.approx(ahead, abs=60)
