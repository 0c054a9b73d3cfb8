"""The strict endpoint: it takes what botocore signs, and refuses everything else in the words AWS uses."""

from __future__ import annotations

import email.utils
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, ConnectionClosedError
from hypothesis import given
from hypothesis import strategies as st

from skewguard.testing import DROP, Canned, FakeClocks, Fault, Record, StrictEndpoint, steady_utc
from skewguard.testing.aws import chunks, sigv4
from skewguard.testing.endpoint import ACCESS_KEY, SECRET_KEY

ROOT = Path(__file__).parent.parent
ONCE = Config(retries={"total_max_attempts": 1})
GRAMMAR = re.compile(
    r"Signature (expired|not yet current): (\w+) is (now earlier|still later) than (\w+) \((\w+) ([-+]) (\d+) min\.\)"
)
PYTHON_SIGNERS = {
    "v4": "SigV4Auth",
    "v4-query": "SigV4QueryAuth",
    "s3v4": "S3SigV4Auth",
    "s3v4-query": "S3SigV4QueryAuth",
}


def client(endpoint: StrictEndpoint, service: str, **more: Any) -> Any:
    return boto3.client(service, **{**endpoint.client_kwargs, "config": ONCE, **more})


@pytest.fixture(params=["python", "crt"])
def signer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test with botocore's own signers and, where it is installed, with the CRT's."""
    maps = botocore.auth.AUTH_TYPE_MAPS
    if request.param == "crt":
        pytest.importorskip("awscrt")
        from botocore.crt.auth import CRT_AUTH_TYPE_MAPS

        for name, signer_class in CRT_AUTH_TYPE_MAPS.items():
            monkeypatch.setitem(maps, name, signer_class)
    else:
        for name, class_name in PYTHON_SIGNERS.items():
            monkeypatch.setitem(maps, name, getattr(botocore.auth, class_name))


@pytest.fixture
def endpoint() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        yield running


CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "sts": ("GetCallerIdentity", lambda c: c.get_caller_identity()),
    "iam": ("ListAccountAliases", lambda c: c.list_account_aliases()),
    "dynamodb": ("ListTables", lambda c: c.list_tables()),
    "kms": ("ListKeys", lambda c: c.list_keys()),
    "lambda": ("ListFunctions", lambda c: c.list_functions()),
    "glacier": ("ListVaults", lambda c: c.list_vaults()),
    "ec2": ("DescribeRegions", lambda c: c.describe_regions()),
    "route53": ("ListHostedZones", lambda c: c.list_hosted_zones()),
    "cloudwatch": ("ListMetrics", lambda c: c.list_metrics()),
    "s3": ("ListBuckets", lambda c: c.list_buckets()),
}
# service: (minutes tolerated, status, code when skewed or wrongly signed)
REFUSALS = {
    "sts": (15, 403, "SignatureDoesNotMatch"),
    "iam": (5, 403, "SignatureDoesNotMatch"),
    "dynamodb": (15, 400, "InvalidSignatureException"),
    "kms": (5, 400, "InvalidSignatureException"),
    "lambda": (5, 403, "InvalidSignatureException"),
    "glacier": (5, 403, "InvalidSignatureException"),
    "ec2": (5, 401, "AuthFailure"),
    "route53": (5, 403, "SignatureDoesNotMatch"),
    "cloudwatch": (5, 400, "InvalidSignatureException"),
    "s3": (15, 403, "RequestTimeTooSkewed"),
}
if boto3.client("cloudwatch", region_name="us-east-1").meta.service_model.protocol == "query":  # an older botocore's
    REFUSALS["cloudwatch"] = (5, 403, "SignatureDoesNotMatch")


def refused(call: Callable[[], Any]) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    return (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"])


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


class Raw:
    """A request signed by botocore, then sent byte for byte, tampered with or not."""

    def __init__(
        self, endpoint: StrictEndpoint, service: str = "sts", method: str = "POST", path: str = "/", body: bytes = b"x"
    ) -> None:
        self.endpoint = endpoint
        request = AWSRequest(method, endpoint.url + path, {"X-Amz-Meta-Note": "two  words"}, body)
        if service != "s3":
            request.headers["Content-Type"] = "application/x-www-form-urlencoded"
        kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        kind(Credentials(ACCESS_KEY, SECRET_KEY), service, "us-east-1").add_auth(request)
        self.method, self.path, self.body = method, path, body
        self.headers = dict(request.headers.items())

    def send(self) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=10)
        try:
            connection.request(self.method, self.path, self.body, self.headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def freeze(endpoint: StrictEndpoint, after: float, record: Record | Raw) -> None:
    """Stop the server's clock some seconds after a request was signed."""
    if isinstance(record, Raw):
        signed = sigv4.parse_time(record.headers["X-Amz-Date"])
        assert signed is not None
    else:
        assert record.signed_at is not None
        signed = record.signed_at // 10**9
    endpoint.clock = lambda: signed * 10**9 + round(after * 10**9)


