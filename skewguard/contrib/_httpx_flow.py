"""The flow of a signed request in httpx and httpx2, whose authenticators have the same shape."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, TypeAlias

from skewguard._fail_open import fail_open, pass_signals
from skewguard.contrib._signed_requests import SignedRequest, is_verified
from skewguard.events import logger
from skewguard.signing.remembered import remember_from_now_on
from skewguard.signing.reply import REFUSALS
from skewguard.signing.responses import AioResponses

Flow: TypeAlias = Generator[Any, Any, None]
AsyncFlow: TypeAlias = AsyncGenerator[Any, Any]


class SkewFlow:
    """What `SkewAuth` does; a subclass adds its library's base class.

    Attributes:
        signer: The library's authenticator that signs; or a function that signs a request; None for botocore's signers.
    """

    _stream: type[Replay]  # as one of the library's streams

    def __init__(self, signer: Any = None) -> None:
        self.signer = signer
        if signer is None:
            remember_from_now_on()

    def sync_auth_flow(self, request: Any) -> Flow:
        """Sign, hear the answer, and sign again if that helps."""
        exchange = _Exchange(self.signer, request)
        flow = exchange.flow(request)
        try:
            with exchange.signing():
                request = next(flow)
            while True:
                exchange.signed(request)
                with exchange.sending():
                    response = yield request
                body = self._read(response) if exchange.needs_body(response) else b""
                if exchange.answered(response, body):
                    try:
                        flow.close()
                        flow = exchange.flow(exchange.plain(request))
                        with exchange.signing():
                            request = next(flow)
                    except Exception as error:  # the caller gets the refusal
                        _not_again(error)
                        return
                else:
                    with exchange.signing():
                        request = flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: Any) -> AsyncFlow:
        """Sign, hear the answer, and sign again if that helps. The event loop is not blocked."""
        exchange = _Exchange(self.signer, request)
        flow = exchange.async_flow(request)
        try:
            with exchange.signing():
                request = await flow.__anext__()
            while True:
                exchange.signed(request)
                with exchange.sending():
                    response = yield request
                if exchange.needs_body(response):
                    again = await _in_thread(exchange.answered, response, await self._aread(response))
                else:
                    again = exchange.answered(response)
                if again:
                    try:
                        await flow.aclose()
                        flow = exchange.async_flow(exchange.plain(request))
                        with exchange.signing():
                            request = await flow.__anext__()
                    except Exception as error:  # the caller gets the refusal
                        _not_again(error)
                        return
                else:
                    with exchange.signing():
                        request = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    def _read(self, response: Any) -> bytes | None:
        """Return a response's body, and put it back as it came; None if it broke off."""
        if response.is_stream_consumed:
            return _content(response)
        parts: list[bytes] = []
        error: Exception | None = None
        try:
            parts.extend(response.iter_raw())
        except Exception as raised:
            pass_signals(raised)
            error = raised
        return self._put_back(response, parts, error)

    async def _aread(self, response: Any) -> bytes | None:
        """Return the same, for an asynchronous client."""
        if response.is_stream_consumed:
            return _content(response)
        parts: list[bytes] = []
        error: Exception | None = None
        try:
            async for part in response.aiter_raw():
                parts.append(part)  # noqa: PERF401 - what came before an error is kept
        except Exception as raised:
            pass_signals(raised)
            error = raised
        return self._put_back(response, parts, error)

    def _put_back(self, response: Any, parts: list[bytes], error: Exception | None) -> bytes | None:
        response.stream = self._stream(parts, error)
        response.is_stream_consumed = response.is_closed = False
        if error is not None:
            return None
        try:
            whole = type(response)(response.status_code, headers=response.headers, content=b"".join(parts))
            return _content(whole)
        except Exception as undecodable:
            fail_open(undecodable, "an answer was not heard")
            return None


