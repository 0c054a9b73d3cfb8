"""s3fs, which is built on aiobotocore and runs an event loop in its own thread."""

from __future__ import annotations

import s3fs

import skewguard
from skewguard.testing import StrictEndpoint
from tests.support import with_bucket


def test_files_are_written_and_read_on_a_wrong_clock() -> None:
    """Only the first request is refused."""
    with StrictEndpoint(offset=1200) as endpoint:
        with_bucket(endpoint)
        kwargs = endpoint.client_kwargs
        with skewguard.install():
            files = s3fs.S3FileSystem(
                key=kwargs["aws_access_key_id"],
                secret=kwargs["aws_secret_access_key"],
                client_kwargs={"endpoint_url": endpoint.url, "region_name": "us-east-1"},
                config_kwargs={"s3": {"addressing_style": "path"}},
                skip_instance_cache=True,
            )
            with files.open("bucket/file", "wb") as stream:
                stream.write(b"x" * 100_000)
            assert files.cat("bucket/file") == b"x" * 100_000
            assert files.ls("bucket")
        refused = [record.status for record in endpoint.requests if record.code == "RequestTimeTooSkewed"]
        assert refused == [403]
