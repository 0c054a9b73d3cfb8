"""One request from head to answer: judged, answered from the script or by a service, dressed and noted down."""

from __future__ import annotations

import email.utils
import secrets
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from skewguard.testing import wire
from skewguard.testing.aws import buckets, dialects, judge, post, services
from skewguard.testing.aws.dialects import Problem, Reply
from skewguard.testing.listener import Answer
from skewguard.testing.records import DROP, Canned, Fault, Record, Step

if TYPE_CHECKING:
    from skewguard.testing.endpoint import StrictEndpoint

CACHED_AGE = 17_280
"""Seconds: the age of the answer that misled an SDK."""

_S = 1_000_000_000


@lru_cache(maxsize=8)
def http_date(seconds: int) -> str:
    """Write an instant as HTTP's Date does."""
    return email.utils.formatdate(seconds, usegmt=True)


class Exchange:
    """The parts of a server that one request needs, brought together."""

    def __init__(
        self,
        endpoint: StrictEndpoint,
        the_judge: judge.Judge,
        the_services: services.Services,
        the_buckets: buckets.Buckets,
    ) -> None:
        self._endpoint = endpoint
        self._judge = the_judge
        self._services = the_services
        self._buckets = the_buckets

    def run(self, request: wire.Request, receive: Callable[[], None], step: Step) -> tuple[Answer, Record]:
        """Answer a request.

        Args:
            request: Its head.
            receive: Reads its body into it.
            step: What the script says of it.

        Raises:
            wire.Malformed: From `receive`, as OSError.
            wire.Hangup: The server is being stopped.
        """
        endpoint = self._endpoint
        received = endpoint.now()
        endpoint.pause(endpoint.inbound_delay)
        arrived = endpoint.now()
        claim: judge.Claim | None = None
        name: str | None = None
        request_id = secrets.token_hex(8).upper()
        whole = False
        try:
            if step is None and self._may_refuse_early(request):
                claim = self._judge.read(request)
                self._judge.check_time(claim, arrived / _S)
            receive()
            whole = True
            try:
                claim = self._judge.read(request)
            except Problem:
                claim = self._judge.claim_without(request)
                if step is None:
                    raise
            call = buckets.parse(claim) if claim.dialect == "s3" else None
            name = call.name if call is not None else services.operation(claim)
            if isinstance(step, Canned):
                reply = Reply(step.status, _pairs(step), step.body)
            elif isinstance(step, Fault):
                raise Problem(dialects.translate(claim.dialect, step.code), step.message, status=step.status)
            else:
                self._judge.check(claim, arrived / _S)
                if call is not None:
                    reply = self._buckets.answer(claim, call, arrived / _S)
                else:
                    reply = self._services.answer(claim, name, arrived / _S)
        except Problem as problem:
            claim = claim or self._judge.claim_without(request)
            explain = endpoint.explain
            reply = dialects.write(claim.dialect, claim.service, problem, request_id, explain=explain)
        except (wire.Malformed, wire.Hangup, OSError):
            raise
        except Exception as error:
            claim = claim or self._judge.claim_without(request)
            reply = Reply(500, (("Content-Type", "text/plain"),), repr(error).encode(), "InternalFailure")
        endpoint.pause(endpoint.delay)
        record = _record(request, claim, name, received, reply)
        if step is DROP:
            return Answer(b"", keep_alive=False), record
        keep = request.keep_alive and whole and not (endpoint.close_on_error and reply.status >= 400)
        headers = self._dress(reply, claim, request_id)
        data = wire.render(reply.status, headers, reply.body, head=request.method == "HEAD", keep_alive=keep)
        return Answer(data, keep), record

    def _may_refuse_early(self, request: wire.Request) -> bool:
        """Tell whether to judge the date before the body is asked for, as S3 does."""
        waits = self._endpoint.close_on_error or request.headers.get("expect", "").lower() == "100-continue"
        return waits and not self._judge.signature_first and not post.is_form(request.method, request.headers)

    def _dress(self, reply: Reply, claim: judge.Claim, request_id: str) -> list[tuple[str, str]]:
        headers = list(reply.headers)
        given = {name.lower() for name, _ in headers}
        if "date" not in given:
            headers[:0] = self._dates()
        if claim.dialect == "s3":
            headers += [("x-amz-request-id", request_id), ("x-amz-id-2", "skewguard")]
        else:
            headers.append(("x-amzn-RequestId", request_id))
        return headers

    def _dates(self) -> list[tuple[str, str]]:
        mode = self._endpoint.date_mode
        now = self._endpoint.now()
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


def _record(request: wire.Request, claim: judge.Claim, name: str | None, received: int, reply: Reply) -> Record:
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
        status=reply.status,
        code=reply.code,
    )
