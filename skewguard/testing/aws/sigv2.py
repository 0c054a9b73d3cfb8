"""S3's Signature Version 2, which botocore still uses by default for presigned URLs and forms."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping

from skewguard.testing.aws.sigv4 import Scope, Signed, Unreadable, parse_time, split_query
from skewguard.testing.wire import Request

_VIRTUAL = re.compile(r"(.+?)\.(?:s3[.-]|s3express-|localhost$)")
_SIGNED_PARAMETERS = frozenset(
    """
    accelerate acl analytics cors defaultObjectAcl delete inventory lifecycle location logging metrics
    notification object-lock partNumber policy replication requestPayment response-cache-control
    response-content-disposition response-content-encoding response-content-language response-content-type
    response-expires restore select select-type storageClass tagging torrent uploadId uploads versionId versioning
    versions website
    """.split()  # noqa: SIM905
)


def virtual_bucket(headers: Mapping[str, str]) -> str | None:
    """Return the bucket that the Host names, or None if the path names it."""
    host, _, port = headers.get("host", "").lower().rpartition(":")
    found = _VIRTUAL.match(host or port)
    return None if found is None else found[1]


def find(query: str, headers: Mapping[str, str]) -> Signed | None:
    """Return the version 2 signature of a request; see `sigv4.find`.

    Returns:
        The signature, its `form` beginning with ``v2-``, or None. In a URL `expires` is not a duration but the end,
        in seconds since the Unix epoch, and the time of signing is not known.

    Raises:
        Unreadable: It is signed in a way that cannot be parsed.
    """
    said = headers.get("authorization", "")
    if said.startswith("AWS "):
        access, colon, signature = said[4:].rpartition(":")
        if not colon:
            raise Unreadable("AWS authorization header is invalid. Expected AwsAccessKeyId:signature")
        stamp = headers.get("x-amz-date") or headers.get("date", "")
        token = headers.get("x-amz-security-token")
        return Signed("v2-header", _scope(access), signature, token, stamp, parse_time(stamp))
    if said or "AWSAccessKeyId=" not in query:
        return None
    fields = dict(split_query(query))
    expires = fields.get("Expires", "")
    if "Signature" not in fields or not expires.isascii() or not expires.isdigit() or len(expires) > 10:
        raise Unreadable("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    token = fields.get("x-amz-security-token")
    return Signed("v2-query", _scope(fields["AWSAccessKeyId"]), fields["Signature"], token, expires=int(expires))


def find_in_form(fields: Mapping[str, str]) -> Signed | None:
    """Return the version 2 signature of a form upload's fields, whose names are in lower case."""
    if "awsaccesskeyid" not in fields or "signature" not in fields:
        return None
    token = fields.get("x-amz-security-token")
    return Signed("v2-post", _scope(fields["awsaccesskeyid"]), fields["signature"], token)


def _scope(access_key: str) -> Scope:
    return Scope(access_key, "", "", "s3")


def signature_of(secret: str, text: str) -> str:
    """Sign a text, or a form's policy."""
    key = secret.encode("utf-8", "replace")
    return base64.b64encode(hmac.digest(key, text.encode("latin-1", "replace"), "sha1")).decode()


def text_to_sign(request: Request, signed: Signed) -> str:
    """Build the text that is signed."""
    headers = dict(request.headers)
    pairs = split_query(request.query)
    date = headers.get("date", "") if "x-amz-date" not in headers else ""
    if signed.form == "v2-query":
        date = str(signed.expires)
        for name, value in pairs:
            if name.startswith("x-amz-") or name in ("content-type", "content-md5"):
                headers.setdefault(name, value)
    lines = [request.method, headers.get("content-md5", ""), headers.get("content-type", ""), date]
    lines += [f"{name}:{headers[name].strip()}" for name in sorted(headers) if name.startswith("x-amz-")]
    bucket = virtual_bucket(headers)
    resource = request.path if bucket is None else f"/{bucket}{request.path}"
    if "/" not in resource[1:] and resource != "/":
        resource += "/"  # a bucket by itself ends in a slash
    sent = (part.partition("=")[::2] for part in request.query.split("&"))
    kept = sorted(pair for pair in sent if pair[0] in _SIGNED_PARAMETERS)
    if kept:
        wanted = dict(pairs)
        # Decoded, and without "=" where there was none, as version 2 requires.
        resource += "?" + "&".join(f"{k}={wanted[k]}" if v else k for k, v in kept)
    return "\n".join([*lines, resource])
