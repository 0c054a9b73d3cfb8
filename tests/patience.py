"""How long tests wait for what must come, and how they judge what must be quick, on a machine that is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PATIENCE = 60.0
"""How long to wait for what must come, s. It only keeps a broken test from hanging: no machine is so slow."""


def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.002)


def in_threads(count: int, run: Callable[[], object]) -> None:
    """Run a function in so many threads at once, and wait for all of them."""
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def takes_at_most(limit: float, call: Callable[[], object], *, at_least: float = 0.0) -> None:
    """Fail unless one of ten calls takes at most `limit` s: a busy machine is late now and then, a defect each time.

    Args:
        limit: The longest time, s.
        call: What is timed.
        at_least: The shortest time that any call may take, s.
    """
    took = []
    for _ in range(10):
        began = time.monotonic()
        call()
        took.append(time.monotonic() - began)
        assert took[-1] >= at_least
        if took[-1] <= limit:
            return
    raise AssertionError(f"the calls took {', '.join(f'{one:.2f}' for one in took)} s; the limit is {limit} s")
