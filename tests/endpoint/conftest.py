"""Fixtures of the strict endpoint's tests."""

from __future__ import annotations

from collections.abc import Iterator

import botocore.auth
import pytest

from skewguard.testing import StrictEndpoint
from tests.support import without_awscrt


@pytest.fixture(params=["python", "crt"])
def signer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with botocore's own signers and, where it is installed, with the CRT's."""
    if request.param == "python":
        return without_awscrt(monkeypatch)
    pytest.importorskip("awscrt")
    from botocore.crt.auth import CRT_AUTH_TYPE_MAPS

    for name, signer_class in CRT_AUTH_TYPE_MAPS.items():
        monkeypatch.setitem(botocore.auth.AUTH_TYPE_MAPS, name, signer_class)
    return None


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        yield running
