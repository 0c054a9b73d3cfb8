"""Which clock an endpoint keeps."""

from __future__ import annotations

import json
import re

import botocore.session
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.signing.domains import (
    AWS_SUFFIXES,
    find_domain,
    is_aws,
    is_named_for,
    origin,
    same_server,
    virtual_bucket,
)
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import Grade

GUESS, NONE, PROOF = Grade.GUESS, Grade.NONE, Grade.PROOF


@pytest.mark.parametrize(
    ("url", "key", "stand_in"),
    [
        # all of AWS, over TLS, is one domain
        ("https://sts.amazonaws.com/", UTC, NONE),
        ("https://sts.eu-west-1.amazonaws.com", UTC, NONE),
        ("https://bucket.s3.us-east-1.amazonaws.com/key", UTC, NONE),
        ("https://old_bucket.s3.amazonaws.com/key", UTC, NONE),
        ("https://dynamodb.cn-north-1.amazonaws.com.cn/", UTC, NONE),
        ("https://s3.dualstack.us-east-1.api.aws/", UTC, NONE),
        ("https://vpce-1-2.sqs.us-east-1.vpce.amazonaws.com/", UTC, NONE),
        ("https://STS.AMAZONAWS.COM:443/", UTC, NONE),
        # look-alikes, customers' machines and load balancers, and other stores
        ("http://sts.amazonaws.com/", "http://sts.amazonaws.com:80", PROOF),
        ("https://amazonaws.com.evil.example/", "https://amazonaws.com.evil.example:443", GUESS),
        ("https://notamazonaws.com/", "https://notamazonaws.com:443", GUESS),
        ("https://ec2-1-2.compute-1.amazonaws.com:9000/", "https://ec2-1-2.compute-1.amazonaws.com:9000", GUESS),
        ("https://ec2-1-2.x.compute.amazonaws.com/", "https://ec2-1-2.x.compute.amazonaws.com:443", GUESS),
        ("https://lb-1.elb.us-east-1.amazonaws.com/", "https://lb-1.elb.us-east-1.amazonaws.com:443", GUESS),
        ("https://minio.example:9000/bucket/key", "https://minio.example:9000", GUESS),
        # loopback shares this host's wall clock
        ("http://localhost:1", "http://localhost:1", NONE),
        ("http://127.1.2.3", "http://127.1.2.3:80", NONE),
        ("https://[::1]:9", "https://::1:9", NONE),
        ("http://[::1]:9000/", "http://::1:9000", NONE),
        ("http://s3.localhost:4566", "http://s3.localhost:4566", NONE),
    ],
)
def test_the_clock_of_a_server(url: str, key: str, stand_in: Grade) -> None:
    """And what UTC is for a server that has not spoken for itself."""
    assert find_domain(url)[:2] == (key, stand_in)


def test_buckets_of_one_endpoint_share_its_clock() -> None:
    """Virtual-hosted addressing does not multiply domains."""
    assert find_domain("https://one.minio.example:9000", "one") == find_domain("https://two.minio.example:9000", "two")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://store/", True),  # httpx leaves out the port of the scheme, and writes small letters
        ("https://STORE:443", True),
        ("https://store:444", False),
        ("http://store:443", False),
        ("https://other", False),
        ("https://store:99999", False),
        ("https://[store/", False),
    ],
)
def test_a_server_is_recognised_however_its_url_is_written(url: str, same: bool) -> None:
    """HTTP libraries write the URL of a response in their own way."""
    assert same_server(url, "https://Store:443/") is same


def test_every_domain_that_botocore_knows_is_aws() -> None:
    """A new partition must be added here, or its responses would teach nothing."""
    session = botocore.session.get_session()
    loader = session.get_component("data_loader")
    suffixes = set()
    for partition in loader.load_data("endpoints")["partitions"]:
        suffixes.add(partition["dnsSuffix"])
        variants = partition["defaults"].get("variants", ())
        suffixes.update(variant["dnsSuffix"] for variant in variants if "dnsSuffix" in variant)
    for partition in loader.load_data("partitions")["partitions"]:
        suffixes.update((partition["outputs"]["dnsSuffix"], partition["outputs"]["dualStackDnsSuffix"]))
    missing = {suffix for suffix in suffixes if not is_aws(f"sts.{suffix}")}
    assert not missing, f"add to AWS_SUFFIXES: {missing}"
    assert AWS_SUFFIXES == tuple(dict.fromkeys(AWS_SUFFIXES))


def test_every_host_that_botocore_writes_out_is_aws() -> None:
    """Some endpoints are in none of those domains: where `aws login` renews its credentials."""
    loader = botocore.session.get_session().get_component("data_loader")
    if "signin" not in loader.list_available_services("endpoint-rule-set-1"):
        pytest.skip("this botocore came before aws login")
    rules = json.dumps(loader.load_service_model("signin", "endpoint-rule-set-1"))
    written = [url for url in re.findall(r'"url": "https://([^"/]+)', rules) if "nsSuffix" not in url]
    missing = {url for url in written if not is_aws(re.sub(r"\{.*?\}", "x", url))}
    assert len(written) > 5
    assert not missing, f"add to AWS_SUFFIXES: {missing}"


