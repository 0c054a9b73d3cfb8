"""Which clock a URL's server keeps: UTC for AWS, its own for any other. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import Grade

AWS_SUFFIXES = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".amazonaws.eu",
    ".api.aws",
    ".on.aws",
    ".aws.dev",
    ".amazonwebservices.com.cn",
    ".api.amazonwebservices.com.cn",
    ".amazonwebservices.eu",
    ".c2s.ic.gov",
    ".sc2s.sgov.gov",
    ".cloud.adc-e.uk",
    ".cloud-aws.adc-e.uk",
    ".csp.hci.ic.gov",
    ".aws.ic.gov",
    ".aws.scloud",
    ".aws.adc-e.uk",
    ".aws.hci.ic.gov",
    # Where `aws login` renews its credentials, and nothing else:
    ".signin.aws",
    ".signin.aws.amazon.com",
    ".signin.amazonaws.cn",
    ".amazonaws-us-gov.com",
    ".signin.amazonaws-eusc.eu",
    ".signin.c2shome.ic.gov",
    ".signin.sc2shome.sgov.gov",
    ".signin.csphome.hci.ic.gov",
    ".signin.csphome.adc-e.uk",
)
"""The domains AWS serves its APIs from, in every partition."""

_PLAIN_HOST = re.compile(r"[a-z0-9._-]+")
_TENANTS = frozenset({"compute", "compute-1", "elb"})  # labels under which customers' own machines answer
# Labels under which AWS checks the signature, but customers' code words the answer.
_CUSTOMERS_CODE = frozenset({"execute-api", "lambda-url", "s3-object-lambda", "vpc-lattice-svcs"})
# Other names that some services' hosts have.
_HOST_NAMES = {
    "data-ats.iot": "data.ats.iot",
    "dynamodb": "ddb",
    "entitlement.marketplace": "entitlement-marketplace",
    "s3": "s3express",
    "transcribe": "transcribestreaming",
}


class DomainSpec(NamedTuple):
    """The time domain of a server.

    Attributes:
        key: `UTC`, or the endpoint's origin.
        stand_in: The highest grade that UTC has there while the endpoint's own clock is not known.
        shared: Whether what the endpoint teaches may be shared with other processes.
    """

    key: str
    stand_in: Grade = Grade.NONE
    shared: bool = True


def origin(url: str) -> str:
    """Return a URL's scheme, host and port (RFC 6454), as they are written in it."""
    for index in range(url.find("://") + 3, len(url)):
        if url[index] in "/?#":
            return url[:index]
    return url


def virtual_bucket(url: str, auth_path: str | None) -> str:
    """Return the bucket that an S3 request names in its host; empty if it names it in its path, or has none.

    `auth_path`, as botocore calls it, is the path as it would be with the bucket in it.
    """
    auth_path = (auth_path or "/").rstrip("/")
    path = url[len(origin(url)) :].partition("?")[0]
    return "" if auth_path in path or not auth_path.startswith("/") else auth_path.split("/", 2)[1]


def find_domain(url: str, bucket: str = "") -> DomainSpec:
    """Return the time domain of a URL's server, without the S3 bucket, so that all buckets of an endpoint share it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # no URL, so no server answers there
        return DomainSpec(url)
    host = (parts.hostname or "").lower()
    # Nothing but a plain host: urllib3, which connects, takes what is before a backslash for the host.
    plain = _PLAIN_HOST.fullmatch(host) and parts.netloc.partition(":")[0].lower() == host
    aws = bool(plain) and is_aws(host)
    # `urlsplit` drops spaces before a scheme, and tabs in it; some releases of urllib3 take what is left for the host.
    if url[:8].lower() == "https://" and aws and _CUSTOMERS_CODE.isdisjoint(host.split(".")):
        return DomainSpec(UTC)
    if bucket and host.startswith(f"{bucket.lower()}."):
        host = host[len(bucket) + 1 :]
    # Where AWS checks the signature, UTC is the clock, whatever words a customer's code answers with.
    stand_in = Grade.NONE if is_loopback(host) else Grade.PROOF if aws else Grade.GUESS
    return DomainSpec(f"{parts.scheme}://{host}:{_port(parts)}", stand_in, shared=not is_aws(host))


def is_named_for(url: str, endpoint_prefix: str) -> bool:
    """Return whether a host bears the endpoint prefix of the called service, as AWS's own hosts do.

    The prefix is a label of the host's name, or begins one, followed by a hyphen (``s3-accesspoint``, ``s3-fips``).
    Under other names of AWS's, a customer's code may answer.
    """
    host = f".{(urlsplit(url).hostname or '').lower()}"
    names = (endpoint_prefix, _HOST_NAMES.get(endpoint_prefix, endpoint_prefix))
    return any(f".{name}{end}" in host for name in names for end in ".-")


def same_server(url: str, other: str) -> bool:
    """Return whether two URLs lead to the same scheme, host and port, however each of them is written."""
    try:
        one, two = urlsplit(url), urlsplit(other)
    except ValueError:
        return url == other
    return (one.scheme, one.hostname, _port(one)) == (two.scheme, two.hostname, _port(two))


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        return 0


def is_aws(host: str) -> bool:
    """Return whether a host name belongs to an AWS API, rather than to a customer's machine or load balancer."""
    return host.endswith(AWS_SUFFIXES) and _TENANTS.isdisjoint(host.split("."))


def is_loopback(host: str) -> bool:
    """Return whether a host name means this machine, which has the same wall clock."""
    return host in ("localhost", "::1", "0.0.0.0", "::") or host.startswith("127.") or host.endswith(".localhost")
