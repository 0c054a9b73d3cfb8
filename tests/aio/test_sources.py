"""Sources are asked as with botocore, without blocking the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import anyio
import pytest
from aiobotocore.session import AioSession

import skewguard
from skewguard import events
from skewguard.config import Switch
from skewguard.signing.aio import AioGuard
from skewguard.signing.errand import Errand
from skewguard.testing import StrictEndpoint
from tests.aio.support import client, code_of, config, each_way
from tests.fakes import Emitted, FakeSource
from tests.patience import PATIENCE
from tests.support import signed_at, with_bucket


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictEndpoint]:
    """A server 20 minutes ahead that seems to be elsewhere: one on loopback would share this host's clock."""
    monkeypatch.setattr("skewguard.signing.domains.is_loopback", lambda host: False)
    with StrictEndpoint(offset=1200) as running:
        yield running


def gated(offset: float | None = 1200, *, instant: bool = False) -> FakeSource:
    """Make a source that answers once the event loop has run on; a blocked loop never opens its gate."""
    return FakeSource(offset=offset, instant=instant, gate=threading.Event())


async def tick(source: FakeSource, refused: Callable[[], bool] = lambda: True) -> None:
    """Open the source's gate once it is asked and a call was refused: only a loop that runs on can do so."""
    while not source.asked.is_set() or not refused():
        await anyio.sleep(0.001)
    source.gate.set()


@each_way
async def test_a_refusal_without_a_time_has_sources_asked_in_a_thread(way: str, endpoint: StrictEndpoint) -> None:
    """The call waits for them and succeeds; the loop runs on meanwhile."""
    source = gated()
    with_bucket(endpoint)
    endpoint.explain, endpoint.date_mode = False, "omit"
    skewguard.install(sources=[source], timeout=10)
    async with client("s3", endpoint, way) as s3, anyio.create_task_group() as tasks:
        tasks.start_soon(tick, source, lambda: endpoint.count == 1)
        await s3.list_objects_v2(Bucket="bucket")
    assert [record.status for record in endpoint.requests] == [403, 200]


@each_way
async def test_what_is_handed_out_waits_for_a_named_source(way: str) -> None:
    """A URL is right the first time; the loop runs on meanwhile."""
    source = gated()
    skewguard.install(sources=[source], timeout=60)
    made = AioSession().create_client("s3", region_name="eu-central-1", config=config(way))
    async with made as s3, anyio.create_task_group() as tasks:
        tasks.start_soon(tick, source)
        url = await s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
    assert abs(signed_at(url) - time.time() - 1200) < 60


@each_way
async def test_an_instant_source_is_asked_in_a_thread_before_the_first_signing(
    way: str, endpoint: StrictEndpoint
) -> None:
    """200 calls at once are right the first time, and it is asked once; the loop runs on meanwhile."""
    source = gated(instant=True)
    skewguard.install(sources=["response"])
    keeper = skewguard._process.process.keeper()
    async with client("dynamodb", endpoint, way, max_pool_connections=200) as dynamodb:
        keeper.add_sources((source,))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick, source)
            for _ in range(200):
                tasks.start_soon(dynamodb.list_tables)
    assert source.count == 1
    assert endpoint.count == 200


async def test_a_poll_that_ends_before_it_is_awaited_is_not_begun_again() -> None:
    """It runs in another thread, so it may end after a call has seen it under way, and before that waits for it."""
    source = gated(instant=True)
    skewguard.install(sources=["response"])
    process = skewguard._process.process
    process.keeper().add_sources((source,))
    guard = AioGuard(Switch(), process.keeper())
    url = "https://sts.amazonaws.com/"
    first = guard.sources_due(url, None, handed_out=False)
    assert first is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: first)
        while not source.asked.is_set():
            await anyio.sleep(0.001)
        second = guard.sources_due(url, None, handed_out=False)
        assert second is not None
        source.gate.set()
    await second
    assert source.count == 1


@each_way
async def test_many_calls_that_are_refused_at_once_ask_together(way: str, endpoint: StrictEndpoint) -> None:
    """And if the sources fail, the calls end as they would have, without waiting for one another."""
    source = gated(None)
    with_bucket(endpoint)
    endpoint.explain, endpoint.date_mode = False, "omit"
    skewguard.install(sources=[source], timeout=10)
    codes = []
    async with client("s3", endpoint, way, max_pool_connections=50) as s3:

        async def call() -> None:
            codes.append(await code_of(s3.list_objects_v2(Bucket="bucket")))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
            while endpoint.count < 50:
                await anyio.sleep(0.001)
            source.gate.set()
    assert codes == ["RequestTimeTooSkewed"] * 50
    assert endpoint.count == 50
    assert source.count <= 5


@each_way
async def test_cancelling_one_who_waits_leaves_the_others_waiting(way: str) -> None:
    begin, end = threading.Event(), threading.Event()
    done = []

    def work() -> None:
        begin.set()
        assert end.wait(PATIENCE)
        done.append(1)

    errand = Errand()

    async def patient() -> None:
        await errand.run(work)
        done.append(2)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(patient)
        with anyio.move_on_after(10) as hasty:

            async def cancel() -> None:
                while not begin.is_set():
                    await anyio.sleep(0.001)
                hasty.cancel()

            tasks.start_soon(cancel)
            await errand.run(work)
        assert hasty.cancelled_caught
        assert errand.under_way
        end.set()
    assert done == [1, 2]


async def test_an_errand_that_a_fork_cut_short_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has its parent's record of an errand, and no thread that finishes it."""
    errand, hang = Errand(), threading.Event()
    waiting = asyncio.create_task(errand.run(hang.wait, 10))
    while not errand.under_way:
        await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        assert not errand.under_way
        done: list[int] = []
        await errand.run(done.append, 1)
        assert done == [1]
    hang.set()
    await waiting


async def test_without_a_thread_to_spare_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with StrictEndpoint() as endpoint:
        skewguard.install(sources=["response"])
        keeper = skewguard._process.process.keeper()
        async with client("dynamodb", endpoint) as dynamodb:
            await dynamodb.list_tables()
            keeper.add_sources((gated(instant=True),))
            start = threading.Thread.start

            def refuse(self: threading.Thread) -> None:
                if self.name.startswith("skewguard"):
                    raise RuntimeError("can't start new thread")
                start(self)

            monkeypatch.setattr(threading.Thread, "start", refuse)
            monkeypatch.setattr("skewguard.timekeeping.timekeeper.Timekeeper.due", lambda self, domain: True)
            monkeypatch.setattr("skewguard.timekeeping.timekeeper.Timekeeper.start", lambda self: None)
            await dynamodb.list_tables()
        assert [record.status for record in endpoint.requests] == [200, 200]


async def test_events_are_emitted(emitted: Emitted) -> None:
    with StrictEndpoint(offset=1200) as endpoint:
        skewguard.install()
        async with client("sts", endpoint) as sts:
            await sts.get_caller_identity()
    assert [(event.service, event.operation, event.verdict) for event in emitted.of(events.Retried)] == [
        ("sts", "GetCallerIdentity", "skew")
    ]
    assert not emitted.of(events.Degraded)
