"""How each AWS protocol says no: status, headers, body and wording, as seen on the wire."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from skewguard.testing.aws import sigv4
from skewguard.testing.wire import Request

Dialect = Literal["s3", "ec2", "query", "rest-xml", "json", "rest-json", "cbor"]

FIFTEEN_MINUTES = sigv4.S3_NAMES | {"sts", "sqs", "sns", "dynamodb", "cognito-identity"}
"""Signing names of the services that accept 15 minutes; the others accept 5."""

WRONG_SIGNATURE = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
WRONG_SIGNATURE_S3 = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
WRONG_EC2 = "AWS was not able to validate the provided access credentials"
BAD_TOKEN = "The security token included in the request is invalid."

_XMLNS = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "sns": "http://sns.amazonaws.com/doc/2010-03-31/",
    "ses": "http://ses.amazonaws.com/doc/2010-12-01/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sqs": "http://queue.amazonaws.com/doc/2012-11-05/",
    "route53": "https://route53.amazonaws.com/doc/2013-04-01/",
    "ec2": "http://ec2.amazonaws.com/doc/2016-11-15/",
}


@dataclass(frozen=True)
class Reply:
    """An answer before the server's own headers (date, request id, length) are put on."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    code: str = ""
    """The error code, for the record; empty if there is none."""


@dataclass(eq=False)
class Problem(Exception):
    """Why a request is refused, in words that each dialect turns into its own."""

    code: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """More elements for S3's ``<Error>``."""
    status: int | None = None
    """None: what the dialect uses."""


def xmlns(service: str) -> str:
    """The XML namespace of a service's answers."""
    return _XMLNS.get(service, f"http://{service}.amazonaws.com/doc/")


def form(request: Request) -> dict[str, str]:
    """The parameters of a query-protocol request, from body and URL."""
    if request.form is None:
        pairs = parse_qsl(request.query, keep_blank_values=True)
        if "x-www-form-urlencoded" in request.headers.get("content-type", ""):
            pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        request.form = dict(pairs)
    return request.form


def dialect_of(service: str, request: Request) -> Dialect:
    """Tell which protocol a request speaks, from the signing name and its own marks."""
    if service in sigv4.S3_NAMES:
        return "s3"
    if service == "ec2":
        return "ec2"
    if service in ("route53", "cloudfront"):
        return "rest-xml"
    if request.headers.get("smithy-protocol") == "rpc-v2-cbor":
        return "cbor"
    if "x-amz-target" in request.headers:
        return "json"
    if "x-www-form-urlencoded" in request.headers.get("content-type", "") or "Action=" in request.query:
        return "query"
    return "rest-json"


def skewed(dialect: Dialect, signed: sigv4.Signed, now: int, tolerance: float) -> Problem:
    """Word the refusal of a timestamp; `now` in seconds by the server's clock, `tolerance` in seconds."""
    then = signed.signed_at or 0
    if dialect == "s3":
        return Problem(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            {
                "RequestTime": signed.timestamp,
                "ServerTime": iso(now),
                "MaxAllowedSkewMilliseconds": str(round(tolerance * 1000)),
            },
        )
    if dialect == "ec2":
        return Problem("AuthFailure", WRONG_EC2)
    minutes = f"{tolerance / 60:g} min."
    at, here = signed.timestamp, sigv4.basic(now)
    if then < now:
        text = f"Signature expired: {at} is now earlier than {sigv4.basic(round(now - tolerance))} ({here} - {minutes})"
    else:
        edge = sigv4.basic(round(now + tolerance))
        text = f"Signature not yet current: {at} is still later than {edge} ({here} + {minutes})"
    return wrong_signature(dialect, text)


def wrong_signature(dialect: Dialect, text: str | None = None) -> Problem:
    """Word the refusal of a signature; `text` in place of the usual message."""
    if dialect == "s3":
        return Problem("SignatureDoesNotMatch", text or WRONG_SIGNATURE_S3)
    if dialect == "ec2":
        return Problem("AuthFailure", WRONG_EC2)
    if dialect in ("query", "rest-xml"):
        return Problem("SignatureDoesNotMatch", text or WRONG_SIGNATURE)
    return Problem("InvalidSignatureException", text or WRONG_SIGNATURE)


def unknown_key(dialect: Dialect, access_key: str) -> Problem:
    """Word the refusal of an access key nobody has."""
    if dialect == "s3":
        text = "The AWS Access Key Id you provided does not exist in our records."
        return Problem("InvalidAccessKeyId", text, {"AWSAccessKeyId": access_key})
    return bad_token(dialect, expired=False)


def bad_token(dialect: Dialect, *, expired: bool) -> Problem:
    """Word the refusal of a session token."""
    if dialect == "s3":
        if expired:
            return Problem("ExpiredToken", "The provided token has expired.", status=400)
        return Problem("InvalidToken", "The provided token is malformed or otherwise invalid.", status=400)
    if dialect == "ec2":
        return Problem("RequestExpired", "Request has expired.", status=400) if expired else wrong_signature("ec2")
    if expired:
        text = "The security token included in the request is expired"
        return Problem("ExpiredToken" if dialect in ("query", "rest-xml") else "ExpiredTokenException", text)
    xml = dialect in ("query", "rest-xml")
    return Problem("InvalidClientTokenId" if xml else "UnrecognizedClientException", BAD_TOKEN)


