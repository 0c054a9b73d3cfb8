"""The AWS CLI's transfers by awscrt, with a factory that pretends to be its own. `tests/real` has the real one."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import skewguard
from skewguard.signing.repeated import RepeatingManager
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource
from tests.support import aws_client

FACTORY = "awscli.customizations.s3.factory"
CRT, CLASSIC = SimpleNamespace(_crt_exception_translator=None), "the classic manager"


class Older:
    """As in 2.9, where it makes its client itself."""

    def __init__(self, client: Any) -> None:
        self._botocore_client_factory = SimpleNamespace(create_client=lambda _: client)

    def _create_crt_transfer_manager(self, params: Any, runtime_config: Any) -> Any:
        return CRT

    def _create_default_transfer_manager(self, params: Any, runtime_config: Any, client: Any = None) -> Any:
        return CLASSIC


class Newer:
    """As in 2.38, which passes the client on."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def _create_crt_transfer_manager(self, params: Any, runtime_config: Any, botocore_client: Any = None) -> Any:
        return CRT

    def _create_classic_transfer_manager(self, params: Any, runtime_config: Any, client: Any = None) -> Any:
        return CLASSIC


@pytest.fixture(params=[Older, Newer])
def factory(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class, which the tests may patch."""
    module = ModuleType(FACTORY)
    module.TransferManagerFactory = type("TransferManagerFactory", (), dict(vars(request.param)))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, FACTORY, module)
    return module.TransferManagerFactory


def made(factory: Any, endpoint: StrictEndpoint) -> Any:
    """Return the manager that the CLI gets."""
    s3 = aws_client("s3", endpoint)
    arguments = {"botocore_client": s3} if hasattr(factory, "_create_classic_transfer_manager") else {}
    return factory(s3)._create_crt_transfer_manager({}, {}, **arguments)


def test_it_is_made_by_the_clock(factory: Any, endpoint: StrictEndpoint) -> None:
    """The classic one where the wall clock is known to be wrong, else one that repeats; unguarded, the CLI's own."""
    with skewguard.install():
        assert isinstance(made(factory, endpoint), RepeatingManager)
    with skewguard.install(sources=[FakeSource(offset=1200)]):
        skewguard.measure()
        assert made(factory, endpoint) == CLASSIC
    assert made(factory, endpoint) is CRT
