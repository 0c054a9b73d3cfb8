"""Forks at awkward moments."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable

import pytest

from tests.patience import PATIENCE

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


def forked_while(hold: Callable[[Callable[[], None]], None], child: Callable[[], object]) -> bool:
    """Fork while another thread is in the middle of something; return whether the child succeeds.

    Args:
        hold: Run in that thread; calls its argument in the middle.
        child: Run in the child, which is killed after `PATIENCE` s.
    """
    held, release = threading.Event(), threading.Event()

    def pause() -> None:
        held.set()
        release.wait(PATIENCE)

    thread = threading.Thread(target=hold, args=(pause,))
    thread.start()
    assert held.wait(PATIENCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is the point
        pid = os.fork()
    if not pid:
        try:
            signal.alarm(int(PATIENCE))
            os._exit(0 if child() else 1)
        except BaseException:  # the child of a test run must not continue it
            os._exit(2)
    release.set()
    thread.join()
    return os.waitpid(pid, 0)[1] == 0
