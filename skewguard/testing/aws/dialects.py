"""The AWS protocols: how a request, a refusal and a success look on the wire, and the words of a refusal.

No other file knows which dialects there are. CONTRIBUTING.md lists the steps to add one.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from skewguard.testing.aws import formats, sigv4
from skewguard.testing.wire import Request

INVALID_EC2 = "AWS was not able to validate the provided access credentials"
_TRANSLATED = frozenset({"AccessDenied", "ValidationException"})
_OPERATIONS = {
    ("lambda", "GET", "/2015-03-31/functions"): "ListFunctions",
    ("sso", "GET", "/federation/credentials"): "GetRoleCredentials",
}


@dataclass(frozen=True)
class Content:
    """What is sent, without the server's own headers (date, request id, length)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    code: str = ""
    """The error code, for the record; empty if there is none."""


@dataclass(eq=False)
class Problem(Exception):
    """Why a request is refused."""

    code: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """More elements for S3's ``<Error>``."""
    status: int | None = None
    """None: the dialect's usual one."""


class Dialect(ABC):
    """One protocol. An instance holds no state. What is not overridden is as in the query protocol."""

    codes: ClassVar[Mapping[str, str]] = {}
    """This dialect's error codes, by the general ones of this class and `_TRANSLATED`."""

    @abstractmethod
    def speaks(self, service: str, request: Request) -> bool:
        """Return whether a request is in this dialect, by its signing name and its own marks."""

    @abstractmethod
    def refusal(self, service: str, problem: Problem, request_id: str) -> Content:
        """Format a refusal."""

    @abstractmethod
    def success(self, service: str, operation: str | None, result: Mapping[str, object]) -> Content:
        """Format the result of an operation."""

    def operation(self, service: str, request: Request) -> str | None:
        """Return the operation asked for, if the protocol or a small table tells."""
        return _OPERATIONS.get((service, request.method, request.path.rstrip("/")))

    def parameters(self, request: Request, body: bytes) -> Mapping[str, Any]:
        """Parse the parameters of the operation. Empty for protocols that put them in path and headers.

        Raises:
            Problem: They cannot be parsed.
        """
        return {}

    def id_headers(self, request_id: str) -> list[tuple[str, str]]:
        """Return the headers that identify a request."""
        return [("x-amzn-RequestId", request_id)]

    def translate(self, code: str) -> str:
        """Return this dialect's code for a common error; other codes stay as they are."""
        return self.codes.get(code, code) if code in _TRANSLATED else code

    def skewed(self, signed: sigv4.Signed, now: int, tolerance: float) -> Problem:
        """Word the refusal of a timestamp; `now` in seconds by the server's clock, `tolerance` in seconds."""
        minutes, at, here = f"{tolerance / 60:g} min.", signed.timestamp, sigv4.basic(now)
        if (signed.signed_at or 0) < now:
            edge = sigv4.basic(round(now - tolerance))
            return self.wrong_signature(f"Signature expired: {at} is now earlier than {edge} ({here} - {minutes})")
        edge = sigv4.basic(round(now + tolerance))
        return self.wrong_signature(f"Signature not yet current: {at} is still later than {edge} ({here} + {minutes})")

    def wrong_signature(self, text: str | None = None) -> Problem:
        """Word the refusal of a signature; `text` replaces the usual message."""
        usual = (
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )
        return self._problem("SignatureDoesNotMatch", text or usual)

    def unknown_key(self, access_key: str) -> Problem:
        """Word the refusal of an unknown access key."""
        return self.bad_token(expired=False)

    def bad_token(self, *, expired: bool) -> Problem:
        """Word the refusal of a session token."""
        if expired:
            return self._problem("ExpiredToken", "The security token included in the request is expired")
        return self._problem("InvalidClientTokenId", "The security token included in the request is invalid.")

    def scope_day(self, signed: sigv4.Signed) -> Problem:
        """Word the refusal of a credential scoped to another day than the request's."""
        text = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        return self.wrong_signature(
            f"{text}'{signed.scope.day}' != '{signed.timestamp[:8]}', from '{signed.timestamp}'."
        )

    def unsigned(self) -> Problem:
        """Word the refusal of a request without a signature."""
        return self._problem("MissingAuthenticationToken", "Request is missing Authentication Token")

    def undated(self) -> Problem:
        """Word the refusal of a timestamp that cannot be parsed."""
        return self.unreadable("Date must be in ISO-8601 'basic format'.")

    def unreadable(self, why: str) -> Problem:
        """Word the refusal of a signature that cannot be parsed."""
        return self._problem("IncompleteSignature", why, status=400)

    def _problem(self, code: str, message: str, *, status: int | None = None) -> Problem:
        return Problem(self.codes.get(code, code), message, status=status)


