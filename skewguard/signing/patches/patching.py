"""Applying patches to botocore: each once, by one thread at a time, and so that all can be undone.

An interrupt, a signal's handler or a fork may come between any two bytecodes. So nothing here rests on a note of what
has been done: a patch checks the name itself, and applying it again finishes what was interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any, Protocol

from skewguard._late_imports import WhenImported
from skewguard.events import Degraded, emit
from skewguard.signing.patches import library

_lock = threading.RLock()  # a signal's handler may make a session, too
_groups: list[Group] = []


class Patch(Protocol):
    """One change to botocore."""

    def apply(self) -> Degraded | None:
        """Make the change unless it is made; return what does not work where it cannot be made."""
        ...

    def undo(self) -> None:
        """Restore what was there, if nothing has changed it since."""
        ...


class NamePatch:
    """Patches ``owner.name`` with ``wrap(original)``."""

    def __init__(
        self, part: str, owner: Any, name: str, wrap: Callable[[Any], Any], known: Callable[[Any], bool] = callable
    ) -> None:
        """Describe the patch.

        Args:
            part: What does not work where the patch cannot be applied, for people.
            owner: The module or class; None if it is missing itself.
            name: The attribute.
            wrap: Makes the replacement from the original.
            known: Returns whether the original is as expected; if not, it is left alone.
        """
        self._part = part
        self._owner = owner
        self._name = name
        self._wrap = wrap
        self._known = known
        self._original: Any = None
        self._replacement: Any = None
        self._applied = False  # another library may have wrapped the replacement since

    def apply(self) -> Degraded | None:
        """Replace the name unless it is replaced; return what does not work where it is not as expected."""
        found = None if self._owner is None else vars(self._owner).get(self._name)
        if self._applied or (found is not None and found is self._replacement):
            return None
        if not self._known(found):
            return missing(self._part, f"{getattr(self._owner, '__name__', 'botocore')}.{self._name}")
        replacement = self._wrap(found)
        self._original, self._replacement = found, replacement
        # Not `replacement`: a signal's handler may have applied this patch a moment ago.
        setattr(self._owner, self._name, self._replacement)
        self._applied = True
        return None

    def undo(self) -> None:
        """Restore the original, unless another library has wrapped the replacement."""
        if self._replacement is not None and vars(self._owner).get(self._name) is self._replacement:
            setattr(self._owner, self._name, self._original)
            self._applied = False


class CodePatch:
    """Patches the code of a function without arguments, wherever the function is held."""

    def __init__(
        self, part: str, module: Any, name: str, wrap: Callable[[Callable[[], Any]], Callable[[], Any]]
    ) -> None:
        """Describe the patch. `wrap` makes what is called from a function with the original code."""
        self._part = part
        self._module = module
        self._name = name
        self._wrap = wrap
        self._undo: Callable[[], None] | None = None

    def apply(self) -> Degraded | None:
        """Replace the code unless it is replaced; return what does not work where the function is not as expected."""
        found = vars(self._module).get(self._name)
        if not isinstance(found, FunctionType):
            return missing(self._part, f"{self._module.__name__}.{self._name}()")
        code, defaults = found.__code__, found.__defaults__
        if code is _call_default.__code__:
            return None
        if code.co_argcount or code.co_freevars:
            return missing(self._part, f"{self._module.__name__}.{self._name}()")

        def undo() -> None:
            found.__code__, found.__defaults__ = code, defaults

        self._undo = undo
        # The default first: a call between the two finds either the old code, which has no use for it, or both.
        found.__defaults__ = (self._wrap(FunctionType(code, found.__globals__, self._name)),)
        found.__code__ = _call_default.__code__
        return None

    def undo(self) -> None:
        """Restore the original code."""
        if self._undo is not None:
            self._undo()
            self._undo = None


def _call_default(now: Callable[[], Any]) -> Any:
    return now()


class WhenImportedPatch:
    """Patches of a module, applied once it is imported."""

    def __init__(self, module: str, list_patches: Callable[[], Iterable[Patch]]) -> None:
        """Describe the patches. `list_patches` makes them, when the module is there."""
        self._module = module
        self._list_patches = list_patches
        self._patches: tuple[Patch, ...] = ()
        self._watch: WhenImported | None = None

    def apply(self) -> None:
        """Wait for the import."""
        if self._watch is None:
            self._watch = WhenImported(self._module, self._imported)

    def _imported(self) -> None:
        self._patches = tuple(self._list_patches())
        for degraded in [event for patch in self._patches if (event := patch.apply()) is not None]:
            emit(degraded)

    def undo(self) -> None:
        """Stop waiting, and undo the patches."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None
        for patch in reversed(self._patches):
            patch.undo()


class Absent:
    """A group's entry instead of a patch that this botocore has no place for."""

    def __init__(self, part: str, reason: str) -> None:
        self._degraded = Degraded(part, reason)

    def apply(self) -> Degraded:
        """Return what does not work."""
        return self._degraded

    def undo(self) -> None:
        """Do nothing."""


def missing(part: str, name: str) -> Degraded:
    """Return the event that a part does not work, because this botocore lacks a name."""
    return Degraded(part, f"this botocore ({library.VERSION}) has no {name}")


class Group:
    """Patches that are applied together.

    Attributes:
        complete: Whether none was found to have no place in this botocore.
    """

    def __init__(self, list_patches: Callable[[], Iterable[Patch]]) -> None:
        """Describe the group. `list_patches` makes its patches, once; it may import what they patch."""
        self._list_patches = list_patches
        self._patches: tuple[Patch, ...] | None = None
        self._applied = False
        self.complete = True
        _groups.append(self)

    def apply(self) -> bool:
        """Apply the patches unless they are applied; return whether all could be.

        What cannot be patched is left alone, with one event each.
        """
        if self._applied:
            return self.complete
        if self._patches is None:
            patches = tuple(self._list_patches())  # without the lock, because it imports
            self._patches = self._patches or patches
        degraded: list[Degraded] = []
        with _lock:
            if not self._applied:
                degraded = [event for patch in self._patches if (event := patch.apply()) is not None]
                self.complete = not degraded
                self._applied = True
        for event in degraded:  # without the lock, because a listener may make a session
            emit(event)
        return self.complete

    def undo(self) -> None:
        """Undo the patches."""
        with _lock:
            self._applied, self.complete = False, True
            for patch in reversed(self._patches or ()):
                patch.undo()
            self._patches = None


def undo_all() -> None:
    """Undo every patch. For tests: in a program, a guard that is switched off leaves them inert."""
    for group in reversed(_groups):
        group.undo()


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.RLock()
