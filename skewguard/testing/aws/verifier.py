"""What a strict AWS service checks of a request before it serves it: date, key, signature, body."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from skewguard.testing.aws import chunks, formats, post, sigv2, sigv4
from skewguard.testing.aws.dialects import Dialect, Problem, dialect_of
from skewguard.testing.wire import Request

_FIFTEEN_MINUTES = sigv4.S3_NAMES | {"sts", "sqs", "sns", "dynamodb", "cognito-identity"}
"""Signing names of the services that accept 15 minutes; the others accept 5."""

_UNSIGNED = ("AssumeRoleWithWebIdentity", "AssumeRoleWithSAML")
"""STS actions that identify the caller by other means than a signature."""


@dataclass(frozen=True)
class Key:
    """One secret, and the session token of temporary credentials."""

    secret: str
    token: str | None = None
    expires: int | None = None
    """Seconds since the Unix epoch, by the server's clock; None for a key that does not expire."""


@dataclass
class Claim:
    """A request and what it claims: its signature, parsed but not yet checked."""

    request: Request
    service: str
    dialect: Dialect
    signed: sigv4.Signed | None = None
    form: post.Form | None = None
    body: bytes = b""
    """The body without any aws-chunked framing."""

    @property
    def s3(self) -> bool:
        """Whether S3's rules hold: for the path, the headers, the body's hash and checksums."""
        return self.service in sigv4.S3_NAMES


