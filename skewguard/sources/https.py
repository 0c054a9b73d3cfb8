"""An HTTPS server as a time source: the ``Date`` of one response, for networks that let no NTP through.

A request without credentials is sent, and the server's certificate is checked, so the time is authenticated: it is as
good as the certificate authorities, and right to within the exchange and two and a half seconds. TLS itself reads the
wall clock: where that is so wrong that the certificate seems expired or not yet valid, this source gives no time.
"""

from __future__ import annotations

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError, SourceError
from skewguard.http_date import response_interval
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources.http_head import Failure, Head, explain, head
from skewguard.sources.limits import LONGEST_WAIT, MAX_DELAY, check_date
from skewguard.sources.uri import Named, server_uri, split_server

PORT = 443
FORM = "https://host[:port]"

_AWS_REQUEST_IDS = ("x-amzn-RequestId", "x-amz-request-id")


class HttpsSource(Named):
    """Asks one HTTPS server, such as an AWS endpoint, for its time.

    Each measurement is a connection of its own, and one ``HEAD /``.

    Not believed are a response without exactly one usable ``Date``, one from a cache, one that took over five seconds,
    and a redirect, unless AWS's request id shows that AWS itself redirects: a captive portal, or a proxy that
    intercepts TLS, redirects to its login page.
    """

    def __init__(self, host: str, port: int = PORT) -> None:
        """Check the arguments; nothing is sent or looked up yet.

        Args:
            host: A name or a numeric address, IPv4 or IPv6, for which the server has a certificate.
            port: Its TCP port.

        Raises:
            ConfigError: A value is unusable.
        """
        if not host or any(char.isspace() or not char.isprintable() or char in "/\\[]?#@%" for char in host):
            raise ConfigError(f"{host!r} is not a host name or address of an HTTPS server")
        self._name = server_uri("https", host.lower(), port, PORT)

    @classmethod
    def from_uri(cls, uri: str) -> HttpsSource:
        """Make a source from ``https://host[:port]``; an IPv6 address stands in brackets."""
        host, port, _ = split_server(uri, "https", FORM)
        return cls(host, PORT if port is None else port)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._name,)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask the server once, as `skewguard.sources.Source.measure` describes."""
        left = deadline - clocks.read().steady
        if left <= 0:
            raise SourceError(f"{self._name} was given no time to answer")
        try:
            response = head(f"{self._name}/", clocks, min(left / SECOND, LONGEST_WAIT))
        except Exception as error:
            raise SourceError(self._unreachable(explain(error))) from error
        return self._to_interval(response)

    def _to_interval(self, response: Head) -> Interval:
        if response.received.steady - response.sent.steady > MAX_DELAY:
            raise SourceError(f"{self._name} took too long to answer")
        if 300 <= response.status < 400 and not any(response.headers[name] for name in _AWS_REQUEST_IDS):
            raise SourceError(f"{self._name} redirects, as a captive portal or a proxy does that answers for it")
        date = response.date
        if date is None:
            raise SourceError(f"{self._name} sent no usable Date, or one from a cache")
        said = response_interval(*date, response.sent, response.received, Trust.AUTHENTICATED, self._name)
        return check_date(said)

    def _unreachable(self, failure: Failure) -> str:
        if failure.certificate:
            return f"{self._name} has a certificate that is {failure.certificate} by this host's clock"
        if failure.untrusted:
            cause = "a captive portal or a proxy may answer for it"
            return f"{self._name} cannot be authenticated; {cause}: {failure.reason}"
        return f"{self._name} cannot be reached: {failure.reason}"