class Query(Dialect):
    """The query protocol of STS, IAM, SNS."""

    codes: ClassVar[Mapping[str, str]] = {"ValidationException": "ValidationError"}
    media_type = "text/xml"

    def speaks(self, service: str, request: Request) -> bool:
        return formats.has_form(request) or "Action=" in request.query

    def operation(self, service: str, request: Request) -> str | None:
        return formats.form(request).get("Action")

    def parameters(self, request: Request, body: bytes) -> Mapping[str, Any]:
        return formats.form(request)

    def refusal(self, service: str, problem: Problem, request_id: str) -> Content:
        error = f"<Code>{formats.xml(problem.code)}</Code><Message>{formats.xml(problem.message)}</Message>"
        body = formats.XML_DECLARATION + self._error(service, problem, error, request_id)
        status = problem.status or (401 if problem.code == "AuthFailure" else 403)
        headers = (("Content-Type", self.media_type),)
        return Content(status, headers, body.encode("utf-8", "replace"), problem.code)

    def _error(self, service: str, problem: Problem, error: str, request_id: str) -> str:
        inner = f"<Error><Type>Sender</Type>{error}</Error><RequestId>{request_id}</RequestId>"
        return f'<ErrorResponse xmlns="{formats.xmlns(service)}">{inner}</ErrorResponse>'

    def success(self, service: str, operation: str | None, result: Mapping[str, object]) -> Content:
        name = operation if operation is not None and operation.isascii() and operation.isalnum() else "Unknown"
        inner = self._result(name, formats.xml(result), str(uuid.uuid4()))
        text = f'<{name}Response xmlns="{formats.xmlns(service)}">{inner}</{name}Response>'
        return Content(200, (("Content-Type", self.media_type),), text.encode())

    def _result(self, name: str, result: str, request_id: str) -> str:
        metadata = f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        return f"<{name}Result>{result}</{name}Result>{metadata}"


class RestXml(Query):
    """REST with XML bodies: Route 53 and CloudFront."""

    def speaks(self, service: str, request: Request) -> bool:
        return service in ("route53", "cloudfront")

    def operation(self, service: str, request: Request) -> str | None:
        return Dialect.operation(self, service, request)


class Ec2(Query):
    """EC2's variant of the query protocol. It does not tell a wrong date from a wrong signature."""

    codes: ClassVar[Mapping[str, str]] = {
        "AccessDenied": "UnauthorizedOperation",
        "ValidationException": "InvalidParameterValue",
    }
    media_type = "text/xml;charset=UTF-8"

    def speaks(self, service: str, request: Request) -> bool:
        return service == "ec2"

    def wrong_signature(self, text: str | None = None) -> Problem:
        return Problem("AuthFailure", INVALID_EC2)

    def bad_token(self, *, expired: bool) -> Problem:
        return Problem("RequestExpired", "Request has expired.", status=400) if expired else self.wrong_signature()

    def _error(self, service: str, problem: Problem, error: str, request_id: str) -> str:
        return f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{request_id}</RequestID></Response>"

    def _result(self, name: str, result: str, request_id: str) -> str:
        return f"<requestId>{request_id}</requestId>{result}"


class S3(Query):
    """S3's refusals. Its successes are those of `buckets`."""

    codes: ClassVar[Mapping[str, str]] = {"ValidationException": "InvalidArgument"}
    media_type = "application/xml"

    def speaks(self, service: str, request: Request) -> bool:
        return service in sigv4.S3_NAMES

    def id_headers(self, request_id: str) -> list[tuple[str, str]]:
        return [("x-amz-request-id", request_id), ("x-amz-id-2", "skewguard")]

    def skewed(self, signed: sigv4.Signed, now: int, tolerance: float) -> Problem:
        fields = {
            "RequestTime": signed.timestamp,
            "ServerTime": formats.iso(now),
            "MaxAllowedSkewMilliseconds": str(round(tolerance * 1000)),
        }
        text = "The difference between the request time and the current time is too large."
        return Problem("RequestTimeTooSkewed", text, fields)

    def wrong_signature(self, text: str | None = None) -> Problem:
        usual = (
            "The request signature we calculated does not match the signature you provided. Check your key and signing "
            "method."
        )
        return Problem("SignatureDoesNotMatch", text or usual)

    def unknown_key(self, access_key: str) -> Problem:
        text = "The AWS Access Key Id you provided does not exist in our records."
        return Problem("InvalidAccessKeyId", text, {"AWSAccessKeyId": access_key})

    def bad_token(self, *, expired: bool) -> Problem:
        if expired:
            return Problem("ExpiredToken", "The provided token has expired.", status=400)
        return Problem("InvalidToken", "The provided token is malformed or otherwise invalid.", status=400)

    def scope_day(self, signed: sigv4.Signed) -> Problem:
        other = f'This date is not the same as X-Amz-Date: "{signed.timestamp[:8]}".'
        return self.unreadable(f'Invalid credential date "{signed.scope.day}". {other}')

    def unsigned(self) -> Problem:
        return Problem("AccessDenied", "Access Denied")

    def undated(self) -> Problem:
        return Problem("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")

    def unreadable(self, why: str) -> Problem:
        return Problem("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}", status=400)

    def _error(self, service: str, problem: Problem, error: str, request_id: str) -> str:
        inner = f"{error}{formats.xml(problem.fields)}<RequestId>{request_id}</RequestId><HostId>skewguard</HostId>"
        return f"<Error>{inner}</Error>"


