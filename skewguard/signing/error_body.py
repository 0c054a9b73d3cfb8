"""The error in a response's body, where no model of the operation says how to read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skewguard._fail_open import fail_open

_LONGEST = 65_536  # bytes; longer bodies are no errors of AWS's


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
