"""S3 in memory: keys, bodies, checksums, forms."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
from botocore.config import Config

from skewguard.testing import StrictEndpoint
from skewguard.testing.aws import chunks, sigv4
from skewguard.testing.endpoint import SECRET_KEY
from tests.endpoint.helpers import ONCE, client, refused, upload

KEYS = ["plain", "a b", "a+b", "ü/ö/雪", "a//b", "./a/../b", "~-_.!'()*", "&=?#%;:@$,"]
KEYS += ["%41", "a%2Fb", "tail/", '<"\\>']


@pytest.mark.parametrize("secure", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_s3_keys_styles_and_bodies(tls_endpoint: StrictEndpoint, signer: None, style: str, secure: bool) -> None:
    """Any key, in path or host, over http and TLS, with bodies read from memory and from streams."""
    with StrictEndpoint() as plain, plain.as_aws(), tls_endpoint.as_aws():
        endpoint = tls_endpoint if secure else plain
        url = f"http{'s' if secure else ''}://s3.us-east-1.amazonaws.com"
        config = ONCE.merge(Config(s3={"addressing_style": style}))
        s3 = client(endpoint, "s3", endpoint_url=url, config=config, verify=None)
        bucket = f"keys-{style}"
        s3.create_bucket(Bucket=bucket)
        for number, key in enumerate(KEYS):
            body = key.encode() * 50_000 if number % 2 else io.BytesIO(key.encode())
            s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"note": "two  words", "n": str(number)})
            found = s3.get_object(Bucket=bucket, Key=key)
            assert found["Body"].read() == key.encode() * (50_000 if number % 2 else 1)
            assert s3.head_object(Bucket=bucket, Key=key)["Metadata"]["n"] == str(number)
        listed = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="", StartAfter="")["Contents"]]
        assert listed == sorted(KEYS)
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 5})
        assert [one["Key"] for page in pages for one in page["Contents"]] == sorted(KEYS)
        grouped = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
        assert [one["Prefix"] for one in grouped["CommonPrefixes"]] == ["./", "a/", "tail/", "ü/"]
        for key in KEYS:
            s3.delete_object(Bucket=bucket, Key=key)
        s3.delete_bucket(Bucket=bucket)
        mine = [record for record in endpoint.requests if bucket in record.host + record.path]
        assert all(record.status < 300 for record in mine)
        assert all(record.host.startswith(bucket) == (style == "virtual") for record in mine)
        payloads = {record.headers.get("x-amz-content-sha256") for record in mine if record.operation == "PutObject"}
        assert (payloads == {sigv4.STREAMING_UNSIGNED_TRAILER}) == secure


def test_s3_multipart_copy_and_range(tls_endpoint: StrictEndpoint, signer: None) -> None:
    s3 = client(tls_endpoint, "s3")
    s3.create_bucket(Bucket="multi")
    data = os.urandom(17 * 1024 * 1024)
    s3.upload_fileobj(io.BytesIO(data), "multi", "big", ExtraArgs={"ContentType": "image/png"})
    s3.copy_object(Bucket="multi", Key="copy", CopySource={"Bucket": "multi", "Key": "big"})
    found = s3.get_object(Bucket="multi", Key="copy")
    assert found["Body"].read() == data
    assert found["ContentType"] == "image/png"
    assert s3.get_object(Bucket="multi", Key="big", Range="bytes=5-9")["Body"].read() == data[5:10]
    assert s3.get_object(Bucket="multi", Key="big", Range="bytes=-7")["Body"].read() == data[-7:]
    s3.delete_objects(Bucket="multi", Delete={"Objects": [{"Key": "big"}, {"Key": "copy"}]})
    assert "Contents" not in s3.list_objects_v2(Bucket="multi")


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_s3_checksums(tls_endpoint: StrictEndpoint, algorithm: str) -> None:
    if algorithm.startswith("CRC") and algorithm != "CRC32":
        pytest.importorskip("awscrt")
    s3 = client(tls_endpoint, "s3")
    s3.create_bucket(Bucket="sums")
    s3.put_object(Bucket="sums", Key="k", Body=io.BytesIO(b"data" * 1000), ChecksumAlgorithm=algorithm)


def test_s3_missing_things(endpoint: StrictEndpoint) -> None:
    s3 = client(endpoint, "s3")
    assert refused(lambda: s3.get_object(Bucket="none", Key="k"))[:2] == (404, "NoSuchBucket")
    s3.create_bucket(Bucket="some")
    assert refused(lambda: s3.get_object(Bucket="some", Key="k"))[:2] == (404, "NoSuchKey")
    assert refused(lambda: s3.head_object(Bucket="some", Key="k"))[:2] == (404, "404")
    assert refused(lambda: s3.get_bucket_tagging(Bucket="some"))[1] == "NotImplemented"


def test_posted_forms(endpoint: StrictEndpoint) -> None:
    """The policy's conditions, signature and expiry are checked."""
    s3 = client(endpoint, "s3", config=Config(signature_version="s3v4"))
    s3.create_bucket(Bucket="forms")
    form = s3.generate_presigned_post(
        "forms", "in/${filename}", Conditions=[["content-length-range", 1, 9]], ExpiresIn=600
    )
    assert upload(form, b"hello")[0] == 204
    assert s3.get_object(Bucket="forms", Key="in/f.txt")["Body"].read() == b"hello"
    assert "EntityTooLarge" in upload(form, b"hello" * 2)[1]
    assert "Extra input fields: x-amz-meta-a" in upload(form, b"hello", **{"x-amz-meta-a": "1"})[1]
    assert "Policy Condition failed" in upload(form, b"hello", key="out/f.txt")[1]
    assert "SignatureDoesNotMatch" in upload(form, b"hello", **{"x-amz-signature": "0" * 64})[1]
    assert "SignatureDoesNotMatch" in upload(form, b"hello", policy=form["fields"]["policy"][:-4] + "fQ==")[1]
    assert "InvalidAccessKeyId" in upload(form, b"x", **{"x-amz-credential": "AK/20200101/r/s3/aws4_request"})[1] or (
        "AuthorizationHeaderMalformed" in endpoint.requests[-1].code
    )
    endpoint.offset = 601
    status, body = upload(form, b"hello")
    assert (status, "Invalid according to Policy: Policy expired." in body) == (403, True)


