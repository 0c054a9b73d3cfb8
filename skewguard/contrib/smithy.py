"""For AWS's SDKs that smithy-python generates, such as aws-sdk-bedrock-runtime (Python 3.12 and newer).

Usage::

    import skewguard
    from aws_sdk_bedrock_runtime.client import AsyncBedrockRuntimeClient
    from skewguard.contrib.smithy import plugin

    skewguard.install()
    client = AsyncBedrockRuntimeClient(config, plugins=[plugin])

`skewguard.install` must be in force; otherwise the client is as without the plugin. smithy-python hears an answer in
the event loop, so a refusal that states no time holds it up while the sources are asked, as long as ``timeout`` allows.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from smithy_core.interceptors import Interceptor
from smithy_http.aio import HTTPResponse

from skewguard import _late_imports, _reach
from skewguard._fail_open import fail_open
from skewguard._signed_call import SignedCall
from skewguard.contrib._signed_requests import is_verified, service_of
from skewguard.signing.reply import REFUSALS
from skewguard.signing.responses import sockets_are_real

_KEY, _SENT = "skewguard", "skewguard-sent"
_SIGV4 = "aws.auth#sigv4"
_LONGEST = 65_536  # bytes; no error is longer

_signing: ContextVar[SignedCall | None] = ContextVar("skewguard-smithy", default=None)


def plugin(config: Any) -> None:
    """Make a client sign as of true time, and once more what is refused for its time; for ``plugins=[plugin]``.

    Frames of event streams are dated by true time, too, and credentials expire by it. A call whose input is a stream
    is not repeated, but its refusal teaches the time.

    Args:
        config: The configuration of a client or of one operation.
    """
    try:
        with _late_imports.importing:
            from skewguard.signing.patches.smithy import patch_smithy

        patch_smithy(_reach.foreign_guard)
        schemes = dict(config.auth_schemes or {})
        for name, scheme in schemes.items():
            if str(name) == _SIGV4 and not isinstance(scheme, _Scheme):
                schemes[name] = _Scheme(scheme)
        config.auth_schemes = schemes
        if not any(isinstance(each, _Listener) for each in config.interceptors):
            config.interceptors = [*config.interceptors, _Listener(config.transport)]
    except Exception as error:
        fail_open(error, "a client is not guarded")


class _Shared:
    """What stays one although configurations are copied."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self


class _Scheme(_Shared):
    """Wraps the scheme by which requests are signed."""

    def __init__(self, scheme: Any) -> None:
        self._scheme = scheme

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheme, name)

    def signer(self) -> Any:
        """Return what signs requests."""
        return _Signer(self._scheme.signer())

    def event_signer(self, *, request: Any) -> Any:
        """Return what signs frames."""
        signer = self._scheme.event_signer(request=request)
        return signer and _EventSigner(signer, request)


class _Signer:
    """Wraps the signer of requests."""

    def __init__(self, signer: Any) -> None:
        self._signer = signer

    async def sign(self, *, request: Any, identity: Any, properties: Any) -> Any:
        """Sign as of the time that the server will accept, as far as it is known."""
        call = _signing.get()
        if call is None:
            return await self._signer.sign(request=request, identity=identity, properties=properties)
        with call.signing(_url(request)):
            dated = {**properties, "date": call.timestamp().strftime("%Y%m%dT%H%M%SZ")}
            return await self._signer.sign(request=request, identity=identity, properties=dated)


class _EventSigner:
    """Wraps the signer of an event stream's frames, each dated when it is sent."""

    def __init__(self, signer: Any, request: Any) -> None:
        self._signer = signer
        self._url = _url(request)
        self._call = SignedCall("", repeatable=False)

    async def sign(self, **arguments: Any) -> Any:
        """Sign a frame."""
        with self._call.signing(self._url):
            return await self._signer.sign(**arguments)

    async def sign_empty(self, **arguments: Any) -> Any:
        """Sign the last frame."""
        with self._call.signing(self._url):
            return await self._signer.sign_empty(**arguments)


class _Listener(_Shared, Interceptor):
    """Learns from answers, and asks for one retry of what was refused for its time."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def read_before_signing(self, context: Any) -> None:
        """Note the call, before its signer has it."""
        try:
            call = context.properties.get(_KEY)
            if call is None:
                call = context.properties[_KEY] = SignedCall("")
            call.repeatable = _is_repeatable(context.transport_request.body)
            context.properties[_SENT] = True
        except Exception as error:
            fail_open(error, "a request is not guarded")
            call = None
        _signing.set(call)

    def modify_before_deserialization(self, context: Any) -> Any:
        """Keep the body of a refusal, which the SDK reads."""
        response = context.transport_response
        try:
            if response.status in REFUSALS and hasattr(response.body, "__aiter__"):
                body = _Recorded(response.body)
                return HTTPResponse(status=response.status, fields=response.fields, reason=response.reason, body=body)
        except Exception as error:
            fail_open(error, "an error's body was not read")
        return response

    def modify_before_attempt_completion(self, context: Any) -> Any:
        """Learn from the answer; mark its error as one to be tried again if that would help."""
        result = context.response
        try:
            call = context.properties.get(_KEY)
            sent = context.properties.pop(_SENT, False)  # smithy-core 0.9 asks here once more when the call is over
            if call is not None and sent and context.transport_response is not None:
                again = self._answered(call, context.transport_request, context.transport_response)
                if isinstance(result, Exception):
                    _mark(result, call.note, again=again)
        except Exception as error:
            fail_open(error, "an answer was not heard")
        return result

    def _answered(self, call: SignedCall, request: Any, response: Any) -> bool:
        kind = type(self._transport).__module__
        if not kind.startswith("smithy_http.aio.") or not sockets_are_real():
            return False
        call.service = service_of(request.fields["Authorization"].as_string())
        headers = {field.name: field.as_string() for field in response.fields}
        body = bytes(response.body.seen) if isinstance(response.body, _Recorded) else b""
        verified = kind.endswith(".crt") or _aiohttp_verifies(self._transport)
        return call.answered(_url(request), response.status, headers, body, verified=verified)


def _mark(error: Any, note: str, *, again: bool) -> None:
    """Let the SDK's retry strategy try again; else add to an error what was found out."""
    if again:
        error.is_retry_safe = True
    elif note:
        error.add_note(note)


class _Recorded:
    """A body that is kept while it is read."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.seen = bytearray()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body:
            self.seen += chunk[: _LONGEST - len(self.seen)]
            yield chunk

    def __getattr__(self, name: str) -> Any:
        if name == "read":  # the SDK would read by it, rather than iterate
            raise AttributeError(name)
        return getattr(self._body, name)


def _is_repeatable(body: Any) -> bool:
    """Return whether a body can be sent again; smithy-python rewinds what can be rewound."""
    if isinstance(body, (bytes, bytearray)):
        return True
    seekable = getattr(body, "seekable", None)
    return callable(seekable) and bool(seekable())


def _aiohttp_verifies(transport: Any) -> bool:
    """Return whether aiohttp's session checks certificates and host names, as it does unless it is told otherwise."""
    settings = getattr(getattr(getattr(transport, "_session", None), "connector", None), "_ssl", False)
    return settings is True or (isinstance(settings, ssl.SSLContext) and is_verified(settings))


def _url(request: Any) -> str:
    return str(request.destination.build())
