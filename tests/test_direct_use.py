"""Signers used without a client, as opensearch-py and many scripts do: there are no events, so only `install` helps."""

from __future__ import annotations

import datetime
import importlib.machinery
import importlib.util
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.auth
import botocore.session
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.hooks import HierarchicalEmitter
from botocore.model import ServiceId
from botocore.signers import RequestSigner

import skewguard
from skewguard import _late_imports
from skewguard._reach import apply_patches
from skewguard.interval import SECOND
from skewguard.signing import unrecorded
from skewguard.signing.hooks import Hooks
from skewguard.signing.patches import library
from skewguard.testing import FakeClocks
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import FakeSource, ahead_of
from tests.support import attach, completed, run_python, signed_at

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token")
AWS = "https://search-mine.us-east-1.es.amazonaws.com/_search?q=a"


@pytest.fixture(params=[-7200, 7200])
def ahead(request: pytest.FixtureRequest) -> int:
    """The lead of true time over the wall clock, s."""
    return int(request.param)


def direct(cls: Any = botocore.auth.SigV4Auth, url: str = AWS, context: dict[str, Any] | None = None) -> AWSRequest:
    request = AWSRequest("GET", url, headers={"host": "x"}, data=b"")
    request.context.update(context or {})
    cls(CREDENTIALS.get_frozen_credentials(), "es", "us-east-1").add_auth(request)
    return request


def off(clocks: FakeClocks, request: AWSRequest) -> int:
    """Return the lead of the time signed over the wall clock, s."""
    stamp = request.headers.get("X-Amz-Date")
    return (parse_time(stamp) if stamp else signed_at(request.url)) - clocks.wall // SECOND


def by_a_client(clocks: FakeClocks, emitter: Any, context: dict[str, Any]) -> int:
    """Sign as a client with this emitter does; return the lead of that time over the wall clock, s."""
    request = AWSRequest("GET", AWS, data=b"")
    request.context.update(context)
    RequestSigner(ServiceId("es"), "us-east-1", "es", "v4", CREDENTIALS, emitter).sign("Search", request)
    return off(clocks, request)


class Mine(botocore.auth.SigV4Auth):
    """A signer derived from botocore's."""

    def add_auth(self, request: Any) -> None:
        super().add_auth(request)


SIGNERS = [
    botocore.auth.SigV4Auth,
    botocore.auth.S3SigV4Auth,
    botocore.auth.SigV4QueryAuth,
    botocore.auth.S3SigV4QueryAuth,
    botocore.auth.AUTH_TYPE_MAPS["v4"],
    botocore.auth.AUTH_TYPE_MAPS["v4-query"],
    Mine,
]


def install(clocks: FakeClocks, ahead: float = 7200, **options: Any) -> skewguard.Installation:
    """Install, with a source that finds true time `ahead` seconds ahead."""
    return skewguard.install(clocks=clocks, sources=[FakeSource(bound=0, truth=ahead_of(clocks, ahead))], **options)


