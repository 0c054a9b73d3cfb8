"""S3 in memory: buckets, objects, multipart and form uploads."""

from __future__ import annotations

import email.utils
import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, unquote_to_bytes
from xml.sax.saxutils import escape

from skewguard.testing.aws import formats, post, sigv2, sigv4
from skewguard.testing.aws.dialects import Content, Problem
from skewguard.testing.aws.verifier import Claim

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_PART = re.compile(r"<PartNumber>(\d{1,5})</PartNumber>", re.ASCII)
_KEY = re.compile(r"<Key>(.*?)</Key>", re.DOTALL)
_NAME = re.compile(r"[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]", re.ASCII)
_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_MAY_BE_EMPTY = frozenset({"prefix", "delimiter", "marker", "start-after", "continuation-token"})


@dataclass(frozen=True)
class _Object:
    data: bytes
    etag: str
    headers: tuple[tuple[str, str], ...]
    modified: float


@dataclass
class _Upload:
    headers: tuple[tuple[str, str], ...]
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """The S3 operation that a request asks for."""

    name: str
    bucket: str
    key: str
    parameters: dict[str, str]


def parse(claim: Claim) -> Operation:
    """Parse bucket, key and operation from host, path and query."""
    request = claim.request
    virtual = sigv2.virtual_bucket(request.headers)
    path = unquote_to_bytes(request.path.encode("latin-1")).decode("utf-8", "replace")
    bucket, _, key = path.lstrip("/").partition("/") if virtual is None else (virtual, "", path[1:])
    parameters = dict(sigv4.split_query(request.query))
    return Operation(_name(request.method, bucket, key, parameters, claim), bucket, key, parameters)


def _name(method: str, bucket: str, key: str, parameters: dict[str, str], claim: Claim) -> str:
    if not bucket:
        return "ListBuckets" if method == "GET" else "Unknown"
    # A name without a value asks for a part of the bucket or object: ?location, ?uploads, ?tagging.
    bare = (name for name, value in parameters.items() if not value and name not in _MAY_BE_EMPTY)
    sub = "uploadId" if "uploadId" in parameters else next(bare, "")
    if claim.form is not None:
        return "PostObject"
    if not key:
        table = {
            ("GET", "location"): "GetBucketLocation",
            ("GET", "session"): "CreateSession",
            ("GET", ""): "ListObjectsV2" if parameters.get("list-type") == "2" else "ListObjects",
            ("PUT", ""): "CreateBucket",
            ("HEAD", ""): "HeadBucket",
            ("DELETE", ""): "DeleteBucket",
            ("POST", "delete"): "DeleteObjects",
        }
    else:
        copies = "x-amz-copy-source" in claim.request.headers
        table = {
            ("GET", ""): "GetObject",
            ("HEAD", ""): "HeadObject",
            ("PUT", ""): "CopyObject" if copies else "PutObject",
            ("DELETE", ""): "DeleteObject",
            ("POST", "uploads"): "CreateMultipartUpload",
            ("PUT", "uploadId"): "UploadPart",
            ("POST", "uploadId"): "CompleteMultipartUpload",
            ("DELETE", "uploadId"): "AbortMultipartUpload",
        }
    return table.get((method, sub), "Unknown")


