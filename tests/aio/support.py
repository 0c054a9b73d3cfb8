"""Clients of a strict endpoint on either of aiobotocore's HTTP backends, and loops to run them on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiobotocore
import anyio
import pytest
import trio
from aiobotocore.config import AioConfig
from aiobotocore.httpxsession import HttpxSession
from aiobotocore.session import AioSession
from botocore.exceptions import ClientError

from skewguard.testing import StrictEndpoint

CHECKS_NAMES = int(aiobotocore.__version__.split(".", maxsplit=1)[0]) >= 3
"""Whether its aiohttp backend checks a certificate's host name; 2.25 does not, and its httpx backend does no TLS.

aioboto3 pins 2.25, so these tests can be run with that too.
"""

BACKENDS: dict[str, dict[str, Any]] = {"aiohttp": {}, "httpx": {"http_session_cls": HttpxSession}}
LOOPS: dict[str, Callable[[Callable[[], Awaitable[Any]]], Any]] = {
    "aiohttp": lambda main: asyncio.run(main()),
    "httpx": lambda main: asyncio.run(main()),
    "httpx-trio": trio.run,
}
"""What runs a test: each backend on each event loop that it works on."""

each_backend = pytest.mark.parametrize("backend", list(BACKENDS) if CHECKS_NAMES else ["aiohttp"])
each_way = pytest.mark.parametrize("way", list(LOOPS) if CHECKS_NAMES else ["aiohttp"])


def run(main: Callable[[], Awaitable[Any]], way: str = "aiohttp") -> Any:
    """Run a test's coroutine function on the event loop that `way` names; fail after a minute."""

    async def limited() -> Any:
        with anyio.fail_after(60):
            return await main()

    return LOOPS[way](limited)


def config(way: str = "aiohttp", **options: Any) -> AioConfig:
    """Make a client's configuration: that backend, and path-style addressing."""
    return AioConfig(s3={"addressing_style": "path"}, **BACKENDS[way.partition("-")[0]], **options)


def client(
    service: str, endpoint: StrictEndpoint, way: str = "aiohttp", session: Any = None, **options: Any
) -> AbstractAsyncContextManager[Any]:
    """Make a client of the endpoint's own address, from a new session unless one is given."""
    kwargs = endpoint.client_kwargs
    return (session or AioSession()).create_client(service, **kwargs, config=config(way, **options))


def aws_client(
    service: str, endpoint: StrictEndpoint, way: str = "aiohttp", verify: bool | None = None, **options: Any
) -> AbstractAsyncContextManager[Any]:
    kwargs = endpoint.client_kwargs
    del kwargs["endpoint_url"]
    kwargs.pop("verify", None)
    return AioSession().create_client(service, **kwargs, verify=verify, config=config(way, **options))


@contextlib.contextmanager
def as_aws(endpoint: StrictEndpoint, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the block with the endpoint as AWS, for aiohttp and for httpx, which connects to addresses."""
    connect = anyio.connect_tcp

    async def connect_tcp(remote_host: str, remote_port: int, **kwargs: Any) -> Any:
        if remote_port == 443:
            remote_host, remote_port = "127.0.0.1", endpoint.port
        return await connect(remote_host, remote_port, **kwargs)

    patch.setattr(anyio, "connect_tcp", connect_tcp)
    with endpoint.as_aws():
        yield


async def code_of(call: Awaitable[Any]) -> str:
    try:
        await call
    except ClientError as error:
        return str(error.response.get("Error", {}).get("Code", "unknown"))
    return ""