def test_chunked_body_is_checked(tls_endpoint: StrictEndpoint) -> None:
    """A wrong trailing checksum, and a length other than announced."""
    s3 = client(tls_endpoint, "s3")
    s3.create_bucket(Bucket="chunked")

    def spoil(request: Any, **_: Any) -> None:
        request.body._raw = io.BytesIO(b"other data!")

    def lie(request: Any, **_: Any) -> None:
        request.body = request.body.read().replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc32:AA")

    for damage, code in ((lie, "BadDigest"), (spoil, "IncompleteBody")):
        s3.meta.events.register("before-send.s3.PutObject", damage)
        refusal = refused(
            lambda: s3.put_object(Bucket="chunked", Key="k", Body=io.BytesIO(b"data"), ChecksumAlgorithm="CRC32")
        )
        assert refusal[:2] == (400, code)
        s3.meta.events.unregister("before-send.s3.PutObject", damage)


def test_signed_chunks() -> None:
    """AWS's documented example: 66560 bytes of "a" in chunks of 64 KiB and 1 KiB."""
    scope = sigv4.Scope("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1", "s3")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signed = sigv4.Signed("header", scope, seed, None, "20130524T000000Z", 1369353600)
    raw = b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (size, signature, b"a" * size)
        for size, signature in (
            (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        )
    )
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "66560"}
    assert chunks.decode(raw, headers, signed, SECRET_KEY) == b"a" * 66560
    with pytest.raises(chunks.BadChunkSignature):
        chunks.decode(raw.replace(b"aaa\r\n", b"aab\r\n"), headers, signed, SECRET_KEY)


def test_refused_upload_keeps_its_body(endpoint: StrictEndpoint) -> None:
    """S3 refuses a waiting upload before it asks for the body, and closes the connection."""
    s3 = client(endpoint, "s3")
    s3.create_bucket(Bucket="waits")
    endpoint.offset = 3600
    for _ in range(3):
        assert refused(lambda: s3.put_object(Bucket="waits", Key="k", Body=b"x" * 300_000))[1] == "RequestTimeTooSkewed"
        assert endpoint.requests[-1].body == b""
    endpoint.offset = 0
    s3.put_object(Bucket="waits", Key="k", Body=b"x" * 300_000)
    assert len(endpoint.requests[-1].body) == 300_000
