"""The pytest plugin: one fixture. Light, because pytest loads it whether or not a test uses it."""

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
