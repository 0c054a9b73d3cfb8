"""Skip a test whose real counterpart is missing, or fail in CI."""

from __future__ import annotations

import importlib.util
import os

import pytest


def need(condition: bool, what: str, install: str) -> None:
    """Continue if `condition`; else skip with the name of what is missing and how to install it. In CI, fail."""
    if condition:
        return
    message = f"{what} is missing: {install}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message, allow_module_level=True)


def installed(*modules: str) -> None:
    """Continue if these modules, of the dependency group ``frameworks``, can be imported; else as `need`."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    need(not missing, ", ".join(missing), "pip install --group frameworks (from pip 25.1 on)")
