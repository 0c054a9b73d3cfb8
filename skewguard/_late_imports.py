"""What is imported late: that a fork waits for it; and how to act once somebody else has imported a module.

botocore's signers take 200 ms to load, so nothing is imported here to learn that it was.
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

from skewguard.events import logger

importing = threading.RLock()
"""Held by whoever imports something late, in whatever thread, and during forks.

For what another thread is importing, a forked child would wait for ever. Name it as ``late.importing``: a child has a
new one.
"""


class WhenImported(MetaPathFinder):
    """Stands first in ``sys.meta_path`` until a module has been imported; finds it as if it were not there.

    Args:
        name: The module.
        then: Called once the module has been executed, at once if it has been already. What it raises is logged.
    """

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self._name = name
        self._then = then
        if name in sys.modules:  # what is just being executed by another thread is there too: `then` has it finished
            self._act()
        else:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Wait no longer."""
        with contextlib.suppress(ValueError):  # it was there no more
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Let the others find the module, and have its loader followed. Who only looks for it has changed nothing."""
        if fullname != self._name:
            return None
        finders: list[Any] = list(sys.meta_path)
        if self in finders:
            del finders[: finders.index(self) + 1]  # those before have been asked already
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
            return  # nobody waits any more, or this is somebody's private copy
        self.stop()
        package, _, last = self._name.rpartition(".")
        if package:  # as the import would do next: `then` may name it
            setattr(sys.modules[package], last, module)
        self._act()

    def _act(self) -> None:
        try:
            self._then()
        except Exception:
            logger.debug("nothing is done about %s", self._name, exc_info=True)


class _Followed:
    """Stands in for a loader, which may be that of many modules, until it has executed this one."""

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
