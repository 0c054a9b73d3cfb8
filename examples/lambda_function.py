"""A Lambda function that calls S3, on a clock that is wrong. The handler is ``lambda_function.handler``."""

from typing import Any

import boto3

from skewguard.contrib import aws_lambda

aws_lambda.install()  # outside the handler: once for each environment
s3 = boto3.client("s3", region_name="us-east-1")


def handler(event: dict[str, Any], _: Any) -> str:
    """Read a file."""
    return str(s3.get_object(Bucket="bucket", Key=event["key"])["Body"].read().decode())
