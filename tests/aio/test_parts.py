"""What is different in aiobotocore: origin of answers, TLS rules, handed-out signatures, and its names."""

from __future__ import annotations

import base64
import datetime
import inspect
import json
import ssl
from types import SimpleNamespace
from typing import Any

import aiobotocore.endpoint
import aiobotocore.hooks
import aiobotocore.signers
import aiohttp
import anyio
import pytest
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.session import AioSession
from aiohttp import web
from botocore.awsrequest import AWSResponse
from botocore.session import Session

import skewguard
from skewguard import events
from skewguard._reach import undo_patches
from skewguard.signing.patches import library
from skewguard.signing.responses import AioResponses
from skewguard.testing import StrictEndpoint
from skewguard.testing.aws.sigv4 import parse_time
from tests.aio.support import CHECKS_NAMES, client, code_of, each_way
from tests.fakes import Emitted
from tests.support import run_python, signed_at, with_bucket

MOCKET = """
import asyncio, sys
import botocore.exceptions, skewguard
from aiobotocore.session import AioSession
from mocket import Mocketizer
from mocket.mocks.mockhttp import Entry
from tests.aio.support import config

BODY = "<R><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired</Message></Error></R>"

async def main():
    async with Mocketizer():
        headers = {"Content-Type": "text/xml", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
        Entry.single_register(Entry.POST, "http://store:9000/", BODY, 403, headers)
        url = "http://store:9000"
        async with AioSession().create_client("sts", endpoint_url=url, config=config(sys.argv[1])) as sts:
            try:
                await sts.get_caller_identity()
            except botocore.exceptions.ClientError as error:
                retries = error.response["ResponseMetadata"]["RetryAttempts"]
                print(error.response["Error"]["Code"], retries, skewguard.status().domains)

skewguard.install()
asyncio.run(main())
"""


def made_up(headers: dict[str, str]) -> AioAWSResponse:
    """Make a refusal as the mocking libraries do: a response object of aiohttp's that came from no connection."""
    answer = {"__type": "InvalidSignatureException", "message": ""}

    class Raw:
        def __init__(self) -> None:
            self.headers = headers

        async def read(self) -> bytes:
            return json.dumps(answer).encode()

    return AioAWSResponse("http://127.0.0.1/", 400, headers, Raw())


@each_way
async def test_an_answer_from_no_socket_teaches_nothing_and_is_not_tried_again(way: str) -> None:
    """As from Stubber and moto."""
    sent = []

    def answer(request: Any, **_: Any) -> AioAWSResponse:
        sent.append(request)
        return made_up({"Date": "Thu, 01 Jan 2026 00:00:00 GMT"})

    with StrictEndpoint() as endpoint:
        skewguard.install()
        async with client("dynamodb", endpoint, way) as dynamodb:
            dynamodb.meta.events.register("before-send", answer)
            assert await code_of(dynamodb.list_tables()) == "InvalidSignatureException"
    assert len(sent) == 1
    assert not skewguard.status().domains


async def test_a_response_object_of_the_library_without_a_connection_is_made_up() -> None:
    """aioresponses builds aiohttp's own; respx and others httpx's own."""
    # The constructor's parameters differ between releases; what it sets by itself matters here.
    raw = aiohttp.ClientResponse.__new__(aiohttp.ClientResponse)
    assert getattr(raw, "_protocol", None) is None
    assert not AioResponses.from_socket(SimpleNamespace(raw=raw))

    class Recorded(aiohttp.ClientResponse):
        _protocol = object()

    assert not AioResponses.from_socket(SimpleNamespace(raw=Recorded.__new__(Recorded)))
    assert not AioResponses.from_socket(SimpleNamespace(raw=SimpleNamespace(extensions={})))
    assert not AioResponses.from_socket(AWSResponse("http://127.0.0.1/", 200, {}, None))
    assert not AioResponses.from_socket(None)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aiohttp", "httpx"])
def test_mocket_teaches_nothing_and_is_not_tried_again(backend: str) -> None:
    """It replays below both libraries, here a private store's refusal; their TLS it cannot."""
    assert run_python(MOCKET, backend, timeout=60) == "SignatureDoesNotMatch 0 {}\n"


def test_repeated_headers_of_aiohttp_are_joined() -> None:
    """aiobotocore keeps the last of them, in lower case."""
    headers = web.Response(headers=[("Date", "a"), ("date", "b"), ("Age", "1")]).headers
    found = AioResponses.headers_of(SimpleNamespace(raw=SimpleNamespace(headers=headers)))
    assert (found.get("Date"), found.get("age"), found.get("Warning")) == ("a, b", "1", None)


def endpoint_with(verify: Any, *contexts: Any, settings: Any = None) -> Any:
    """Make the attributes of an endpoint that are read."""
    made = {n: SimpleNamespace(connector=SimpleNamespace(_ssl=context)) for n, context in enumerate(contexts)}
    proxies = SimpleNamespace(settings=settings)
    return SimpleNamespace(http_session=SimpleNamespace(_verify=verify, _sessions=made, _proxy_config=proxies))


