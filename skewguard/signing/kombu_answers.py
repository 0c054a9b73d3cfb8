"""The answers to kombu's own requests to SQS: heard and judged like those to botocore's."""

from __future__ import annotations

from typing import Any

from botocore.response import get_response

from skewguard.signing.foreign_answers import ForeignAnswer, hear_answer
from skewguard.signing.patches.kombu import KombuRequest
from skewguard.signing.patches.signers import KEY


def hear(request: KombuRequest, response: Any) -> Any:
    """Learn from an answer; return what kombu is to get, or None if the request is to be signed and sent again."""
    call = request.context.get(KEY)
    if call is None or not 200 <= response.status < 500:  # not guarded; or the server's own answer did not come
        return response
    received = response.response
    answer = ForeignAnswer(
        # kombu 5.5's client knows but the path.
        received.effective_url if "://" in received.effective_url else received.request.url,
        received.code,
        # kombu's client for libcurl adds those of the answer to those of the request.
        {**received.request.headers, **received.headers},
        received.body,
        verified=bool(received.request.validate_cert),
        received=type(request.sender).__module__.startswith("kombu."),  # a test may have another client
    )
    operation = request.client.meta.service_model.operation_model(request.operation)
    parsed: dict[str, Any] = {} if answer.status_code < 300 else get_response(operation, answer)[1]
    if hear_answer(call, request.context, answer, parsed, operation, request.answers):
        if call.first is not None and call.first.parsed is parsed:
            request.first = response
        return None
    return request.first if answer.restored else response
