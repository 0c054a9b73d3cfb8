"""`true_time_tls` with aiobotocore: aiohttp and httpx, on each event loop, and s3fs.

The wall clock is a fake one, and OpenSSL reads the real one, so it always refuses a certificate of 400 days from now.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest
import s3fs
import trustme
import truststore
from aiobotocore.endpoint import AioEndpoint
from aiobotocore.session import AioSession
from botocore.exceptions import SSLError

import skewguard
from skewguard import _process
from skewguard.interval import SECOND
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.tls.connection import Judge, TrueTimeContext, adopt
from tests import tunnel
from tests.aio.support import as_aws, aws_client, each_way
from tests.fakes import FakeSource
from tests.support import valid_around

DAY = 86_400
NOW = time.time_ns()


class World:
    """AWS and true time, 400 days from now."""

    def __init__(self, clocks: FakeClocks) -> None:
        self.clocks = clocks
        clocks.step((NOW - clocks.wall) / SECOND)
        begin = clocks.steady
        self.now = lambda: NOW + 400 * DAY * SECOND + clocks.steady - begin
        self.aws = StrictEndpoint(tls=True, clock=self.now)

    def sources(self, count: int) -> list[FakeSource]:
        return [FakeSource(f"ntp://{name}", truth=self.now) for name in "ab"[:count]]

    def install(self, count: int = 2, sources: Any = None, **options: Any) -> Any:
        sources = sources or self.sources(count)
        return skewguard.install(sources=sources, clocks=self.clocks, **{"true_time_tls": True, **options})


@pytest.fixture
def world(clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(clocks)
    valid_around(datetime.datetime.fromtimestamp(made.now() / SECOND, datetime.timezone.utc), monkeypatch)
    with made.aws, as_aws(made.aws, monkeypatch):
        yield made


async def identity(world: World, way: str, **options: Any) -> None:
    async with aws_client("sts", world.aws, way, **options) as sts:
        await sts.get_caller_identity()


@each_way
async def test_a_first_call(world: World, way: str) -> None:
    """One request, right at once."""
    with world.install():
        await identity(world, way)
    assert [one.status for one in world.aws.requests] == [200]


@each_way
async def test_without_the_option(world: World, way: str) -> None:
    """As plain aiobotocore fails, and no request is sent."""

    async def fails() -> str:
        with pytest.raises(SSLError) as raised:
            await identity(world, way, retries={"total_max_attempts": 1})
        return str(raised.value)

    plain = await fails()
    send = AioEndpoint._send
    with world.install(true_time_tls=False):
        assert await fails() == plain
        assert AioEndpoint._send is send
    with world.install(count=1):  # one source is not enough
        assert await fails() == plain
    assert AioEndpoint._send is send
    assert world.aws.requests == []


@each_way
async def test_sources_that_answer_late(world: World, way: str) -> None:
    """The handshake fails, the sources are awaited, and the call is made again."""
    sources = world.sources(2)
    for source in sources:
        source.offset = None
    with world.install(sources=sources):
        for source in sources:
            source.offset = 0.0
        await identity(world, way, retries={"total_max_attempts": 2})
    assert [one.status for one in world.aws.requests] == [200]


@each_way
async def test_an_answer_proves_no_time(world: World, way: str) -> None:
    """It teaches its own endpoint only."""
    with world.install():
        await identity(world, way)
        await identity(world, way)
        assert _process.process.keeper().utc.evidence is None
        assert set(skewguard.status().domains) == {"https://sts.us-east-1.amazonaws.com"}
        assert skewguard.offset().grade == "vote"  # type: ignore[union-attr]


async def test_where_host_names_are_not_checked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by aiobotocore 2.x: their answers have a domain that is shared, but not those of a judged connection."""
    from skewguard.signing.responses import AioResponses
    from skewguard.timekeeping.sharing import SharedEstimates

    shared: list[str] = []
    monkeypatch.setattr(SharedEstimates, "publish", lambda _, key, *__: shared.append(key))
    monkeypatch.setattr(AioResponses, "host_names_unchecked", lambda _: True)
    with world.install(share=True):
        await identity(world, "aiohttp")
        assert set(skewguard.status().domains) == {"https://sts.us-east-1.amazonaws.com"}
    assert shared == []