@dataclass
class Verifier:
    """The rules of one server. They may be changed while it runs."""

    keys: dict[str, Key]
    service: str | None = None
    tolerance: float | None = None
    signature_first: bool = False

    def tolerated(self, service: str) -> float:
        """Return by how many seconds a date may be off."""
        if self.tolerance is not None:
            return self.tolerance
        return 900 if service in _FIFTEEN_MINUTES else 300

    def read(self, request: Request) -> Claim:
        """Parse what a request claims.

        Raises:
            Problem: Its signature cannot be parsed. The dialect for the refusal is that of `unsigned_claim`.
        """
        claim = self.unsigned_claim(request)
        try:
            if post.is_form(request.method, request.headers) and "authorization" not in request.headers:
                claim.form = post.read(request.body, request.headers["content-type"])
                claim.signed = post.find(claim.form)
            else:
                claim.signed = sigv2.find(request.query, request.headers) or sigv4.find(request.query, request.headers)
        except sigv4.Unreadable as why:
            raise claim.dialect.unreadable(str(why)) from None
        if claim.signed is not None:
            claim.service = claim.signed.scope.service
            claim.dialect = dialect_of(claim.service, request)
        claim.body = request.body
        return claim

    def unsigned_claim(self, request: Request) -> Claim:
        """Guess the service of a request whose signature is missing or not yet parsed."""
        service = self.service or _guess(request)
        return Claim(request, service, dialect_of(service, request), body=request.body)

    def check(self, claim: Claim, now: float) -> None:
        """Check everything, and decode the body. Problem if the request is refused.

        `now` is when it arrived, in seconds by the server's clock.
        """
        signed = claim.signed
        if signed is None:
            if not _may_be_unsigned(claim):
                raise claim.dialect.unsigned()
            return
        if self.signature_first:
            self._check_signature(claim, signed, now)
            self.check_time(claim, now)
        else:
            self.check_time(claim, now)
            self._check_signature(claim, signed, now)

    def check_time(self, claim: Claim, now: float) -> None:
        """Check the date alone, which needs no body. Problem if the request is refused."""
        signed = claim.signed
        if signed is None or signed.form == "v2-post":
            return
        if signed.form == "v2-query":
            if now >= (signed.expires or 0):
                times = {"Expires": formats.iso(signed.expires or 0), "ServerTime": formats.iso(int(now))}
                raise Problem("AccessDenied", "Request has expired", times)
            return
        if signed.signed_at is None:
            raise claim.dialect.undated()
        here = int(now)
        tolerance = self.tolerated(claim.service)
        if signed.form == "query" and claim.s3:
            _check_presigned(signed, here, tolerance)
        elif signed.form != "post":  # a form's policy has its own expiry
            past = tolerance
            if signed.form == "query" and signed.expires is not None and claim.service != "sts":
                past = max(tolerance, signed.expires // 60 * 60)  # STS keeps to its tolerance whatever the URL says
            if here - signed.signed_at >= past:
                raise claim.dialect.skewed(signed, here, past)
            if signed.signed_at - here >= tolerance:
                raise claim.dialect.skewed(signed, here, tolerance)
        if signed.scope.day != signed.timestamp[:8] and signed.form != "v2-header":
            raise claim.dialect.scope_day(signed)

    def _check_signature(self, claim: Claim, signed: sigv4.Signed, now: float) -> None:
        if self.service is not None and signed.scope.service != self.service:
            text = f"Credential should be scoped to correct service: '{self.service}'. "
            raise claim.dialect.wrong_signature(text)
        key = self.keys.get(signed.scope.access_key)
        if key is None:
            raise claim.dialect.unknown_key(signed.scope.access_key)
        if claim.form is not None:
            post.check_signature(claim.form, signed, key.secret)
        else:
            _check_request(claim, signed, key.secret)
        if key.token is not None and key.token != signed.token:
            raise claim.dialect.bad_token(expired=False)
        if key.expires is not None and now >= key.expires:
            raise claim.dialect.bad_token(expired=True)


def _check_request(claim: Claim, signed: sigv4.Signed, secret: str) -> None:
    request = claim.request
    headers = request.headers
    s3 = claim.s3
    if signed.form.startswith("v2-"):
        if not sigv4.same(sigv2.signature_of(secret, sigv2.text_to_sign(request, signed)), signed.signature):
            raise claim.dialect.wrong_signature()
        chunked = "aws-chunked" in headers.get("content-encoding", "")
        _check_body(claim, signed, secret, sigv4.STREAMING_UNSIGNED_TRAILER if chunked else sigv4.UNSIGNED)
        return
    if "host" not in signed.names or not headers.keys() >= set(signed.names):
        raise claim.dialect.wrong_signature()
    payload = headers.get("x-amz-content-sha256")
    if payload is None:
        if s3 and signed.form == "header":
            text = "Missing required header for this request: x-amz-content-sha256"
            raise Problem("InvalidRequest", text, status=400)
        payload = sigv4.UNSIGNED if s3 else hashlib.sha256(request.body).hexdigest()
    canonical = sigv4.canonical_request(
        request.method, request.path, request.query, headers, signed.names, payload, s3=s3
    )
    if not sigv4.same(sigv4.signature_of(secret, signed, canonical), signed.signature):
        raise claim.dialect.wrong_signature()
    if s3:
        loose = sorted(name for name in headers if name.startswith("x-amz-") and name not in signed.names)
        if loose:
            text = "There were headers present in the request which were not signed"
            raise Problem("AccessDenied", text, {"HeadersNotSigned": ", ".join(loose)})
    _check_body(claim, signed, secret, payload)


def _check_body(claim: Claim, signed: sigv4.Signed, secret: str, payload: str) -> None:
    headers = claim.request.headers
    if sigv4.is_hash(payload):
        actual = hashlib.sha256(claim.body).hexdigest()
        if actual != payload:
            if not claim.s3:  # other services hash the body themselves, whatever the header says
                raise claim.dialect.wrong_signature()
            text = "The provided 'x-amz-content-sha256' header does not match what was computed."
            computed = {"ClientComputedContentSHA256": payload, "S3ComputedContentSHA256": actual}
            raise Problem("XAmzContentSHA256Mismatch", text, computed, 400)
    try:
        if payload.startswith("STREAMING-"):
            claim.body = chunks.decode(claim.body, headers, signed, secret)
        elif payload != sigv4.UNSIGNED and not sigv4.is_hash(payload):
            text = "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-… or a valid sha256 value."
            raise Problem("InvalidArgument", text, status=400)
        completes = claim.request.method == "POST" and "uploadId=" in claim.request.query
        if claim.s3 and not completes:  # a completion's checksum is that of the parts together
            chunks.check(claim.body, headers)
    except chunks.BadChunks as why:
        text = f"The request body terminated unexpectedly: {why}"
        raise Problem("IncompleteBody", text, status=400) from None
    except chunks.BadChecksum as which:
        text = f"The {which} you specified did not match the calculated checksum."
        raise Problem("BadDigest", text, status=400) from None
    except chunks.BadChunkSignature:
        raise claim.dialect.wrong_signature() from None


def _check_presigned(signed: sigv4.Signed, now: int, tolerance: float) -> None:
    then = signed.signed_at or 0
    until = then + (signed.expires or 0)
    times = {"Expires": formats.iso(until), "ServerTime": formats.iso(now)}
    if now >= until:
        raise Problem("AccessDenied", "Request has expired", {"X-Amz-Expires": str(signed.expires), **times})
    if then - now >= tolerance:
        raise Problem("AccessDenied", "Request is not yet valid", {"X-Amz-Date": f"{then}000", **times})


def _guess(request: Request) -> str:
    host = request.headers.get("host", "").partition(":")[0]
    if request.path == "/federation/credentials":
        return "sso"
    if "AssumeRoleWith" in request.query or b"AssumeRoleWith" in request.body[:4096]:
        return "sts"
    target = request.headers.get("x-amz-target", "")
    if target:
        return "dynamodb" if target.startswith("DynamoDB") else target.partition(".")[0].lower()
    if host.endswith(".amazonaws.com"):
        labels = host.split(".")
        return "s3" if "s3" in labels else labels[0]
    return "s3"


def _may_be_unsigned(claim: Claim) -> bool:
    request = claim.request
    if claim.service == "sso" or request.headers.get("authorization", "").startswith("Bearer "):
        return True
    return claim.service == "sts" and formats.form(request).get("Action") in _UNSIGNED
