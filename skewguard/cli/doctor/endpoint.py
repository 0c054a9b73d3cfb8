"""Read an endpoint's clock: one HEAD request without credentials, and the ``Date`` of its response.

It is sent as botocore would send it: through the environment's proxies, with the certificates of AWS_CA_BUNDLE.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError
from skewguard.http_date import read_date, response_interval
from skewguard.interval import Trust
from skewguard.signing.domains import find_domain
from skewguard.timekeeping.domain import UTC

if TYPE_CHECKING:
    import ssl

TIMEOUT = 5.0
"""The timeout of each step (connection, handshake, response), s."""

_DATE_HEADERS = ("Date", "Age", "X-Cache", "Warning")
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


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


def read_clock(url: str, clocks: Clocks, timeout: float = TIMEOUT) -> EndpointClock:
    """Send one HEAD request, and read the clock of the server that responds. Follows no redirect; never raises."""
    import ssl
    import urllib.request

    try:
        # Without the usual handlers for errors and redirects: any response will do, and has a Date.
        opener = urllib.request.OpenerDirector()
        opener.add_handler(urllib.request.ProxyHandler())
        opener.add_handler(urllib.request.HTTPHandler())
        opener.add_handler(urllib.request.HTTPSHandler(context=_context()))
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "skewguard doctor"})  # noqa: S310
        sent = clocks.read()
        with opener.open(request, timeout=timeout) as response:
            headers = response.headers
        received = clocks.read()
    except Exception as error:
        reason = getattr(error, "reason", error)
        code = reason.verify_code if isinstance(reason, ssl.SSLCertVerificationError) else 0
        certificate = {_NOT_YET_VALID: "not yet valid", _EXPIRED: "expired"}.get(code, "")
        problem = " ".join(str(reason).split()) or type(reason).__name__
        return EndpointClock(url, problem=problem, certificate=certificate)
    relevant = {name: str(headers[name]) for name in _DATE_HEADERS if headers[name] is not None}
    date = read_date(relevant) if len(headers.get_all("Date", [])) == 1 else None
    if date is None:
        return EndpointClock(url, problem="its response has no usable Date")
    server = response_interval(date.earliest, date.latest, sent, received, Trust.WITNESS, url)
    return EndpointClock(url, server.midpoint - received.wall, server.width // 2 + 1, utc=find_domain(url).key == UTC)


def _context() -> ssl.SSLContext:
    import ssl

    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=bundle or None)
