"""S3 browser uploads: a form whose policy, not whose request, is signed."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from skewguard.testing.aws import sigv2, sigv4
from skewguard.testing.aws.dialects import S3, Problem
from skewguard.testing.aws.sigv4 import Unreadable

_NOT_IN_POLICY = frozenset({"policy", "x-amz-signature", "file", "awsaccesskeyid", "signature"})


@dataclass(frozen=True)
class Form:
    """A posted form; field names are lower case."""

    fields: Mapping[str, str]
    file: bytes
    filename: str


def is_form(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request is a form upload."""
    return method == "POST" and headers.get("content-type", "").startswith("multipart/form-data")


def read(body: bytes, content_type: str) -> Form:
    """Parse a multipart/form-data body. Problem, S3's MalformedPOSTRequest, if it is not well formed."""
    boundary = content_type.partition("boundary=")[2].partition(";")[0].strip().strip('"')
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))
    if not boundary or len(parts) < 3 or not parts[-1].startswith(b"--"):
        raise _malformed()
    fields: dict[str, str] = {}
    file: bytes | None = None
    filename = ""
    for part in parts[1:-1]:
        top, blank, value = part.partition(b"\r\n\r\n")
        disposition = next((x for x in top.split(b"\r\n") if x.lower().startswith(b"content-disposition:")), b"")
        said = _parameters(disposition.decode("utf-8", "replace"))
        if not blank or "name" not in said:
            raise _malformed()
        if said["name"] == "file":
            file, filename = value, said.get("filename", "")
        elif file is None:  # S3 ignores all fields after the file
            fields[said["name"].lower()] = value.decode("utf-8", "replace")
    if file is None:
        raise Problem("InvalidArgument", "POST requires exactly one file upload per request.", status=400)
    return Form(fields, file, filename)


def _parameters(line: str) -> dict[str, str]:
    found = {}
    for piece in line.split(";")[1:]:
        name, _, value = piece.strip().partition("=")
        found[name.lower()] = value.strip('"')
    return found


def _malformed() -> Problem:
    text = "The body of your POST request is not well-formed multipart/form-data."
    return Problem("MalformedPOSTRequest", text, status=400)


def find(form: Form) -> sigv4.Signed | None:
    """Return the signature of a form; None if it has no policy. Unreadable if a field is missing or malformed."""
    fields = form.fields
    if "policy" not in fields:
        return None
    old = sigv2.find_in_form(fields)
    if old is not None:
        return old
    if fields.get("x-amz-algorithm") != sigv4.ALGORITHM:
        raise Unreadable("x-amz-algorithm must be AWS4-HMAC-SHA256")
    missing = {"x-amz-credential", "x-amz-date", "x-amz-signature"} - set(fields)
    if missing:
        raise Unreadable(f"Bucket POST must contain a field named '{min(missing)}'")
    stamp = fields["x-amz-date"]
    token = fields.get("x-amz-security-token") or fields.get("x-amz-s3session-token")
    scope = sigv4.parse_credential(fields["x-amz-credential"])
    return sigv4.Signed("post", scope, fields["x-amz-signature"], token, stamp, sigv4.parse_time(stamp))


def check_signature(form: Form, signed: sigv4.Signed, secret: str) -> None:
    """Check the policy's signature. Problem if it is not the one made with `secret`."""
    policy = form.fields["policy"]
    if signed.form == "v2-post":
        wanted = sigv2.signature_of(secret, policy)
    else:
        key = sigv4.signing_key(secret, signed.scope)
        wanted = hmac.digest(key, policy.encode("utf-8", "replace"), "sha256").hex()
    if not sigv4.same(wanted, signed.signature):
        raise S3().wrong_signature()


def check_policy(form: Form, bucket: str, now: float) -> None:
    """Check a form, sent to `bucket`, against its own policy; `now` in seconds by the server's clock.

    Raises:
        Problem: The policy has expired, cannot be read, or does not allow the form.
    """
    try:
        policy = json.loads(base64.b64decode(form.fields["policy"], validate=True))
        until = datetime.fromisoformat(policy["expiration"].replace("Z", "+00:00"))
        conditions = [_condition(one) for one in policy["conditions"]]
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Problem("InvalidPolicyDocument", "Invalid Policy: Invalid JSON.", status=400) from None
    if until.tzinfo is None:
        until = until.replace(tzinfo=timezone.utc)
    if until.timestamp() <= now:
        raise _denied("Policy expired.")
    fields = {**form.fields, "bucket": bucket}
    allowed = set()
    for verb, name, value in conditions:
        if verb == "content-length-range":
            low, _, high = value.partition(",")
            if not int(low) <= len(form.file) <= int(high):
                code = "EntityTooLarge" if len(form.file) > int(high) else "EntityTooSmall"
                raise Problem(code, "Your proposed upload is outside the allowed size", status=400)
            continue
        allowed.add(name)
        given = fields.get(name, "")
        if not (given.startswith(value) if verb == "starts-with" else given == value):
            raise _denied(f'Policy Condition failed: ["{verb}", "${name}", "{value}"]')
    for name in form.fields:
        if name not in allowed and name not in _NOT_IN_POLICY and not name.startswith("x-ignore-"):
            raise _denied(f"Extra input fields: {name}")


def _condition(one: object) -> tuple[str, str, str]:
    if isinstance(one, dict):
        ((name, value),) = one.items()
        return "eq", str(name).lower(), str(value)
    if isinstance(one, list) and len(one) == 3:
        verb = str(one[0]).lower()
        if verb == "content-length-range":
            return verb, "", f"{int(one[1])},{int(one[2])}"
        if verb in ("eq", "starts-with"):
            return verb, str(one[1]).removeprefix("$").lower(), str(one[2])
    raise ValueError("condition")


def _denied(why: str) -> Problem:
    return Problem("AccessDenied", f"Invalid according to Policy: {why}")
