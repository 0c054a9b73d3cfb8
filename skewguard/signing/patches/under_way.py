"""The call for which other code is signing in this context, so that signers without a recorded call find it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from skewguard.signing.domains import same_server


class CallUnderWay(Protocol):
    """A call that other code signs and sends.

    Attributes:
        url: Where it goes.
    """

    url: str

    def begin(self) -> int | None:
        """Note that an attempt is being signed; return the time to sign as of (ns), or None for the wall clock."""
        ...

    def leave(self) -> None:
        """Leave this attempt to its signer: it carries another time, so its answer is not heard."""
        ...


UNDER_WAY: ContextVar[CallUnderWay | None] = ContextVar("skewguard_under_way", default=None)
"""The call under way; None outside."""


def call_to(url: str) -> CallUnderWay | None:
    """Return the call under way, if it goes to this URL's server.

    A signer may refresh its credentials first, by a request to another server.
    """
    call = UNDER_WAY.get()
    return call if call is not None and same_server(url, call.url) else None