def scope_day(dialect: Dialect, signed: sigv4.Signed) -> Problem:
    """Word the refusal of a credential scoped to another day than the request's."""
    day = signed.timestamp[:8]
    if dialect == "s3":
        text = (
            f'The authorization header is malformed; Invalid credential date "{signed.scope.day}". '
            f'This date is not the same as X-Amz-Date: "{day}".'
        )
        return Problem("AuthorizationHeaderMalformed", text, status=400)
    text = (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        f"'{signed.scope.day}' != '{day}', from '{signed.timestamp}'."
    )
    return wrong_signature(dialect, text)


def unsigned(dialect: Dialect) -> Problem:
    """Word the refusal of a request that is not signed at all."""
    if dialect == "s3":
        return Problem("AccessDenied", "Access Denied")
    if dialect in ("query", "rest-xml", "ec2"):
        return Problem("MissingAuthenticationToken", "Request is missing Authentication Token")
    return Problem("MissingAuthenticationTokenException", "Missing Authentication Token")


def unreadable(dialect: Dialect, why: str) -> Problem:
    """Word the refusal of a signature whose parts cannot be read."""
    if dialect == "s3":
        return Problem("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}", status=400)
    if dialect in ("query", "rest-xml", "ec2"):
        return Problem("IncompleteSignature", why, status=400)
    return Problem("IncompleteSignatureException", why)


_TRANSLATED = {
    "AccessDenied": {"ec2": "UnauthorizedOperation", "json": "AccessDeniedException"},
    "ValidationException": {"s3": "InvalidArgument", "ec2": "InvalidParameterValue", "query": "ValidationError"},
}


def translate(dialect: Dialect, code: str) -> str:
    """Give a common error its name in a dialect; a code that is not common stays as it is."""
    kin = {"rest-json": "json", "cbor": "json", "rest-xml": "query"}.get(dialect, dialect)
    return _TRANSLATED.get(code, {}).get(kin, code)


def write(dialect: Dialect, service: str, problem: Problem, request_id: str, *, explain: bool = True) -> Reply:
    """Write a refusal as bytes.

    Args:
        dialect: The protocol to write it in.
        service: The signing name, for namespaces and habits.
        problem: What to say.
        request_id: To be quoted where bodies quote it.
        explain: False leaves out the message and every field that tells a time.
    """
    code = problem.code
    message = problem.message if explain else ""
    if dialect in ("s3", "ec2", "query", "rest-xml"):
        body = _xml(dialect, service, problem, message, request_id, explain=explain)
        status = problem.status or (401 if code == "AuthFailure" else 403)
        kind = "application/xml" if dialect == "s3" else "text/xml"
        return Reply(status, (("Content-Type", kind),), body, code)
    if dialect == "json":
        text = json.dumps({"__type": f"com.amazon.coral.service#{code}", "message": message})
        kind = "application/x-amz-json-1.0" if service in ("dynamodb", "sqs") else "application/x-amz-json-1.1"
        return Reply(problem.status or 400, (("Content-Type", kind), ("x-amzn-errortype", code)), text.encode(), code)
    if dialect == "cbor":
        body = cbor({"__type": f"com.amazon.coral.service#{code}", "message": message})
        kinds = (("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor"))
        return Reply(problem.status or 400, kinds, body, code)
    content = {"message": message}
    if service == "glacier":
        content |= {"code": code, "type": "Client"}
    said = f"{code}:http://internal.amazon.com/coral/com.amazon.coral.service/"
    top = (("Content-Type", "application/json"), ("x-amzn-ErrorType", said))
    return Reply(problem.status or 403, top, json.dumps(content).encode(), code)


def _xml(dialect: Dialect, service: str, problem: Problem, message: str, request_id: str, *, explain: bool) -> bytes:
    what = f"<Code>{escape(problem.code)}</Code><Message>{escape(message)}</Message>"
    if dialect == "s3":
        more = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in problem.fields.items()) if explain else ""
        text = f"<Error>{what}{more}<RequestId>{request_id}</RequestId><HostId>skewguard</HostId></Error>"
    elif dialect == "ec2":
        text = f"<Response><Errors><Error>{what}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    else:
        error = f"<Error><Type>Sender</Type>{what}</Error><RequestId>{request_id}</RequestId>"
        text = f'<ErrorResponse xmlns="{xmlns(service)}">{error}</ErrorResponse>'
    return ('<?xml version="1.0" encoding="UTF-8"?>\n' + text).encode("utf-8", "replace")


def iso(seconds: int) -> str:
    """Write an instant as ``2006-01-02T15:04:05Z``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def cbor(fields: Mapping[str, str]) -> bytes:
    """Write a map of text to text as CBOR (RFC 8949)."""

    def text(value: str) -> bytes:
        raw = value.encode("utf-8", "replace")
        return b"\x79" + struct.pack(">H", len(raw)) + raw

    return b"\xb9" + struct.pack(">H", len(fields)) + b"".join(text(k) + text(v) for k, v in fields.items())
