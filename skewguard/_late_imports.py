"""Late imports: a lock that forks wait for, and a callback once another module has been imported.

botocore's signers take 200 ms to load, so nothing is imported here to notice that they were.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from skewguard._fail_open import fail_open

importing = threading.RLock()
"""Held during late imports, in any thread, and during forks.

A forked child would wait forever for a module that another thread was importing. Always look it up in this module,
because a child has a new one.
"""


class WhenImported(MetaPathFinder):
    """A finder that calls back once a module has been executed, and lets all other finders find it.

    If it has been executed already, that is at once. The callback's exceptions are logged.
    """

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then
        if name in sys.modules:  # also while another thread executes it: importing it in `then` waits for that
            self._act()
        else:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Stop waiting."""
        with contextlib.suppress(ValueError):  # it had gone already
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the other finders find the module, and wrap its loader. Only searching for it changes nothing."""
        if fullname != self._name:
            return None
        finders: list[Any] = list(sys.meta_path)
        if self in finders:
            del finders[: finders.index(self) + 1]  # those before it were asked already
        for finder in finders:
            find = getattr(finder, "find_spec", None)  # Python 3.11 and before let a finder have none
            spec: ModuleSpec | None = find and find(fullname, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Followed(spec.loader, self._executed)  # type: ignore[assignment]
                return spec
        return None

    def _executed(self, module: ModuleType) -> None:
        if self not in sys.meta_path or sys.modules.get(self._name) is not module:
            return  # stopped, or this is a private copy of the module
        self.stop()
        package, _, last = self._name.rpartition(".")
        if package:  # as the import would do next, because `then` may use it
            setattr(sys.modules[package], last, module)
        self._act()

    def _act(self) -> None:
        try:
            self._then()
        except Exception as error:
            fail_open(error, "the callback for %s failed", self._name)


class _Followed:
    """Wraps a loader, which may be that of many modules, until it has executed this one."""

    def __init__(self, loader: Any, then: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module)
