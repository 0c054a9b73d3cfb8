"""Starting other programs that listen on ports of loopback."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

_TRIES = 3  # another process may take a free port before it is bound


class NotReadyError(RuntimeError):
    """A program ended, or did not work in time."""


@contextlib.contextmanager
def persistently(start: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
    """Start a program, on other ports if it did not start."""
    with contextlib.ExitStack() as ending:
        for attempt in range(_TRIES):
            try:
                running = ending.enter_context(start())
            except NotReadyError:
                if attempt == _TRIES - 1:
                    raise
            else:
                break
        yield running


def free_ports(count: int = 1, host: str = "127.0.0.1", kind: int = socket.SOCK_STREAM) -> list[int]:
    """Return different ports that were free a moment ago."""
    with contextlib.ExitStack() as held:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sockets = [held.enter_context(socket.socket(family, kind)) for _ in range(count)]
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
