"""Requests to a strict endpoint: made by botocore, or byte for byte."""

from __future__ import annotations

import contextlib
import http.client
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from skewguard.testing import Record, StrictEndpoint
from skewguard.testing.aws import sigv4
from skewguard.testing.endpoint import ACCESS_KEY, SECRET_KEY

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ONCE = Config(retries={"total_max_attempts": 1})


def client(endpoint: StrictEndpoint, service: str, **more: Any) -> Any:
    return boto3.client(service, **{**endpoint.client_kwargs, "config": ONCE, **more})


def refusal(call: Callable[[], Any]) -> dict[str, Any]:
    """Make a call, which must be refused; return the refusal as botocore parses it."""
    with pytest.raises(ClientError) as caught:
        call()
    return dict(caught.value.response)


def refused(call: Callable[[], Any]) -> tuple[int, str, str]:
    """Return the status, code and message of a refusal."""
    response = refusal(call)
    return (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"])


class Raw:
    """A request signed by botocore, then sent byte for byte, tampered with or not."""

    def __init__(
        self,
        endpoint: StrictEndpoint,
        service: str = "sts",
        method: str = "POST",
        path: str = "/",
        body: bytes = b"x",
        headers: Mapping[str, str] = FORM,
    ) -> None:
        self.endpoint = endpoint
        request = AWSRequest(method, endpoint.url + path, {"X-Amz-Meta-Note": "two  words", **headers}, body)
        kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
        kind(Credentials(ACCESS_KEY, SECRET_KEY), service, "us-east-1").add_auth(request)
        self.method, self.path, self.body = method, path, body
        self.headers = dict(request.headers.items())

    def send(self) -> tuple[int, str]:
        return fetch(self.endpoint.url + self.path, self.method, self.body, **self.headers)


def freeze(endpoint: StrictEndpoint, after: float, record: Record | Raw) -> None:
    """Stop the server's clock some seconds after a request was signed."""
    raw = isinstance(record, Raw)
    signed = sigv4.parse_time(record.headers["X-Amz-Date"]) if raw else record.signed_at // 10**9
    endpoint.clock = lambda: signed * 10**9 + round(after * 10**9)


def fetch(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, str]:
    parts = urllib.parse.urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=10)) as connection:
        connection.request(method, url.partition(parts.netloc)[2], body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")


def upload(form: dict[str, Any], file: bytes, **change: str) -> tuple[int, str]:
    lines = []
    for name, value in {**form["fields"], **change}.items():
        lines.append(f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    lines.append(
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\n' + file + b"\r\n"
    )
    body = b"".join(lines) + b"--frontier--\r\n"
    return fetch(form["url"], "POST", body, **{"Content-Type": "multipart/form-data; boundary=frontier"})
