"""The pytest plugin: one fixture.

pytest imports it in every project that has skewguard installed. Outside the package, because importing any module of
the package runs ``skewguard/__init__.py``, which takes some tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from skewguard.testing.endpoint import StrictEndpoint


@pytest.fixture
def strict_endpoint() -> Iterator[StrictEndpoint]:
    """A started `skewguard.testing.StrictEndpoint` over plain http, its clock equal to the host's."""
    from skewguard.testing.endpoint import StrictEndpoint

    with StrictEndpoint() as endpoint:
        yield endpoint
