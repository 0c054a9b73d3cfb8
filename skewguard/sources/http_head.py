"""One HEAD request without credentials, for the sake of its response's ``Date``.

It goes the way that botocore's requests go: through the environment's proxies, and with the certificates that
``AWS_CA_BUNDLE``, the profile's ``ca_bundle`` or ``REQUESTS_CA_BUNDLE`` name; else with the system's, which
``SSL_CERT_FILE`` can replace. No redirect is followed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from skewguard import _aws_profile, _files
from skewguard.clocks import Clocks, Reading
from skewguard.http_date import Span, read_date

if TYPE_CHECKING:
    import ssl

_DATE_HEADERS = ("Date", "Age", "X-Cache", "Warning")
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_LONGEST = 300


class Head(NamedTuple):
    """A response to a HEAD request.

    Attributes:
        status: Its status.
        headers: Its headers, an `email.message.Message`.
        sent: The clocks just before the request was made.
        received: The clocks just after the headers were read.
    """

    status: int
    headers: Any
    sent: Reading
    received: Reading

    @property
    def date(self) -> Span | None:
        """The server's clock; None unless there is one usable ``Date``."""
        dates = set(self.headers.get_all("Date", []))
        relevant = {name: str(self.headers[name]) for name in _DATE_HEADERS if self.headers[name] is not None}
        return read_date(relevant) if len(dates) == 1 else None


class Failure(NamedTuple):
    """Why there is no response.

    Attributes:
        reason: In a few words.
        certificate: ``"not yet valid"`` or ``"expired"``, if TLS rejects the server's certificate for that.
        untrusted: Whether TLS rejects it for another reason, or what responds does not speak TLS.
    """

    reason: str
    certificate: str = ""
    untrusted: bool = False


def head(url: str, clocks: Clocks, timeout: float) -> Head:
    """Send a HEAD request. `timeout` (s) counts for each step. Any exception means that there is no response."""
    import urllib.request

    # Without the usual handlers for errors and redirects: any response will do, and has a Date.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(urllib.request.ProxyHandler())
    opener.add_handler(urllib.request.HTTPHandler())
    opener.add_handler(urllib.request.HTTPSHandler(context=_context()))
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "skewguard"})  # noqa: S310
    sent = clocks.read()
    with opener.open(request, timeout=timeout) as response:
        return Head(response.status, response.headers, sent, clocks.read())


def explain(error: Exception) -> Failure:
    """Return what an exception of `head` means."""
    import ssl

    cause = getattr(error, "reason", error)
    text = " ".join(str(cause).split())[:_LONGEST] or type(cause).__name__
    if isinstance(cause, ssl.SSLCertVerificationError):
        dates = {_NOT_YET_VALID: "not yet valid", _EXPIRED: "expired"}
        certificate = dates.get(cause.verify_code, "")
        return Failure(text, certificate, untrusted=not certificate)
    return Failure(text, untrusted=isinstance(cause, ssl.SSLError) and "WRONG_VERSION_NUMBER" in text)


def _context() -> ssl.SSLContext:
    import ssl

    named = os.environ.get("AWS_CA_BUNDLE") or _aws_profile.read("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
    if named:
        return ssl.create_default_context(cafile=named)
    system = ssl.get_default_verify_paths()
    return ssl.create_default_context(cafile=None if system.cafile or system.capath else _packaged_certificates())


def _packaged_certificates() -> str | None:
    """Return the file of certificates that botocore would use, for a system that has none. botocore is not imported."""
    import importlib.util

    for package in ("certifi", "botocore"):
        spec = importlib.util.find_spec(package)
        for directory in spec.submodule_search_locations or () if spec else ():
            path = Path(directory, "cacert.pem")
            if _files.exists(path):
                return str(path)
    return None