def context(mode: ssl.VerifyMode, *, names: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = mode
    made.check_hostname = names
    return made


STRICT = context(ssl.CERT_REQUIRED, names=True)
NAMELESS = context(ssl.CERT_REQUIRED, names=False)
NONE = context(ssl.CERT_NONE, names=False)


@pytest.mark.parametrize(
    ("endpoint", "verified"),
    [
        (endpoint_with(True, STRICT), True),
        (endpoint_with("/bundle.pem", STRICT), True),
        (endpoint_with(True, STRICT, NAMELESS), False),
        (endpoint_with(True, NONE), False),
        (endpoint_with(False, False), False),
        (endpoint_with(STRICT), True),  # httpx's session keeps its rules in `verify`
        (endpoint_with(NONE), False),
        (endpoint_with(NAMELESS), False),
        (endpoint_with(True, STRICT, settings={"proxy_use_forwarding_for_https": True}), False),
        (SimpleNamespace(http_session=None), False),
        (None, False),
    ],
)
def test_only_tls_that_checks_chain_and_name_is_verified(endpoint: Any, verified: bool) -> None:
    """The rules in force count, not those asked for."""
    assert AioResponses.verified(endpoint) is verified


@each_way
async def test_what_is_handed_out_is_signed_as_of_true_time(way: str) -> None:
    """Presigned URLs, and both times of a form, once the time is known."""
    with StrictEndpoint(offset=-7200) as endpoint:
        with_bucket(endpoint)
        skewguard.install()
        async with client("s3", endpoint, way, signature_version="s3v4") as s3:
            await s3.list_buckets()
            url = await s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"})
            form = (await s3.generate_presigned_post("bucket", "key", ExpiresIn=600))["fields"]
        truth = endpoint.now() / 1e9
    until = json.loads(base64.b64decode(form["policy"]))["expiration"].replace("Z", "+00:00")
    assert signed_at(url) == pytest.approx(truth, abs=10)
    assert parse_time(form["x-amz-date"]) == pytest.approx(truth, abs=10)
    assert datetime.datetime.fromisoformat(until).timestamp() - 600 == pytest.approx(truth, abs=10)


async def test_a_signing_inside_another_task_keeps_its_own_time() -> None:
    """A form signed as of one time does not change what another task signs meanwhile."""
    seen: list[datetime.datetime] = []

    AioSession()
    skewguard.install()
    AioSession()  # applies the patches
    begun, end = anyio.Event(), anyio.Event()

    class Slow(aiobotocore.signers.AioS3PostPresigner):
        pass

    async def sign(*_: Any) -> None:
        begun.set()
        await end.wait()
        seen.append(aiobotocore.signers.get_current_datetime())

    async def emit(_: str) -> list[Any]:
        return [(None, SimpleNamespace(handed_out_time_soon=soon))]

    async def soon(*_: Any) -> int:
        return 86_400 * 10**9

    signer = SimpleNamespace(_event_emitter=SimpleNamespace(emit=emit), sign=sign)
    async with anyio.create_task_group() as tasks:
        request = {"url": "https://bucket/", "method": "POST", "headers": {}, "body": b"", "context": {}}
        tasks.start_soon(Slow(signer).generate_presigned_post, request)
        await begun.wait()
        seen.append(aiobotocore.signers.get_current_datetime())
        end.set()
    assert seen[0].year > 2000
    assert seen[1] == datetime.datetime(1970, 1, 2)


class TestTripwire:
    """What skewguard needs of aiobotocore. A failure names what a new version has changed."""

    def test_its_emitter_awaits(self) -> None:
        """And is distinguished from botocore's."""
        assert library.awaits_handlers(AioSession().get_component("event_emitter"))
        assert not library.awaits_handlers(Session().get_component("event_emitter"))
        assert library.awaits_handlers(aiobotocore.hooks.AioHierarchicalEmitter())

    def test_it_signs_with_botocores_signers(self) -> None:
        """In one synchronous call, between before-sign and which credentials may be refreshed."""
        source = inspect.getsource(aiobotocore.signers.AioRequestSigner.sign)
        assert (
            source.index("before-sign") < source.index("await self.get_auth") < source.index("auth.add_auth(request)")
        )

    def test_the_seam_finds_all_it_replaces(self, emitted: Emitted) -> None:
        with skewguard.install():
            AioSession()
            held = aiobotocore.signers.get_current_datetime
            AioSession()
            assert aiobotocore.signers.get_current_datetime is held
        assert not emitted
        undo_patches()
        assert aiobotocore.signers.get_current_datetime is not held

    @pytest.mark.parametrize("name", ["signers.AioS3PostPresigner", "utils.AioContainerMetadataFetcher"])
    def test_an_unknown_one_switches_off_one_part_with_one_warning(
        self, name: str, monkeypatch: pytest.MonkeyPatch, emitted: Emitted
    ) -> None:
        """Its calls are guarded all the same."""
        monkeypatch.delattr(f"aiobotocore.{name}")
        with skewguard.install():
            AioSession()
            AioSession()
        assert [type(event) for event in emitted] == [events.Degraded]

    async def test_its_endpoint_keeps_the_session_that_holds_the_rules(self) -> None:
        """After an answer, aiohttp's has one connector with its TLS context."""
        with StrictEndpoint(tls=True) as endpoint:
            async with client("sts", endpoint) as sts:
                await sts.get_caller_identity()
                (made,) = sts._endpoint.http_session._sessions.values()
                rules = made.connector._ssl
                assert rules.verify_mode is ssl.CERT_REQUIRED
                assert rules.check_hostname is CHECKS_NAMES
