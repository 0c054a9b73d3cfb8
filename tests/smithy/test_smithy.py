"""skewguard.contrib.smithy with two real SDKs: refused once, then right; frames and expiry by true time."""

from __future__ import annotations

import asyncio
import copy
import datetime
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aws_sdk_bedrock_runtime import client as bedrock
from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig
from aws_sdk_bedrock_runtime.models import InvokeModelInput
from aws_sdk_signers import signers
from aws_sdk_transcribe_streaming import client as transcribe
from aws_sdk_transcribe_streaming.config import AsyncTranscribeStreamingConfig
from aws_sdk_transcribe_streaming.models import GetMedicalScribeStreamInput
from smithy_aws_core.auth import SigV4AuthScheme
from smithy_aws_core.identity import AWSCredentialsIdentity
from smithy_aws_event_stream.events import EventMessage
from smithy_core.aio.identity import CachingIdentityResolver
from smithy_core.aio.types import AsyncBytesProvider, AsyncBytesReader
from smithy_http import Field, Fields
from smithy_http.aio import HTTPRequest
from smithy_http.aio.aiohttp import AIOHTTPClient

import skewguard
from skewguard import events
from skewguard._reach import undo_patches
from skewguard.contrib import smithy
from skewguard.contrib.smithy import plugin
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.fakes import Emitted, FakeSource

KEYS = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
SIGNING: dict[str, Any] = {
    "identity": AWSCredentialsIdentity(**KEYS),
    "properties": {"region": "us-east-1", "service": "transcribe"},
}

Call = Callable[[Any], Awaitable[Any]]

SDKS: dict[str, tuple[Any, Any, Call]] = {
    "bedrock": (
        AsyncBedrockRuntimeConfig,
        bedrock.AsyncBedrockRuntimeClient,
        lambda client: client.invoke_model(InvokeModelInput(model_id="model", body=b"{}")),
    ),
    "transcribe": (
        AsyncTranscribeStreamingConfig,
        transcribe.AsyncTranscribeStreamingClient,
        lambda client: client.get_medical_scribe_stream(GetMedicalScribeStreamInput(session_id="a" * 36)),
    ),
}


