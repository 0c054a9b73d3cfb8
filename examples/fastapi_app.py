"""A FastAPI app that calls S3, on a host whose clock is wrong: ``uvicorn fastapi_app:app``."""

import boto3
from fastapi import FastAPI

from skewguard.contrib.fastapi import lifespan

app = FastAPI(lifespan=lifespan())
s3 = boto3.client("s3", region_name="us-east-1")


@app.get("/")
def index() -> str:
    """Read a file, in a thread, because the function is not async."""
    return s3.get_object(Bucket="bucket", Key="photo")["Body"].read().decode()
