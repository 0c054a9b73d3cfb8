"""For requests: sign a request once more if it is refused for its time.

Usage::

    import requests
    import skewguard
    from skewguard.contrib.requests import SkewAuth

    skewguard.install()
    session = requests.Session()
    session.auth = SkewAuth(signer)

The signer is any of requests' authenticators that signs for AWS. `skewguard.install` must be in force; otherwise the
signer is used as it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from requests import PreparedRequest, Response
from requests.auth import AuthBase
from requests.utils import rewind_body
from urllib3 import HTTPResponse

from skewguard._fail_open import fail_open, pass_signals
from skewguard.contrib._signed_requests import SignedRequest, is_verified
from skewguard.events import logger
from skewguard.signing.remembered import remember_from_now_on
from skewguard.signing.reply import REFUSALS
from skewguard.signing.responses import Responses


class SkewAuth(AuthBase):
    """Sign by another authenticator, and once more if the server refuses the request for its time.

    The answer teaches the time, as those to botocore's calls do. The refusal is in the response's ``history``. A body
    that cannot be sent again is not.
    """

    def __init__(self, signer: Callable[[PreparedRequest], PreparedRequest] | None = None) -> None:
        """Wrap an authenticator.

        Args:
            signer: What signs. Without it, requests are to be signed by botocore's signers before requests has them;
                what is refused is signed again by the same signer.
        """
        self.signer = signer
        if signer is None:
            remember_from_now_on()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request; its answer will be heard."""
        signed = SignedRequest(self.signer, request.url or "", request.headers)
        signed.call.repeatable = _is_repeatable(request)
        if self.signer is None:
            signed.find(request.headers)
        else:
            request = self._sign(signed, request)
        signed.note_signed(request.url or "", request.headers, repeatable=_is_repeatable(request))
        request.register_hook("response", _Hook(self, signed))
        return request

    def _sign(self, signed: SignedRequest, request: PreparedRequest) -> PreparedRequest:
        if self.signer is None:
            signed.sign_again(request.headers)
            return request
        with signed.call.signing(signed.url):
            return self.signer(request)

    def _answered(self, signed: SignedRequest, response: Response, **options: Any) -> Response:
        if not _hear(signed, response, options):
            return response
        try:
            again = self._again(signed, response)
            # As requests' own HTTPDigestAuth does it.
            second: Response = response.connection.send(again, **options)
            _ = response.content  # the history keeps it
            response.close()
            second.history.append(response)
            second.request = again
        except Exception as error:
            fail_open(error, "a request was not signed and sent again")
            logger.info("a request refused for its time was not signed and sent again: %s", type(error).__name__)
            return response
        _hear(signed, second, options)
        return second

    def _again(self, signed: SignedRequest, response: Response) -> PreparedRequest:
        """Return the refused request, signed again."""
        again = response.request.copy()
        signed.restore(again.headers)
        again.url = signed.url
        if hasattr(again.body, "read"):
            rewind_body(again)
        return self._sign(signed, again)


class _Hook:
    """The hook of one request. As a part of a pickled response it does nothing: signers hold keys and locks."""

    def __init__(self, auth: SkewAuth | None = None, signed: SignedRequest | None = None) -> None:
        self._auth = auth
        self._signed = signed

    def __call__(self, response: Response, **options: Any) -> Response:
        if self._auth is None or self._signed is None:
            return response
        return self._auth._answered(self._signed, response, **options)  # noqa: SLF001 - its other half

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()


def _hear(signed: SignedRequest, response: Response, options: dict[str, Any]) -> bool:
    """Learn from a response; return whether to sign and send again."""
    try:
        if not Responses.from_socket(response):
            return False
        if response.request.url != signed.sent_url:  # after a redirect
            signed.call.repeatable = False
        verified = bool(options.get("verify", True)) and _checks_host_names(response)
        heard = signed.is_guarded and response.status_code in REFUSALS
        content = _read(response) if heard else b""
        if content is None:
            return False
        return signed.hear(response.url, response.status_code, response.headers, content, verified=verified)
    except Exception as error:
        fail_open(error, "an answer was not heard")
        return False


def _read(response: Response) -> bytes | None:
    """Return a response's body, and put it back as it came; None if it broke off. Its connection is free then."""
    if response._content_consumed:  # noqa: SLF001 - by another hook
        return response.content
    body = _Body()
    try:
        body.write(response.raw.read(decode_content=False))
    except Exception as error:
        pass_signals(error)
        body.error = error
    body.seek(0)
    response.raw = _replay(response, body)
    if body.error is not None:
        return None
    content: bytes = _replay(response, io.BytesIO(body.getvalue())).read(decode_content=True)
    return content


class _Body(io.BytesIO):
    """A body that has been read; it ends with the error that the original ended with."""

    error: Exception | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        if self.error is not None and (not found or size is None or size < 0):
            raise self.error
        return found


def _replay(response: Response, body: io.BytesIO) -> HTTPResponse:
    raw = response.raw
    return HTTPResponse(
        body,
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        preload_content=False,
        decode_content=False,
        original_response=raw._original_response,  # noqa: SLF001 - where requests looks for cookies
        request_method=response.request.method,
    )


def _checks_host_names(response: Response) -> bool:
    """Return whether the pool of a response's connection checks host names, as requests has it do."""
    pool = getattr(response.raw, "_pool", None)
    if pool is None or getattr(pool, "assert_hostname", "") is not None or pool.assert_fingerprint is not None:
        return False
    context = pool.conn_kw.get("ssl_context")
    forwarded = getattr(pool.proxy_config, "use_forwarding_for_https", False)
    return not forwarded and (context is None or is_verified(context))


def _is_repeatable(request: PreparedRequest) -> bool:
    """Return whether a request's body can be sent again; requests notes where a file was."""
    body = request.body
    if body is None or isinstance(body, (bytes, str)):
        return True
    return hasattr(body, "seek") and isinstance(getattr(request, "_body_position", None), int)
