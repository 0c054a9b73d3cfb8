"""A Celery task that calls S3, on a host whose clock is wrong: ``celery --app celery_app worker``.

Run as a program, it sends the task and prints the result. Broker and result backend are directories, so it needs no
server; a real app would use another broker.
"""

import os
import sys
import tempfile
from pathlib import Path

import boto3
from celery import Celery

import skewguard.contrib.celery

mail = Path(os.environ.get("MAIL") or tempfile.gettempdir(), "skewguard-celery")
for directory in ("queue", "control", "results"):
    (mail / directory).mkdir(parents=True, exist_ok=True)

app = Celery("celery_app", broker="filesystem://", backend=f"file://{mail / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(mail / "queue"),
    "data_folder_out": str(mail / "queue"),
    "control_folder": str(mail / "control"),
}
skewguard.contrib.celery.init_app(app)
s3 = boto3.client("s3", region_name="us-east-1")


@app.task(name="read")
def read() -> str:
    """Read a file."""
    return str(s3.get_object(Bucket="bucket", Key="photo")["Body"].read().decode())


if __name__ == "__main__":
    sys.exit(print(read.delay().get(timeout=50)))
