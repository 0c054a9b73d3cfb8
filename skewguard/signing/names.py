"""Replacing botocore's names: once each, by one thread at a time, and so that all can be put back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import botocore

from skewguard.events import Degraded, tell

lock = threading.Lock()
"""Held while names are being replaced."""

_done: set[Callable[[], None]] = set()
_replaced: list[tuple[Any, str, Callable[[], None]]] = []


def once(replace_some: Callable[[], None]) -> None:
    """Have a function replace the names that it knows, unless it has done so already."""
    if replace_some in _done:
        return
    with lock:
        if replace_some not in _done:
            replace_some()
            _done.add(replace_some)


def replace(
    part: str, owner: Any, name: str, wrap: Callable[[Any], Any], known: Callable[[Any], bool] = callable
) -> None:
    """Put something in the place of what a name stands for. For functions that `once` calls.

    Args:
        part: What does not work if this cannot be done, for people.
        owner: The module or class; None if it is missing itself.
        name: What it is called there.
        wrap: Makes the replacement from the original.
        known: Tells whether the original is what it should be; else it is told of and left alone.
    """
    if is_replaced(owner, name):
        return
    original = None if owner is None else vars(owner).get(name)
    if not known(original):
        tell_missing(part, f"{getattr(owner, '__name__', 'botocore')}.{name}")
        return
    will_undo(owner, name, lambda: setattr(owner, name, original))
    setattr(owner, name, wrap(original))


def is_replaced(owner: Any, name: str) -> bool:
    """Tell whether a name has been dealt with: a fork may have come in the middle of it."""
    return any(owner is done and name == its for done, its, _ in _replaced)


def will_undo(owner: Any, name: str, undo: Callable[[], None]) -> None:
    """Note that something is about to be replaced, and how to put it back."""
    _replaced.append((owner, name, undo))


def tell_missing(part: str, name: str) -> None:
    """Tell, once, that this botocore is not as we know it."""
    tell(Degraded(part, f"this botocore ({botocore.__version__}) has no {name}"))


def put_back() -> None:
    """Undo it all. For tests: in a program, a closed guard already leaves it inert."""
    with lock:
        _done.clear()
        while _replaced:
            _, _, undo = _replaced.pop()
            undo()


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global lock
    lock = threading.Lock()
