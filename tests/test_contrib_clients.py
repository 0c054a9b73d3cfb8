"""skewguard.contrib for requests, httpx and httpx2: real clients, whose requests are refused once, and then right."""

from __future__ import annotations

import asyncio
import functools
import gzip
import io
import logging
import pickle
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import skewguard
from skewguard import events
from skewguard.contrib import _signed_requests
from skewguard.contrib._signed_requests import service_of
from skewguard.signing import remembered
from skewguard.testing import StrictEndpoint
from tests.fakes import Emitted, FakeSource, raising
from tests.real.need import need

AHEAD = 1200
URL = "https://sts.us-east-1.amazonaws.com/"
FORM = b"Action=GetCallerIdentity&Version=2011-06-15"
TYPE = {"content-type": "application/x-www-form-urlencoded"}

try:
    import httpx
    import httpx2
    import requests
    import requests_aws4auth
except ImportError as error:
    need(False, str(error.name), "pip install --group tests")

from skewguard.contrib import httpx as for_httpx  # noqa: E402
from skewguard.contrib import httpx2 as for_httpx2  # noqa: E402
from skewguard.contrib import requests as for_requests  # noqa: E402


@pytest.fixture(params=[AHEAD, -AHEAD])
def aws(
    request: pytest.FixtureRequest, tls_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch
) -> StrictEndpoint:
    """AWS's names, on true time, which is ahead of this host's clock or behind."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    tls_endpoint.offset = request.param
    tls_endpoint.clear()
    return tls_endpoint


_opened: list[Any] = []


@pytest.fixture(autouse=True)
def names(aws: StrictEndpoint) -> Iterator[None]:
    """AWS's names lead there; clients are closed afterwards."""
    with aws.as_aws():
        yield
        for client in _opened:
            client.close()
        _opened.clear()
        aws.clear()


def headers_for(endpoint: StrictEndpoint, url: str = URL, body: bytes = FORM) -> dict[str, str]:
    """Sign by one of botocore's signers; return the headers."""
    keys = endpoint.client_kwargs
    credentials = Credentials(str(keys["aws_access_key_id"]), str(keys["aws_secret_access_key"]))
    request = AWSRequest("POST", url, headers=TYPE, data=body)
    SigV4Auth(credentials, "sts", "us-east-1").add_auth(request)
    return dict(request.headers.items())


class Signer:
    """Signs requests of any library by botocore's signer, as the program's own code does."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        self.endpoint = endpoint

    def __call__(self, request: Any) -> Any:
        request.headers.update(headers_for(self.endpoint, str(request.url)))
        return request


class HttpxSigner(httpx.Auth):
    """The same, as an authenticator of httpx."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        self.endpoint = endpoint

    def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
        request.headers.update(headers_for(self.endpoint, str(request.url)))
        yield request


def trusting(endpoint: StrictEndpoint) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=endpoint.ca_bundle)


def aws4auth(endpoint: StrictEndpoint) -> Any:
    """Make a signer that reads the wall clock itself."""
    keys = endpoint.client_kwargs
    return requests_aws4auth.AWS4Auth(keys["aws_access_key_id"], keys["aws_secret_access_key"], "us-east-1", "sts")


class ByRequests:
    """Sends by requests."""

    def __init__(self, endpoint: StrictEndpoint, auth: Any = None) -> None:
        self.session = requests.Session()
        self.session.auth = auth or for_requests.SkewAuth(Signer(endpoint))
        self.session.verify = endpoint.ca_bundle
        _opened.append(self.session)

    def post(self, url: str = URL, body: Any = FORM, **options: Any) -> Any:
        return self.session.post(url, data=body, headers=TYPE, **options)


class ByHttpx:
    """Sends by httpx."""

    library: Any = httpx
    contrib: Any = for_httpx

    def __init__(self, endpoint: StrictEndpoint, auth: Any = None, **options: Any) -> None:
        auth = auth or self.contrib.SkewAuth(Signer(endpoint))
        self.client = self.library.Client(auth=auth, **{"verify": trusting(endpoint), **options})
        _opened.append(self.client)

    def post(self, url: str = URL, body: Any = FORM, **options: Any) -> Any:
        return self.client.post(url, content=body, headers={**TYPE, **options.pop("headers", {})}, **options)


class ByHttpx2(ByHttpx):
    library = httpx2
    contrib = for_httpx2


