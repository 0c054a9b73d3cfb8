"""Act once a module has been imported, without importing it for that: botocore's signers take 200 ms to load."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from skewguard.events import logger


class WhenImported(MetaPathFinder):
    """Stands first in ``sys.meta_path`` until a module is imported; finds it as if it were not there.

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
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        """Let the others find the module, and have its loader call us when it is done."""
        if fullname != self._name:
            return None
        self.stop()
        spec = importlib.util.find_spec(fullname)
        try:
            loader: Any = getattr(spec, "loader", None)
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                package, _, last = fullname.rpartition(".")
                if package:  # as the import would do next: `then` may name it
                    setattr(sys.modules[package], last, module)
                self._act()

            loader.exec_module = exec_module
        except Exception:
            logger.debug("the import of %s goes unnoticed", fullname, exc_info=True)
        return spec

    def _act(self) -> None:
        try:
            self._then()
        except Exception:
            logger.debug("nothing is done about %s", self._name, exc_info=True)
