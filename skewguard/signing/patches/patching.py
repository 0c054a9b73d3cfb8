"""Replacing botocore's names: once each, by one thread at a time, and so that all can be put back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import botocore

from skewguard.events import Degraded, emit

_lock = threading.RLock()  # a signal's handler may make a session, too
_done: set[Callable[[], None]] = set()
_replaced: list[tuple[Any, str, Callable[[], None]]] = []
_untold: list[Degraded] = []


def once(replace_some: Callable[[], None]) -> None:
    """Have a function replace the names that it knows, unless it has done so already."""
    if replace_some in _done:
        return
    with replacing():
        if replace_some not in _done:
            replace_some()
            _done.add(replace_some)


@contextlib.contextmanager
def replacing() -> Iterator[None]:
    """Replace names, one thread at a time. What was missing is told of afterwards: who listens may make a session."""
    with _lock:
        yield
        found = tuple(_untold)
        _untold.clear()
    for event in found:
        emit(event)


def replace(
    part: str, owner: Any, name: str, wrap: Callable[[Any], Any], known: Callable[[Any], bool] = callable
) -> None:
    """Put something in the place of what a name stands for, within `replacing` or what `once` calls.

    Args:
        part: What does not work if this cannot be done, for people.
        owner: The module or class; None if it is missing itself.
        name: What it is called there.
        wrap: Makes the replacement from the original.
        known: Tells whether the original is what it should be; else it is left alone, and told of.
    """
    if is_replaced(owner, name):
        return
    original = None if owner is None else vars(owner).get(name)
    if not known(original):
        missing(part, f"{getattr(owner, '__name__', 'botocore')}.{name}")
        return
    will_undo(owner, name, lambda: setattr(owner, name, original))
    setattr(owner, name, wrap(original))


def is_replaced(owner: Any, name: str) -> bool:
    """Tell whether a name has been dealt with: a fork may have come in the middle of it."""
    return any(owner is done and name == its for done, its, _ in _replaced)


def will_undo(owner: Any, name: str, undo: Callable[[], None]) -> None:
    """Note that something is about to be replaced, and how to put it back."""
    _replaced.append((owner, name, undo))


def missing(part: str, name: str) -> None:
    """Note that this botocore is not as we know it."""
    degraded(part, f"this botocore ({botocore.__version__}) has no {name}")


def degraded(part: str, reason: str) -> None:
    """Note that a part does not work, and why: `replacing` tells it."""
    _untold.append(Degraded(part, reason))


def put_back() -> None:
    """Undo it all. For tests: in a program, a closed guard already leaves it inert."""
    with _lock:
        _done.clear()
        while _replaced:
            _, _, undo = _replaced.pop()
            undo()


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.RLock()