class Replay:
    """The body of a response that has been read already; it ends with the error that the original ended with."""

    def __init__(self, parts: list[bytes], error: Exception | None) -> None:
        self._parts = parts
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        """Return the parts as they came."""
        yield from self._parts
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the same, for an asynchronous client."""
        for part in self:
            yield part


def _content(response: Any) -> bytes | None:
    """Return the body of a response that has been read; None if something else consumed it."""
    content: bytes | None = getattr(response, "_content", None)
    return content


class _Exchange(SignedRequest):
    """A request of httpx's with its answers, over all its attempts."""

    def __init__(self, signer: Any, request: Any) -> None:
        super().__init__(signer, str(request.url), request.headers)
        self._repeated = False
        self.call.repeatable = _is_repeatable(request)

    def signing(self) -> AbstractContextManager[None]:
        """Return the context in which to sign."""
        return self.call.signing(self.url)

    def sending(self) -> AbstractContextManager[None]:
        """Return the context in which to send: that of the signing, if one of the client's event hooks signs."""
        by_hook = self._signer is None and self._by_botocore is None
        return self.signing() if by_hook else nullcontext()

    def flow(self, request: Any) -> Flow:
        """Return the flow of the authenticator that signs."""
        if hasattr(self._signer, "sync_auth_flow"):
            return self._signer.sync_auth_flow(request)  # type: ignore[no-any-return]
        return self._simple_flow(request)

    def async_flow(self, request: Any) -> AsyncFlow:
        """Return the same, for an asynchronous client."""
        if hasattr(self._signer, "async_auth_flow"):
            return self._signer.async_auth_flow(request)  # type: ignore[no-any-return]
        return _as_async(self._simple_flow(request))

    def _simple_flow(self, request: Any) -> Flow:
        if self._signer is not None:
            request = self._signer(request) or request
        elif self._repeated:
            self.sign_again(request.headers)
        else:
            self.find(request.headers)
        yield request

    def signed(self, request: Any) -> None:
        """Note an attempt that is about to be sent."""
        self.note_signed(str(request.url), request.headers, repeatable=_is_repeatable(request))

    def needs_body(self, response: Any) -> bool:
        """Return whether an answer is a refusal that is heard."""
        try:
            return response.status_code in REFUSALS and self.is_guarded and self._is_to_signed(response)
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return False

    def answered(self, response: Any, body: bytes | None = b"") -> bool:
        """Learn from an answer; return whether to sign and send again.

        Args:
            response: The answer.
            body: Its body if `needs_body`; None if it could not be read.
        """
        try:
            if body is None or not self._is_to_signed(response):
                return False
            self.signed(response.request)  # an event hook may have signed it
            stream = response.extensions["network_stream"]
            verified = is_verified(getattr(stream.get_extra_info("ssl_object"), "context", None))
            return self.hear(str(response.url), response.status_code, response.headers, body, verified=verified)
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return False

    def _is_to_signed(self, response: Any) -> bool:
        """Return whether an answer came over the network, and to what was signed, not to what it was redirected to."""
        aiobotocores = SimpleNamespace(raw=response)  # in the shape of its responses
        return str(response.request.url) == self.sent_url and AioResponses.from_socket(aiobotocores)

    def plain(self, request: Any) -> Any:
        """Return a refused request as it was before it was signed."""
        self._repeated = True
        headers = request.headers.copy()
        self.restore(headers)
        content, extensions = request.read(), request.extensions
        return type(request)(request.method, self.url, headers=headers, content=content, extensions=extensions)


def _is_repeatable(request: Any) -> bool:
    """Return whether a request's body is in memory, so that it can be sent again."""
    return type(request.stream).__name__ == "ByteStream"


def _not_again(error: Exception) -> None:
    fail_open(error, "a request was not signed again")
    logger.info("a request refused for its time was not signed again: %s", type(error).__name__)


async def _as_async(flow: Flow) -> AsyncFlow:
    try:
        request = next(flow)
        while True:
            request = flow.send((yield request))
    except StopIteration:
        return


async def _in_thread(work: Callable[..., bool], *args: Any) -> bool:
    """Work in a thread, because it may wait for the time sources."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work, *args)
