"""What time an endpoint says it is: one HEAD request without credentials, and its ``Date``.

It goes where botocore's would: through the proxies of the environment, and with the certificates of AWS_CA_BUNDLE.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError

if TYPE_CHECKING:
    import ssl

TIMEOUT = 5.0
"""How long an endpoint may take, s, for each of: connect, handshake, answer."""

_TELLING = ("Date", "Age", "X-Cache", "Warning")
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class Answer(NamedTuple):
    """What came of it.

    Attributes:
        url: Whom was asked.
        offset: The endpoint's clock minus the wall clock, ns; None if it did not tell.
        bound: It lies within this of `offset`, ns.
        utc: Whether it may be believed to keep UTC: AWS, whose certificate was verified.
        problem: Why it did not tell.
        certificate: ``"not yet valid"`` or ``"expired"``, if that is why.
    """

    url: str
    offset: int | None = None
    bound: int = 0
    utc: bool = False
    problem: str = ""
    certificate: str = ""


def check(url: str) -> str:
    """Complete a URL, which may be a mere host.

    Raises:
        ConfigError: It is none that can be asked.
    """
    full = url if "://" in url else f"https://{url}"
    try:
        parts = urlsplit(full)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        fit = False
    if not fit or not full.isascii() or not full.isprintable() or " " in full:
        raise ConfigError(f"{url!r} is no http or https URL without a user name")
    return full


def ask(url: str, clocks: Clocks, timeout: float = TIMEOUT) -> Answer:
    """Send one HEAD request, follow no redirection, and hear the clock that answers. Never raises.

    Args:
        url: Whom to ask, as `check` returns it.
        clocks: The clocks to measure with.
        timeout: How long each step may take, s.
    """
    import ssl
    import urllib.request

    from skewguard.interval import Trust
    from skewguard.signing.domains import place
    from skewguard.signing.reply import read_date
    from skewguard.timekeeping.domain import UTC
    from skewguard.timekeeping.knowledge import response_interval

    try:
        # Without the usual handlers of errors and redirections: whatever answers is the answer, and has a Date.
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
        return Answer(url, problem=" ".join(str(reason).split()) or type(reason).__name__, certificate=certificate)
    told = {name: str(headers[name]) for name in _TELLING if headers[name] is not None}
    span = read_date(told) if len(headers.get_all("Date", [])) == 1 else None
    if span is None:
        return Answer(url, problem="its answer has no Date that can be used")
    said = response_interval(span.earliest, span.latest, sent, received, Trust.WITNESS, url)
    return Answer(url, said.midpoint - received.wall, said.width // 2 + 1, utc=place(url).key == UTC)


def _context() -> ssl.SSLContext:
    import ssl

    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    return ssl.create_default_context(cafile=bundle or None)
