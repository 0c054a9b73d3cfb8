"""What a test against the real thing does where the real thing is missing."""

from __future__ import annotations

import importlib.util
import os

import pytest


def need(condition: bool, what: str, install: str) -> None:
    """Go on if `condition`; else skip, saying what is missing and how to install it. Under CI, fail instead."""
    if condition:
        return
    message = f"{what} is missing: {install}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message, allow_module_level=True)


def installed(*modules: str) -> None:
    """Go on if these modules, of the dependency group ``frameworks``, can be imported; else as `need`."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    need(not missing, ", ".join(missing), "pip install --group frameworks (from pip 25.1 on)")
