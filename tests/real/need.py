"""What a test against the real thing does where the real thing is missing."""

from __future__ import annotations

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
