"""aiobotocore's clients behave as botocore's: one retry corrects the first call, later ones are right at once."""

from __future__ import annotations

import gc
import io
from collections.abc import Awaitable, Callable
from typing import Any

import aiobotocore.session
import anyio
import pytest
import trio
from botocore.exceptions import HTTPClientError

import skewguard
from skewguard.signing.call import _is_rewindable
from skewguard.signing.patches import signers
from skewguard.testing import StrictEndpoint
from skewguard.timekeeping.domain import UTC
from tests import support
from tests.aio.support import (
    CHECKS_NAMES,
    as_aws,
    aws_client,
    client,
    code_of,
    config,
    each_backend,
    each_way,
)


async def get(c: Any) -> None:
    answer = await c.get_object(Bucket="bucket", Key="key")
    assert await answer["Body"].read() == b"here"


OPERATIONS: dict[str, tuple[str, Callable[[Any], Awaitable[Any]]]] = {**support.OPERATIONS, "s3-get": ("s3", get)}


@each_way
@pytest.mark.parametrize("offset", [1200.0, -1200.0])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_the_first_call_takes_one_retry_and_the_next_none(way: str, operation: str, offset: float) -> None:
    """Without skewguard the same call fails."""
    service, call = OPERATIONS[operation]
    with StrictEndpoint(offset=offset) as endpoint:
        support.with_bucket(endpoint)
        async with client(service, endpoint, way) as unguarded:
            assert await code_of(call(unguarded))
        endpoint.clear()
        skewguard.install()
        async with client(service, endpoint, way) as guarded:
            await call(guarded)
            assert endpoint.count == 2
            await call(guarded)
            assert endpoint.count == 3


async def test_botocores_plugin_guards_a_client_and_leaves_alone_what_is_guarded(endpoint: StrictEndpoint) -> None:
    """It is given a client whose emitter awaits."""
    async with client("sts", endpoint) as first:
        for _ in range(2):
            skewguard.initialize_client_plugin(first)
            await first.get_caller_identity()
    async with client("sts", endpoint) as attached:
        skewguard.attach(attached, enabled=False)
        skewguard.initialize_client_plugin(attached)
        [(_, guard)] = await attached.meta.events.emit(signers.WHO)
        assert guard is None
    assert [record.status for record in endpoint.requests] == [403, 200, 200]


@each_backend
@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
async def test_every_retry_mode(backend: str, mode: str, endpoint: StrictEndpoint) -> None:
    """The retry is skewguard's, whatever else asks for one; there is none if the caller allows one attempt."""
    skewguard.install()
    once = {"mode": mode, "total_max_attempts": 1}
    async with client("dynamodb", endpoint, backend, retries=once) as dynamodb:
        assert await code_of(dynamodb.list_tables())
        assert endpoint.count == 1
    skewguard.uninstall()
    skewguard.install()
    endpoint.clear()
    async with client("dynamodb", endpoint, backend, retries={"mode": mode}) as dynamodb:
        answer = await dynamodb.list_tables()
        assert answer["ResponseMetadata"]["RetryAttempts"] == 1
        assert endpoint.count == 2


