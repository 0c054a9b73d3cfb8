"""The server itself: script, dates, delays, start and stop, and replacing AWS."""

from __future__ import annotations

import email.utils
import http.client
import os
import socket
import threading
import time
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ConnectionClosedError

from skewguard.testing import DROP, Canned, Fault, StrictEndpoint
from skewguard.testing.endpoint import ACCESS_KEY, SECRET_KEY
from tests.endpoint.helpers import ONCE, Raw, client, refusal, refused
from tests.patience import PATIENCE, eventually


def test_script(endpoint: StrictEndpoint) -> None:
    """Faults in each protocol's words, closed connections and canned responses, each for one request."""
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
    headers = refusal(sts.get_caller_identity)["ResponseMetadata"]["HTTPHeaders"]
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


@pytest.mark.slow
def test_delays(endpoint: StrictEndpoint) -> None:
    """Before the checks, and after them; stop() ends both."""
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
    assert time.monotonic() - start < PATIENCE / 2
    waiting.join()


def test_as_aws(tls_endpoint: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS's names lead to the server, other addresses are refused, and all is restored at the end."""
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
        assert Path(bundle).exists()
    assert not Path(bundle).exists()


@pytest.mark.slow
def test_many_connections(endpoint: StrictEndpoint) -> None:
    """500 at once, kept alive, and all ended by stop()."""
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
        assert time.monotonic() - start < PATIENCE
    finally:
        for one in opened:
            one.close()
