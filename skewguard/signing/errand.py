"""A function run in a thread while tasks of an event loop wait for it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from skewguard._fail_open import fail_open
from skewguard.events import logger


class Errand:
    """A function run in a thread of its own, while any number of tasks wait for it; one at a time."""

    def __init__(self) -> None:
        self._done: Future[None] | None = None
        self._pid = 0

    @property
    def under_way(self) -> bool:
        """Whether a thread of this process is running it."""
        done = self._done
        return done is not None and not done.done() and self._pid == os.getpid()

    async def run(self, function: Callable[..., object], *args: object) -> None:
        """Run a function, or join the run that is under way; return when it is done."""
        done = self._done
        if done is None or not self.under_way:
            done = Future()
            done.set_running_or_notify_cancel()  # otherwise cancelling one task would cancel it for all
            threading.Thread(target=_do, args=(done, function, args), name="skewguard-errand", daemon=True).start()
            self._done, self._pid = done, os.getpid()
        await _arrival(done)

    async def join(self) -> None:
        """Return when the run that is under way is done. `run` would begin another if that ended meanwhile."""
        if self._done is not None:
            await _arrival(self._done)


def _do(done: Future[None], function: Callable[..., object], args: tuple[object, ...]) -> None:
    try:
        function(*args)
    except Exception as error:
        fail_open(error, "an errand failed")
    finally:
        done.set_result(None)


async def _arrival(done: Future[None]) -> None:
    """Wait for another thread's result on whichever event loop this is: trio's, or asyncio's."""
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            pass  # it is imported, but not running
        else:
            arrived = trio.Event()

            def arrive(_: Future[None]) -> None:
                try:
                    token.run_sync_soon(arrived.set)
                except trio.RunFinishedError:
                    logger.debug("the event loop has ended")

            done.add_done_callback(arrive)
            await arrived.wait()
            return
    await asyncio.wrap_future(done)


async def quietly(waiting: Awaitable[None]) -> None:
    """Wait; log what fails, and go on."""
    try:
        await waiting
    except Exception as error:
        fail_open(error, "the sources were not asked")