class RestJson(Dialect):
    """REST with JSON bodies: Lambda, Glacier, SSO. Also what a request is taken for that no other dialect claims."""

    codes: ClassVar[Mapping[str, str]] = {
        "SignatureDoesNotMatch": "InvalidSignatureException",
        "ExpiredToken": "ExpiredTokenException",
        "InvalidClientTokenId": "UnrecognizedClientException",
        "MissingAuthenticationToken": "MissingAuthenticationTokenException",
        "IncompleteSignature": "IncompleteSignatureException",
        "AccessDenied": "AccessDeniedException",
    }

    def speaks(self, service: str, request: Request) -> bool:
        """Return True: it is the last of the table."""
        return True

    def unsigned(self) -> Problem:
        return self._problem("MissingAuthenticationToken", "Missing Authentication Token")

    def unreadable(self, why: str) -> Problem:
        return self._problem("IncompleteSignature", why)

    def refusal(self, service: str, problem: Problem, request_id: str) -> Content:
        content = {"message": problem.message}
        if service == "glacier":
            content |= {"code": problem.code, "type": "Client"}
        code = f"{problem.code}:http://internal.amazon.com/coral/com.amazon.coral.service/"
        headers = (("Content-Type", "application/json"), ("x-amzn-ErrorType", code))
        return Content(problem.status or 403, headers, json.dumps(content).encode(), problem.code)

    def success(self, service: str, operation: str | None, result: Mapping[str, object]) -> Content:
        return Content(200, (("Content-Type", "application/json"),), json.dumps(result).encode())


class Json(RestJson):
    """JSON with the operation in a header: DynamoDB, KMS, SQS."""

    def speaks(self, service: str, request: Request) -> bool:
        return "x-amz-target" in request.headers

    def operation(self, service: str, request: Request) -> str | None:
        return request.headers.get("x-amz-target", "").rpartition(".")[2] or None

    def parameters(self, request: Request, body: bytes) -> Mapping[str, Any]:
        try:
            parsed = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            raise Problem("SerializationException", "", status=400)
        return parsed

    def refusal(self, service: str, problem: Problem, request_id: str) -> Content:
        content = json.dumps({"__type": f"com.amazon.coral.service#{problem.code}", "message": problem.message})
        headers = (*self._type(service), ("x-amzn-errortype", problem.code))
        return Content(problem.status or 400, headers, content.encode(), problem.code)

    def success(self, service: str, operation: str | None, result: Mapping[str, object]) -> Content:
        return Content(200, self._type(service), json.dumps(result).encode())

    @staticmethod
    def _type(service: str) -> tuple[tuple[str, str], ...]:
        return (("Content-Type", f"application/x-amz-json-1.{int(service not in ('dynamodb', 'sqs'))}"),)


class Cbor(RestJson):
    """Smithy's RPC with CBOR bodies: CloudWatch."""

    _HEADERS = (("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"))

    def speaks(self, service: str, request: Request) -> bool:
        return request.headers.get("smithy-protocol") == "rpc-v2-cbor"

    def operation(self, service: str, request: Request) -> str | None:
        return request.path.rpartition("/operation/")[2] or None

    def refusal(self, service: str, problem: Problem, request_id: str) -> Content:
        body = formats.cbor({"__type": f"com.amazon.coral.service#{problem.code}", "message": problem.message})
        return Content(problem.status or 400, self._HEADERS, body, problem.code)

    def success(self, service: str, operation: str | None, result: Mapping[str, object]) -> Content:
        return Content(200, self._HEADERS, formats.cbor(result))


DIALECTS: tuple[Dialect, ...] = (S3(), Ec2(), RestXml(), Cbor(), Json(), Query(), RestJson())
"""All dialects; the first that speaks a request is its dialect."""


def dialect_of(service: str, request: Request) -> Dialect:
    """Return the dialect of a request."""
    return next(dialect for dialect in DIALECTS if dialect.speaks(service, request))