class TestInstalled:
    """Under `install` a direct user is guarded."""

    @pytest.mark.parametrize("cls", SIGNERS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
    def test_is_right_at_once(self, clocks: FakeClocks, ahead: int, cls: type) -> None:
        """Headers and URLs; botocore's signers and one derived from them."""
        assert off(clocks, direct(cls)) == 0
        with install(clocks, ahead):
            assert off(clocks, direct(cls)) == ahead
            clocks.step(5000)
            assert off(clocks, direct(cls)) == ahead - 5000
        assert off(clocks, direct(cls)) == 0

    def test_wherever_it_is_sent(self, clocks: FakeClocks) -> None:
        """AWS keeps UTC. Other hosts may not, and no answer of theirs is heard, so the wall clock stays."""
        with install(clocks):
            assert off(clocks, direct(url="https://search.us-east-1.es.amazonaws.com/")) == 7200
            assert off(clocks, direct(url="https://abc.execute-api.us-east-1.amazonaws.com/")) == 7200
            assert off(clocks, direct(url="https://search.example.com/")) == 0
            assert off(clocks, direct(url="http://localhost:9200/")) == 0

    def test_whatever_it_puts_into_the_context(self, clocks: FakeClocks) -> None:
        """The context does not show who signs: some direct users fill it in."""
        with install(clocks):
            assert off(clocks, direct(context={"payload_signing_enabled": False, "client_config": None})) == 7200

    def test_a_wall_clock_that_is_right_is_left_alone(self, clocks: FakeClocks) -> None:
        """Byte for byte, and the stack is not searched."""
        expected = sorted(direct().headers.items())
        with install(clocks, 9), pytest.MonkeyPatch.context() as patch:
            patch.setattr(unrecorded, "signing_of", lambda request: pytest.fail("searched"))
            assert sorted(direct().headers.items()) == expected

    def test_inside_the_signing_of_a_client_that_is_not_guarded(self, clocks: FakeClocks) -> None:
        """What a client's handler signs by itself is direct use; the client's own request is not."""
        emitter = HierarchicalEmitter()
        Hooks.exempt(emitter)
        inner: list[int] = []
        emitter.register("before-sign", lambda **_: inner.append(off(clocks, direct())))
        with install(clocks):
            assert by_a_client(clocks, emitter, {}) == 0
        assert inner == [7200]

    def test_what_it_hands_out_can_be_left_alone(self, clocks: FakeClocks) -> None:
        """`correct_presigned` is about URLs, whatever signs them."""
        with install(clocks, correct_presigned=False):
            assert off(clocks, direct(botocore.auth.SigV4QueryAuth)) == 0
            assert off(clocks, direct(botocore.auth.AUTH_TYPE_MAPS["s3v4-query"])) == 0
            assert off(clocks, direct(botocore.auth.SigV4Auth)) == 7200


def plain_session() -> Any:
    """Return the emitter of a session made now."""
    return botocore.session.Session().get_component("event_emitter")


class TestByAClient:
    """What a client signs follows its own guard, although the request's context looks alike."""

    @pytest.mark.parametrize("context", [{}, {"client_config": None}, {"is_presign_request": True}])
    def test_a_client_made_before_install(self, clocks: FakeClocks, context: dict[str, Any]) -> None:
        """Its context may be empty, as for a database token."""
        emitter = plain_session()
        with install(clocks):
            assert by_a_client(clocks, emitter, context) == 7200
            assert by_a_client(clocks, plain_session(), context) == 7200
        assert by_a_client(clocks, emitter, context) == 0

    def test_a_client_whose_profile_switches_correction_off(
        self, clocks: FakeClocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It stays unguarded, and direct use follows the profile that the environment names."""
        config = tmp_path / "config"
        config.write_text("[default]\n[profile off]\ndisable_clock_skew_correction = true\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        with install(clocks):
            session = botocore.session.Session(profile="off")
            assert by_a_client(clocks, session.get_component("event_emitter"), {}) == 0
            assert off(clocks, direct()) == 7200
        monkeypatch.setenv("AWS_PROFILE", "off")
        with install(clocks):
            assert off(clocks, direct()) == 0
        with install(clocks, enabled=True):
            assert off(clocks, direct()) == 7200

    def test_a_detached_session(self, clocks: FakeClocks) -> None:
        with install(clocks):
            session = botocore.session.Session()
            skewguard.detach(session)
            assert by_a_client(clocks, session.get_component("event_emitter"), {}) == 0

    def test_a_signer_derived_from_botocores(self, clocks: FakeClocks) -> None:
        """aiobotocore's is one, with its own `sign`."""

        class Derived(RequestSigner):
            def sign(self, operation_name: str, request: Any) -> None:
                self.get_auth_instance("es", "us-east-1", "v4").add_auth(request)

        request = AWSRequest("GET", AWS, data=b"")
        with install(clocks):
            Derived(ServiceId("es"), "us-east-1", "es", "v4", CREDENTIALS, HierarchicalEmitter()).sign("x", request)
        assert off(clocks, request) == 0

    def test_direct_use_where_only_a_session_is_attached(self, clocks: FakeClocks) -> None:
        skewguard.install().uninstall()  # nor does an earlier installation count
        session = botocore.session.Session()
        attach(session, clocks, FakeSource(offset=7200))
        assert by_a_client(clocks, session.get_component("event_emitter"), {}) == 7200
        assert off(clocks, direct()) == 0

    def test_switched_off(self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "true")
        with install(clocks):
            assert off(clocks, direct()) == 0


def test_signers_that_hand_out_are_known_by_class() -> None:
    """A direct user names no signature version. With awscrt, those without a version of their own count too."""
    apply_patches()
    named = {botocore.auth.AUTH_TYPE_MAPS[version] for version in library.handed_out_versions()}
    handed_out = set(library.handed_out_signers())
    unnamed = {cls.__name__ for cls in handed_out - named}
    assert named <= handed_out
    assert unnamed <= {"SigV4QueryAuth", "S3SigV4QueryAuth", "CrtSigV4AsymQueryAuth"}


SCRIPT = """
import datetime, sys
import skewguard
from tests.fakes import FakeSource

skewguard.install(sources=[FakeSource(offset=7200)])
assert "botocore.auth" not in sys.modules, "install is light"
{first}
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
request = AWSRequest("GET", "https://search-mine.us-east-1.es.amazonaws.com/", data=b"")
SigV4Auth(Credentials("AKID", "secret"), "es", "us-east-1").add_auth(request)
print(request.headers["X-Amz-Date"])
import botocore.session
post = botocore.session.Session().create_client("s3", region_name="us-east-1", aws_access_key_id="AKID",
    aws_secret_access_key="secret", config=__import__("botocore.config").config.Config(signature_version="s3v4"))
print(post.generate_presigned_post("bucket", "key")["fields"]["x-amz-date"])
"""


@pytest.mark.slow
class TestLate:
    """`install` does not load botocore's signers; they are patched once they are imported."""

    @pytest.mark.parametrize("first", ["", "import botocore.auth", "import botocore.signers", "import boto3"])
    def test_signers_imported_after_install(self, first: str) -> None:
        """However they are imported, and without any session; what needs a session works as well."""
        now = datetime.datetime.now(datetime.timezone.utc)
        done = completed(sys.executable, "-W", "error", "-c", SCRIPT.replace("{first}", first))
        assert done.returncode == 0, done.stderr
        assert all(line.startswith("skewguard: this host's clock is ") for line in done.stderr.splitlines())
        for stamp in done.stdout.split():
            signed = datetime.datetime.strptime(f"{stamp}+0000", "%Y%m%dT%H%M%SZ%z")
            assert 7195 < (signed - now).total_seconds() < 7260

    def test_uninstall_ends_the_watch(self) -> None:
        """In a process that never imported the signers."""
        program = "import sys, skewguard as s; was = sys.meta_path[:]; s.install(sources=['response']); "
        program += "print(len(sys.meta_path) - len(was)); s.uninstall(); print(sys.meta_path == was)"
        assert run_python(program) == "1\nTrue\n"

    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """Return the name of a module that can be imported once."""
        (tmp_path / "imported_late.py").write_text("done = True\n")
        monkeypatch.syspath_prepend(tmp_path)
        before = list(sys.meta_path)
        yield "imported_late"
        assert sys.meta_path == before
        sys.modules.pop("imported_late", None)

    @pytest.fixture
    def seen(self, module: str) -> list[bool]:
        """Return a list that is appended to once that module is imported."""
        found: list[bool] = []
        _late_imports.WhenImported(module, lambda: found.append(sys.modules[module].done))
        return found

    def test_acts_once_the_module_is_imported(self, module: str, seen: list[bool]) -> None:
        """And does not affect imports afterwards."""
        assert seen == []
        __import__(module)
        assert seen == [True]
        _late_imports.WhenImported(module, lambda: seen.append(False))
        assert seen == [True, False]

    def test_can_be_stopped(self, module: str) -> None:
        """After `uninstall`, no import hook is left."""
        watch = _late_imports.WhenImported(module, lambda: pytest.fail("acted"))
        watch.stop()
        watch.stop()
        __import__(module)

    @pytest.mark.parametrize("then", [lambda: 1 / 0, lambda: None])
    def test_an_import_never_fails_for_it(self, module: str, then: Callable[[], None]) -> None:
        """Neither if the callback fails, nor if the module does not exist."""
        _late_imports.WhenImported(module, then)
        assert __import__(module).done
        _late_imports.WhenImported("imported_late.nowhere", then)
        with pytest.raises(ModuleNotFoundError):
            __import__("imported_late.nowhere")
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _late_imports.WhenImported)]

    def test_looking_for_the_module_is_not_importing_it(self, module: str, seen: list[bool]) -> None:
        """Programs check whether botocore exists before they import it."""
        assert importlib.util.find_spec(module) is not None
        assert seen == []
        __import__(module)
        assert seen == [True]

    def test_an_import_that_failed_may_be_tried_again(self, module: str, seen: list[bool], tmp_path: Path) -> None:
        (tmp_path / "imported_late.py").write_text("1 / 0\n")
        with pytest.raises(ZeroDivisionError):
            __import__(module)
        (tmp_path / "imported_late.py").write_text("done = True  # now\n")
        assert __import__(module).done
        assert seen == [True]

    def test_a_private_copy_is_ignored(self, module: str, seen: list[bool]) -> None:
        """It is not patched, and the module is still waited for."""
        spec = importlib.util.find_spec(module)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert seen == []
        __import__(module)
        assert seen == [True]

    def test_a_loader_of_many_modules(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As for a zip file or a frozen program: its other modules are left alone."""
        with zipfile.ZipFile(tmp_path / "packed.zip", "w") as packed:
            for name in ("__init__", "one", "other"):
                packed.writestr(f"packed_late/{name}.py", "")
        monkeypatch.syspath_prepend(tmp_path / "packed.zip")
        seen: list[str] = []
        _late_imports.WhenImported("packed_late.one", lambda: seen.append("acted"))
        try:
            one = importlib.import_module("packed_late.one")
            other = importlib.import_module("packed_late.other")
            package = sys.modules["packed_late"]
            assert (package.one, package.other) == (one, other)
            assert type(one.__loader__) is type(one.__spec__.loader) is type(other.__loader__)
            assert seen == ["acted"]
        finally:
            for name in ("packed_late.one", "packed_late.other", "packed_late"):
                sys.modules.pop(name, None)

    def test_a_loader_that_cannot_be_followed(self, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """It and its finder are of the old kind, which Python 3.11 still supports: the import works."""
        watch = _late_imports.WhenImported(module, lambda: pytest.fail("acted"))
        spec = importlib.machinery.ModuleSpec(module, None)
        finders = [watch, SimpleNamespace(), SimpleNamespace(find_spec=lambda *_: spec)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "meta_path", finders)
            assert watch.find_spec(module) is spec
        assert spec.loader is None
        watch.stop()
