"""boto3's transfers on a wrong clock: many parts at once, pipes, and servers that close connections."""

from __future__ import annotations

import datetime
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import botocore.compat
import pytest
import s3transfer.upload
from boto3.s3.transfer import TransferConfig
from s3transfer.utils import ChunksizeAdjuster

import skewguard
from skewguard import events
from skewguard.testing import StrictEndpoint
from tests.fakes import Emitted
from tests.real.need import need
from tests.support import client, with_bucket

pytestmark = pytest.mark.slow

PART = 64 * 1024
PARTS = 64
DATA = bytes(range(256)) * (PART * PARTS // 256)
CONFIG = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=PARTS)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow small parts: s3transfer makes them 5 MB at least, as AWS demands of all but the last."""
    monkeypatch.setattr(s3transfer.upload, "ChunksizeAdjuster", lambda: ChunksizeAdjuster(min_size=1))


@pytest.fixture(params=[False, True], ids=["keeps", "closes"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[StrictEndpoint]:
    """A server with TLS, so that checksums come in trailers; one keeps connections, one closes them at each error."""
    with StrictEndpoint(tls=True, close_on_error=request.param) as running:
        with_bucket(running)
        yield running


def guarded(endpoint: StrictEndpoint, **options: Any) -> Any:
    skewguard.install()
    return client("s3", endpoint, max_pool_connections=PARTS, **options)


def stored(endpoint: StrictEndpoint, key: str) -> bytes:
    found: bytes = client("s3", endpoint).get_object(Bucket="bucket", Key=key)["Body"].read()
    return found


def turn(endpoint: StrictEndpoint, s3: Any, operation: str, offset: float) -> None:
    """Move the server's clock once this operation has succeeded."""

    def move(**_: Any) -> None:
        endpoint.offset = offset

    s3.meta.events.register(f"after-call.s3.{operation}", move)


