"""These tests need aiobotocore, which pins botocore: `tests/test_aiobotocore.py` runs them in its environment.

They are collected there only; without aiobotocore, that file explains how to install it.
"""

from __future__ import annotations

import importlib.util
import inspect

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("aiobotocore") else ["test_*.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function on the event loop that its parameter `way` or `backend` names."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    from tests.aio.support import run

    given = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    run(lambda: pyfuncitem.obj(**given), given.get("way") or given.get("backend") or "aiohttp")
    return True
