"""Requests that are right when signed and arrive too late: signed again once; nothing is learned.

What waits for minutes here waits by the fake clocks alone.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import skewguard
from skewguard import events
from skewguard.interval import SECOND
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.testing.listener import Response
from skewguard.testing.wire import Request
from tests.fakes import Emitted
from tests.support import UNCHUNKED, client, with_bucket


def stale(emitted: Emitted) -> list[int]:
    """Return how many seconds each request waited. Fail if one was not stale, or if anything was learned."""
    assert not emitted.of(events.CorrectionChanged)
    retries = emitted.of(events.Retried)
    assert {event.verdict for event in retries} <= {"stale"}
    return [round(event.waited / SECOND) for event in retries]


def on_send(made: Any, *happenings: Callable[[], object]) -> None:
    """Call one function between the signing and the sending of each attempt, as long as there is one."""
    left = iter(happenings)
    made.meta.events.register("before-send", lambda **_: next(left, lambda: None)())


class LooksLate(StrictEndpoint):
    """A server that checks the date after the body has come, as S3 does by default."""

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        receive()
        return super()._handle(request, lambda: None)


class TakesItsTime(StrictEndpoint):
    """A server that works for 100 seconds on each request that it accepts, by the fake clocks."""

    clocks: FakeClocks

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        answer = super()._handle(request, receive)
        if answer.data.startswith(b"HTTP/1.1 200"):
            self.clocks.advance(100)
        return answer


@pytest.mark.parametrize(
    ("happens", "waited", "offset"),
    [("advance", 400, 0), ("step", 3600, 0), ("advance", 8 * 3600, -7200)],
    ids=["it waits", "the machine stands still", "the process is stopped"],
)
def test_a_request_that_waits(clocks: FakeClocks, emitted: Emitted, happens: str, waited: int, offset: int) -> None:
    """Longer than the server tolerates: in a pool; as the machine stands still; or for SIGSTOP, a debugger, a lid.

    If the machine stands still, only the wall clock, set right on waking, shows how long it was. While a process is
    stopped, both clocks go on; here on a wrong clock as well.
    """
    with StrictEndpoint(clock=lambda: clocks.wall, tolerance=300, offset=offset) as server:
        skewguard.install(clocks=clocks)
        sts = client("sts", server)
        if offset:
            sts.get_caller_identity()
            emitted.clear()
            server.clear()
        on_send(sts, lambda: getattr(clocks, happens)(waited))
        sts.get_caller_identity()
        assert server.count == 2
        sts.get_caller_identity()
        assert server.count == 3
    assert stale(emitted) == [waited]


def test_a_pool_of_one_connection(clocks: FakeClocks, emitted: Emitted) -> None:
    """Six callers sign at once, and wait for one another: those that come too late are signed again, none twice."""
    callers = 6
    with TakesItsTime(clock=lambda: clocks.wall, tolerance=300) as server, skewguard.install(clocks=clocks):
        server.clocks = clocks
        sts = client("sts", server, max_pool_connections=1)
        pools = sts._endpoint.http_session._manager
        pools.connection_pool_kw["block"] = True  # botocore's own pool makes more connections instead
        everything = threading.Barrier(callers)
        first = threading.local()

        def all_have_signed(**_: Any) -> None:
            if not hasattr(first, "over"):
                first.over = True
                everything.wait(60)

        sts.meta.events.register("before-send", all_have_signed)
        with ThreadPoolExecutor(callers) as threads:
            answers = list(threads.map(lambda _: sts.get_caller_identity(), range(callers)))
        assert [answer["ResponseMetadata"]["HTTPStatusCode"] for answer in answers] == [200] * callers
        assert sorted(record.status for record in server.requests) == [200] * 6 + [403] * 3
    assert all(300 <= waited <= 500 for waited in stale(emitted))
    assert len(stale(emitted)) == 3


def test_a_slow_body(guarded: None, clocks: FakeClocks, emitted: Emitted) -> None:
    """An upload of half an hour, refused at its end; the second time it is quicker."""

    class Slow(io.BytesIO):
        minutes = 0

        def read(self, size: int | None = -1) -> bytes:
            minutes, self.minutes = self.minutes, 0
            clocks.advance(60 * minutes)
            return super().read(size)

    body = Slow(b"x" * 300_000)
    with LooksLate(clock=lambda: clocks.wall) as server:
        with_bucket(server)
        s3 = client("s3", server)
        on_send(s3, lambda: setattr(body, "minutes", 30))
        s3.put_object(Bucket="bucket", Key="slow", Body=body)
        assert [record.status for record in server.requests] == [403, 200]
        assert s3.get_object(Bucket="bucket", Key="slow")["Body"].read() == body.getvalue()
        assert server.count == 3
    assert stale(emitted) == [1800]


def test_a_poller_of_a_queue(clocks: FakeClocks, emitted: Emitted) -> None:
    """Kombu's loop signs, handles what came before, then sends: each poll that took too long costs one request."""
    with StrictEndpoint(clock=lambda: clocks.wall) as server, skewguard.install(clocks=clocks):
        sqs = client("sqs", server)
        work = [0, 1000, 5, 2000, 0]
        on_send(sqs, *[step for pause in work for step in _once(clocks, pause)])
        for _ in work:
            sqs.receive_message(QueueUrl=f"{server.url}/1/queue", WaitTimeSeconds=20)
        assert [record.status == 200 for record in server.requests] == [True, False, True, True, False, True, True]
    assert stale(emitted) == [1000, 2000]


def _once(clocks: FakeClocks, pause: int) -> list[Callable[[], object]]:
    """Return what happens before each attempt of one poll; a second attempt is sent at once."""
    return [lambda: clocks.advance(pause)] + [lambda: None] * (pause > 900)


def test_a_body_that_cannot_be_sent_again(guarded: None, clocks: FakeClocks, emitted: Emitted) -> None:
    """It fails as without skewguard, and nothing is learned from it."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with StrictEndpoint(clock=lambda: clocks.wall) as server:
        with_bucket(server)
        s3 = client("s3", server, **UNCHUNKED)
        on_send(s3, lambda: clocks.advance(1000))
        with pytest.raises(s3.exceptions.ClientError, match="RequestTimeTooSkewed"):
            s3.put_object(Bucket="bucket", Key="pipe", Body=Pipe(b"abc"), ContentLength=3)
        assert server.count == 1
    assert stale(emitted) == []
