"""boto3's transfers on clocks that are really wrong, against a real server."""

from __future__ import annotations

import json

import pytest

from tests.real.faketime import FakeTime
from tests.real.servers import BUCKET, Server

PROGRAM = """
import json, os, sys, threading
import boto3, s3transfer.upload, skewguard
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from s3transfer.utils import ChunksizeAdjuster
from tests.real.servers import counted

PART, PARTS = 128 * 1024, 64
s3transfer.upload.ChunksizeAdjuster = lambda: ChunksizeAdjuster(min_size=1)  # else each part is of 5 MB
data = os.urandom(PART) * PARTS
several = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=PARTS)
bucket, directory = sys.argv[1:3]
source, target = os.path.join(directory, "source"), os.path.join(directory, "target")
with open(source, "wb") as file:
    file.write(data)

def cold():
    s3 = boto3.Session().client("s3", config=Config(
        s3={"addressing_style": "path"}, proxies={}, max_pool_connections=PARTS))
    return s3, counted(s3)

def piped(s3):
    reading, writing = os.pipe()
    def write():
        with open(writing, "wb") as stream:
            stream.write(data)
    writer = threading.Thread(target=write)
    writer.start()
    with open(reading, "rb") as stream:
        s3.upload_fileobj(stream, bucket, "piped", Config=several)
    writer.join()

def get(s3):
    s3.download_file(bucket, "large", target, Config=several)
    with open(target, "rb") as file:
        assert file.read() == data

found = {}
for name, transfer in {
    "upload": lambda s3: s3.upload_file(source, bucket, "large", Config=several),
    "piped": piped,
    "download": get,
    "trailer": lambda s3: s3.upload_file(source, bucket, "one", ExtraArgs={"ChecksumAlgorithm": "SHA256"}),
}.items():
    with skewguard.install():
        s3, seen = cold()
        transfer(s3)
        found[name] = list(seen)
        if name == "piped":
            assert s3.get_object(Bucket=bucket, Key="piped")["Body"].read() == data
print(json.dumps(found))
"""


@pytest.mark.parametrize("shift", ["-20m", "+20m"])
@pytest.mark.parametrize("name", ["ministack", "ministack_tls", "rclone"])
def test_transfers_of_64_parts_succeed_and_one_request_is_extra(
    fake_time: FakeTime, request: pytest.FixtureRequest, tmp_path: object, name: str, shift: str
) -> None:
    """The first request of a cold client is refused once; all later ones are right."""
    server: Server = request.getfixturevalue(name)
    fake_time.shift(shift)
    done = fake_time.run(PROGRAM, BUCKET, str(tmp_path), env=server.environment(), timeout=120)
    found = json.loads(done.stdout.splitlines()[-1])
    for transfer, requests in (("upload", 66), ("piped", 66), ("download", 65), ("trailer", 1)):
        seen = found[transfer]
        # S3's redirector asks where the bucket is after a bare HEAD error, by a HEAD that may be refused too.
        assert [status for status in seen if status not in (200, 206)] in ([403], [400], [400] * 2), (transfer, seen)
        assert len(seen) <= requests + 3, transfer
