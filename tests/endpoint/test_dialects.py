"""Every dialect: what is accepted, and in which words the rest is refused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import boto3
import pytest

from skewguard.testing import StrictEndpoint
from skewguard.testing.aws import dialects, formats, sigv4
from skewguard.testing.aws.dialects import Dialect
from skewguard.testing.endpoint import ACCESS_KEY
from skewguard.testing.wire import Request
from tests.endpoint.helpers import FORM, Raw, client, freeze, refusal, refused

GRAMMAR = re.compile(
    r"Signature (expired|not yet current): (\w+) is (now earlier|still later) than (\w+) \((\w+) ([-+]) (\d+) min\.\)"
)

CALLS: dict[str, tuple[str, Callable[[Any], Any], int, int, str]] = {
    "sts": ("GetCallerIdentity", lambda c: c.get_caller_identity(), 15, 403, "SignatureDoesNotMatch"),
    "iam": ("ListAccountAliases", lambda c: c.list_account_aliases(), 5, 403, "SignatureDoesNotMatch"),
    "dynamodb": ("ListTables", lambda c: c.list_tables(), 15, 400, "InvalidSignatureException"),
    "kms": ("ListKeys", lambda c: c.list_keys(), 5, 400, "InvalidSignatureException"),
    "lambda": ("ListFunctions", lambda c: c.list_functions(), 5, 403, "InvalidSignatureException"),
    "glacier": ("ListVaults", lambda c: c.list_vaults(), 5, 403, "InvalidSignatureException"),
    "ec2": ("DescribeRegions", lambda c: c.describe_regions(), 5, 401, "AuthFailure"),
    "route53": ("ListHostedZones", lambda c: c.list_hosted_zones(), 5, 403, "SignatureDoesNotMatch"),
    "cloudwatch": ("ListMetrics", lambda c: c.list_metrics(), 5, 400, "InvalidSignatureException"),
    "s3": ("ListBuckets", lambda c: c.list_buckets(), 15, 403, "RequestTimeTooSkewed"),
}
"""An operation of each service, its call, the minutes tolerated, and status and code when skewed or wrongly signed."""

if boto3.client("cloudwatch", region_name="us-east-1").meta.service_model.protocol == "query":  # an older botocore's
    CALLS["cloudwatch"] = (*CALLS["cloudwatch"][:2], 5, 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("service", CALLS)
def test_accepts_every_dialect(endpoint: StrictEndpoint, signer: None, service: str) -> None:
    CALLS[service][1](client(endpoint, service))
    (record,) = endpoint.requests
    assert (record.status, record.code, record.access_key) == (200, "", ACCESS_KEY)
    assert record.service == {"cloudwatch": "monitoring"}.get(service, service)
    assert abs(record.signed_at - record.received_at) < 60e9
    if service not in ("iam", "glacier", "route53"):
        assert record.operation == CALLS[service][0]


@pytest.mark.parametrize("service", CALLS)
def test_wrong_secret_and_unknown_key(endpoint: StrictEndpoint, signer: None, service: str) -> None:
    """Each protocol has its own codes and words for them."""
    status, code = CALLS[service][3:]
    wrong = refused(lambda: CALLS[service][1](client(endpoint, service, aws_secret_access_key="wrong")))
    assert wrong[0] == status
    if service == "ec2":
        assert wrong[1:] == ("AuthFailure", "AWS was not able to validate the provided access credentials")
    else:
        assert wrong[1] == ("SignatureDoesNotMatch" if service == "s3" else code)
        assert wrong[2].startswith("The request signature we calculated does not match the signature you provided.")
    unknown = refused(lambda: CALLS[service][1](client(endpoint, service, aws_access_key_id="AKIANOBODY")))
    names = {"s3": "InvalidAccessKeyId", "ec2": "AuthFailure"} | dict.fromkeys(["sts", "iam"], "InvalidClientTokenId")
    assert unknown[:2] == (status, names.get(service, unknown[1]))
    assert unknown[1] in {*names.values(), "UnrecognizedClientException"}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("side", [1, -1], ids=["slow", "fast"])
def test_skew_in_every_dialect(endpoint: StrictEndpoint, service: str, side: int) -> None:
    """A date is refused 5 s beyond the tolerance, and the message states both times."""
    _, call, minutes, status, code = CALLS[service]
    api = client(endpoint, service)
    endpoint.offset = side * (minutes * 60 - 5)
    call(api)
    endpoint.offset = side * (minutes * 60 + 5)
    said = refused(lambda: call(api))
    record = endpoint.requests[-1]
    assert said[:2] == (status, code) == (record.status, record.code)
    if service == "ec2":
        assert said[2] == "AWS was not able to validate the provided access credentials"
    elif service == "s3":
        assert said[2] == "The difference between the request time and the current time is too large."
    else:
        parsed = GRAMMAR.fullmatch(said[2])
        a, b, c = (sigv4.parse_time(parsed[n]) for n in (2, 4, 5))
        assert (parsed[1], parsed[6]) == (("expired", "-") if side > 0 else ("not yet current", "+"))
        assert int(parsed[7]) == minutes
        assert b == c - side * minutes * 60
        assert a * 10**9 == record.signed_at
        assert c == record.received_at // 10**9


@pytest.mark.parametrize(("service", "limit"), [("sts", 900), ("s3", 900), ("ses", 300)])
@pytest.mark.parametrize("side", [1, -1], ids=["slow", "fast"])
def test_the_edge_is_refused(endpoint: StrictEndpoint, service: str, limit: int, side: int) -> None:
    """A date off by exactly the tolerance is refused; only whole seconds count."""
    raw = Raw(endpoint, service, "GET" if service == "s3" else "POST", body=b"")
    freeze(endpoint, side * limit, raw)
    assert raw.send()[0] == 403
    freeze(endpoint, side * (limit - 1), raw)
    assert raw.send()[0] == 200
    freeze(endpoint, side * limit - (0.001 if side > 0 else -1.0), raw)  # the server compares whole seconds
    assert raw.send()[0] == 200
    endpoint.tolerance = 10
    assert raw.send()[0] == 403


def test_s3_skew_fields_and_head(endpoint: StrictEndpoint) -> None:
    """S3 states both times in fields; a HEAD has no body to state them."""
    s3 = client(endpoint, "s3")
    endpoint.offset = 3600
    error = refusal(s3.list_buckets)["Error"]
    record = endpoint.requests[0]
    assert error["RequestTime"] == record.headers["x-amz-date"]
    assert error["ServerTime"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.received_at // 10**9))
    assert error["MaxAllowedSkewMilliseconds"] == "900000"
    assert refused(lambda: s3.head_bucket(Bucket="b-1"))[:2] == (403, "403")
    endpoint.explain = False
    error = refusal(s3.list_buckets)["Error"]
    assert (error["Code"], error["Message"] or "", "ServerTime" in error) == ("RequestTimeTooSkewed", "", False)
    assert not refused(client(endpoint, "sts").get_caller_identity)[2]


class Sample(NamedTuple):
    """A request, by signing name and headers, and how its refusal looks when its date is wrong: status and body."""

    service: str
    headers: Mapping[str, str]
    status: int
    body: str


SAMPLES: dict[type[Dialect], Sample] = {
    dialects.S3: Sample("s3", {}, 403, "<Error><Code>RequestTimeTooSkewed</Code>"),
    dialects.Ec2: Sample("ec2", FORM, 401, "<Response><Errors><Error><Code>AuthFailure</Code>"),
    dialects.RestXml: Sample("route53", {}, 403, "<Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>"),
    dialects.Cbor: Sample("monitoring", {"smithy-protocol": "rpc-v2-cbor"}, 400, "service#InvalidSignatureException"),
    dialects.Json: Sample(
        "kms", {"X-Amz-Target": "TrentService.ListKeys"}, 400, '#InvalidSignatureException", "message": "Sig'
    ),
    dialects.Query: Sample("sts", FORM, 403, "<Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>"),
    dialects.RestJson: Sample("lambda", {}, 403, '{"message": "Signature expired: '),
}


def test_every_dialect_has_a_sample() -> None:
    assert [type(dialect) for dialect in dialects.DIALECTS] == list(SAMPLES)


@pytest.mark.parametrize("kind", SAMPLES)
def test_samples(endpoint: StrictEndpoint, kind: type[Dialect]) -> None:
    """Byte for byte, without botocore's parsers: success on a right clock, the refusal on a wrong one."""
    sample = SAMPLES[kind]
    raw = Raw(endpoint, sample.service, "GET", body=b"", headers=sample.headers)
    assert raw.send()[0] == 200
    endpoint.offset = 3600
    status, body = raw.send()
    assert status == sample.status
    assert sample.body in body
    request = Request("GET", "/", "", {name.lower(): value for name, value in sample.headers.items()})
    assert type(dialects.dialect_of(sample.service, request)) is kind


def test_every_dialect_formats_any_result() -> None:
    """Mappings, sequences, numbers and text; CBOR as in RFC 8949, XML escaped."""
    result = {"ab": [1, "ü"], "c": {}}
    for dialect in dialects.DIALECTS:
        assert dialect.success("service", "Operation", result).status == 200
    assert formats.cbor(result) == (
        b"\xb9\0\x02\x79\0\x02ab\x99\0\x02\x1b\0\0\0\0\0\0\0\x01\x79\0\x02\xc3\xbc\x79\0\x01c\xb9\0\0"
    )
    assert formats.xml({"a": ["<"], "b": 1}) == "<a><item>&lt;</item></a><b>1</b>"