@each_way
async def test_a_certificate_that_is_dead_on_true_time(
    clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """No byte of the request is sent, and the event loop does not wait for ever."""
    here = World(clocks)
    valid_around(datetime.datetime.now(datetime.timezone.utc), monkeypatch)
    with here.aws, as_aws(here.aws, monkeypatch):
        with here.install(), pytest.raises(SSLError, match="certificate has expired by true time"):
            await identity(here, way, retries={"total_max_attempts": 2})
        assert here.aws.requests == []


@pytest.mark.parametrize("way", ["aiohttp", "httpx"])
async def test_through_a_proxy(world: World, way: str) -> None:
    """The connection to AWS is TLS within the proxy's; a dead certificate gets no request there, either."""
    with tunnel.proxy() as proxy:
        proxies = {"https": proxy.url}
        with world.install():
            await identity(world, way, proxies=proxies)
        assert [one.status for one in world.aws.requests] == [200]
        with world.install(count=1), pytest.raises(SSLError):
            await identity(world, way, proxies=proxies, retries={"total_max_attempts": 1})
    assert [line.split()[1] for line in proxy.asked] == ["sts.us-east-1.amazonaws.com:443"] * 2
    assert len(world.aws.requests) == 1


async def test_a_client_made_before_install(world: World) -> None:
    async with aws_client("sts", world.aws) as sts:
        with world.install():
            await sts.get_caller_identity()
            (session,) = sts._endpoint.http_session._sessions.values()
            assert type(session.connector._ssl) is TrueTimeContext
        assert type(session.connector._ssl) is ssl.SSLContext
    assert [one.status for one in world.aws.requests] == [200]


@each_way
async def test_a_client_certificate(world: World, way: str, tmp_path: Any) -> None:
    """OpenSSL judges alone."""
    mine = tmp_path / "me.pem"
    trustme.CA().issue_cert("me").private_key_and_cert_chain_pem.write_to_path(str(mine))
    with world.install(), pytest.raises(SSLError):
        await identity(world, way, client_cert=str(mine), retries={"total_max_attempts": 1})
    assert world.aws.requests == []


async def test_many_at_once(world: World) -> None:
    """Tasks share a client and its contexts."""
    with world.install():
        async with aws_client("sts", world.aws, max_pool_connections=20) as sts:
            await asyncio.gather(*(sts.get_caller_identity() for _ in range(40)))
    assert {one.status for one in world.aws.requests} == {200}


@pytest.mark.parametrize("option", [True, False])
def test_s3fs(world: World, option: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system whose first call is its user's."""
    kwargs = world.aws.client_kwargs
    with world.install(true_time_tls=option):
        files = s3fs.S3FileSystem(
            key=kwargs["aws_access_key_id"],
            secret=kwargs["aws_secret_access_key"],
            client_kwargs={name: kwargs[name] for name in ("region_name", "verify", "endpoint_url")},
            config_kwargs={"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 5 if option else 1}},
            skip_instance_cache=True,
        )
        if option:
            files.mkdir("bucket")
            files.pipe("bucket/key", b"here")
            assert files.cat("bucket/key") == b"here"
            files.close_session(files.loop, files.s3)
        else:
            monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
            with pytest.raises(OSError, match="certificate is not yet valid"):
                files.mkdir("bucket")
            assert world.aws.requests == []


def test_truststore_is_left_alone() -> None:
    """Its contexts check by other means."""
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert not adopt(context, Judge(lambda: None))


async def test_a_context_of_the_callers(world: World) -> None:
    """httpx accepts one; it is the caller's."""
    from aiobotocore.config import AioConfig
    from aiobotocore.httpxsession import HttpxSession

    own = ssl.create_default_context(cafile=world.aws.ca_bundle)
    config = AioConfig(
        http_session_cls=HttpxSession,
        connector_args={"ssl_context": own, "keepalive_timeout": 1},
        retries={"total_max_attempts": 1},
    )
    kwargs = {name: value for name, value in world.aws.client_kwargs.items() if name.startswith(("aws", "region"))}
    with world.install():
        with pytest.raises(SSLError):
            async with AioSession().create_client("sts", **kwargs, config=config) as sts:
                await sts.get_caller_identity()
        assert type(own) is ssl.SSLContext
    assert world.aws.requests == []
