"""The records that a `StrictEndpoint` keeps of requests, and the steps of its script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True)
class Record:
    """One request to the server."""

    method: str
    host: str
    path: str
    """As sent, still encoded."""
    query: str
    """As sent, still encoded."""
    headers: Mapping[str, str]
    """Lower-case names; repeated ones are joined by a comma."""
    body: bytes
    """As sent, any aws-chunked framing included; empty if the request was refused before its body was read."""
    service: str
    """The signing name, or a guess for a request that is not signed."""
    region: str | None
    operation: str | None
    """None where the protocol does not show it."""
    access_key: str | None
    signed_at: int | None
    """The request's own timestamp, ns since the Unix epoch."""
    received_at: int
    """The server's time when it had the request's headers, ns since the Unix epoch."""
    status: int
    """The response's; 0 if the connection was closed without one."""
    code: str
    """The response's error code; empty if none."""


@dataclass(frozen=True)
class Canned:
    """A response to be sent as it is, whatever the request. A Date header among `headers` replaces the server's."""

    status: int = 200
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    body: bytes = b""


@dataclass(frozen=True)
class Fault:
    """An error in the request's own protocol, whose signature and date are not checked."""

    code: str
    """``AccessDenied`` and ``ValidationException`` take each protocol's own name; others stay as they are."""
    message: str = ""
    status: int | None = None
    """None: what the protocol uses for a refusal."""


DROP: Final = Canned(0)
"""A step that closes the connection without a response."""

Step: TypeAlias = "Canned | Fault | None"