# What botocore signs is accepted


@pytest.mark.parametrize("service", CALLS)
def test_accepts_every_dialect(endpoint: StrictEndpoint, signer: None, service: str) -> None:
    CALLS[service][1](client(endpoint, service))
    (record,) = endpoint.requests
    assert (record.status, record.code, record.service, record.access_key) == (
        200,
        "",
        {"cloudwatch": "monitoring"}.get(service, service),
        ACCESS_KEY,
    )
    assert record.signed_at is not None
    assert abs(record.signed_at - record.received_at) < 60e9
    if service not in ("iam", "glacier", "route53"):
        assert record.operation == CALLS[service][0]


KEYS = [
    "plain",
    "a b",
    "a+b",
    "ü/ö/雪",
    "a//b",
    "./a/../b",
    "~-_.!'()*",
    "&=?#%;:@$,",
    "%41",
    "a%2Fb",
    "tail/",
    '<"\\>',
]


@pytest.mark.parametrize("secure", [False, True], ids=["http", "tls"])
@pytest.mark.parametrize("style", ["path", "virtual"])
def test_s3_keys_styles_and_bodies(tls_endpoint: StrictEndpoint, signer: None, style: str, secure: bool) -> None:
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


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request(method, parts.path + "?" + parts.query, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_presigned_urls(endpoint: StrictEndpoint, signer: None) -> None:
    s3 = client(endpoint, "s3", config=Config(signature_version="s3v4"))
    s3.create_bucket(Bucket="signed")
    where = {"Bucket": "signed", "Key": "a b/ü+&"}
    put = s3.generate_presigned_url("put_object", where, ExpiresIn=300)
    get = s3.generate_presigned_url("get_object", {**where, "ResponseContentType": "text/x y"}, ExpiresIn=300)
    assert fetch(put, "PUT", b"hello")[0] == 200
    assert fetch(get) == (200, "hello")
    assert fetch(get, "HEAD")[0] == 403  # signed for GET
    assert "SignatureDoesNotMatch" in fetch(get.replace("text", "test"))[1]
    assert "SignatureDoesNotMatch" in fetch(get + "&more=1")[1]
    (first, *_) = [record for record in endpoint.requests if record.operation == "PutObject"]
    assert first.signed_at is not None

    freeze(endpoint, 299, first)
    assert fetch(put, "PUT", b"hello")[0] == 200
    freeze(endpoint, 300, first)
    status, body = fetch(put, "PUT", b"hello")
    assert (status, endpoint.requests[-1].code) == (403, "AccessDenied")
    assert re.search(
        r"<Message>Request has expired</Message><X-Amz-Expires>300</X-Amz-Expires>"
        r"<Expires>[-\dT:]+Z</Expires><ServerTime>[-\dT:]+Z</ServerTime>",
        body,
    )
    freeze(endpoint, -899, first)
    assert fetch(put, "PUT", b"hello")[0] == 200
    freeze(endpoint, -900, first)
    status, body = fetch(put, "PUT", b"hello")
    assert status == 403
    assert "<Message>Request is not yet valid</Message>" in body
    assert f"<X-Amz-Date>{first.signed_at // 10**6}</X-Amz-Date>" in body


def test_presigned_sts(endpoint: StrictEndpoint, signer: None) -> None:
    url = client(endpoint, "sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    assert fetch(url)[0] == 200
    freeze(endpoint, 899, endpoint.requests[0])  # STS holds to its own window
    assert fetch(url)[0] == 200
    freeze(endpoint, 900, endpoint.requests[0])
    assert "Signature expired" in fetch(url)[1]


def upload(form: dict[str, Any], file: bytes, **change: str) -> tuple[int, str]:
    lines = []
    for name, value in {**form["fields"], **change}.items():
        lines.append(f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    lines.append(
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n' + file + b"\r\n"
    )
    body = b"".join(lines) + b"--frontier--\r\n"
    return fetch(form["url"], "POST", body, **{"Content-Type": "multipart/form-data; boundary=frontier"})


def test_posted_forms(endpoint: StrictEndpoint) -> None:
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


@pytest.mark.parametrize("style", ["path", "virtual"])
def test_version_2_signatures(style: str) -> None:
    """botocore's default for URLs and forms in us-east-1 is the old signature."""
    url = "http://s3.amazonaws.com"
    with StrictEndpoint() as endpoint, endpoint.as_aws():
        config = Config(signature_version="s3", s3={"addressing_style": style}, retries={"total_max_attempts": 1})
        s3 = client(endpoint, "s3", endpoint_url=url, config=config)
        s3.create_bucket(Bucket="old-style")
        where = {"Bucket": "old-style", "Key": "a b/ü+&"}
        s3.put_object(**where, Body=b"hello", Metadata={"note": "1"})
        assert s3.list_objects_v2(Bucket="old-style")["KeyCount"] == 1
        get = s3.generate_presigned_url("get_object", {**where, "ResponseContentType": "text/x y"}, ExpiresIn=300)
        assert "AWSAccessKeyId=" in get
        assert fetch(get) == (200, "hello")
        assert "SignatureDoesNotMatch" in fetch(get.replace("text", "test"))[1]
        assert "SignatureDoesNotMatch" in fetch(re.sub(r"Expires=\d", "Expires=3", get))[1]
        form = s3.generate_presigned_post("old-style", "in/${filename}", ExpiresIn=600)
        assert "signature" in form["fields"]
        assert upload(form, b"hello")[0] == 204
        assert "SignatureDoesNotMatch" in upload(form, b"hello", signature="no")[1]
        wrong = client(endpoint, "s3", endpoint_url=url, config=config, aws_secret_access_key="wrong")
        assert refused(wrong.list_buckets)[1] == "SignatureDoesNotMatch"
        endpoint.offset = 301
        assert "<Message>Request has expired</Message>" in fetch(get)[1]
        endpoint.offset = 3600
        with pytest.raises(ClientError) as caught:
            s3.list_buckets()
        error, sent = (caught.value.response["Error"], endpoint.requests[-1].headers["date"])
        assert (error["Code"], error["RequestTime"]) == ("RequestTimeTooSkewed", sent)
        assert "Policy expired" in upload(form, b"hello")[1]


def test_services_keep_what_they_are_told(endpoint: StrictEndpoint) -> None:
    dynamo = client(endpoint, "dynamodb")
    dynamo.put_item(TableName="t", Item={"k": {"S": "1"}, "v": {"N": "5"}})
    assert dynamo.get_item(TableName="t", Key={"k": {"S": "1"}})["Item"]["v"] == {"N": "5"}
    assert "Item" not in dynamo.get_item(TableName="t", Key={"k": {"S": "2"}})
    assert dynamo.list_tables()["TableNames"] == ["t"]
    sent = client(endpoint, "sqs").send_message(QueueUrl=endpoint.url + "/123456789012/q", MessageBody="grüß")
    assert sent["MessageId"]  # botocore has compared the MD5
    assert client(endpoint, "lambda").list_functions()["Functions"] == []
    ec2 = client(endpoint, "ec2")
    assert "us-east-1" in [region["RegionName"] for region in ec2.describe_regions()["Regions"]]
    assert ec2.describe_instances()["Reservations"] == []


def test_temporary_credentials(endpoint: StrictEndpoint, signer: None) -> None:
    sts = client(endpoint, "sts")
    given = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/test", RoleSessionName="test", DurationSeconds=900)[
        "Credentials"
    ]
    keys = {"aws_access_key_id": given["AccessKeyId"], "aws_secret_access_key": given["SecretAccessKey"]}
    good = client(endpoint, "sts", **keys, aws_session_token=given["SessionToken"])
    assert good.get_caller_identity()["Arn"].endswith("assumed-role/test/test")
    bad = client(endpoint, "sts", **keys, aws_session_token="another")
    assert refused(bad.get_caller_identity)[1] == "InvalidClientTokenId"
    s3 = client(endpoint, "s3", **keys, aws_session_token=given["SessionToken"])
    s3.list_buckets()
    # Expiry is judged by the server's clock: here just past the 15 minutes, on a client as far ahead.
    endpoint.add_credentials(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], int(time.time()) - 1
    )
    assert refused(good.get_caller_identity)[1] == "ExpiredToken"
    assert refused(s3.list_buckets)[:2] == (400, "ExpiredToken")


def test_unsigned(endpoint: StrictEndpoint) -> None:
    web = boto3.client("sts", endpoint_url=endpoint.url, region_name="us-east-1", config=ONCE)
    given = web.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::123456789012:role/test", RoleSessionName="test", WebIdentityToken="t" * 4
    )
    assert given["Credentials"]["AccessKeyId"].startswith("ASIA")
    status, body = fetch(endpoint.url + "/bucket/key")
    assert (status, "<Code>AccessDenied</Code>" in body) == (403, True)
    assert fetch(endpoint.url + "/", "POST", b"{}", **{"X-Amz-Target": "DynamoDB_20120810.ListTables"})[0] == 400


