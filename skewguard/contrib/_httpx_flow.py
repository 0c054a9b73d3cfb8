"""The flow of a signed request in httpx and httpx2, whose authenticators have the same shape."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

from skewguard._fail_open import fail_open
from skewguard.contrib._signed_requests import SignedRequest, is_refusal, is_verified, remember_signed_requests
from skewguard.signing.responses import AioResponses

Flow: TypeAlias = Generator[Any, Any, None]
AsyncFlow: TypeAlias = AsyncGenerator[Any, Any]


class SkewFlow:
    """What `SkewAuth` does; a subclass adds its library's base class.

    Attributes:
        signer: The library's authenticator that signs; or a function that signs a request; None for botocore's signers.
    """

    def __init__(self, signer: Any = None) -> None:
        self.signer = signer
        if signer is None:
            remember_signed_requests()

    def sync_auth_flow(self, request: Any) -> Flow:
        """Sign, hear the answer, and sign again if that helps."""
        attempt = _Attempt(self.signer, request)
        flow = attempt.flow(request)
        try:
            with attempt.signing():
                request = next(flow)
            while True:
                attempt.signed(request)
                with attempt.sending():
                    response = yield request
                if is_refusal(response.status_code):
                    response.read()
                if attempt.answered(response):
                    try:
                        flow.close()
                        flow = attempt.flow(attempt.plain(request))
                        with attempt.signing():
                            request = next(flow)
                    except Exception as error:  # the caller gets the refusal
                        fail_open(error, "a request was not signed again")
                        return
                else:
                    with attempt.signing():
                        request = flow.send(response)
        except StopIteration:
            return
        finally:
            flow.close()

    async def async_auth_flow(self, request: Any) -> AsyncFlow:
        """Sign, hear the answer, and sign again if that helps. The event loop is not blocked."""
        attempt = _Attempt(self.signer, request)
        flow = attempt.async_flow(request)
        try:
            with attempt.signing():
                request = await flow.__anext__()
            while True:
                attempt.signed(request)
                with attempt.sending():
                    response = yield request
                refused = is_refusal(response.status_code)
                if refused:
                    await response.aread()
                if await _in_thread(attempt.answered, response) if refused else attempt.answered(response):
                    try:
                        await flow.aclose()
                        flow = attempt.async_flow(attempt.plain(request))
                        with attempt.signing():
                            request = await flow.__anext__()
                    except Exception as error:  # the caller gets the refusal
                        fail_open(error, "a request was not signed again")
                        return
                else:
                    with attempt.signing():
                        request = await flow.asend(response)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()


class _Attempt(SignedRequest):
    """A request of httpx's, over all its attempts."""

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
            yield self._signer(request) or request
        elif self._repeated:
            self.sign_again(request.headers)
            yield request
        else:
            self.find(request.headers)
            yield request

    def signed(self, request: Any) -> None:
        """Note an attempt that is about to be sent."""
        self.note_signed(str(request.url), request.headers, repeatable=_is_repeatable(request))

    def answered(self, response: Any) -> bool:
        """Learn from an answer, of which a refusal has been read; return whether to sign and send again."""
        try:
            if not AioResponses.from_socket(_Raw(response)):
                return False
            self.signed(response.request)  # an event hook may have signed it
            stream = response.extensions["network_stream"]
            verified = is_verified(getattr(stream.get_extra_info("ssl_object"), "context", None))
            body = response.content if is_refusal(response.status_code) else b""
            return self.hear(str(response.url), response.status_code, response.headers, body, verified=verified)
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return False

    def plain(self, request: Any) -> Any:
        """Return a refused request as it was before it was signed."""
        self._repeated = True
        headers = request.headers.copy()
        self.restore(headers)
        content, extensions = request.read(), request.extensions
        return type(request)(request.method, self.url, headers=headers, content=content, extensions=extensions)


class _Raw:
    """A response of httpx's, in the shape of aiobotocore's."""

    def __init__(self, response: Any) -> None:
        self.raw = response


def _is_repeatable(request: Any) -> bool:
    """Return whether a request's body is in memory, so that it can be sent again."""
    return type(request.stream).__name__ == "ByteStream"


async def _as_async(flow: Flow) -> AsyncFlow:
    try:
        request = next(flow)
        while True:
            request = flow.send((yield request))
    except StopIteration:
        return


async def _in_thread(work: Callable[[Any], bool], response: Any) -> bool:
    """Work in a thread, because it may wait for the time sources."""
    import anyio.to_thread

    return await anyio.to_thread.run_sync(work, response)