class ByAuthenticator(ByHttpx):
    """Sends by httpx, with an authenticator of httpx's own kind."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        super().__init__(endpoint, for_httpx.SkewAuth(HttpxSigner(endpoint)))


class SignedBefore(ByHttpx):
    """Signs before httpx has the request, as AnthropicBedrock and litellm do."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        super().__init__(endpoint, for_httpx.SkewAuth())
        self.endpoint = endpoint

    def post(self, url: str = URL, body: Any = FORM, **options: Any) -> Any:
        return super().post(url, body, headers=headers_for(self.endpoint, url), **options)


class SignedBeforeRequests(ByRequests):
    """The same, with requests."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        super().__init__(endpoint, for_requests.SkewAuth())
        self.endpoint = endpoint

    def post(self, url: str = URL, body: Any = FORM, **options: Any) -> Any:
        self.session.headers.update(headers_for(self.endpoint, url))
        return super().post(url, body, **options)


class SignedByHook(ByHttpx):
    """Signs in an event hook, as mcp-proxy-for-aws does."""

    def __init__(self, endpoint: StrictEndpoint) -> None:
        super().__init__(endpoint, for_httpx.SkewAuth(), event_hooks={"request": [Signer(endpoint)]})


Way = Callable[[StrictEndpoint], Any]
WAYS: list[Way] = [
    ByRequests,
    ByHttpx,
    ByHttpx2,
    ByAuthenticator,
    SignedBefore,
    SignedBeforeRequests,
    SignedByHook,
]


def outcomes(endpoint: StrictEndpoint) -> list[int]:
    return [record.status for record in endpoint.requests]


@pytest.mark.parametrize("way", WAYS)
class TestEach:
    """Whatever sends, and wherever it signs."""

    def test_refused_once_then_right(self, aws: StrictEndpoint, way: Way) -> None:
        """The refusal is in the response's history. After `uninstall` all is as before."""
        sender = way(aws)
        with skewguard.install(sources="response"):
            first = sender.post()
            assert (first.status_code, [each.status_code for each in first.history]) == (200, [403])
            assert sender.post().history in ([], ())
            assert outcomes(aws) == [403, 200, 200]
            found = skewguard.offset()
            assert found is not None
            assert found.grade == "proof"
            assert abs(found.seconds - aws.offset) < 3
        assert sender.post().status_code == 403
        assert outcomes(aws) == [403, 200, 200, 403]

    def test_right_at_once_with_a_source(self, aws: StrictEndpoint, way: Way) -> None:
        with skewguard.install(sources=[FakeSource(offset=aws.offset)]):
            assert way(aws).post().status_code == 200
        assert outcomes(aws) == [200]

    def test_never_more_than_once(self, aws: StrictEndpoint, way: Way) -> None:
        aws.fail_next("RequestTimeTooSkewed", "The difference between the request time and the server's time", times=9)
        with skewguard.install(sources="response"):
            assert way(aws).post().status_code >= 400
        assert len(outcomes(aws)) == 2

    def test_another_error(self, aws: StrictEndpoint, way: Way) -> None:
        """It is the caller's, and teaches no more than its Date."""
        aws.fail_next("ValidationException", "No")
        with skewguard.install(sources=[FakeSource(offset=aws.offset)]):
            assert way(aws).post().status_code == 403
        assert outcomes(aws) == [403]


