"""Signatures in headers and URLs, and what happens to them when a request is changed."""

from __future__ import annotations

import re
from collections.abc import Callable

import boto3
import pytest
from botocore.config import Config

from skewguard.testing import StrictEndpoint
from tests.endpoint.helpers import ONCE, Raw, client, fetch, freeze, refusal, refused, upload


def test_presigned_urls(endpoint: StrictEndpoint, signer: None) -> None:
    """They are valid from 15 minutes before their date until they expire, for one method and one query."""
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
    """STS keeps to 15 minutes, whatever the URL says."""
    url = client(endpoint, "sts").generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
    assert fetch(url)[0] == 200
    freeze(endpoint, 899, endpoint.requests[0])  # STS holds to its own window
    assert fetch(url)[0] == 200
    freeze(endpoint, 900, endpoint.requests[0])
    assert "Signature expired" in fetch(url)[1]


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
        error, sent = refusal(s3.list_buckets)["Error"], endpoint.requests[-1].headers["date"]
        assert (error["Code"], error["RequestTime"]) == ("RequestTimeTooSkewed", sent)
        assert "Policy expired" in upload(form, b"hello")[1]


def test_unsigned(endpoint: StrictEndpoint) -> None:
    """Only what identifies the caller by other means is served."""
    web = boto3.client("sts", endpoint_url=endpoint.url, region_name="us-east-1", config=ONCE)
    given = web.assume_role_with_web_identity(
        RoleArn="arn:aws:iam::123456789012:role/test", RoleSessionName="test", WebIdentityToken="t" * 4
    )
    assert given["Credentials"]["AccessKeyId"].startswith("ASIA")
    status, body = fetch(endpoint.url + "/bucket/key")
    assert (status, "<Code>AccessDenied</Code>" in body) == (403, True)
    assert fetch(endpoint.url + "/", "POST", b"{}", **{"X-Amz-Target": "DynamoDB_20120810.ListTables"})[0] == 400


@pytest.mark.parametrize("service", ["sts", "s3"])
def test_tampering(endpoint: StrictEndpoint, service: str) -> None:
    """Whatever is signed cannot be changed; the rest can."""

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


def test_order_of_checks() -> None:
    """The date is checked first, unless `signature_first` is set."""
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
