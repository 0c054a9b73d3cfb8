"""Role credentials and tokens are judged by true time in aiobotocore's sessions as in botocore's."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Iterator
from pathlib import Path

import aiobotocore.credentials
import aiobotocore.tokens
import aiobotocore.utils
import botocore.credentials
import botocore.tokens
import botocore.utils
import pytest
from aiobotocore.credentials import AioDeferredRefreshableCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession

import skewguard
from skewguard.testing import StrictEndpoint
from tests.aio.support import CHECKS_NAMES, as_aws, config, run
from tests.fakes import FakeSource
from tests.roles import HOUR, Broker, Metadata, RoleCredentials, cache_role, single_sign_on, with_cache, without_keys

WAYS = ["aiohttp", "httpx-trio"] if CHECKS_NAMES else ["aiohttp"]


@pytest.fixture
def metadata(tls_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Metadata]:
    """The metadata services, under a name, because these HTTP clients resolve no address."""
    with without_keys(tls_endpoint, monkeypatch, tmp_path) as services, as_aws(tls_endpoint, monkeypatch):
        here = f"metadata.example:{services.server_port}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://{here}/")
        monkeypatch.setattr(aiobotocore.utils.AioContainerMetadataFetcher, "IP_ADDRESS", here)
        monkeypatch.setattr(aiobotocore.utils.AioContainerMetadataFetcher, "_ALLOWED_HOSTS", ["metadata.example"])
        yield services


@pytest.fixture
def aws(metadata: Metadata, tls_endpoint: StrictEndpoint) -> StrictEndpoint:
    return tls_endpoint


def session_for(way: str) -> AioSession:
    """Make a session that asks for credentials with the same backend."""
    session = AioSession()
    session.set_default_client_config(config(way))
    return session


async def call(way: str) -> None:
    async with session_for(way).create_client("dynamodb", region_name="us-east-1") as dynamodb:
        await dynamodb.list_tables()


async def key_of(session: AioSession) -> str:
    credentials = await session.get_credentials()
    return str((await credentials.get_frozen_credentials()).access_key)


class TestProviders(RoleCredentials):
    """As in `tests/test_expiry.py` for botocore."""

    @pytest.fixture(params=WAYS)
    def way(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def call(self, way: str) -> None:
        run(lambda: call(way), way)


class TestTwoClocks:
    """As in `tests/test_expiry_two_clocks.py`: neither clock makes fail what succeeds with aiobotocore alone."""

    @staticmethod
    async def calls(broker: Broker, deferred: bool) -> None:
        """Make ten calls."""
        session = session_for("aiohttp")

        async def provide() -> dict[str, str]:
            return broker()

        if deferred:
            session._credentials = AioDeferredRefreshableCredentials(provide, "test")
        else:
            session._credentials = AioRefreshableCredentials.create_from_metadata(await provide(), provide, "test")
        async with session.create_client("dynamodb", region_name="us-east-1") as dynamodb:
            for _ in range(10):
                await dynamodb.list_tables()

    @pytest.mark.parametrize("deferred", [True, False])
    @pytest.mark.parametrize(("lie", "lasts"), [(2 * HOUR, HOUR), (10_500, 3 * HOUR), (-2 * HOUR, HOUR)])
    async def test_a_source_that_lies_to_a_right_host(
        self, aws: StrictEndpoint, lie: int, lasts: int, deferred: bool
    ) -> None:
        """Nothing fails, and there is no storm."""
        plain, guarded = Broker(aws, lasts), Broker(aws, lasts)
        await self.calls(plain, deferred)
        assert plain.count == 1
        with skewguard.install(sources=[FakeSource(offset=lie)], learn_from_responses=False):
            aws.tolerance = 4 * HOUR
            try:
                await self.calls(guarded, deferred)
            finally:
                aws.tolerance = None
        assert guarded.count <= 2

    @pytest.mark.parametrize("deferred", [True, False])
    async def test_a_fast_host(self, aws: StrictEndpoint, deferred: bool) -> None:
        """On which all seem dead on arrival."""
        aws.offset = -2 * HOUR
        with pytest.raises(RuntimeError, match="still expired"):
            await self.calls(Broker(aws), deferred)
        broker = Broker(aws)
        with skewguard.install(sources=[FakeSource(offset=-2 * HOUR)]):
            await self.calls(broker, deferred)
        assert broker.count <= 2

    async def test_a_refresh_that_only_one_clock_demands_may_fail(self, aws: StrictEndpoint) -> None:
        """And is not tried at each call."""
        tried = []

        async def fail() -> None:
            tried.append(1)
            raise OSError("no network")

        async def keys(left: int) -> list[str]:
            until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=left)
            credentials = AioRefreshableCredentials("old", "s", "t", until, fail, "test")
            return [(await credentials.get_frozen_credentials()).access_key for _ in range(5)]

        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            AioSession()
            assert await keys(HOUR) == ["old"] * 5
            assert len(tried) == 1
            with pytest.raises(OSError, match="no network"):
                await keys(-1)

    async def test_a_legacy_token_is_used(
        self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Although it is dead by one of two clocks."""
        single_sign_on(tmp_path, monkeypatch, aws)
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            await call("aiohttp")

    async def test_a_cached_role_is_used(
        self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the role cannot be assumed again."""
        cache_role(tmp_path, monkeypatch, aws, HOUR)
        error = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
        aws.reply_next(403, {}, error, times=2)
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            assert await key_of(with_cache(tmp_path, session_for("aiohttp"))) == "ASIAOLD"
        assert aws.count > 0


class TestMetadata:
    @pytest.mark.parametrize("way", WAYS)
    async def test_a_living_fetcher_is_deaf_while_nothing_is_guarded(self, aws: StrictEndpoint, way: str) -> None:
        aws.offset = 2 * HOUR
        with skewguard.install():
            session = session_for(way)
        assert await key_of(session) == "ASIAMETADATA"
        assert skewguard.now() is None
        with skewguard.install():
            assert await key_of(session_for(way)) == "ASIAMETADATA"
            measured = skewguard.offset()
        assert measured.seconds == pytest.approx(2 * HOUR, abs=5)
        assert measured.source.startswith("http://metadata.example:")


class TestTripwire:
    """What skewguard needs of aiobotocore. A failure names what a new version has changed."""

    def test_its_clocks_are_botocores_own(self) -> None:
        """The functions whose code is replaced, and no copies of them; and it reads no other clock."""
        assert aiobotocore.credentials._local_now is botocore.credentials._local_now
        assert aiobotocore.tokens._utc_now is botocore.tokens._utc_now
        for module in (aiobotocore.credentials, aiobotocore.tokens, aiobotocore.utils):
            assert {"time", "get_current_datetime"}.isdisjoint(vars(module)), module
            assert ".now(" not in inspect.getsource(module).replace("self._now(", "")

    def test_what_it_inherits(self) -> None:
        """When credentials and tokens are renewed or dead, and how long an instance's credentials are extended."""
        credentials = aiobotocore.credentials
        for name in ("_seconds_remaining", "_is_expired", "refresh_needed"):
            inherited = vars(botocore.credentials.RefreshableCredentials)[name]
            assert inherited is getattr(credentials.AioRefreshableCredentials, name)
        for name in ("_is_expired", "_load_from_cache"):
            inherited = vars(botocore.credentials.CachedCredentialFetcher)[name]
            assert inherited is getattr(credentials.AioCachedCredentialFetcher, name)
        token, instance = aiobotocore.tokens.AioDeferredRefreshableToken, aiobotocore.utils.AioInstanceMetadataFetcher
        assert vars(botocore.tokens.DeferredRefreshableToken)["_is_expired"] is token._is_expired
        assert vars(botocore.tokens.DeferredRefreshableToken)["_should_refresh"] is token._should_refresh
        assert vars(botocore.utils.InstanceMetadataFetcher)["_evaluate_expiration"] is instance._evaluate_expiration