@each_way
async def test_aws_teaches_utc(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one client learns over verified TLS serves every other."""
    with StrictEndpoint(offset=1200, tls=True) as endpoint, as_aws(endpoint, monkeypatch):
        skewguard.install()
        async with aws_client("sts", endpoint, way) as sts:
            await sts.get_caller_identity()
            assert endpoint.count == 2
        async with aws_client("dynamodb", endpoint, way) as dynamodb:
            await dynamodb.list_tables()
            assert endpoint.count == (3 if CHECKS_NAMES else 4)
        known = skewguard.offset()
        assert (known is not None) == CHECKS_NAMES  # without a check of the host name, only these clients learn
        if known is not None:
            assert abs(known.seconds - 1200) < 2
            assert skewguard.status().domains.keys() == {UTC}


@each_backend
async def test_aws_unverified_teaches_nothing(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without verification, all is as with botocore alone."""
    with StrictEndpoint(offset=1200, tls=True) as endpoint, as_aws(endpoint, monkeypatch):
        skewguard.install()
        async with aws_client("sts", endpoint, backend, verify=False) as sts:
            for _ in range(2):
                assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"
        assert endpoint.count == 2
        assert not skewguard.status().domains


@each_backend
async def test_an_endpoint_of_ones_own_teaches_itself(backend: str) -> None:
    """Unverified, too; its address is recognised in each backend's form."""
    host = "localhost" if backend == "aiohttp" else "LocalHost"  # with that, aiobotocore's signature fails on aiohttp
    with StrictEndpoint(offset=1200, tls=True) as endpoint:
        skewguard.install()
        kwargs = endpoint.client_kwargs
        kwargs.update(verify=False, endpoint_url=f"https://{host}:{endpoint.port}")
        session = aiobotocore.session.get_session()
        async with session.create_client("sts", **kwargs, config=config(backend)) as sts:
            await sts.get_caller_identity()
            await sts.get_caller_identity()
        assert endpoint.count == 3
        assert skewguard.offset() is None


@each_backend
async def test_a_wrong_secret_costs_one_extra_request_at_most(backend: str, endpoint: StrictEndpoint) -> None:
    """And none once the time is known."""
    skewguard.install()
    kwargs = endpoint.client_kwargs
    kwargs["aws_secret_access_key"] = "wrong"
    session = aiobotocore.session.get_session()
    async with session.create_client("sts", **kwargs, config=config(backend)) as sts:
        assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"
        assert endpoint.count == 2
        assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"
        assert endpoint.count == 3


@each_backend
async def test_a_healthy_clock_is_left_alone(backend: str) -> None:
    """No header is added, no request repeated."""
    with StrictEndpoint() as endpoint:
        for _ in range(2):
            async with client("sts", endpoint, backend) as sts:
                await sts.get_caller_identity()
            skewguard.install()
        plain, guarded = endpoint.requests
        assert plain.headers.keys() == guarded.headers.keys()


@each_backend
async def test_uninstall_attach_and_detach(backend: str, endpoint: StrictEndpoint) -> None:
    """For sessions and for clients."""
    installation = skewguard.install()
    session = aiobotocore.session.get_session()
    async with client("sts", endpoint, backend, session) as sts:
        await sts.get_caller_identity()
        installation.uninstall()
        assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"
        skewguard.attach(sts)
        await sts.get_caller_identity()
        skewguard.detach(sts)
        assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"
    session = aiobotocore.session.get_session()
    skewguard.attach(session)
    async with client("sts", endpoint, backend, session) as sts:
        await sts.get_caller_identity()
    async with client("sts", endpoint, backend) as sts:
        assert await code_of(sts.get_caller_identity()) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("mode", ["duplicate", "cached"])
@each_backend
async def test_a_useless_date_teaches_nothing_here(backend: str, mode: str, endpoint: StrictEndpoint) -> None:
    """Repeated and old Dates: HEAD's 403 has nothing else, so nothing is learned and nothing is sent again."""
    support.with_bucket(endpoint)
    endpoint.date_mode = mode
    skewguard.install()
    async with client("s3", endpoint, backend) as s3:
        assert await code_of(s3.head_object(Bucket="bucket", Key="key")) == "403"
        requests = [record for record in endpoint.requests if record.operation == "HeadObject"]
        assert len(requests) == 1
    assert not skewguard.status().domains


@each_backend
async def test_a_stream_that_cannot_be_sent_again_is_not(backend: str, endpoint: StrictEndpoint) -> None:
    """It was given from its middle."""
    body = io.BytesIO(b"0123456789")
    body.seek(5)

    support.with_bucket(endpoint)
    skewguard.install()
    async with client("s3", endpoint, backend) as s3:
        assert await code_of(s3.put_object(Bucket="bucket", Key="k", Body=body)) == "RequestTimeTooSkewed"
    assert endpoint.count == 1


def test_a_stream_that_only_an_event_loop_can_rewind_is_not_sent_again() -> None:
    """botocore does not await what rewinds, and nothing is left unawaited here, which would be an error."""

    class Awaited(io.RawIOBase):
        def seekable(self) -> bool:
            return True

        async def tell(self) -> int:  # type: ignore[override]
            return 0

    assert not _is_rewindable(Awaited())
    gc.collect()


def test_aiohttp_on_trio_is_refused_by_aiobotocore() -> None:
    """aiohttp needs asyncio, with skewguard or without."""

    async def main() -> None:
        with pytest.raises((RuntimeError, HTTPClientError)):
            async with client("sts", endpoint) as sts:
                await sts.get_caller_identity()

    with StrictEndpoint() as endpoint:
        trio.run(main)
        skewguard.install()
        trio.run(main)
        assert endpoint.count == 0


@each_way
async def test_200_concurrent_calls_on_a_cold_client(way: str) -> None:
    """All succeed, and no call sends more than two requests."""
    succeeded = []
    with StrictEndpoint(offset=-1200) as endpoint:
        skewguard.install()
        async with client("dynamodb", endpoint, way, max_pool_connections=200) as dynamodb:

            async def call() -> None:
                succeeded.append(await dynamodb.list_tables())

            async with anyio.create_task_group() as tasks:
                for _ in range(200):
                    tasks.start_soon(call)
        assert len(succeeded) == 200
        assert endpoint.count <= 400
