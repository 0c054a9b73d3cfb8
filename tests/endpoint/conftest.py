"""Fixtures of the strict endpoint's tests."""

from __future__ import annotations

from collections.abc import Iterator

import botocore.auth
import pytest

from skewguard.testing import StrictEndpoint

PYTHON_SIGNERS = {
    "v4": "SigV4Auth",
    "v4-query": "SigV4QueryAuth",
    "s3v4": "S3SigV4Auth",
    "s3v4-query": "S3SigV4QueryAuth",
}


@pytest.fixture(params=["python", "crt"])
def signer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with botocore's own signers and, where it is installed, with the CRT's."""
    maps = botocore.auth.AUTH_TYPE_MAPS
    if request.param == "crt":
        pytest.importorskip("awscrt")
        from botocore.crt.auth import CRT_AUTH_TYPE_MAPS

        for name, signer_class in CRT_AUTH_TYPE_MAPS.items():
            monkeypatch.setitem(maps, name, signer_class)
    else:
        for name, class_name in PYTHON_SIGNERS.items():
            monkeypatch.setitem(maps, name, getattr(botocore.auth, class_name))


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        yield running