@pytest.mark.parametrize("way", [ByRequests, ByHttpx, SignedBefore, SignedBeforeRequests])
@pytest.mark.parametrize("broken", ["find", "note_signed", "hear", "restore", "sign_again"])
def test_our_own_faults(aws: StrictEndpoint, way: Way, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They leave the caller with the server's answer."""
    inner = {"find": (remembered, "take"), "note_signed": (_signed_requests, "service_of")}
    monkeypatch.setattr(*inner.get(broken, (_signed_requests.SignedRequest, broken)), raising(ZeroDivisionError()))
    with skewguard.install(sources="response"):
        response = way(aws).post()
    assert response.status_code in {200, 403}
    assert outcomes(aws) in ([403], [403, 200])


@pytest.mark.parametrize(("way", "contrib"), [(ByRequests, for_requests), (ByHttpx, for_httpx)])
def test_a_signer_that_fails_the_second_time(
    aws: StrictEndpoint, way: Any, contrib: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has the first answer, as without skewguard; and the log says so."""

    class Once(Signer):
        def __call__(self, request: Any) -> Any:
            if outcomes(self.endpoint):
                raise ZeroDivisionError
            return super().__call__(request)

    sender = way(aws, contrib.SkewAuth(Once(aws)))
    with skewguard.install(sources="response"), caplog.at_level(logging.INFO, "skewguard"):
        assert sender.post().status_code == 403
    assert outcomes(aws) == [403]
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert any("again: ZeroDivisionError" in message for message in told)


def grade() -> str:
    found = skewguard.offset()
    return "" if found is None else found.grade


class TestBodies:
    """A body is sent again where it can be."""

    def test_a_file_is_sent_again_from_where_it_was(self, aws: StrictEndpoint) -> None:
        body = io.BytesIO(b"no part of it " + FORM)
        body.seek(14)
        with skewguard.install(sources="response"):
            assert ByRequests(aws).post(body=body).status_code == 200
        assert outcomes(aws) == [403, 200]
        assert aws.requests[1].body == FORM

    @pytest.mark.parametrize("way", [ByRequests, ByHttpx])
    def test_a_generator_is_not(self, aws: StrictEndpoint, way: Way, caplog: pytest.LogCaptureFixture) -> None:
        """It teaches; and the log says why it was not sent again."""
        with skewguard.install(sources="response"), caplog.at_level(logging.INFO, "skewguard"):
            assert way(aws).post(body=iter([FORM])).status_code == 403
            assert grade() == "claim"
            assert way(aws).post(body=iter([FORM])).status_code == 200
        assert outcomes(aws) == [403, 200]
        assert "its body cannot be sent again" in caplog.text

    def test_a_success_is_not_read(self, aws: StrictEndpoint) -> None:
        with skewguard.install(sources="response"):
            with ByRequests(aws).post(stream=True) as response:
                assert response.raw.tell() == 0
                assert b"GetCallerIdentityResult" in response.content
            with ByHttpx(aws).client.stream("POST", URL, content=FORM, headers=TYPE) as streamed:
                assert not streamed.is_closed
                assert b"GetCallerIdentityResult" in b"".join(streamed.iter_bytes())


ZIPPED = gzip.compress(b'{"message": "No"}')


class TestRefusalsAsStreams:
    """A refusal is the caller's to read, as a stream too: what was read of it is put back."""

    @pytest.fixture(autouse=True, params=["guarded", "unguarded"])
    def _host(self, request: pytest.FixtureRequest, aws: StrictEndpoint) -> Iterator[None]:
        source = FakeSource(offset=aws.offset)
        with skewguard.install(sources=[source]) if request.param == "guarded" else nullcontext():
            yield

    def zipped(self, aws: StrictEndpoint, times: int = 1) -> None:
        head = {"content-encoding": "gzip", "content-type": "application/json"}
        aws.reply_next(403, head, ZIPPED, times=times)

    @pytest.mark.parametrize("way", [ByHttpx, ByHttpx2, ByAuthenticator, SignedBefore, SignedByHook])
    def test_httpx(self, aws: StrictEndpoint, way: Way) -> None:
        client = way(aws).client
        headers = headers_for(aws) if way is SignedBefore else TYPE
        self.zipped(aws, 3)
        with client.stream("POST", URL, content=FORM, headers=headers) as raw:
            assert not raw.is_closed
            assert not raw.is_stream_consumed
            assert b"".join(raw.iter_raw()) == ZIPPED
            assert raw.is_closed
        with client.stream("POST", URL, content=FORM, headers=headers) as decoded:
            assert b"".join(decoded.iter_bytes()) == gzip.decompress(ZIPPED)
        assert client.post(URL, content=FORM, headers=headers).json() == {"message": "No"}

    @pytest.mark.parametrize("library", [httpx, httpx2])
    def test_asynchronous(self, library: Any) -> None:
        contrib = for_httpx if library is httpx else for_httpx2

        async def call() -> bytes:
            async with (
                library.AsyncClient(auth=contrib.SkewAuth(Signer(server))) as client,
                client.stream("POST", f"{server.url}/", content=FORM, headers=TYPE) as raw,
            ):
                return b"".join([part async for part in raw.aiter_raw()])

        with StrictEndpoint() as server:
            self.zipped(server)
            assert asyncio.run(call()) == ZIPPED

    @pytest.mark.parametrize("way", [ByRequests, SignedBeforeRequests])
    def test_requests(self, aws: StrictEndpoint, way: Way) -> None:
        sender = way(aws)
        self.zipped(aws, 4)
        with sender.post(stream=True) as response:
            assert response.raw.read() == ZIPPED
            assert response.raw.headers["content-encoding"] == "gzip"
        assert sender.post(stream=True).raw.read(decode_content=True) == gzip.decompress(ZIPPED)
        assert b"".join(sender.post(stream=True).iter_content(5)) == gzip.decompress(ZIPPED)
        assert sender.post().json() == {"message": "No"}

    @pytest.mark.parametrize("way", [ByRequests, ByHttpx])
    def test_one_that_breaks_off(self, aws: StrictEndpoint, way: Way) -> None:
        """The caller meets the error where it reads the body, and not before."""
        aws.reply_next(403, {"transfer-encoding": "chunked"}, b"5\r\nbegun\r\nno size\r\n", times=2)
        sender = way(aws)
        if way is ByRequests:
            response = sender.post(stream=True)
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                _ = response.content
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                sender.post()
        else:
            streaming = sender.client.stream("POST", URL, content=FORM, headers=TYPE)
            with streaming as streamed, pytest.raises(httpx.RemoteProtocolError):
                streamed.read()
            with pytest.raises(httpx.RemoteProtocolError):
                sender.post()

    @pytest.mark.parametrize("read", ["read", "iter_raw"])
    def test_an_event_hook_that_reads(self, aws: StrictEndpoint, read: str) -> None:
        self.zipped(aws)
        seen: list[bytes] = []

        def look(response: httpx.Response) -> None:
            seen.append(response.read() if read == "read" else b"".join(response.iter_raw()))

        client = ByHttpx(aws, event_hooks={"response": [look]}).client
        with client.stream("POST", URL, content=FORM, headers=TYPE) as response:
            assert response.status_code == 403
        assert seen == [ZIPPED if read == "iter_raw" else gzip.decompress(ZIPPED)]


class TestRequests:
    """What is particular to requests."""

    def test_the_connection_is_used_again(self, aws: StrictEndpoint) -> None:
        sender = ByRequests(aws)
        with skewguard.install(sources="response"):
            sender.session.post(URL, data=FORM, headers=TYPE)
            pools = sender.session.get_adapter(URL).poolmanager.pools
            assert [pools[key].num_connections for key in pools.keys()] == [1]  # noqa: SIM118 - it is no mapping

    def test_a_response_can_be_pickled(self, aws: StrictEndpoint) -> None:
        """As without skewguard; neither the signer nor its keys are in it. What is loaded can be sent again."""
        with skewguard.install(sources="response"):
            signer = Signer(aws)
            signer.lock = threading.Lock()  # type: ignore[attr-defined]
            sender = ByRequests(aws, for_requests.SkewAuth(signer))
            pickled = pickle.dumps(sender.post())
            assert str(aws.client_kwargs["aws_secret_access_key"]).encode() not in pickled
            loaded = pickle.loads(pickled)
            assert [each.status_code for each in (*loaded.history, loaded)] == [403, 200]
            assert sender.session.send(loaded.request).status_code == 200

    def test_other_hooks_get_the_second_response(self, aws: StrictEndpoint) -> None:
        seen: list[int] = []
        with skewguard.install(sources="response"):
            ByRequests(aws).post(hooks={"response": lambda response, **_: seen.append(response.status_code)})
        assert seen == [200]

    def test_an_unverified_certificate_teaches_nothing(self, aws: StrictEndpoint) -> None:
        sender = ByRequests(aws)
        sender.session.verify = False
        with skewguard.install(sources="response"):
            with pytest.warns(Warning, match="Unverified HTTPS"):
                assert sender.post().status_code == 403
            assert grade() == ""
        assert outcomes(aws) == [403]

    def test_a_connection_that_ends_leaves_the_first_response(self, aws: StrictEndpoint) -> None:
        """Without skewguard, the caller would have had it, too."""
        from skewguard.testing import DROP

        text = "The difference between the request time and the current time is too large."
        aws.fail_next("RequestTimeTooSkewed", text, status=403)
        aws.script(DROP)
        with skewguard.install(sources="response"):
            assert ByRequests(aws).post().status_code == 403
        aws.clear()

    def test_another_signer_that_is_named(
        self, aws: StrictEndpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It keeps a timestamp that it finds, so its signing is undone; unnamed, one warning tells of the option."""
        monkeypatch.setattr(_signed_requests, "_unsteered", set())
        auth = aws4auth(aws)
        for _ in range(2):
            with skewguard.install(sources="response"):
                assert ByRequests(aws, for_requests.SkewAuth(auth)).post().status_code == 403
        with skewguard.install(sources="response", other_signers="requests-aws4auth"):
            assert ByRequests(aws, for_requests.SkewAuth(auth)).post().status_code == 200
        assert outcomes(aws) == [403, 403, 403, 200]
        assert caplog.text.count("read the wall clock itself; see other_signers") == 1


class TestWarning:
    """A signer that reads the wall clock itself is named once."""

    def test_functions_have_their_own_names(
        self, aws: StrictEndpoint, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_signed_requests, "_unsteered", set())
        auth = aws4auth(aws)

        def first(request: Any) -> Any:
            return auth(request)

        def second(request: Any, _option: str = "") -> Any:
            return auth(request)

        with skewguard.install(sources="response"):
            for signer in (first, second, functools.partial(second, _option="x"), auth, auth.__call__):
                assert ByRequests(aws, for_requests.SkewAuth(signer)).post().status_code == 403
        prefix = f"{__name__}.TestWarning.test_functions_have_their_own_names.<locals>"
        names = [each.getMessage().partition(" ")[0] for each in caplog.records if "other_signers" in each.getMessage()]
        here = "requests_aws4auth.aws4auth.AWS4Auth"
        assert names == [f"{prefix}.first", f"{prefix}.second", here, f"{here}.__call__"]

    def test_nothing_is_said_of_no_signer(self, aws: StrictEndpoint, caplog: pytest.LogCaptureFixture) -> None:
        auth = aws4auth(aws)

        def hook(request: httpx.Request) -> None:
            plain = requests.Request("POST", str(request.url), data=FORM, headers=TYPE).prepare()
            request.headers.update(auth(plain).headers)

        with skewguard.install(sources="response"), caplog.at_level(logging.INFO, "skewguard"):
            client = ByHttpx(aws, for_httpx.SkewAuth(), event_hooks={"request": [hook]})
            assert client.post().status_code == 403
        assert "refused for its time" in caplog.text
        assert "other_signers" not in caplog.text


class TestHttpx:
    """What is particular to httpx."""

    def test_a_mock_teaches_nothing(self, aws: StrictEndpoint) -> None:
        """Its answer comes from no socket."""

        def refuse(request: httpx.Request) -> httpx.Response:
            text = (
                "Signature expired: 20260101T000000Z is now earlier than 20260101T015500Z (20260101T020000Z - 5 min.)"
            )
            return httpx.Response(403, json={"message": text})

        with skewguard.install(sources="response"):
            sender = ByHttpx(aws, transport=httpx.MockTransport(refuse))
            assert sender.post().status_code == 403
            assert grade() == ""

    @pytest.mark.parametrize("unverified", ["certificate", "host name"])
    def test_unverified_tls_teaches_nothing(self, aws: StrictEndpoint, unverified: str) -> None:
        context = trusting(aws)
        context.check_hostname = False
        if unverified == "certificate":
            context.verify_mode = ssl.CERT_NONE
        with skewguard.install(sources="response"):
            assert ByHttpx(aws, verify=context).post().status_code == 403
            assert grade() == ""

    def test_an_authenticator_that_asks_for_more(self, aws: StrictEndpoint) -> None:
        seen: list[int] = []

        class Curious(httpx.Auth):
            def auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:  # type: ignore[override]
                Signer(aws)(request)
                seen.append((yield request).status_code)  # type: ignore[func-returns-value]
                yield request

        with skewguard.install(sources="response"):
            assert ByHttpx(aws, for_httpx.SkewAuth(Curious())).post().status_code == 200
        assert (seen, outcomes(aws)) == ([200], [403, 200, 200])

    @pytest.mark.parametrize("library", [httpx, httpx2])
    @pytest.mark.parametrize("sign", ["function", "authenticator", "before", "hook"])
    def test_asynchronous(self, library: Any, sign: str) -> None:
        """On an event loop, to a private server, whose own clock it teaches."""
        contrib = for_httpx if library is httpx else for_httpx2

        async def hook(request: Any) -> None:
            Signer(server)(request)

        async def calls(url: str) -> None:
            inner = Signer(server) if sign == "function" else None
            if sign == "authenticator":
                inner = type("Inner", (library.Auth,), {"auth_flow": HttpxSigner.auth_flow})()
                inner.endpoint = server
            hooks = {"request": [hook]} if sign == "hook" else {}
            async with library.AsyncClient(auth=contrib.SkewAuth(inner), event_hooks=hooks) as client:
                for history in ([403], []):
                    headers = headers_for(server, url) if sign == "before" else TYPE
                    response = await client.post(url, content=FORM, headers=headers)
                    assert response.status_code == 200
                    assert [each.status_code for each in response.history] == history

        with StrictEndpoint(offset=AHEAD) as server, skewguard.install(sources="response"):
            asyncio.run(calls(f"{server.url}/"))
            assert outcomes(server) == [403, 200, 200]
            assert skewguard.status().domains[server.url].grade == "proof"


REFUSAL = (
    b'{"__type": "RequestTimeTooSkewed", "message": "The difference between the request time and now is too large."}'
)


class TestRedirects:
    """What a library was redirected to was not signed here."""

    @pytest.fixture(autouse=True)
    def _host(self, aws: StrictEndpoint) -> Iterator[None]:
        aws.reply_next(307, {"location": "/elsewhere"})
        aws.reply_next(403, {"content-type": "application/x-amz-json-1.1"}, REFUSAL)
        with skewguard.install(sources=[FakeSource(offset=aws.offset)]):
            yield

    @pytest.mark.parametrize("way", [ByRequests, ByHttpx, ByHttpx2, SignedBefore, SignedByHook])
    def test_a_refusal_after_one_is_the_callers(self, aws: StrictEndpoint, way: Way, emitted: Emitted) -> None:
        options = {} if way is ByRequests else {"follow_redirects": True}
        response = way(aws).post(**options)
        assert response.status_code == 403
        assert [each.status_code for each in response.history] == [307]
        assert outcomes(aws) == [307, 403]
        assert emitted.of(events.Retried) == []

    def test_nothing_is_called_repeated_then(
        self, aws: StrictEndpoint, emitted: Emitted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even if the redirect itself was not heard, as that from a cache."""
        heard = for_requests.Responses.from_socket
        only = staticmethod(lambda response: response.status_code != 307 and heard(response))
        monkeypatch.setattr(for_requests.Responses, "from_socket", only)
        assert ByRequests(aws).post().status_code == 403
        assert outcomes(aws) == [307, 403]
        assert emitted.of(events.Retried) == []


@pytest.mark.parametrize(
    ("authorization", "service"),
    [
        ("AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host", "bedrock"),
        ("AWS4-ECDSA-P256-SHA256 Credential=AKID/20260101/s3/aws4_request, SignedHeaders=host", "s3"),
        ("Bearer token", ""),
        ("", ""),
        ("AWS AKID:signature", ""),
    ],
)
def test_the_service_is_read_from_the_signature(authorization: str, service: str) -> None:
    assert service_of(authorization) == service


@pytest.mark.slow
def test_anthropics_client(aws: StrictEndpoint, tmp_path: Path) -> None:
    """AnthropicBedrock signs by botocore and sends by httpx2: every call failed unless a source knew the time."""
    try:
        import anthropic
    except ImportError:
        need(False, "anthropic", "pip install --group tests")
    keys = aws.client_kwargs
    with anthropic.DefaultHttpxClient(auth=for_httpx2.SkewAuth(), verify=trusting(aws)) as http:
        client = anthropic.AnthropicBedrock(
            aws_region="us-east-1",
            aws_access_key=str(keys["aws_access_key_id"]),
            aws_secret_key=str(keys["aws_secret_access_key"]),
            http_client=http,
            max_retries=0,
        )

        def call() -> None:
            client.messages.create(model="model", max_tokens=1, messages=[{"role": "user", "content": "Hello"}])

        with pytest.raises(anthropic.PermissionDeniedError):
            call()
        with skewguard.install(sources="response"):
            call()
            call()
        assert outcomes(aws) == [403, 403, 200, 200]
        aws.clear()
        with skewguard.install(sources=[FakeSource(offset=aws.offset)]):
            call()
        assert outcomes(aws) == [200]
