"""An HTTPS server as a time source, over real connections."""

from __future__ import annotations

import datetime
import email.message
import email.utils
import http.server
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import trustme

import skewguard
from skewguard.clocks import Reading
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources import from_uri, http_head
from skewguard.testing import FakeClocks, StrictEndpoint
from tests import tunnel
from tests.patience import PATIENCE
from tests.support import aws_client, running
from tests.tunnel import Proxy

AWS = "https://sts.us-east-1.amazonaws.com"
AHEAD = 1200
NOW = 2_000_000_000  # s; what the servers of these tests show
ID = ("x-amzn-RequestId", "c6104cbe")


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds to HEAD with a status and headers of the server's."""

    def do_HEAD(self) -> None:
        status, headers = self.server.response  # type: ignore[attr-defined]
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.server.asked.append(dict(self.headers))  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


class Server(http.server.ThreadingHTTPServer):
    """A server at 127.0.0.1 whose responses a test chooses; with TLS, if it has an authority."""

    def __init__(self, authority: trustme.CA | None, **dates: datetime.datetime) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[dict[str, str]] = []
        self.response: tuple[int, list[tuple[str, str]]] = (200, [date()])
        self.uri = f"https://127.0.0.1:{self.server_port}"
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1", **dates).configure_cert(context)  # type: ignore[arg-type]
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: Any) -> None:
        """Print nothing: a client that does not trust a certificate hangs up."""


def date(second: int = NOW) -> tuple[str, str]:
    """A ``Date`` header."""
    return "Date", email.utils.formatdate(second, usegmt=True)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority whose certificates botocore trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[Server]:
    """A server that botocore trusts."""
    with running(made := Server(authority)):
        yield made


def ask(server: Server | str, seconds: float = PATIENCE) -> Interval:
    """Measure a server, or a URI."""
    clocks = FakeClocks()
    source = from_uri(server if isinstance(server, str) else server.uri)
    return source.measure(clocks, clocks.read().steady + round(seconds * SECOND))


def takes(seconds: int, patch: pytest.MonkeyPatch) -> None:
    """Let every exchange last so long."""
    headers = email.message.Message()
    headers.add_header(*date())
    response = http_head.Head(200, headers, Reading(0, 0), Reading(seconds * SECOND, 0))
    patch.setattr("skewguard.sources.https.head", lambda *_: response)