class Buckets:
    """The buckets' state."""

    def __init__(self, temporary: Callable[[float, int], tuple[str, str, str, int]]) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, dict[str, _Object]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._temporary = temporary

    def fill(self, bucket: str, key: str, data: bytes, now: float) -> None:
        """Store an object, in a bucket that is made if there is none; `now` in seconds by the server's clock."""
        with self._lock:
            self._buckets.setdefault(bucket, {})[key] = _store(data, (), now)

    def serve(self, claim: Claim, operation: Operation, now: float) -> Content:
        """Serve an accepted request; `now` in seconds by the server's clock. Problem if there is nothing to serve."""
        with self._lock:
            if operation.name == "ListBuckets":
                names = "".join(f"<Bucket><Name>{escape(b)}</Name></Bucket>" for b in sorted(self._buckets))
                return _xml("ListAllMyBucketsResult", f"<Buckets>{names}</Buckets>")
            if operation.name == "CreateBucket":
                if not _NAME.fullmatch(operation.bucket):
                    raise Problem("InvalidBucketName", "The specified bucket is not valid.", status=400)
                self._buckets.setdefault(operation.bucket, {})
                return Content(200, (("Location", "/" + operation.bucket),))
            if operation.name == "CreateSession":
                return self._session(now)
            objects = self._buckets.get(operation.bucket)
            if objects is None:
                text = "The specified bucket does not exist"
                raise Problem("NoSuchBucket", text, {"BucketName": operation.bucket}, 404)
            if operation.key or operation.name == "PostObject":
                return self._object(claim, operation, objects, now)
            return self._bucket(claim, operation, objects)

    def _bucket(self, claim: Claim, operation: Operation, objects: dict[str, _Object]) -> Content:
        if operation.name == "HeadBucket":
            return Content(200, (("x-amz-bucket-region", claim.signed.scope.region if claim.signed else "us-east-1"),))
        if operation.name == "GetBucketLocation":
            return _xml("LocationConstraint", "")
        if operation.name in ("ListObjects", "ListObjectsV2"):
            return _listing(operation, objects)
        if operation.name == "DeleteBucket":
            if objects:
                raise Problem("BucketNotEmpty", "The bucket you tried to delete is not empty", status=409)
            del self._buckets[operation.bucket]
            return Content(204)
        if operation.name == "DeleteObjects":
            for key in _KEY.findall(claim.body.decode("utf-8", "replace")):
                objects.pop(key, None)
            return _xml("DeleteResult", "")
        raise _not_offered()

    def _object(self, claim: Claim, operation: Operation, objects: dict[str, _Object], now: float) -> Content:
        kept = _kept(claim.request.headers)
        if operation.name == "PutObject":
            stored = objects[operation.key] = _store(claim.body, kept, now)
            return Content(200, (("ETag", stored.etag),))
        if operation.name == "PostObject" and claim.form is not None:
            return _post(operation.bucket, claim.form, objects, now)
        if operation.name in ("GetObject", "HeadObject"):
            return _get(claim, operation, objects)
        if operation.name == "CopyObject":
            source = unquote(claim.request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
            original = self._buckets.get(source[0], {}).get(source[2])
            if original is None:
                raise _no_such_key(source[2])
            objects[operation.key] = _store(original.data, original.headers, now)
            made = f"<ETag>{original.etag}</ETag><LastModified>{formats.iso(int(now))}</LastModified>"
            return _xml("CopyObjectResult", made)
        if operation.name == "DeleteObject":
            objects.pop(operation.key, None)
            return Content(204)
        if operation.name == "CreateMultipartUpload":
            upload_id = secrets.token_hex(16)
            self._uploads[upload_id] = _Upload(kept)
            made = _where(operation.bucket, operation.key) + f"<UploadId>{upload_id}</UploadId>"
            return _xml("InitiateMultipartUploadResult", made)
        return self._multipart(claim, operation, objects, now)

    def _multipart(self, claim: Claim, operation: Operation, objects: dict[str, _Object], now: float) -> Content:
        upload = self._uploads.get(operation.parameters.get("uploadId", ""))
        if upload is None:
            if "uploadId" not in operation.parameters:
                raise _not_offered()
            text = "The specified upload does not exist. The upload ID may be invalid."
            raise Problem("NoSuchUpload", text, status=404)
        if operation.name == "UploadPart":
            number = operation.parameters.get("partNumber", "")
            if not number.isascii() or not number.isdigit() or not 1 <= int(number[:6]) <= 10_000:
                raise Problem("InvalidArgument", "Part number must be between 1 and 10000", status=400)
            upload.parts[int(number)] = claim.body
            return Content(200, (("ETag", _etag(claim.body)),))
        del self._uploads[operation.parameters["uploadId"]]
        if operation.name == "AbortMultipartUpload":
            return Content(204)
        numbers = [int(n) for n in _PART.findall(claim.body.decode("utf-8", "replace"))]
        if not numbers or any(n not in upload.parts for n in numbers):
            raise Problem("InvalidPart", "One or more of the specified parts could not be found.", status=400)
        stored = objects[operation.key] = _store(b"".join(upload.parts[n] for n in numbers), upload.headers, now)
        made = _where(operation.bucket, operation.key) + f"<ETag>{stored.etag}</ETag>"
        return _xml("CompleteMultipartUploadResult", made)

    def _session(self, now: float) -> Content:
        access, secret, token, until = self._temporary(now, 300)
        given = f"<SessionToken>{token}</SessionToken><SecretAccessKey>{secret}</SecretAccessKey>"
        given += f"<AccessKeyId>{access}</AccessKeyId><Expiration>{formats.iso(until)}</Expiration>"
        return _xml("CreateSessionResult", f"<Credentials>{given}</Credentials>")


def _kept(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((k, v) for k, v in headers.items() if k == "content-type" or k.startswith("x-amz-meta-"))


def _where(bucket: str, key: str) -> str:
    return f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _store(data: bytes, headers: tuple[tuple[str, str], ...], now: float) -> _Object:
    return _Object(data, _etag(data), headers, now)


def _xml(name: str, inner: str) -> Content:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{_XMLNS}">{inner}</{name}>'
    return Content(200, (("Content-Type", "application/xml"),), text.encode("utf-8", "replace"))


def _not_offered() -> Problem:
    return Problem("NotImplemented", "This test server does not offer that operation.", status=501)


def _no_such_key(key: str) -> Problem:
    return Problem("NoSuchKey", "The specified key does not exist.", {"Key": key}, 404)


def _get(claim: Claim, operation: Operation, objects: dict[str, _Object]) -> Content:
    stored = objects.get(operation.key)
    if stored is None:
        raise _no_such_key(operation.key)
    when = email.utils.formatdate(int(stored.modified), usegmt=True)
    headers = (("ETag", stored.etag), ("Last-Modified", when), ("Accept-Ranges", "bytes"), *stored.headers)
    data = stored.data
    wanted = _RANGE.fullmatch(claim.request.headers.get("range", ""))
    if wanted is None or wanted[1] + wanted[2] == "":
        return Content(200, headers, data)
    start = int(wanted[1]) if wanted[1] else max(0, len(data) - int(wanted[2]))
    stop = min(int(wanted[2]) + 1, len(data)) if wanted[1] and wanted[2] else len(data)
    if start >= stop:
        raise Problem("InvalidRange", "The requested range is not satisfiable", status=416)
    return Content(206, (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")), data[start:stop])


def _listing(operation: Operation, objects: dict[str, _Object]) -> Content:
    prefix, delimiter = operation.parameters.get("prefix", ""), operation.parameters.get("delimiter", "")
    after = (
        operation.parameters.get("continuation-token")
        or operation.parameters.get("start-after")
        or operation.parameters.get("marker", "")
    )
    limit = operation.parameters.get("max-keys", "1000")
    count = min(1000, int(limit)) if limit.isascii() and limit.isdigit() and len(limit) < 9 else 1000
    url = operation.parameters.get("encoding-type") == "url"
    shown: list[str] = []
    groups: set[str] = set()
    last, cut = "", False
    for key in sorted(objects):
        if not key.startswith(prefix) or key <= after or (after.endswith(delimiter or "\0") and key.startswith(after)):
            continue
        rest = key[len(prefix) :]
        group = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
        if group in groups:
            continue
        if len(shown) == count:
            cut = True
            break
        last = group or key
        text = quote(last, safe="/") if url else escape(last)
        if group:
            groups.add(group)
            shown.append(f"<CommonPrefixes><Prefix>{text}</Prefix></CommonPrefixes>")
        else:
            one = objects[key]
            size = f"<ETag>{one.etag}</ETag><Size>{len(one.data)}</Size>"
            when = formats.iso(int(one.modified)).replace("Z", ".000Z")
            shown.append(f"<Contents><Key>{text}</Key><LastModified>{when}</LastModified>{size}</Contents>")
    name = f"<Name>{escape(operation.bucket)}</Name><KeyCount>{len(shown)}</KeyCount><MaxKeys>{count}</MaxKeys>"
    more = f"<IsTruncated>{str(cut).lower()}</IsTruncated>"
    if cut:
        tag = "NextContinuationToken" if operation.name == "ListObjectsV2" else "NextMarker"
        more += f"<{tag}>{escape(last)}</{tag}>"
    if url:
        more += "<EncodingType>url</EncodingType>"
    return _xml("ListBucketResult", name + more + "".join(shown))


def _post(bucket: str, sent: post.Form, objects: dict[str, _Object], now: float) -> Content:
    if "policy" in sent.fields:
        post.check_policy(sent, bucket, now)
    key = sent.fields.get("key", "").replace("${filename}", sent.filename)
    if not key:
        raise Problem("InvalidArgument", "Bucket POST must contain a field named 'key'.", status=400)
    stored = objects[key] = _store(sent.file, _kept(sent.fields), now)
    if sent.fields.get("success_action_status") in ("200", "201"):
        return replace(
            _xml("PostResponse", _where(bucket, key) + f"<ETag>{escape(stored.etag)}</ETag>"),
            status=int(sent.fields["success_action_status"]),
        )
    return Content(204, (("ETag", stored.etag),))