@pytest.fixture(params=[-1200, 1200])
def ahead(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def run(server: StrictEndpoint, sdk: str, count: int, *, plugins: Any = (plugin,), **options: Any) -> list[str]:
    """Call a number of times; return what became of each: its exception's notes, or an empty string."""
    settings, kind, call = SDKS[sdk]
    keys = server.client_kwargs

    async def calls() -> list[str]:
        given = {name: keys[name] for name in ("aws_access_key_id", "aws_secret_access_key")}
        given |= {"endpoint_uri": server.url, "region": "us-east-1", **options}
        config = await settings.resolve(**given)
        client = kind(config, plugins=list(plugins))
        outcomes = []
        for _ in range(count):
            try:
                await call(client)
                outcomes.append("")
            except Exception as error:
                outcomes.append("; ".join(getattr(error, "__notes__", [])) or type(error).__name__)
        await client.close()
        return outcomes

    return asyncio.run(calls())


def statuses(server: StrictEndpoint) -> list[int]:
    found = [record.status for record in server.requests]
    server.clear()
    return found


@pytest.mark.parametrize("sdk", SDKS)
class TestCalls:
    """Both SDKs, on a slow and on a fast host."""

    def test_refused_once_then_right(self, ahead: int, sdk: str) -> None:
        """As the server's words show; the next client is right at once. After `uninstall` all is as before."""
        with StrictEndpoint(offset=ahead) as server:
            with skewguard.install(sources="response"):
                assert run(server, sdk, 2) == ["", ""]
                assert statuses(server) == [403, 200, 200]
                assert run(server, sdk, 1) == [""]
                assert skewguard.status().domains[server.url].grade == "proof"
                assert abs(skewguard.status().domains[server.url].seconds - ahead) < 3
            server.clear()
            assert run(server, sdk, 1) != [""]
            assert statuses(server) == [403]

    def test_right_at_once_with_a_source(self, ahead: int, sdk: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with AWS, whose clock the sources tell."""
        monkeypatch.setattr("skewguard.signing.domains.is_loopback", lambda host: False)
        with StrictEndpoint(offset=ahead) as server, skewguard.install(sources=[FakeSource(offset=ahead)]):
            assert run(server, sdk, 1) == [""]
            assert statuses(server) == [200]

    def test_never_more_than_once(self, ahead: int, sdk: str, emitted: Emitted) -> None:
        with StrictEndpoint(offset=ahead) as server, skewguard.install(sources="response"):
            server.fail_next("RequestTimeTooSkewed", "", times=9)
            assert run(server, sdk, 1) != [""]
            assert len(statuses(server)) == 2
        assert len(emitted.of(events.Retried)) == 1

    def test_another_error(self, ahead: int, sdk: str) -> None:
        with StrictEndpoint() as server, skewguard.install(sources="response"):
            server.fail_next("ValidationException", "No")
            assert run(server, sdk, 1) != [""]
            assert statuses(server) == [403]

    def test_a_healthy_call_is_the_sdks_own(self, ahead: int, sdk: str) -> None:
        """The same request, but for its time and its id."""

        def shape(record: Any) -> Any:
            moving = {"authorization", "x-amz-date", "amz-sdk-invocation-id"}
            return (
                record.method,
                record.path,
                record.body,
                {name: value for name, value in record.headers.items() if name not in moving},
            )

        with StrictEndpoint() as server:
            run(server, sdk, 1, plugins=())
            with skewguard.install(sources="response"):
                run(server, sdk, 1)
            plain, guarded = server.requests
            assert shape(plain) == shape(guarded)
            assert plain.headers.keys() == guarded.headers.keys()


def test_a_caller_that_allows_one_attempt() -> None:
    """Gets the refusal; it teaches all the same."""
    with StrictEndpoint(offset=1200) as server, skewguard.install(sources="response"):
        assert run(server, "bedrock", 2, max_attempts=1) == ["CallError", ""]
        assert statuses(server) == [403, 200]


def test_a_plugin_for_one_operation_as_well() -> None:
    """Configurations are copied for it; each answer is heard once."""
    config = configuration("bedrock")
    plugin(config)
    again = copy.deepcopy(config)
    plugin(again)
    assert len(again.interceptors) == 1
    assert again.interceptors[0] is config.interceptors[0]
    assert again.auth_schemes["aws.auth#sigv4"] is config.auth_schemes["aws.auth#sigv4"]
    assert copy.copy(again.interceptors[0]) is again.interceptors[0]
    plugin(None)  # whatever it is, no exception


@pytest.mark.parametrize(("connector", "verified"), [({}, True), ({"ssl": False}, False), ({"ssl": True}, True)])
def test_whether_aiohttp_verifies(connector: dict[str, Any], verified: bool) -> None:
    async def made() -> bool:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(**connector)) as session:
            return smithy._aiohttp_verifies(AIOHTTPClient(_session=session))

    assert asyncio.run(made()) == verified


def test_bodies_that_can_be_sent_again() -> None:
    async def stream() -> Any:
        yield b""

    async def judged() -> list[bool]:
        return [
            smithy._is_repeatable(body)
            for body in (b"", AsyncBytesReader(b"{}"), AsyncBytesReader(stream()), AsyncBytesProvider(), stream())
        ]

    assert asyncio.run(judged()) == [True, True, False, False, False]


def configuration(service: str) -> Any:
    """Make what a plugin sees of an SDK's configuration."""
    schemes = {"aws.auth#sigv4": SigV4AuthScheme(service=service)}
    return SimpleNamespace(auth_schemes=schemes, interceptors=[], transport=None)


def request_to(url: str) -> HTTPRequest:
    from smithy_core import URI

    scheme, _, host = url.partition("://")
    fields = Fields([Field(name="Authorization", values=["AWS4-HMAC-SHA256 Credential=a, Signature=00"])])
    return HTTPRequest(destination=URI(scheme=scheme, host=host, path="/"), method="POST", fields=fields)


class TestFrames:
    """Each frame of an event stream is dated when it is sent."""

    URL = "https://transcribestreaming.us-east-1.amazonaws.com"

    def frames(self) -> list[float]:
        """Sign two frames, the last included; return how far their dates are ahead of this host's clock, s."""
        config = configuration("transcribe")
        plugin(config)

        async def signed() -> list[float]:
            signer = config.auth_schemes["aws.auth#sigv4"].event_signer(request=request_to(self.URL))
            frames = [
                await signer.sign(event=EventMessage(headers={}, payload=b"a"), **SIGNING),
                await signer.sign_empty(event=EventMessage(headers={}, payload=b""), **SIGNING),
            ]
            now = datetime.datetime.now(datetime.timezone.utc)
            return [(frame.headers[":date"] - now).total_seconds() for frame in frames]

        return asyncio.run(signed())

    def test_by_true_time(self, ahead: int) -> None:
        for _ in range(2):
            with skewguard.install(sources=[FakeSource(offset=ahead)]):
                assert all(abs(off - ahead) < 30 for off in self.frames())
            assert all(abs(off) < 30 for off in self.frames())

    def test_by_a_claim_of_the_same_server(self, ahead: int) -> None:
        """A stream is not repeated; what its refusal taught dates the next, and its frames."""
        with StrictEndpoint() as server, skewguard.install(sources="response"):
            call = skewguard.SignedCall("transcribe", repeatable=False)
            with call.signing(self.URL):
                when = call.timestamp()
            now = when.timestamp() + ahead
            date = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
            body = b'{"__type": "RequestTimeTooSkewed"}'
            headers = {"date": f"{date:%a, %d %b %Y %H:%M:%S} GMT"}
            assert not call.answered(self.URL, 403, headers, body, verified=True)
            assert all(abs(off - ahead) < 30 for off in self.frames())
            server.clear()

    def test_others_signers_read_the_wall_clock(self) -> None:
        """Without the plugin's call, the patched module is as before."""
        self.frames()
        with skewguard.install(sources=[FakeSource(offset=1200)]):
            signed = signers.SigV4Signer().sign(request=request_to(self.URL), **SIGNING)
            at = parse_time(signed.fields["X-Amz-Date"].as_string())
            assert abs(at - datetime.datetime.now(datetime.timezone.utc).timestamp()) < 30


class Resolver(CachingIdentityResolver[Any, Any]):
    """Fetches credentials that live for ten minutes by true time."""

    def __init__(self, ahead: int) -> None:
        super().__init__()
        self.ahead = ahead
        self.fetched = 0

    async def _get_identity(self, *, properties: Any) -> AWSCredentialsIdentity:
        self.fetched += 1
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=self.ahead + 600)
        return AWSCredentialsIdentity(**KEYS, expiration=end)


class TestExpiry:
    """Credentials expire by true time."""

    def test_of_fresh_credentials(self, ahead: int) -> None:
        """On a fast host each was dead at once, and every call failed."""
        resolver = Resolver(ahead)
        with StrictEndpoint(credentials={KEYS["access_key_id"]: KEYS["secret_access_key"]}, offset=ahead) as server:
            if ahead < 0:
                assert run(server, "bedrock", 1, aws_credentials_identity_resolver=resolver) == ["SmithyError"]
                assert statuses(server) == []
            with skewguard.install(sources=[FakeSource(offset=ahead)]):
                resolver.fetched = 0
                assert run(server, "bedrock", 3, aws_credentials_identity_resolver=resolver) == ["", "", ""]
            assert resolver.fetched <= 1

    def test_of_dead_ones(self) -> None:
        """On a slow host they lived on, and were refused."""
        resolver = Resolver(-300)  # they look good for five more minutes

        async def get() -> None:
            await resolver.get_identity(properties={})

        with skewguard.install(sources=[FakeSource(offset=1200)]):
            plugin(configuration("bedrock"))  # it applies the patches
            asyncio.run(get())
            asyncio.run(get())
        assert resolver.fetched == 2
        asyncio.run(get())
        assert resolver.fetched == 2

    def test_a_library_that_has_changed(self, emitted: Emitted, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is left alone, and an event says so. Requests are right all the same: their signer takes a date."""
        undo_patches()
        monkeypatch.delattr(signers, "datetime")
        with StrictEndpoint(offset=1200) as server, skewguard.install(sources="response"):
            assert run(server, "bedrock", 2) == ["", ""]
            assert statuses(server) == [403, 200, 200]
        (found,) = emitted.of(events.Degraded)
        assert found.reason == "aws_sdk_signers.signers reads the wall clock by another name than datetime"
