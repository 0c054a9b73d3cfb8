"""One request, from its head to the response: verified, answered by the script or a service, and recorded."""

from __future__ import annotations

import email.utils
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Protocol, cast

from skewguard.testing import wire
from skewguard.testing.aws import buckets, post
from skewguard.testing.aws.dialects import Content, Problem
from skewguard.testing.aws.services import Services
from skewguard.testing.aws.verifier import Claim, Verifier
from skewguard.testing.listener import Response
from skewguard.testing.records import DROP, Canned, Fault, Record, Step

CACHED_AGE = 17_280
"""Seconds: the age of the response that misled an SDK."""

_S = 1_000_000_000


@lru_cache(maxsize=8)
def http_date(seconds: int) -> str:
    """Format an instant as in HTTP's Date."""
    return email.utils.formatdate(seconds, usegmt=True)


class Behaviour(Protocol):
    """How a server behaves, which may change while it runs; `StrictEndpoint` describes each member."""

    inbound_delay: float
    delay: float
    explain: bool
    close_on_error: bool
    date_mode: str | Callable[[int], str | None]

    def now(self) -> int:
        """Read the server's clock, ns since the Unix epoch."""
        ...

    def pause(self, seconds: float) -> None:
        """Wait; wire.Hangup once the server is being stopped."""


class Exchange:
    """Handles the requests of one server."""

    def __init__(self, behaviour: Behaviour, verifier: Verifier) -> None:
        self._behaviour = behaviour
        self._verifier = verifier
        self._services = Services(verifier)
        self.buckets = buckets.Buckets(self._services.temporary)

    def run(self, request: wire.Request, receive: Callable[[], None], step: Step) -> tuple[Response, Record]:
        """Handle a request, whose body `receive` reads into it.

        Raises:
            wire.Malformed: From `receive`, as OSError.
            wire.Hangup: The server is being stopped.
        """
        behaviour, verifier = self._behaviour, self._verifier
        received = behaviour.now()
        behaviour.pause(behaviour.inbound_delay)
        arrived = behaviour.now() / _S
        claim: Claim | None = None
        name: str | None = None
        request_id = secrets.token_hex(8).upper()
        whole = False
        try:
            if step is None and self._may_refuse_early(request):
                claim = verifier.read(request)
                verifier.check_time(claim, arrived)
            receive()
            whole = True
            try:
                claim = verifier.read(request)
            except Problem:
                claim = verifier.unsigned_claim(request)
                if step is None:
                    raise
            operation = buckets.parse(claim) if claim.s3 else None
            name = operation.name if operation is not None else claim.dialect.operation(claim.service, request)
            if isinstance(step, Canned):
                content = Content(step.status, _pairs(step), step.body)
            elif isinstance(step, Fault):
                raise Problem(claim.dialect.translate(step.code), step.message, status=step.status)
            else:
                verifier.check(claim, arrived)
                if operation is not None:
                    content = self.buckets.serve(claim, operation, arrived)
                else:
                    content = self._services.serve(claim, name, arrived)
        except Problem as problem:
            claim = claim or verifier.unsigned_claim(request)
            worded = problem if behaviour.explain else replace(problem, message="", fields={})
            content = claim.dialect.refusal(claim.service, worded, request_id)
        except (wire.Malformed, wire.Hangup, OSError):
            raise
        except Exception as error:
            claim = claim or verifier.unsigned_claim(request)
            content = Content(500, (("Content-Type", "text/plain"),), repr(error).encode(), "InternalFailure")
        behaviour.pause(behaviour.delay)
        record = _record(request, claim, name, received, content)
        if step is DROP:
            return Response(b"", keep_alive=False), record
        keep = request.keep_alive and whole and not (behaviour.close_on_error and content.status >= 400)
        headers = [*self._dates(content), *content.headers, *claim.dialect.id_headers(request_id)]
        data = wire.render(content.status, headers, content.body, head=request.method == "HEAD", keep_alive=keep)
        return Response(data, keep), record

    def _may_refuse_early(self, request: wire.Request) -> bool:
        """Return whether to check the date before the body is read, as S3 does."""
        waits = self._behaviour.close_on_error or request.headers.get("expect", "").lower() == "100-continue"
        return waits and not self._verifier.signature_first and not post.is_form(request.method, request.headers)

    def _dates(self, content: Content) -> list[tuple[str, str]]:
        """Return the Date header, and others that tell a time; none if the content brings its own."""
        if any(name.lower() == "date" for name, _ in content.headers):
            return []
        mode = self._behaviour.date_mode
        now = self._behaviour.now()
        if callable(mode):
            text = mode(now)
            return [] if text is None else [("Date", text)]
        honest = http_date(now // _S)
        if mode == "honest":
            return [("Date", honest)]
        if mode == "omit":
            return []
        if mode == "duplicate":
            return [("Date", honest), ("Date", http_date(now // _S + 3600))]
        if mode == "cached":
            return [("Date", http_date(now // _S - CACHED_AGE)), ("Age", str(CACHED_AGE))]
        return [("Date", mode)]


def _pairs(canned: Canned) -> tuple[tuple[str, str], ...]:
    headers = canned.headers
    if isinstance(headers, Mapping):
        return tuple(cast("Mapping[str, str]", headers).items())
    return tuple(headers)


def _record(request: wire.Request, claim: Claim, name: str | None, received: int, content: Content) -> Record:
    signed = claim.signed
    at = signed.signed_at if signed is not None else None
    return Record(
        method=request.method,
        host=request.headers.get("host", ""),
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        service=claim.service,
        region=signed.scope.region if signed is not None else None,
        operation=name,
        access_key=signed.scope.access_key if signed is not None else None,
        signed_at=None if at is None else at * _S,
        received_at=received,
        status=content.status,
        code=content.code,
    )
