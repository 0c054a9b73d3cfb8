"""Plays a script with botocore or aiobotocore, guarded or not, against servers on loopback with fake clocks."""

from __future__ import annotations

import asyncio
import datetime
import functools
import http.client
import importlib
import inspect
import io
import re
import ssl
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, ExitStack
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.auth
import botocore.credentials
import botocore.endpoint
import botocore.session
import botocore.signers
from botocore.awsrequest import HeadersDict
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

import skewguard
from skewguard._process import process
from skewguard.interval import SECOND, Interval, Trust
from skewguard.signing.domains import find_domain
from skewguard.testing import Canned, FakeClocks, Fault, StrictEndpoint, reset
from skewguard.testing.aws.dialects import Problem
from skewguard.testing.aws.sigv4 import basic
from skewguard.testing.exchange import http_date
from skewguard.testing.listener import Response
from skewguard.testing.records import Step
from skewguard.testing.tls import redirected
from skewguard.testing.wire import Request
from skewguard.timekeeping.sharing import SharedEstimates
from tests.differential.judge import Seen, judge
from tests.differential.scripts import AWS, HOSTS, Call, Endpoint, Script, generate, simplest
from tests.fakes import FakeSource

TRUTH = 1_767_225_600 * SECOND
"""True time when a script begins, ns."""


def _from_10() -> io.BytesIO:
    body = io.BytesIO(b"0123456789body")
    body.seek(10)
    return body


_ROLE = {"RoleArn": "arn:aws:iam::123456789012:role/r", "RoleSessionName": "session", "WebIdentityToken": "token"}
_CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "get": ("sts", lambda c: c.get_caller_identity()),
    "table": ("dynamodb", lambda c: c.list_tables()),
    "put": ("s3", lambda c: c.put_object(Bucket="bucket", Key="new", Body=b"body")),
    "put from 10": ("s3", lambda c: c.put_object(Bucket="bucket", Key="new", Body=_from_10())),
    "head": ("s3", lambda c: c.head_object(Bucket="bucket", Key="key")),
    "url": ("s3", lambda c: c.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "key"}, ExpiresIn=60)),
    "unsigned": ("sts", lambda c: c.assume_role_with_web_identity(**_ROLE)),
}


