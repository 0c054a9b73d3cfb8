"""Read an endpoint's clock by the ``Date`` of its response to one request without credentials."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError
from skewguard.http_date import response_interval
from skewguard.interval import Trust
from skewguard.signing.domains import find_domain
from skewguard.sources.http_head import explain, head
from skewguard.timekeeping.domain import UTC

_TIMEOUT = 5.0  # s, of each step: connection, handshake, response


class EndpointClock(NamedTuple):
    """An endpoint's clock, or why it could not be read.

    Attributes:
        offset: The endpoint's clock minus the wall clock, ns; None if it could not be read.
        bound: The true difference lies within this of `offset`, ns.
        utc: Whether it can be trusted to keep UTC: AWS, with a verified certificate.
        problem: Why it could not be read.
        certificate: ``"not yet valid"`` or ``"expired"``, if that is why.
    """

    url: str
    offset: int | None = None
    bound: int = 0
    utc: bool = False
    problem: str = ""
    certificate: str = ""


def complete(url: str) -> str:
    """Return the full URL; a host name alone means https. ConfigError if it is not usable."""
    full = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
    except ValueError:
        usable = False
    if not usable or not full.isascii() or not full.isprintable() or " " in full:
        raise ConfigError(f"{url!r} is not an http or https URL without a user name")
    return full


def read_clock(url: str, clocks: Clocks) -> EndpointClock:
    """Send one HEAD request, and read the clock of the server that responds. Follows no redirect; never raises."""
    try:
        response = head(url, clocks, _TIMEOUT)
    except Exception as error:
        failure = explain(error)
        return EndpointClock(url, problem=failure.reason, certificate=failure.certificate)
    date = response.date
    if date is None:
        return EndpointClock(url, problem="its response has no usable Date")
    received = response.received
    server = response_interval(*date, response.sent, received, Trust.WITNESS, url)
    return EndpointClock(url, server.midpoint - received.wall, server.width // 2 + 1, utc=find_domain(url).key == UTC)
