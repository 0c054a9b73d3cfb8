"""`install`, `attach`, `session` and AWS's own switches: what is guarded, and what is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import botocore
import botocore.session
import pytest

import skewguard
from skewguard.errors import ConfigError
from skewguard.signing.guard import Guard
from skewguard.signing.hooks import _IDS
from skewguard.sources.auto import HostSources
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource
from tests.ntp_server import Server, honest, serving
from tests.patience import PATIENCE
from tests.support import aws_client, client, code_of, with_bucket


class TestWaysIn:
    """The effect of install, attach and session before and after, and on other sessions."""

    def guarded(self, endpoint: StrictEndpoint, sts: Any) -> bool:
        """Return whether a client's calls are guarded, by making one."""
        endpoint.offset += 3600
        return not code_of(sts.get_caller_identity)

    @pytest.fixture
    def default_session(self, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
        """boto3's default session, as a first `boto3.client()` makes it."""
        made = boto3.Session()
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", made)
        return made

    @pytest.mark.usefixtures("default_session")
    def test_install_reaches_the_default_session_made_before(self, endpoint: StrictEndpoint) -> None:
        """`boto3.client()` works after install, even with a default session made before."""
        with skewguard.install():
            assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))

    def test_install_reaches_sessions_made_after(self, endpoint: StrictEndpoint) -> None:
        with skewguard.install():
            assert self.guarded(endpoint, client("sts", endpoint))
            plain = botocore.session.get_session()
            assert self.guarded(endpoint, plain.create_client("sts", **endpoint.client_kwargs))

    @pytest.mark.parametrize("wrong", [float("inf"), float("nan"), -1, "soon", True])
    def test_a_wrong_number_of_seconds_is_one_clear_error(self, wrong: Any) -> None:
        for ask in (
            lambda: skewguard.measure(timeout=wrong),
            lambda: skewguard.wait_until_synchronized(wrong),
            lambda: skewguard.wait_until_synchronized(1, within=wrong),
            lambda: skewguard.install(wait=wrong),
        ):
            with pytest.raises(ConfigError, match=r"number of seconds|negative"):
                ask()

    @pytest.mark.parametrize("way", ["code", "environment", "profile", "the host"])
    def test_sources_are_chosen(self, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the same names everywhere; by default, those that the host has."""
        uri = "ntp://127.0.0.1:9"
        monkeypatch.delenv("SKEWGUARD_SOURCES")
        monkeypatch.setattr(HostSources, "uris", lambda _self: iter([uri if way == "the host" else "chrony:/none"]))
        if way == "environment":
            monkeypatch.setenv("SKEWGUARD_SOURCES", uri)
        if way == "profile":
            config = tmp_path / "config"
            config.write_text(f"[profile dev]\nskewguard =\n  sources = {uri}\n")
            monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
            monkeypatch.setenv("AWS_PROFILE", "dev")
        with skewguard.install(**({"sources": [uri]} if way == "code" else {})):
            (result,) = skewguard.measure(timeout=0.2).sources
        assert result.name == uri
        assert result.error

    def test_a_chosen_source_is_asked_before_the_first_request(self, aws: StrictEndpoint) -> None:
        """If it is instant, the first request is signed right without any waiting."""
        aws.offset = 1200
        with skewguard.install(sources=[FakeSource(offset=1200)]):
            aws_client("sts", aws).get_caller_identity()
        assert aws.count == 1

    def test_uninstall_ends_it_and_install_begins_it_again(self, endpoint: StrictEndpoint) -> None:
        """Clients of the first installation are guarded by the second."""
        with skewguard.install():
            sts = client("sts", endpoint)
        assert not self.guarded(endpoint, sts)
        assert skewguard.now() is None
        with skewguard.install():
            assert self.guarded(endpoint, sts)

    def test_install_twice_is_once(self) -> None:
        """Other options are ignored with a warning; any handle can uninstall, once."""
        first = skewguard.install(deadband=5)
        again = skewguard.install()
        assert skewguard.install(deadband=5).settings is first.settings
        with pytest.warns(skewguard.SkewguardWarning, match=r"different options \(deadband\); .*uninstall\(\) first"):
            assert skewguard.install(deadband=6, wait=0, share=False).settings is first.settings
        assert first.in_force
        assert "in force" in repr(again)
        again.uninstall()
        skewguard.uninstall()
        assert not first.in_force
        assert "ended" in repr(first)
        first.uninstall()

    def test_a_librarys_with_block_leaves_the_programs_installation(self, endpoint: StrictEndpoint) -> None:
        skewguard.install()
        with skewguard.install():
            pass
        assert skewguard.status().installed
        assert self.guarded(endpoint, client("sts", endpoint))

    def test_install_leaves_what_is_attached_to_its_own_guard(
        self, endpoint: StrictEndpoint, default_session: boto3.Session
    ) -> None:
        """The default session, attached before, is guarded before, during and after."""
        skewguard.attach(default_session)
        with skewguard.install():
            assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))
        assert self.guarded(endpoint, boto3.client("sts", **endpoint.client_kwargs))

    def test_sources_of_code_replace_those_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty list turns them off; what attach adds outlives uninstall."""
        monkeypatch.setenv("SKEWGUARD_SOURCES", "ntp://127.0.0.1:1")

        def names() -> list[str]:
            return [result.name for result in skewguard.measure(timeout=2).sources]

        with skewguard.install():
            assert names() == ["ntp://127.0.0.1:1"]
        with skewguard.install(sources=["ntp://127.0.0.1:2"]):
            assert names() == ["ntp://127.0.0.1:2"]
        with skewguard.install(sources=[]):
            assert names() == []
            skewguard.attach(boto3.Session(), sources=["ntp://127.0.0.1:3"])
            assert names() == ["ntp://127.0.0.1:3"]
        assert names() == ["ntp://127.0.0.1:1", "ntp://127.0.0.1:3"]

    @pytest.mark.slow
    def test_the_environment_can_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And silence is asked again meanwhile."""
        lost = iter([True])

        def loses_one(server: Server, request: bytes, peer: tuple[str, int]) -> None:
            if not next(lost, False):
                honest(server, request, peer)

        with serving(loses_one) as server:
            monkeypatch.setenv("SKEWGUARD_SOURCES", server.uri)
            monkeypatch.setenv("SKEWGUARD_TIMEOUT", "0.2")
            monkeypatch.setenv("SKEWGUARD_WAIT", "60")
            with skewguard.install():
                assert skewguard.offset() is not None
                assert len(server.requests) >= 2

    @pytest.mark.parametrize("wait", ["soon", None, -1])
    def test_a_wrong_wait_is_an_error_before_anything_happens(self, wait: Any) -> None:
        with pytest.raises(ConfigError, match="'wait'"):
            skewguard.install(wait=wait)
        assert not skewguard.status().installed

    def test_switched_off_it_asks_no_source(self) -> None:
        with skewguard.install(enabled=False, sources=["ntp://127.0.0.1:1"]):
            assert skewguard.status().sources == ()
            assert skewguard._process.process.keeper()._poller._begun is None

    @pytest.mark.parametrize("service", ["imagebuilder", "greengrassv2", "amplifyuibuilder"])
    def test_attach_knows_a_client_from_a_session(self, service: str) -> None:
        """Some services have an operation called GetComponent, and sessions have a method of that name."""
        made = boto3.client(service, region_name="us-east-1")
        skewguard.attach(made)
        skewguard.detach(made)

    def test_an_old_handle_ends_nothing_new(self) -> None:
        first = skewguard.install()
        skewguard.uninstall()
        skewguard.install()
        first.uninstall()
        assert skewguard.status().installed

    @pytest.mark.parametrize("target", [lambda s: s, lambda s: s._session])
    def test_attach_guards_a_session_alone(self, endpoint: StrictEndpoint, target: Callable[[Any], Any]) -> None:
        mine, other = boto3.Session(), boto3.Session()
        skewguard.attach(target(mine))
        assert self.guarded(endpoint, client("sts", endpoint, mine))
        assert not self.guarded(endpoint, client("sts", endpoint, other))
        skewguard.detach(target(mine))
        assert not self.guarded(endpoint, client("sts", endpoint, mine))

    def test_attach_guards_a_client(self, endpoint: StrictEndpoint) -> None:
        sts, other = client("sts", endpoint), client("sts", endpoint)
        skewguard.attach(sts)
        skewguard.attach(sts)
        assert self.guarded(endpoint, sts)
        assert not self.guarded(endpoint, other)
        skewguard.detach(sts)
        assert not self.guarded(endpoint, sts)
        skewguard.detach(sts)

    def test_attach_guards_a_resource(self, endpoint: StrictEndpoint) -> None:
        """And the clients made of it."""
        with_bucket(endpoint)
        s3 = boto3.resource("s3", **endpoint.client_kwargs)
        skewguard.attach(s3)
        assert [item.key for item in s3.Bucket("bucket").objects.all()] == ["key"]

    def test_attach_can_exempt_from_install(self, endpoint: StrictEndpoint) -> None:
        with skewguard.install():
            sts = client("sts", endpoint)
            skewguard.attach(sts, enabled=False)
            assert not self.guarded(endpoint, sts)

    def test_session_is_plain_and_guarded(self, endpoint: StrictEndpoint) -> None:
        made = skewguard.session(region_name="eu-west-1")
        assert type(made) is boto3.Session
        assert made.region_name == "eu-west-1"
        assert self.guarded(endpoint, client("sts", endpoint, made))

    @pytest.mark.parametrize("target", [None, 5, "s3", object()])
    def test_what_cannot_be_guarded_is_one_clear_error(self, target: object) -> None:
        """It is no AttributeError from deep inside."""
        with pytest.raises(ConfigError, match="not a boto3 or botocore session, client or resource"):
            skewguard.attach(target)

    def test_hooks_come_first_and_once(self) -> None:
        """However often a session is guarded."""
        with skewguard.install():
            session = botocore.session.get_session()
            skewguard.attach(session)
            emitter = session.get_component("event_emitter")
            handlers = emitter._emitter._handlers.prefix_search("needs-retry.s3.GetObject")
            ours = [handler for handler in handlers if getattr(handler, "__module__", "").startswith("skewguard")]
            assert len(ours) == 1
            assert handlers[0] is ours[0]
        assert len(set(_IDS.values())) == 3


class TestOffSwitches:
    def test_the_environment(self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """One request, and botocore's own error."""
        monkeypatch.setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "true")
        with skewguard.install():
            assert code_of(client("sts", endpoint).get_caller_identity)
        assert endpoint.count == 1
        with skewguard.install(enabled=True):
            assert not code_of(client("sts", endpoint).get_caller_identity)

    def test_the_profile_counts_in_every_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many make their first call while it is being read."""
        session = botocore.session.get_session()
        entered, leave = threading.Event(), threading.Event()

        def slowly() -> dict[str, str]:
            entered.set()
            leave.wait(PATIENCE)
            return {"disable_clock_skew_correction": "true"}

        monkeypatch.setattr(session, "get_scoped_config", slowly)
        with skewguard.install():
            guard = Guard(skewguard._process.process.everywhere, skewguard._process.process.keeper(), session)
            with ThreadPoolExecutor(3) as threads:
                answers = [threads.submit(guard.is_on) for _ in range(3)]
                assert entered.wait(PATIENCE)
                leave.set()
            assert [answer.result() for answer in answers] == [False] * 3
            assert not guard.is_on()

    def test_the_profile(self, endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """One profile is switched off, another is not; the session may be gone before the call."""
        path = tmp_path / "config"
        path.write_text("[profile off]\ndisable_clock_skew_correction = true\n[profile on]\nregion = us-east-1\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
        with skewguard.install():
            assert code_of(client("sts", endpoint, boto3.Session(profile_name="off")).get_caller_identity)
            assert endpoint.count == 1
            assert not code_of(client("sts", endpoint, boto3.Session(profile_name="on")).get_caller_identity)
        monkeypatch.setenv("AWS_DISABLE_CLOCK_SKEW_CORRECTION", "false")
        with skewguard.install():
            assert not code_of(client("sts", endpoint, boto3.Session(profile_name="off")).get_caller_identity)