class TestBelieved:
    """What a server states."""

    def test_its_date(self, server: Server) -> None:
        """A response states the second in which it was made, and comes from whom its certificate names."""
        said = ask(server)
        assert said.trust is Trust.AUTHENTICATED
        assert said.earliest < NOW * SECOND < said.latest
        assert said.width < 3 * SECOND
        assert said.source == server.uri

    def test_no_credentials_are_sent(self, server: Server) -> None:
        """Nor anything else that tells servers apart."""
        ask(server)
        (headers,) = server.asked
        assert {name.lower() for name in headers} <= {"host", "user-agent", "accept-encoding", "connection"}

    @pytest.mark.parametrize("status", [200, 301, 302, 307, 400, 403, 404, 405, 500])
    def test_any_status_of_aws(self, server: Server, status: int) -> None:
        """AWS's endpoints redirect a browser to their documentation; the request id shows that they did."""
        server.response = status, [date(), ID]
        assert ask(server).latest > NOW * SECOND

    def test_the_whole_exchange_counts(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server read its clock at any moment of it."""
        takes(4, monkeypatch)
        said = ask(server)
        assert said.at == 4 * SECOND
        assert said.width > 6 * SECOND


class TestNotBelieved:
    """What could be a cache's, a portal's or nonsense."""

    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ([], "no usable Date"),
            ([("Date", "yesterday")], "no usable Date"),
            ([date(), date(NOW + 60)], "no usable Date"),
            ([date(), ("Age", "7")], "from a cache"),
            ([date(), ("X-Cache", "Hit from cloudfront")], "from a cache"),
            ([date(), ("Warning", '110 - "Response is Stale"')], "from a cache"),
            ([date(60)], "implausible date, 1970-01-01"),
            ([date(32_503_680_060)], "implausible date, 3000-01-01"),
            ([date(), ("Location", "https://login.example/")], "redirects, as a captive portal or a proxy does"),
        ],
    )
    def test_headers(self, server: Server, headers: list[tuple[str, str]], reason: str) -> None:
        """A Date counts if it is the only one, fresh and plausible, and no portal's that this host trusts."""
        server.response = 302 if "Location" in dict(headers) else 200, headers
        with pytest.raises(SourceError, match=reason):
            ask(server)

    def test_one_that_took_long(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """The host slept, or a queue was replayed."""
        takes(6, monkeypatch)
        with pytest.raises(SourceError, match="took too long"):
            ask(server)

    def test_a_certificate_of_another_authority(
        self, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As of a proxy that intercepts TLS, where AWS_CA_BUNDLE does not name its authority."""
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "other.pem"))
        with pytest.raises(SourceError, match=r"a captive portal or a proxy may answer for it: .*certificate verify"):
            ask(server)
        assert server.asked == []

    def test_no_tls(self, authority: trustme.CA) -> None:
        """A captive portal that redirects every connection."""
        with running(made := Server(None)), pytest.raises(SourceError, match="a captive portal or a proxy may answer"):
            ask(made)

    def test_nothing_there(self, unused: str) -> None:
        with pytest.raises(SourceError, match=r"cannot be reached: .*refused"):
            ask(unused)

    def test_no_time_left(self, unused: str) -> None:
        with pytest.raises(SourceError, match="given no time"):
            ask(unused, 0)


@pytest.fixture
def unused() -> str:
    """The URI of a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        return f"https://127.0.0.1:{held.getsockname()[1]}"


@pytest.mark.parametrize(("begins", "word"), [("2099-01-01", "not yet valid"), ("2001-01-01", "expired")])
def test_a_certificate_on_a_wrong_clock(authority: trustme.CA, begins: str, word: str) -> None:
    """TLS reads the wall clock first, so the message says whose clock judged."""
    first = datetime.datetime.fromisoformat(f"{begins}T00:00:00+00:00")
    made = Server(authority, not_before=first, not_after=first + datetime.timedelta(days=90))
    with running(made), pytest.raises(SourceError, match=f"a certificate that is {word} by this host's clock"):
        ask(made)


class TestProxies:
    """They are used as botocore uses them."""

    @pytest.fixture
    def proxy(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
        """A proxy that the environment names."""
        for name in ("no_proxy", "NO_PROXY", "https_proxy"):
            monkeypatch.delenv(name, raising=False)
        with tunnel.proxy() as made:
            monkeypatch.setenv("HTTPS_PROXY", made.url)
            yield made

    def test_through_one(self, server: Server, proxy: Proxy) -> None:
        """TLS goes through it to the server itself."""
        assert ask(server).trust is Trust.AUTHENTICATED
        (line,) = proxy.asked
        assert line.startswith(f"CONNECT 127.0.0.1:{server.server_port} HTTP/1.")

    def test_past_one(self, server: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
        """NO_PROXY names the server."""
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        ask(server)
        assert proxy.asked == []

    @pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "302 Found", "503 Service Unavailable"])
    def test_one_that_refuses(self, server: Server, proxy: Proxy, status: str) -> None:
        """Its Date is not the server's."""
        proxy.refusal = status
        with pytest.raises(SourceError, match=f"cannot be reached: Tunnel connection failed: {status}"):
            ask(server)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "profile", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_whose_certificates(
    authority: trustme.CA, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """What botocore's users set counts here, too."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceError, match="certificate verify failed"):
        ask(server)
    if variable == "profile":
        (tmp_path / "config").write_text(f"[default]\nca_bundle = {tmp_path}/ca.pem\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    else:
        monkeypatch.setenv(variable, str(tmp_path / "ca.pem"))
    assert ask(server).trust is Trust.AUTHENTICATED


def test_a_system_without_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of certifi or botocore serve, as they serve botocore."""
    nothing = ssl.get_default_verify_paths()._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    assert len(http_head._context().get_ca_certs()) > 50


@pytest.mark.parametrize("offset", [AHEAD, -AHEAD])
def test_a_first_call(offset: int) -> None:
    """No NTP: one unsigned request tells the time, and everything that is signed is right."""
    with (
        StrictEndpoint(offset=offset, tls=True) as endpoint,
        endpoint.as_aws(),
        skewguard.install(sources=[AWS], require_authenticated=True, wait=PATIENCE),
    ):
        aws_client("sts", endpoint).get_caller_identity()
        assert [(one.method, one.status) for one in endpoint.requests] == [("HEAD", 403), ("POST", 200)]
        s3 = aws_client("s3", endpoint)
        url = s3.generate_presigned_url("list_objects_v2", {"Bucket": "bucket"}, ExpiresIn=60)
        with pytest.raises(HTTPError) as refused:
            urlopen(url, context=http_head._context())
        refused.value.close()
        assert endpoint.requests[-1].status == 404  # accepted, and there is no such bucket


def test_it_votes_with_others(server: Server) -> None:
    """Its interval is wide enough to meet those of right NTP servers, and a liar is in the minority."""
    from tests.fakes import FakeSource

    server.response = 200, [date(), ID]
    clocks = FakeClocks(wall=NOW * SECOND)
    sources = [server.uri, FakeSource("right", bound=0.01), FakeSource("liar", offset=3600)]
    with skewguard.install(sources=sources, clocks=clocks, wait=PATIENCE):
        results = {one.name: one.off_by for one in skewguard.status().sources}
    assert results["right"] == results[server.uri] == 0
    assert results["liar"]
