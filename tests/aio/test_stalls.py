"""Guarding stalls the event loop hardly more than the calls themselves do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from aiobotocore.session import AioSession

import skewguard
from tests.aio.support import config

CALLS = 200
ROUNDS = 5
MORE = 0.010  # s
SERVER = """
import sys
from skewguard.testing import StrictEndpoint
with StrictEndpoint(offset=float(sys.argv[1])) as endpoint:
    print(endpoint.port, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def server(offset: float) -> Iterator[str]:
    """Run a strict endpoint in another process, with another interpreter lock; yield its URL."""
    child = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(offset)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        yield f"http://127.0.0.1:{int(child.stdout.readline())}"
        child.stdin.close()


def elapsed(queue: BinaryIO | None) -> float:
    """Return the time, s, without what this thread waited for a processor, if the kernel counts that."""
    waited = 0
    if queue is not None:
        queue.seek(0)
        waited = int(queue.read().split()[1])
    return (time.perf_counter_ns() - waited) / 1e9


async def longest_stall(url: str) -> float:
    """Make many calls at once on a cold client; return the longest delay of a ticking task, s."""
    longest = 0.0
    schedule = Path("/proc/thread-self/schedstat")
    queue = schedule.open("rb", buffering=0) if schedule.exists() else None  # noqa: ASYNC230, ASYNC240 - no disk there
    session = AioSession()
    keys = {
        "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }

    async def tick() -> None:
        nonlocal longest
        before = elapsed(queue)
        while True:
            await asyncio.sleep(0)
            now = elapsed(queue)
            longest = max(longest, now - before)
            before = now

    async with session.create_client(
        "dynamodb", region_name="us-east-1", endpoint_url=url, config=config(max_pool_connections=CALLS), **keys
    ) as dynamodb:
        gc.collect()
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        answers = await asyncio.gather(*[dynamodb.list_tables() for _ in range(CALLS)])
        ticking.cancel()
    if queue is not None:
        queue.close()
    assert len(answers) == CALLS
    return longest


def compare(healthy: str, skewed: str) -> tuple[float, float]:
    """Measure unguarded calls with a right clock and guarded ones with a wrong clock in turn.

    Returns:
        The median of the unguarded stalls, and that of the difference to the guarded one after each, s.
    """
    plain, more = [], []
    for _ in range(ROUNDS):
        plain.append(asyncio.run(longest_stall(healthy)))
        with skewguard.install():
            more.append(asyncio.run(longest_stall(skewed)) - plain[-1])
    return statistics.median(plain), statistics.median(more)


def test_guarding_stalls_the_loop_at_most_ten_milliseconds_longer() -> None:
    """One of three comparisons is enough: the machine may be busy."""
    found = []
    with server(0) as healthy, server(1200) as skewed:
        asyncio.run(longest_stall(healthy))  # what is loaded and cached once per process does not count
        while len(found) < 3 and not any(more <= MORE for _, more in found):
            found.append(compare(healthy, skewed))
    print("longest stall, s (unguarded, and how much longer guarded):", found)
    assert found[-1][1] <= MORE, found