@pytest.mark.slow
def test_hosts_of_every_service_and_region_are_named_for_the_service() -> None:
    """So their answers may teach UTC. Those that are not have a clock of their own, for which UTC stands in."""
    session = botocore.session.get_session()
    resolver, loader = session._get_internal_component("endpoint_resolver"), session.get_component("data_loader")
    strange, count = set(), 0
    for service in session.get_available_services():
        prefix = loader.load_service_model(service, "service-2")["metadata"]["endpointPrefix"]
        for partition in session.get_available_partitions():
            for region in session.get_available_regions(service, partition):
                host = resolver.construct_endpoint(prefix, region, partition)["hostname"]
                count += 1
                if is_aws(host) and not is_named_for(f"https://{host}", prefix):
                    strange.add((prefix, host.replace(region, "REGION")))
    assert count > 1500
    assert strange == set()


@pytest.mark.parametrize(
    ("host", "prefix", "named"),
    [
        ("bucket.s3.us-east-1.amazonaws.com", "s3", True),
        ("bucket.s3-fips.dualstack.us-gov-west-1.amazonaws.com", "s3", True),
        ("point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com", "s3", True),
        ("bucket--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", "s3", True),
        ("123456789012.ddb.us-east-1.amazonaws.com", "dynamodb", True),
        ("vpce-0a-b.sts.us-east-1.vpce.amazonaws.com", "sts", True),
        ("us-east-1.signin.aws.amazon.com", "signin", True),
        ("tenant.some-new-thing.us-east-1.amazonaws.com", "s3", False),
        ("abc.lambda-url.us-east-1.on.aws", "s3", False),
        ("notsts.us-east-1.amazonaws.com", "sts", False),
        ("", "sts", False),
    ],
)
def test_a_host_is_named_for_the_called_service(host: str, prefix: str, named: bool) -> None:
    """By a label, or the beginning of one up to a hyphen."""
    assert is_named_for(f"https://{host}:443/", prefix) is named


@pytest.mark.parametrize("name", ["abc.lambda-url", "p-1.s3-object-lambda", "abc.execute-api"])
def test_where_customers_code_answers_the_clock_is_the_endpoints_own(name: str) -> None:
    """UTC stands in, because AWS checks the signature; but what the code says is shared with no other endpoint."""
    spec = find_domain(f"https://{name}.us-east-1.amazonaws.com")
    assert spec == (f"https://{name}.us-east-1.amazonaws.com:443", PROOF, False)


@pytest.mark.parametrize("rest", ["", "/", "/a/b?c=/d", "?x=1", "#f", "?x=http://other/"])
def test_a_url_is_cut_where_its_host_ends(rest: str) -> None:
    assert origin(f"https://host:9000{rest}") == "https://host:9000"


@pytest.mark.parametrize(
    "url",
    [
        r"https://evil.example\@sts.amazonaws.com/",  # urllib3 connects to evil.example
        r"https://\sts.amazonaws.com/",
        "https://user@sts.amazonaws.com/",
        " https://sts.amazonaws.com/",  # urllib3 2.0 connects to " https"
        "ht\ttps://sts.amazonaws.com/",
        "https://evil.example%2f.amazonaws.com/",
        "https://évil.amazonaws.com/",
    ],
)
def test_only_a_plain_host_is_aws(url: str) -> None:
    """A URL in which another parser may find another host is not AWS."""
    assert find_domain(origin(url)).key != UTC


@pytest.mark.parametrize("url", ["http://[", "https://[::1", "https://host]/", "https://a℀b/", "https://host:port/"])
def test_what_is_no_url_has_a_place(url: str) -> None:
    assert find_domain(origin(url)).key.startswith(origin(url)[:8])


@given(st.text(max_size=60), st.text(max_size=10))
def test_any_text_has_a_place(url: str, bucket: str) -> None:
    assert find_domain(origin(url), bucket).key


@pytest.mark.parametrize(
    ("url", "auth_path", "bucket"),
    [
        ("https://one.minio.example/key", "/one/key", "one"),
        ("https://minio.example/minio/key", "/minio/key", ""),
        ("https://minio.example/base/minio/key", "/minio/key", ""),
        ("https://data.minio.example/data-2024/x", "/data/data-2024/x", "data"),
        ("https://data.minio.example/?list-type=2&prefix=data", "/data/", "data"),
        ("https://minio.example/data?list-type=2", "/data", ""),
        ("https://minio.example/", None, ""),
        ("https://minio.example/", "/", ""),
        ("https://minio.example/", "no path", ""),
    ],
)
def test_a_bucket_is_stripped_only_from_a_host_that_names_it(url: str, auth_path: str | None, bucket: str) -> None:
    """An endpoint called like one of its buckets keeps its name."""
    assert virtual_bucket(url, auth_path) == bucket
