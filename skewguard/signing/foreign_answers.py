"""The answers that botocore never hears, heard and judged as its own are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import botocore.awsrequest

from skewguard._fail_open import fail_open
from skewguard.signing.call import Call
from skewguard.signing.foreign_call import ATTEMPTS, ForeignCall
from skewguard.signing.hooks import Hooks
from skewguard.signing.patches.signers import KEY
from skewguard.signing.report import KEY as REPORT
from skewguard.signing.responses import Responses

_LONGEST = 65_536  # bytes; longer bodies are no errors of AWS's


class ForeignAnswer:
    """An answer, in the shape of botocore's.

    Attributes:
        url: Where it came from, after redirects.
        headers: Its headers.
        content: Its body.
        received: Whether it was read from a network connection.
        verified: Whether the server's certificate was checked, and its host name.
        restored: Whether the caller is to get the first answer instead.
    """

    def __init__(
        self,
        url: str,
        status: int,
        headers: Mapping[str, str],
        content: bytes,
        *,
        verified: bool,
        received: bool = True,
    ) -> None:
        self.url = url
        self.headers = botocore.awsrequest.HeadersDict(headers)
        self.content = content
        self.received = received
        self.verified = verified
        self.restored = False
        self._status = status

    @property
    def status_code(self) -> int:
        """The HTTP status. Setting it means that the first answer is restored."""
        return self._status

    @status_code.setter
    def status_code(self, _first: int) -> None:
        self.restored = True


class Operation(NamedTuple):
    """An operation, in the shape of botocore's, where no model describes it. It is its own service's model.

    Attributes:
        name: Its name.
        service_name: The service's name.
    """

    name: str
    service_name: str

    @property
    def service_model(self) -> Operation:
        """What botocore asks about the service."""
        return self

    @property
    def endpoint_prefix(self) -> str:
        """What the names of the service's hosts contain."""
        return self.service_name


class _ForeignResponses(Responses):
    """The answers that botocore never hears: each says itself where it comes from."""

    @staticmethod
    def from_socket(http_response: ForeignAnswer) -> bool:
        return http_response.received

    @staticmethod
    def verified(endpoint: ForeignAnswer) -> bool:
        return endpoint.verified


class _ForeignHooks(Hooks):
    responses = _ForeignResponses


def hear_answer(
    call: Call, context: Mapping[str, Any], answer: ForeignAnswer, parsed: dict[str, Any], operation: Any, attempts: int
) -> bool:
    """Learn from an answer, as from botocore's; return whether the call is to be signed and sent again."""
    wait = _ForeignHooks(call.guard).after_attempt(
        response=(answer, parsed),
        endpoint=answer,
        operation=operation,
        attempts=attempts,
        request_dict={"context": {**context, KEY: call}},
    )
    return wait is not None


def hear(foreign: ForeignCall, answer: ForeignAnswer) -> bool:
    """Learn from the answer to a call's last attempt; return whether it is to be signed and sent again."""
    status = answer.status_code
    foreign.answers += 1
    parsed = {} if status < 300 else parse_error(status, answer.headers, answer.content)
    # A signer that did not read the time here would carry the same again.
    attempts = foreign.answers if foreign.steered else ATTEMPTS
    operation = Operation("request", foreign.service)
    again = hear_answer(foreign.call, foreign.context, answer, parsed, operation, attempts)
    if not again:
        foreign.note = parsed.get("ResponseMetadata", {}).get(REPORT, {}).get("Found", "")
    return again


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Parse the body of an error as botocore parses those of the protocol that it looks like.

    The result has botocore's shape: its ``Error`` has a ``Code`` and a ``Message``. A body that is not an error's
    gives an empty mapping.
    """
    import botocore.parsers

    if len(body) > _LONGEST:
        return {}
    start = body.lstrip()[:512]
    protocol = "rest-json" if not start.startswith(b"<") else "ec2" if b"<Response>" in start else "rest-xml"
    try:
        parser = botocore.parsers.create_parser(protocol)
        response = {"status_code": status, "headers": headers, "body": body, "context": {}}
        parsed: dict[str, Any] = parser.parse(response, None)
    except Exception as error:
        fail_open(error, "an error's body was not read")
        return {}
    return parsed