class World:
    """One playing of a script: its clocks, and what has happened so far."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.clocks = FakeClocks(wall=TRUTH + script.host * SECOND)
        self._zero = TRUTH - self.clocks.steady
        self.steps = [0] * len(script.endpoints)
        self.call, self.number = Call(), -1
        self.total = self.requests = self.faults = self.refreshes = 0
        self.denied = False

    def truth(self) -> int:
        return self._zero + self.clocks.steady

    def begin(self, call: Call) -> None:
        self.call, self.number = call, self.number + 1
        self.requests = self.faults = 0
        self.denied = False
        self.clocks.advance(call.gap)
        self.clocks.step(call.sets)
        self.steps[call.at] += call.steps

    def at_endpoint(self) -> tuple[Endpoint, int]:
        """Return the call's endpoint, and the clock of the server that this request meets there."""
        endpoint = self.script.endpoints[self.call.at]
        turn = self.number if endpoint.by_call else self.total
        clock = endpoint.clock if endpoint.other is None or turn % 2 == 0 else endpoint.other
        return endpoint, clock + self.steps[self.call.at]

    def http_date(self, clock: int) -> str:
        return http_date(self.truth() // SECOND + clock)

    def refresh(self) -> dict[str, str]:
        """Return fresh credentials, as their provider does."""
        self.refreshes += 1
        now = self.truth() if self.script.stamps == "truth" else self.clocks.wall
        until = datetime.datetime.fromtimestamp(now // SECOND + self.script.lasts, datetime.timezone.utc)
        return {**KEYS, "token": "token", "expiry_time": until.isoformat()}


class Hostile(StrictEndpoint):
    """A strict server that behaves as the script says."""

    world: World | None = None

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        world = self.world
        if world is not None:
            receive = functools.cache(receive)  # the exchange calls it again
            receive()
            world.clocks.advance(0.02)
            endpoint, clock = world.at_endpoint()
            self.clock, self.offset = world.truth, clock
            self.tolerance = 10**9 if endpoint.lax else None
            self.date_mode = lambda _: world.http_date(clock if endpoint.date is None else endpoint.date)
            self.script(self._answer(world, endpoint, request))
        return super()._handle(request, receive)

    def _answer(self, world: World, endpoint: Endpoint, request: Request) -> Step:
        call, world.denied = world.call, False
        if request.path == "/bucket":
            return None  # botocore looks for the bucket's region, after a redirect
        world.total += 1
        world.requests += 1
        status, date, which = call.fault
        if world.requests + world.faults == which:
            world.faults, world.requests = world.faults + 1, world.requests - 1
            return Canned(status, {"Date": world.http_date(date)}, b"<Error><Code>Portal</Code></Error>")
        claim = self._verifier.read(request)
        signed = 0 if claim.signed is None else claim.signed.signed_at or 0
        try:
            self._verifier.check_time(claim, self.now() / SECOND)
        except Problem:
            return None if endpoint.words == "explicit" else _refusal(endpoint.words, request, signed)
        world.denied = bool(call.denial)
        if not call.denial:
            return None
        if call.dated is not None:
            self.date_mode = world.http_date(call.dated)
        return _refusal(call.denial, request, signed, call.lead)


def _refusal(words: str, request: Request, signed: int, lead: int = 0) -> Step:
    """Return a refusal in such words, of a request signed at that second; `lead` is explained at `Call`."""
    if request.method == "HEAD":
        return Canned(403)
    match words:
        case "denied":
            return Fault("AccessDenied", "Access Denied")
        case "invalid":
            return Fault("ValidationException", "1 validation error detected", 400)
        case "silent":
            return Canned(403, (), b"<Error/>")  # without a body, some protocols' parsers raise
        case "no clock":
            return Fault(
                "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
            )
    now, quoted = signed + lead, signed - (5000 if words == "quoted" else 0)
    if lead > 0:
        text = f"expired: {basic(quoted)} is now earlier than {basic(now - 900)} ({basic(now)} - 15 min.)"
    else:
        text = f"not yet current: {basic(quoted)} is still later than {basic(now + 900)} ({basic(now)} + 15 min.)"
    return Fault("SignatureDoesNotMatch", f"Signature {text}")


KEYS = {"access_key": "AKIAIOSFODNN7EXAMPLE", "secret_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}


def _load(library: str, module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"{library}.{module}"), name)


class Stage:
    """Two servers, every name leading to them, and botocore's clocks: what all scripts are played on."""

    def __init__(self, library: str = "botocore") -> None:
        self._library = library
        aio = library == "aiobotocore"
        self._session = _load(library, "session", "AioSession" if aio else "Session")
        self._plain = self._session()
        self._config = _load(library, "config", "AioConfig" if aio else "Config")
        self._response = _load(library, "awsrequest", "AioAWSResponse" if aio else "AWSResponse")
        self._world = World(Script())
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        enter = self._stack.enter_context
        enter(patch.object(botocore.session, "create_loader", functools.cache(botocore.session.create_loader)))
        self._https, self._http = enter(Hostile(tls=True)), enter(Hostile())
        self._ports = {"http": self._http.port, "https": self._https.port}
        enter(self._https.as_aws())
        names = {urlsplit(url.format(http=1, https=1)).hostname for url in HOSTS.values()}
        enter(redirected(lambda name, port: port if name in names and port in self._ports.values() else None, {}))
        for server in (self._https, self._http):
            s3 = botocore.session.Session().create_client("s3", **server.client_kwargs)
            s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="key", Body=b"here")
            s3.create_bucket(Bucket="abc")  # whose name is in the host's
            s3.put_object(Bucket="abc", Key="bucket/key", Body=b"here")
            s3.close()
        self._context = ssl.create_default_context(cafile=self._https.ca_bundle)
        modules: list[Any] = [botocore.auth, botocore.signers]
        if botocore.compat.HAS_CRT:
            modules.append(importlib.import_module("botocore.crt.auth"))
        for module in modules:
            enter(patch.object(module, "get_current_datetime", self._current_datetime))
        fake = SimpleNamespace(now=lambda zone: self._now().astimezone(zone))
        enter(patch.object(botocore.credentials, "datetime", SimpleNamespace(**{**vars(datetime), "datetime": fake})))
        enter(patch.object(botocore.endpoint, "time", SimpleNamespace(sleep=self._sleep)))
        if self._library != "botocore":
            enter(patch("aiobotocore.endpoint.asyncio", SimpleNamespace(sleep=self._aio_sleep)))
        return self

    def __exit__(self, *trouble: object) -> None:
        reset()
        self._stack.close()

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._world.clocks.wall / SECOND, datetime.timezone.utc)

    def _current_datetime(self, remove_tzinfo: bool = True) -> datetime.datetime:
        return self._now().replace(tzinfo=None) if remove_tzinfo else self._now()

    def _sleep(self, seconds: float) -> None:
        self._world.clocks.advance(seconds)

    async def _aio_sleep(self, seconds: float) -> None:
        self._world.clocks.advance(seconds)

    def pair(self, script: Script) -> tuple[list[Seen], list[Seen]]:
        """Play a script plain and guarded."""
        return self.play(script, guarded=False), self.play(script, guarded=True)

    def worse(self, seeds: Iterable[int]) -> list[Worse]:
        """Return the pairs of some seeds that are worse."""
        scripts = ((seed, generate(seed)) for seed in seeds)
        found = (Worse(seed, script, judge(script, *self.pair(script))) for seed, script in scripts)
        return [one for one in found if one.complaints]

    def play(self, script: Script, *, guarded: bool) -> list[Seen]:
        self._world = self._http.world = self._https.world = World(script)
        playing = self._play(self._world, guarded)
        try:
            return asyncio.run(playing) if self._library != "botocore" else _drive(playing)
        finally:
            self._http.clear()
            self._https.clear()
            reset()

    async def _play(self, world: World, guarded: bool) -> list[Seen]:
        script = world.script
        if guarded:
            self._guard(world)
        session = self._session() if guarded else self._plain
        session.set_credentials(*KEYS.values())
        if script.stamps:
            session._credentials = self._refreshable(world)
        clients: dict[tuple[str, int], Any] = {}
        seen = []
        async with AsyncExitStack() as stack:
            for call in script.calls:
                world.begin(call)
                service, make = _CALLS[call.op]
                key = (service, call.at)
                if key not in clients:
                    client = self._client(session, service, world)
                    clients[key] = await stack.enter_async_context(client) if hasattr(client, "__aenter__") else client
                    if client is clients[key]:
                        stack.callback(client.close)
                    clients[key].meta.events.register("before-send", self._recording)
                code = await self._outcome(lambda: make(clients[key]), call.op == "url")  # noqa: B023
                seen.append(Seen(code, world.requests, world.faults, world.denied, world.refreshes))
        return seen

    def _client(self, session: Any, service: str, world: World) -> Any:
        script, name = world.script, world.script.endpoints[world.call.at].name
        retries = {"mode": script.mode, **({"total_max_attempts": script.attempts} if script.attempts else {})}
        where = {} if name == AWS else {"endpoint_url": HOSTS[name].format(**self._ports)}
        config = self._config(
            s3={"addressing_style": "path"}, retries=retries, request_checksum_calculation="when_required"
        )
        return session.create_client(
            service, region_name="us-east-1", config=config, verify=self._https.ca_bundle, **where
        )

    def _recording(self, request: Any, **_: Any) -> Any:
        """Reply in the server's stead, as a mock does, with a success from the past."""
        world = self._world
        if not world.call.replayed:
            return None
        headers = HeadersDict({"Date": world.http_date(-world.call.replayed)})
        return self._response(request.url, 200, headers, SimpleNamespace(stream=lambda: iter([b""]), read=_nothing))

    def _refreshable(self, world: World) -> Any:
        if self._library == "botocore":
            return botocore.credentials.RefreshableCredentials.create_from_metadata(
                world.refresh(), world.refresh, "test"
            )

        async def refresh() -> dict[str, str]:
            return world.refresh()

        kind = _load(self._library, "credentials", "AioRefreshableCredentials")
        return kind.create_from_metadata(world.refresh(), refresh, "test")

    def _guard(self, world: World) -> None:
        script = world.script
        sources = [FakeSource(f"source {n}", offset=lead, truth=world.truth) for n, lead in enumerate(script.sources)]
        skewguard.install(clocks=world.clocks, sources=sources or ["response"], share=True)
        told = {}
        for endpoint in script.endpoints:
            if endpoint.neighbour is not None:
                key = find_domain(HOSTS[endpoint.name].format(**self._ports)).key
                at, then = world.clocks.steady, world.truth() + endpoint.neighbour * SECOND
                told[key] = Interval(at, then - SECOND, then + SECOND, Trust.WITNESS, key)
        others = process.keeper()._others = SharedEstimates(None, process.keeper().clocks)
        others._known = told

    async def _outcome(self, make: Callable[[], Any], fetches: bool) -> str:
        """Return the error code of a call, empty if it was accepted."""
        try:
            made = make()
            made = await made if inspect.isawaitable(made) else made
        except ClientError as error:
            return str(error.response.get("Error", error.response).get("Code", "unknown"))
        except (BotoCoreError, ResponseParserError, RuntimeError) as error:
            return type(error).__name__
        return self._fetch(made) if fetches else ""

    def _fetch(self, url: str) -> str:
        parts = urlsplit(url)
        connection = (
            http.client.HTTPSConnection(parts.netloc, context=self._context)
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.netloc)
        )
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        code = re.search(rb"<Code>(\w+)", answer.read())
        connection.close()
        return "" if answer.status < 300 else code[1].decode() if code else str(answer.status)


async def _nothing() -> bytes:
    return b""


def _drive(playing: Coroutine[Any, Any, list[Seen]]) -> list[Seen]:
    """Run a coroutine that waits for nothing."""
    try:
        playing.send(None)
    except StopIteration as done:
        result: list[Seen] = done.value
        return result
    raise AssertionError("botocore waited for an event loop")


class Worse(NamedTuple):
    """A pair of which the guarded side is worse off."""

    seed: int
    script: Script
    complaints: list[str]

    @property
    def kind(self) -> tuple[str, str]:
        """The script's kind, and the first complaint's."""
        return self.script.kind, self.complaints[0].partition(":")[0]

    def simplest(self, stage: Stage) -> Script:
        """Return the simplest script that is worse in the same way."""
        how = self.kind[1]
        return simplest(self.script, lambda one: any(text.startswith(how) for text in judge(one, *stage.pair(one))))


def worse(first: int, end: int, library: str) -> list[Worse]:
    """Play the pairs from seed `first` up to, but not including, `end`; return those that are worse."""
    with Stage(library) as stage:
        return stage.worse(range(first, end))
