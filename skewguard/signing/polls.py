"""The answers to kombu's own requests to SQS: heard and judged like those to botocore's."""

from __future__ import annotations

from typing import Any

import botocore.awsrequest
from botocore.response import get_response

from skewguard.signing.hooks import Hooks
from skewguard.signing.patches.kombu import KombuRequest
from skewguard.signing.patches.signers import KEY
from skewguard.signing.responses import Responses


class _Answer:
    """An answer, in the shape of botocore's.

    Attributes:
        headers: kombu's client for libcurl adds those of the answer to those of the request.
        url: Where it came from, after redirects; kombu 5.5's client knows but the path.
        restored: Whether kombu is to get the first answer instead.
    """

    def __init__(self, response: Any, sender: Any) -> None:
        self.sender = sender
        self.headers = botocore.awsrequest.HeadersDict({**response.request.headers, **response.headers})
        self.url = response.effective_url if "://" in response.effective_url else response.request.url
        self.content = response.body
        self.restored = False
        self._status: int = response.code

    @property
    def status_code(self) -> int:
        """The HTTP status. Setting it means that the first answer is restored."""
        return self._status

    @status_code.setter
    def status_code(self, _first: int) -> None:
        self.restored = True


class _KombuResponses(Responses):
    """The answers that kombu's HTTP client has received."""

    @staticmethod
    def from_socket(http_response: Any) -> bool:
        """Return whether kombu's own client received a response; a test may have another."""
        return type(http_response.sender).__module__.startswith("kombu.")

    @staticmethod
    def verified(endpoint: Any) -> bool:
        """Return whether this request was sent only after the server's certificate was checked."""
        return bool(endpoint.validate_cert)


class _KombuHooks(Hooks):
    responses = _KombuResponses


def hear(request: KombuRequest, response: Any) -> Any:
    """Learn from an answer; return what kombu is to get, or None if the request is to be signed and sent again."""
    call = request.context.get(KEY)
    if call is None or not 200 <= response.status < 500:  # not guarded; or the server's own answer did not come
        return response
    received = response.response
    answer = _Answer(received, request.sender)
    operation = request.client.meta.service_model.operation_model(request.operation)
    parsed: dict[str, Any] = {} if answer.status_code < 300 else get_response(operation, answer)[1]
    wait = _KombuHooks(call.guard).needs_retry(
        response=(answer, parsed),
        endpoint=received.request,
        operation=operation,
        attempts=request.answers,
        request_dict={"context": request.context},
    )
    if wait is not None:
        if call.first is not None and call.first.parsed is parsed:
            request.first = response
        return None
    return request.first if answer.restored else response
