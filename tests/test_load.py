"""Many callers at once, and servers that have several clocks."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import skewguard
from skewguard import events
from skewguard.testing import StrictEndpoint
from skewguard.testing.listener import Response
from skewguard.testing.wire import Request
from tests.fakes import Emitted
from tests.support import client, code_of

pytestmark = pytest.mark.slow

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Allow two thousand open sockets, as far as this user may."""
    if resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = 10_000 if hard == resource.RLIM_INFINITY else min(hard, 10_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, room), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def at_once(count: int, call: Callable[[int], Any]) -> Counter[str]:
    """Make `count` calls at the same moment, each in its own thread; return how often each error code came."""
    start = threading.Barrier(count)

    def run(number: int) -> str:
        start.wait()
        return code_of(lambda: call(number))

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(run, range(count)))


class Balanced(StrictEndpoint):
    """A load balancer: any of its machines may answer a request, each by its own clock."""

    def __init__(self, *offsets: float) -> None:
        self._machine = threading.local()
        super().__init__()
        self._offsets = offsets
        self._chance = random.Random(1)

    @property
    def offset(self) -> float:  # type: ignore[override]
        return getattr(self._machine, "offset", 0.0)

    @offset.setter
    def offset(self, seconds: float) -> None:
        pass

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        self._machine.offset = self._chance.choice(self._offsets)
        return super()._handle(request, receive)


def test_a_thousand_first_calls_succeed(emitted: Emitted) -> None:
    """Ten minutes off, standard mode, a cold client: two requests each at most, and one each ever after."""
    with many_files(), StrictEndpoint(offset=600, tolerance=300) as endpoint, skewguard.install():
        dynamodb = client("dynamodb", endpoint, retries={"mode": "standard"}, max_pool_connections=1000)
        assert at_once(1000, lambda _: dynamodb.list_tables()) == {"": 1000}
        assert endpoint.count <= 2000
        endpoint.clear()
        for _ in range(10):
            dynamodb.list_tables()
        assert endpoint.count == 10
        dynamodb.close()
    # One line in the log, not a thousand.
    assert len(emitted.of(events.CorrectionChanged)) == 1


class TestTwoEndpoints:
    def test_called_in_turn(self) -> None:
        """What one teaches never reaches the other."""
        with StrictEndpoint(offset=1200) as one, StrictEndpoint(offset=-3600) as other, skewguard.install():
            clients = [client("sts", one), client("sts", other)]
            for _ in range(5):
                for guarded in clients:
                    guarded.get_caller_identity()
            assert (one.count, other.count) == (6, 6)

    def test_called_by_many(self) -> None:
        """Forty callers at once, half for each: one refusal each at the most, and none later."""
        with StrictEndpoint(offset=1200) as one, StrictEndpoint(offset=-3600) as other, skewguard.install():
            clients = [client("sts", one, max_pool_connections=40), client("sts", other, max_pool_connections=40)]
            for most in (40, 20):
                for endpoint in (one, other):
                    endpoint.clear()
                assert at_once(40, lambda number: clients[number % 2].get_caller_identity()) == {"": 40}
                assert one.count <= most
                assert other.count <= most


class TestLoadBalancer:
    """Several machines behind one name, each with its own clock."""

    def test_of_two_clocks_costs_at_most_a_request_a_call(self) -> None:
        """Which machine will answer is unknown; no call makes a third request, and more succeed than unguarded."""
        with Balanced(0, -1300) as endpoint:
            unguarded = client("sts", endpoint)
            alone = Counter(code_of(unguarded.get_caller_identity) for _ in range(150))
            with skewguard.install():
                guarded = client("sts", endpoint)
                outcomes: Counter[str] = Counter()
                for _ in range(150):
                    endpoint.clear()
                    outcomes[code_of(guarded.get_caller_identity)] += 1
                    assert endpoint.count <= 2
            assert set(outcomes) <= {"", "SignatureDoesNotMatch"}
            assert outcomes[""] > alone[""]

    def test_of_two_clocks_under_load(self) -> None:
        """Many at once, which learn from both machines: still two requests a call at the most."""
        with Balanced(0, -1300) as endpoint, skewguard.install():
            sts = client("sts", endpoint, max_pool_connections=40)
            for _ in range(3):
                endpoint.clear()
                outcomes = at_once(40, lambda _: sts.get_caller_identity())
                assert set(outcomes) <= {"", "SignatureDoesNotMatch"}
                assert endpoint.count <= 80

    def test_of_clocks_that_nearly_agree_costs_nothing(self) -> None:
        """Machines seconds apart, on a host an hour off: one refusal in all."""
        with Balanced(3600, 3590, 3700) as endpoint, skewguard.install():
            sts = client("sts", endpoint)
            for _ in range(50):
                sts.get_caller_identity()
            assert endpoint.count == 51
