"""Providers of a role's credentials for programs without keys of their own, for botocore's and aiobotocore's tests."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import botocore.credentials
import pytest

from skewguard.testing import StrictEndpoint
from skewguard.testing.tls import redirected

HOUR = 3600
ROLE = "arn:aws:iam::123456789012:role/r"

METADATA = ("169.254.169.254", "169.254.170.2", "metadata.example")
"""The names of the metadata services; the last is for HTTP clients that resolve no address."""


class Metadata:
    """The instance's and the container's metadata services, with the endpoint's clock and credentials.

    Attributes:
        lasts: The life of the credentials, s; negative if they have expired.
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, endpoint: StrictEndpoint) -> None:
        outer = self
        self.lasts = HOUR

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                self.answer("token")

            def do_GET(self) -> None:
                if self.path.endswith("/security-credentials/"):
                    return self.answer("role")
                until = endpoint.now() // 10**9 + outer.lasts
                endpoint.add_credentials("ASIAMETADATA", "secret", "token", until)
                expires = datetime.datetime.fromtimestamp(until, datetime.timezone.utc)
                return self.answer(
                    json.dumps(
                        {
                            "Code": "Success",
                            "AccessKeyId": "ASIAMETADATA",
                            "SecretAccessKey": "secret",
                            "Token": "token",
                            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
                        }
                    )
                )

            def answer(self, text: str) -> None:
                self.send_response_only(200)
                self.send_header("Date", formatdate(endpoint.now() / 1e9, usegmt=True))
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def without_keys(endpoint: StrictEndpoint, patch: pytest.MonkeyPatch, home: Path) -> Iterator[Metadata]:
    """Reset an endpoint, remove the keys, and run metadata services."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    endpoint.offset = 0
    endpoint.clear()
    metadata = Metadata(endpoint)
    try:
        with redirected(lambda name, _: metadata.port if name in METADATA else None, {}):
            yield metadata
    finally:
        metadata.close()
        endpoint.clear()


def assume_role(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a role that keys in the config file may assume."""
    keys = endpoint.client_kwargs
    text = f"[default]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n"
    text += "".join(f"{name} = {keys[name]}\n" for name in ("aws_access_key_id", "aws_secret_access_key"))
    (home / "config").write_text(text)
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))


def web_identity(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a pod's token, which an unsigned call exchanges for a role's credentials."""
    (home / "jwt").write_text("token")
    patch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "jwt"))
    patch.setenv("AWS_ROLE_ARN", ROLE)


def instance(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure an instance's role."""


def container(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a task's role."""
    patch.setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/creds")


def process(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a command of the user's, which knows true time."""
    now = endpoint.now() // 10**9
    endpoint.add_credentials("ASIAPROCESS", "secret", "token", now + HOUR)
    expires = datetime.datetime.fromtimestamp(now + HOUR, datetime.timezone.utc)
    output = {"Version": 1, "AccessKeyId": "ASIAPROCESS", "SecretAccessKey": "secret", "SessionToken": "token"}
    (home / "output").write_text(json.dumps({**output, "Expiration": expires.isoformat()}))
    (home / "config").write_text(f"[default]\ncredential_process = cat {home}/output\n")
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))


def single_sign_on(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a human's role, by a bearer token in a cache."""
    start = "https://example.awsapps.com/start"
    cache = home / "cache"
    cache.mkdir()
    patch.setattr(botocore.credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
    expires = datetime.datetime.fromtimestamp(endpoint.now() / 1e9 + HOUR, datetime.timezone.utc)
    token = {"accessToken": "t", "expiresAt": expires.strftime("%Y-%m-%dT%H:%M:%SZ"), "startUrl": start}
    (cache / f"{hashlib.sha1(start.encode(), usedforsecurity=False).hexdigest()}.json").write_text(json.dumps(token))
    (home / "config").write_text(
        f"[default]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = r\n"
    )
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))


PROVIDERS = [assume_role, web_identity, instance, container, process, single_sign_on]