# What was tampered with is refused


@pytest.mark.parametrize("service", CALLS)
def test_wrong_secret_and_unknown_key(endpoint: StrictEndpoint, signer: None, service: str) -> None:
    _, status, code = REFUSALS[service]
    wrong = refused(lambda: CALLS[service][1](client(endpoint, service, aws_secret_access_key="wrong")))
    assert wrong[0] == status
    if service == "ec2":
        assert wrong[1:] == ("AuthFailure", "AWS was not able to validate the provided access credentials")
    else:
        assert wrong[1] == ("SignatureDoesNotMatch" if service == "s3" else code)
        assert wrong[2].startswith("The request signature we calculated does not match the signature you provided.")
    unknown = refused(lambda: CALLS[service][1](client(endpoint, service, aws_access_key_id="AKIANOBODY")))
    names = {
        "s3": "InvalidAccessKeyId",
        "ec2": "AuthFailure",
        "sts": "InvalidClientTokenId",
        "iam": "InvalidClientTokenId",
    }
    assert unknown[:2] == (status, names.get(service, unknown[1]))
    assert unknown[1] in {*names.values(), "UnrecognizedClientException"}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("side", [1, -1], ids=["slow", "fast"])
def test_skew_in_every_dialect(endpoint: StrictEndpoint, service: str, side: int) -> None:
    call = CALLS[service][1]
    minutes, status, code = REFUSALS[service]
    api = client(endpoint, service)
    endpoint.offset = side * (minutes * 60 - 5)
    call(api)
    endpoint.offset = side * (minutes * 60 + 5)
    told = refused(lambda: call(api))
    record = endpoint.requests[-1]
    assert told[:2] == (status, code) == (record.status, record.code)
    if service == "ec2":
        assert told[2] == "AWS was not able to validate the provided access credentials"
    elif service == "s3":
        assert told[2] == "The difference between the request time and the current time is too large."
    else:
        parsed = GRAMMAR.fullmatch(told[2])
        assert parsed is not None
        a, b, c = (sigv4.parse_time(parsed[n]) for n in (2, 4, 5))
        assert a is not None
        assert b is not None
        assert c is not None
        assert (parsed[1], parsed[6], int(parsed[7])) == (
            ("expired", "-", minutes) if side > 0 else ("not yet current", "+", minutes)
        )
        assert b == c - side * minutes * 60
        assert a * 10**9 == record.signed_at
        assert c == record.received_at // 10**9


