"""For tests: a server as strict as AWS about signatures and clocks, fake clocks, and a fresh start for each test.

Nothing is loaded until it is used, because pytest imports this package in every project that has skewguard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skewguard.testing.clocks import FakeClocks, steady_utc
    from skewguard.testing.endpoint import StrictEndpoint
    from skewguard.testing.process import reset
    from skewguard.testing.records import DROP, Canned, Fault, Record

__all__ = ["DROP", "Canned", "FakeClocks", "Fault", "Record", "StrictEndpoint", "reset", "steady_utc"]

_HOME = {"FakeClocks": "clocks", "steady_utc": "clocks", "StrictEndpoint": "endpoint", "reset": "process"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'records')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