@pytest.mark.parametrize("offset", [1200.0, -1200.0])
def test_64_parts_refused_at_once_are_sent_again_at_once(
    endpoint: StrictEndpoint, tmp_path: Path, offset: float
) -> None:
    """The clock jumps when all parts are about to be signed: each takes one retry at the most, up and down."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(DATA)
    s3 = guarded(endpoint, retries={"mode": "standard", "total_max_attempts": 3})
    turn(endpoint, s3, "CreateMultipartUpload", offset)
    s3.upload_file(str(source), "bucket", "large", Config=CONFIG)
    assert sum(record.operation == "UploadPart" for record in endpoint.requests if record.status == 200) == PARTS
    assert 1 <= sum(record.status == 403 for record in endpoint.requests) <= PARTS
    assert endpoint.count <= 2 + 2 * PARTS

    endpoint.clear()
    turn(endpoint, s3, "HeadObject", -offset)
    s3.download_file("bucket", "large", str(target), Config=CONFIG)
    assert target.read_bytes() == DATA
    assert sum(record.status == 206 for record in endpoint.requests) == PARTS
    assert 1 <= sum(record.status == 403 for record in endpoint.requests) <= PARTS
    assert endpoint.count <= 1 + 2 * PARTS


def test_a_cold_client_uploads_what_cannot_be_rewound(endpoint: StrictEndpoint) -> None:
    """For a pipe, s3transfer keeps each part in memory, so a part can be sent again."""
    endpoint.offset = 1200
    s3 = guarded(endpoint)
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            stream.write(DATA)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        s3.upload_fileobj(stream, "bucket", "piped", Config=CONFIG)
    writer.join()
    assert [record.status for record in endpoint.requests if record.status != 200] == [403]
    assert stored(endpoint, "piped") == DATA


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_a_trailing_checksum_is_made_again_with_the_body(endpoint: StrictEndpoint, algorithm: str) -> None:
    """And a body that waits for 100-continue is not sent to a server that refuses its date."""
    endpoint.offset = -1200
    s3 = guarded(endpoint)
    s3.put_object(Bucket="bucket", Key="trailed", Body=io.BytesIO(DATA), ChecksumAlgorithm=algorithm)
    refused, accepted = endpoint.requests
    assert (refused.status, accepted.status) == (403, 200)
    for record in (refused, accepted):
        assert record.headers["x-amz-trailer"] == f"x-amz-checksum-{algorithm.lower()}"
        assert record.headers["expect"] == "100-continue"
    assert len(refused.body) == 0
    assert len(accepted.body) > len(DATA)  # chunked, with the trailer behind it
    assert stored(endpoint, "trailed") == DATA


def test_many_clients_of_a_server_that_hangs_up(endpoint: StrictEndpoint) -> None:
    """Small objects, all at once, before anything is learned: each takes one retry at the most."""
    endpoint.offset = 1200
    s3 = guarded(endpoint)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: s3.put_object(Bucket="bucket", Key=f"k{n}", Body=b"x" * n), range(32)))
    assert sum(record.status == 200 for record in endpoint.requests) == 32
    assert endpoint.count <= 64


class TestCrt:
    """Transfers by awscrt's S3 client that were not begun by boto3; tests/test_crt_transfers.py has those."""

    @pytest.fixture
    def with_crt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        need(botocore.compat.HAS_CRT, "awscrt", "pip install awscrt")
        # As on the instances where boto3 chooses it by itself; the oldest ones choose it nowhere else.
        monkeypatch.setattr("awscrt.s3.is_optimized_for_system", lambda: True)
        monkeypatch.setattr("boto3.crt.CRT_S3_CLIENT", None)
        monkeypatch.setattr("boto3.crt.BOTOCORE_CRT_SERIALIZER", None)
        # boto3 lets one process of a host use that client at a time, and other tests may run beside these.
        monkeypatch.setattr("boto3.crt.PROCESS_LOCK_NAME", f"skewguard-test-{os.getpid()}")

    @staticmethod
    def transfer(s3: Any) -> None:
        """Make a manager as boto3 does, but not where it does that."""
        import boto3.crt  # not to be imported where awscrt is missing

        assert boto3.crt.create_crt_transfer_manager(s3, TransferConfig(preferred_transfer_client="auto")) is not None

    @pytest.mark.usefixtures("with_crt")
    def test_cause_one_warning(self, emitted: Emitted, caplog: pytest.LogCaptureFixture) -> None:
        """One event, one line in the log; and none for transfers that are guarded."""
        skewguard.install()
        s3 = boto3.Session().client("s3")
        with StrictEndpoint() as endpoint:
            with_bucket(endpoint)
            classic = TransferConfig(preferred_transfer_client="classic")
            client("s3", endpoint).upload_fileobj(io.BytesIO(b"x"), "bucket", "key", Config=classic)
        assert not emitted
        self.transfer(s3)
        self.transfer(s3)
        assert [event.part for event in emitted.of(events.Degraded)] == ["guarding transfers inside awscrt's S3 client"]
        assert len([line for line in caplog.messages if "awscrt" in line]) == 1

    @pytest.mark.usefixtures("with_crt")
    def test_cause_one_warning_for_an_attached_client(self, emitted: Emitted) -> None:
        """Without any installation."""
        s3 = boto3.Session().client("s3")
        skewguard.attach(s3)
        self.transfer(s3)
        assert [type(event) for event in emitted] == [events.Degraded]

    @pytest.mark.usefixtures("with_crt")
    def test_cause_no_event_unguarded(self, emitted: Emitted) -> None:
        s3 = boto3.Session().client("s3")
        self.transfer(s3)
        skewguard.install().uninstall()
        self.transfer(s3)
        assert not emitted

    def test_cannot_be_corrected_by_a_signing_configs_date(self) -> None:
        """If awscrt ever uses the date, this fails, and such transfers can be guarded."""
        need(botocore.compat.HAS_CRT, "awscrt", "pip install awscrt")
        import awscrt.http
        import awscrt.s3
        import s3transfer.crt
        from awscrt.auth import AwsCredentialsProvider, AwsSigningAlgorithm, AwsSigningConfig

        with StrictEndpoint() as endpoint:
            with_bucket(endpoint)
            kwargs = endpoint.client_kwargs
            keys = AwsCredentialsProvider.new_static(kwargs["aws_access_key_id"], kwargs["aws_secret_access_key"])
            crt = s3transfer.crt.create_s3_crt_client("us-east-1", keys, use_ssl=False)
            tomorrow = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
            signing = AwsSigningConfig(
                AwsSigningAlgorithm.V4, credentials_provider=keys, region="us-east-1", service="s3", date=tomorrow
            )
            headers = awscrt.http.HttpHeaders([("host", f"127.0.0.1:{endpoint.port}")])
            request = awscrt.http.HttpRequest("GET", "/bucket/key", headers)
            get = awscrt.s3.S3RequestType.GET_OBJECT
            crt.make_request(type=get, request=request, signing_config=signing).finished_future.result(30)
            signed = endpoint.requests[-1].signed_at
            assert abs(signed - endpoint.now()) < 60 * 10**9