@pytest.mark.parametrize(("service", "limit"), [("sts", 900), ("s3", 900), ("ses", 300)])
@pytest.mark.parametrize("side", [1, -1], ids=["slow", "fast"])
def test_the_edge_is_refused(endpoint: StrictEndpoint, service: str, limit: int, side: int) -> None:
    raw = Raw(endpoint, service, "GET" if service == "s3" else "POST", body=b"")
    freeze(endpoint, side * limit, raw)
    assert raw.send()[0] == 403
    freeze(endpoint, side * (limit - 1), raw)
    assert raw.send()[0] == 200
    freeze(endpoint, side * limit - (0.001 if side > 0 else -1.0), raw)  # the server looks at whole seconds
    assert raw.send()[0] == 200
    endpoint.tolerance = 10
    assert raw.send()[0] == 403


def test_s3_skew_fields_and_head(endpoint: StrictEndpoint) -> None:
    s3 = client(endpoint, "s3")
    endpoint.offset = 3600
    with pytest.raises(ClientError) as caught:
        s3.list_buckets()
    error = caught.value.response["Error"]
    record = endpoint.requests[0]
    assert error["RequestTime"] == record.headers["x-amz-date"]
    assert error["ServerTime"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.received_at // 10**9))
    assert error["MaxAllowedSkewMilliseconds"] == "900000"
    assert refused(lambda: s3.head_bucket(Bucket="b-1"))[:2] == (403, "403")
    endpoint.explain = False
    with pytest.raises(ClientError) as caught:
        s3.list_buckets()
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"] or "", "ServerTime" in error) == ("RequestTimeTooSkewed", "", False)
    assert not refused(client(endpoint, "sts").get_caller_identity)[2]


@pytest.mark.parametrize("service", ["sts", "s3"])
def test_tampering(endpoint: StrictEndpoint, service: str) -> None:
    def fresh() -> Raw:
        if service == "s3":
            return Raw(endpoint, "s3", "PUT", "/tamper/a%20b?x=1&prefix")
        return Raw(endpoint, "sts", "POST", "/?Action=GetCallerIdentity&z=%20")

    client(endpoint, "s3").create_bucket(Bucket="tamper")
    assert fresh().send()[0] == 200
    changes: list[Callable[[Raw], None]] = [
        lambda raw: raw.headers.update({"X-Amz-Meta-Note": "other words"}),
        lambda raw: raw.headers.update({"Host": "sts.amazonaws.com"}),
        lambda raw: raw.headers.pop("X-Amz-Meta-Note") and None,
        lambda raw: setattr(raw, "path", raw.path + "1"),
        lambda raw: setattr(raw, "path", raw.path.replace("?", "a?")),
        lambda raw: setattr(raw, "method", "DELETE"),
        lambda raw: raw.headers.update({"Authorization": raw.headers["Authorization"][:-1] + "_"}),
        lambda raw: raw.headers.update(
            {"Authorization": raw.headers["Authorization"].replace("us-east-1", "us-east-2")}
        ),
        lambda raw: raw.headers.update({"Authorization": raw.headers["Authorization"].replace("host;", "")}),
    ]
    for number, change in enumerate(changes):
        raw = fresh()
        change(raw)
        status, body = raw.send()
        assert (status, "SignatureDoesNotMatch" in body) == (403, True), number
        assert "does not match the signature you provided" in body
    raw = fresh()
    raw.body = b"y"
    status, body = raw.send()
    expected = (400, "XAmzContentSHA256Mismatch") if service == "s3" else (403, "SignatureDoesNotMatch")
    assert (status, endpoint.requests[-1].code) == expected
    raw = fresh()
    raw.headers["Authorization"] = re.sub(r"/\d{8}/", "/20200101/", raw.headers["Authorization"])
    status, body = raw.send()
    expected = (400, "AuthorizationHeaderMalformed") if service == "s3" else (403, "SignatureDoesNotMatch")
    assert (status, endpoint.requests[-1].code) == expected
    assert "20200101" in body
    raw = fresh()  # headers that do not matter may change, be added, and have more spaces
    raw.headers |= {"User-Agent": "another", "X-Other": "1", "X-Amz-Meta-Note": " two   words "}
    assert raw.send()[0] == 200
    raw.headers["x-amz-acl"] = "public-read"
    assert raw.send()[0] == (403 if service == "s3" else 200)  # S3 alone wants every x-amz- header signed


def test_chunked_body_is_checked(tls_endpoint: StrictEndpoint) -> None:
    s3 = client(tls_endpoint, "s3")
    s3.create_bucket(Bucket="chunked")

    def spoil(request: Any, **_: Any) -> None:
        request.body._raw = io.BytesIO(b"other data!")

    def lie(request: Any, **_: Any) -> None:
        request.body = request.body.read().replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc32:AA")

    for damage, code in ((lie, "BadDigest"), (spoil, "IncompleteBody")):
        s3.meta.events.register("before-send.s3.PutObject", damage)
        told = refused(
            lambda: s3.put_object(Bucket="chunked", Key="k", Body=io.BytesIO(b"data"), ChecksumAlgorithm="CRC32")
        )
        assert told[:2] == (400, code)
        s3.meta.events.unregister("before-send.s3.PutObject", damage)


def test_signed_chunks() -> None:
    # The example of AWS's documentation: 66560 bytes of "a" in chunks of 64 KiB and 1 KiB.
    scope = sigv4.Scope("AKIAIOSFODNN7EXAMPLE", "20130524", "us-east-1", "s3")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    signed = sigv4.Signed("header", scope, "20130524T000000Z", 1369353600, (), seed, None)
    raw = b"".join(
        b"%x;chunk-signature=%s\r\n%s\r\n" % (size, signature, b"a" * size)
        for size, signature in (
            (65536, b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        )
    )
    headers = {"x-amz-content-sha256": sigv4.STREAMING_SIGNED, "x-amz-decoded-content-length": "66560"}
    assert chunks.decode(raw, headers, signed, SECRET_KEY).body == b"a" * 66560
    with pytest.raises(chunks.BadChunkSignature):
        chunks.decode(raw.replace(b"aaa\r\n", b"aab\r\n"), headers, signed, SECRET_KEY)


def test_order_of_checks() -> None:
    with StrictEndpoint(offset=3600) as date_first, StrictEndpoint(offset=3600, signature_first=True) as key_first:
        said = refused(client(date_first, "s3", aws_secret_access_key="wrong").list_buckets)
        assert said[1] == "RequestTimeTooSkewed"
        assert (
            refused(client(key_first, "s3", aws_secret_access_key="wrong").list_buckets)[1] == "SignatureDoesNotMatch"
        )
        assert refused(client(key_first, "s3").list_buckets)[1] == "RequestTimeTooSkewed"
        said = refused(client(key_first, "sts", aws_access_key_id="AKIANOBODY").get_caller_identity)
        assert said[1] == "InvalidClientTokenId"


def test_one_service_only() -> None:
    with StrictEndpoint(service="sts") as endpoint:
        client(endpoint, "sts").get_caller_identity()
        assert "correct service: 'sts'" in refused(client(endpoint, "sns").list_topics)[2]


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


# Knobs


def test_script(endpoint: StrictEndpoint) -> None:
    sts, dynamo, ec2, s3 = (client(endpoint, name) for name in ("sts", "dynamodb", "ec2", "s3"))
    endpoint.fail_next("AccessDenied", "no", times=4)
    assert refused(sts.get_caller_identity) == (403, "AccessDenied", "no")
    assert refused(dynamo.list_tables) == (400, "AccessDeniedException", "no")
    assert refused(ec2.describe_regions) == (403, "UnauthorizedOperation", "no")
    assert refused(s3.list_buckets) == (403, "AccessDenied", "no")
    endpoint.fail_next("ValidationException")
    assert refused(dynamo.list_tables)[1] == "ValidationException"
    endpoint.script(None, Fault("Throttling", status=429), DROP, Canned(503, {"Date": "never", "X-A": "b"}, b""))
    sts.get_caller_identity()
    assert refused(sts.get_caller_identity)[:2] == (429, "Throttling")
    with pytest.raises(ConnectionClosedError):
        sts.get_caller_identity()
    with pytest.raises(ClientError) as caught:
        sts.get_caller_identity()
    headers = caught.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["date"], headers["x-a"]) == ("never", "b")
    sts.get_caller_identity()
    assert [record.status for record in endpoint.requests[-5:]] == [200, 429, 0, 503, 200]
    assert endpoint.count == 10
    endpoint.fail_next("AccessDenied")
    endpoint.clear()
    sts.get_caller_identity()
    assert endpoint.count == len(endpoint.requests) == 1


def test_dates(endpoint: StrictEndpoint) -> None:
    def dates() -> tuple[list[str], list[str]]:
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.headers.get_all("Date", []), answer.headers.get_all("Age", [])

    endpoint.clock = lambda: 1_700_000_000 * 10**9 + 999_999_999
    honest = email.utils.formatdate(1_700_000_000, usegmt=True)
    assert dates() == ([honest], [])
    endpoint.offset = -10
    assert dates() == ([email.utils.formatdate(1_699_999_990, usegmt=True)], [])
    endpoint.offset = 0
    for mode, expected in {
        "omit": ([], []),
        "duplicate": ([honest, email.utils.formatdate(1_700_003_600, usegmt=True)], []),
        "cached": ([email.utils.formatdate(1_700_000_000 - 17_280, usegmt=True)], ["17280"]),
        "no date at all": (["no date at all"], []),
    }.items():
        endpoint.date_mode = mode
        assert dates() == expected
    endpoint.date_mode = str
    assert dates() == (["1700000000999999999"], [])
    endpoint.date_mode = lambda ns: None
    assert dates() == ([], [])


def test_delays(endpoint: StrictEndpoint) -> None:
    sts = client(endpoint, "sts")
    start = time.monotonic()
    endpoint.delay = 0.2
    sts.get_caller_identity()
    assert time.monotonic() - start >= 0.2
    endpoint.delay = 0
    endpoint.inbound_delay = 1.2
    endpoint.tolerance = 1
    assert "Signature expired" in refused(sts.get_caller_identity)[2]

    endpoint.delay = 60
    endpoint.inbound_delay = 0
    raw = Raw(endpoint)

    def cut_off() -> None:
        with pytest.raises((OSError, http.client.HTTPException)):
            raw.send()

    waiting = threading.Thread(target=cut_off)
    waiting.start()
    time.sleep(0.1)
    start = time.monotonic()
    endpoint.stop()
    assert time.monotonic() - start < 2
    waiting.join()


def test_as_aws(tls_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:1")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    before = dict(os.environ), socket.getaddrinfo, socket.socket.connect
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    with StrictEndpoint() as plain, plain.as_aws(), tls_endpoint.as_aws():
        for region in ("us-east-1", "eu-west-3", "cn-north-1"):
            boto3.client("sts", region_name=region, **keys, config=ONCE).get_caller_identity()
            boto3.client("ec2", region_name=region, **keys, config=ONCE).describe_regions()
            boto3.client("s3", region_name=region, **keys, config=ONCE).list_buckets()
        boto3.client("sts", region_name="us-east-1", **keys, use_ssl=False, config=ONCE).get_caller_identity()
        assert plain.count == 1
        assert tls_endpoint.requests[-1].host == "s3.cn-north-1.amazonaws.com.cn"
        for host, port in (("example.com", 443), ("sts.amazonaws.com", 22), ("169.254.169.254", 80), ("8.8.8.8", 53)):
            with pytest.raises(OSError, match="not reachable inside"):
                socket.create_connection((host, port), 1).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(OSError, match="not reachable inside"):
                datagrams.sendto(b"", ("192.0.2.1", 123))
            with pytest.raises(OSError, match="not reachable inside"):
                datagrams.connect(("pool.ntp.org", 123))
        socket.create_connection(("localhost", plain.port), 5).close()
    assert (dict(os.environ), socket.getaddrinfo, socket.socket.connect) == before
    assert "connect" not in vars(socket.socket)


def test_lifecycle() -> None:
    endpoint = StrictEndpoint(credentials={"AK": "sk"})
    with pytest.raises(RuntimeError, match="not running"):
        endpoint.url  # noqa: B018
    endpoint.stop()
    before = threading.active_count()
    for _ in range(2):
        assert endpoint.start() is endpoint is endpoint.start()
        client(endpoint, "sts").get_caller_identity()
        endpoint.stop()
        eventually(lambda: threading.active_count() <= before)
    assert [record.access_key for record in endpoint.requests] == ["AK", "AK"]
    with StrictEndpoint(tls=True) as secure:
        bundle = secure.ca_bundle
        assert bundle is not None
        assert Path(bundle).exists()
    assert not Path(bundle).exists()


def test_many_connections(endpoint: StrictEndpoint) -> None:
    raw = Raw(endpoint, body=b"Action=GetCallerIdentity&Version=2011-06-15")
    top = "".join(f"{name}: {value}\r\n" for name, value in raw.headers.items())
    message = f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{endpoint.port}\r\nContent-Length: {len(raw.body)}\r\n{top}\r\n"
    opened = [socket.create_connection(("127.0.0.1", endpoint.port), 30) for _ in range(500)]
    try:
        for _ in range(2):
            for one in opened:
                one.sendall(message.encode() + raw.body)
            assert all(one.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n") for one in opened)
        assert endpoint.count == 1000
        start = time.monotonic()
        endpoint.stop()
        assert time.monotonic() - start < 5
    finally:
        for one in opened:
            one.close()


# Rubbish


def exchange(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except TimeoutError:
            raise  # a hung server must not pass for one that hung up
        except OSError:
            return b""


BAD = {
    "noise": b"\x16\x03\x01\x00\xff\x00\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "future version": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no slash": b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "huge": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
    "cut off": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    "head cut off": b"POST / HTTP/1.1\r\nHost: a\r\nCont",
    "both framings": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunk end": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
    "chunk huge": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    "long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "long header": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_requests(endpoint: StrictEndpoint, case: str) -> None:
    answer = exchange(endpoint.port, BAD[case])
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert Raw(endpoint).send()[0] == 200


HEAD = b"POST /b/k?X-Amz-Date=1&a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabcdefghi"
PIECES = st.sampled_from(
    [
        b"Authorization: ",
        sigv4.ALGORITHM.encode() + b" ",
        b"Credential=A/20260101/r/s3/aws4_request, ",
        b"Signature=a, ",
        b"SignedHeaders=host, ",
        b"X-Amz-Date: 20260101T000000Z",
        b"\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n\r\n",
        b"Content-Type: multipart/form-data; boundary=x\r\n",
        b"\r\n--x\r\n",
        b"--x--",
        b"Expect: 100-continue\r\n",
        b"\0",
        b"Content-Length: 5\r\n",
        b"0\r\n\r\n",
        b"X-Amz-Target: A.B\r\n",
        b"GET /?X-Amz-Signature=%ff HTTP/1.1\r\nHost: b\r\n",
    ]
)
REQUESTS = st.one_of(
    st.binary(max_size=300),
    st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=12).map(b"".join),
    st.tuples(st.integers(0, len(HEAD)), st.binary(max_size=9)).map(lambda t: HEAD[: t[0]] + t[1] + HEAD[t[0] :]),
    st.lists(PIECES, max_size=8).map(lambda parts: b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(parts) + b"\r\n\r\n"),
)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[StrictEndpoint]:
    with StrictEndpoint() as running:
        yield running


@given(REQUESTS)
def test_fuzz(fuzzed: StrictEndpoint, data: bytes) -> None:
    answer = exchange(fuzzed.port, data)
    assert answer == b"" or re.match(rb"HTTP/1\.1 [1234]\d\d ", answer), answer
    assert b"HTTP/1.1 500" not in answer


@given(st.text(), st.text(), st.text(), st.sampled_from(["s3", "sts", "lambda", "ec2", ""]), st.binary(max_size=100))
def test_fuzz_signed_parts(
    fuzzed: StrictEndpoint, stamp: str, credential: str, query: str, service: str, body: bytes
) -> None:
    """A request whose signature has the right outline and nothing right inside is refused, never a server error."""
    quoted = urllib.parse.quote(query, errors="replace")
    scope = urllib.parse.quote(credential or ACCESS_KEY, safe="", errors="replace")
    when = re.sub(r"[^\x20-\xff]", "?", stamp)[:50]
    rest = "SignedHeaders=host, Signature=0"
    lines = [
        f"PUT /{quoted}?{quoted}={quoted}&X-Amz-Date=1 HTTP/1.1",
        "Host: a",
        f"X-Amz-Date: {when}",
        f"Authorization: AWS4-HMAC-SHA256 Credential={scope}/20260101/r/{service}/aws4_request, {rest}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    answer = exchange(fuzzed.port, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
    assert re.match(rb"HTTP/1\.1 4\d\d ", answer), answer


def test_tls_rubbish(tls_endpoint: StrictEndpoint) -> None:
    exchange(tls_endpoint.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    exchange(tls_endpoint.port, b"")
    exchange(tls_endpoint.port, b"\x16\x03\x01\x02\x00")
    client(tls_endpoint, "sts").get_caller_identity()


# Clocks, fixture, documentation


def test_fake_clocks() -> None:
    clocks = FakeClocks(wall=100 * 10**9, steady=5 * 10**9)
    start = clocks.read()
    assert start == (clocks.steady, clocks.wall) == (5 * 10**9, 100 * 10**9)
    quick = clocks.quick_ns()
    clocks.advance(1.5)
    assert clocks.read() == (start.steady + 1_500_000_000, start.wall + 1_500_000_000)
    assert clocks.quick_ns() == quick + 1_500_000_000 != clocks.steady
    assert clocks.wall_ns() == clocks.wall
    clocks.step(-3600)
    clocks.sleep(2)
    assert clocks.read() == (start.steady + 3_500_000_000, start.wall + 3_500_000_000 - 3600 * 10**9)
    with pytest.raises(ValueError, match="backwards"):
        clocks.advance(-1)


def test_server_clock_outlives_fakes(endpoint: StrictEndpoint) -> None:
    time_machine = pytest.importorskip("time_machine")
    freezegun = pytest.importorskip("freezegun")
    endpoint.clock = steady_utc()
    true = time.time_ns()
    with time_machine.travel("2020-01-01"):
        assert abs(endpoint.now() - true) < 10e9
        assert "Signature expired: 20200101" in refused(client(endpoint, "sts").get_caller_identity)[2]
    with freezegun.freeze_time("2020-01-01"):
        assert abs(endpoint.now() - true) < 10e9


def test_plugin_and_documentation(tmp_path: Path) -> None:
    """The examples users are told to copy run as they stand, and loading the plugin loads next to nothing."""
    text = (ROOT / "docs" / "testing.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        (tmp_path / f"test_example_{number}.py").write_text(example)
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "-p",
        "skewguard.testing.plugin",
        "-p",
        "no:cacheprovider",
    ]
    command.append(str(tmp_path))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    code = "import skewguard.testing.plugin, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not {"skewguard.testing.endpoint", "trustme", "ssl", "boto3"} & loaded or "skewguard._api" in loaded
    assert "skewguard.testing.endpoint" not in loaded
