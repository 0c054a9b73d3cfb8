"""Providers of a role's credentials for programs without keys of their own, for botocore's and aiobotocore's tests."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import http.server
import json
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import botocore.credentials
import botocore.session
import botocore.tokens
import pytest
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.utils import JSONFileCache

import skewguard
from skewguard.testing import StrictEndpoint
from skewguard.testing.tls import redirected
from tests.fakes import FakeSource
from tests.support import running

HOUR = 3600
UTC = datetime.timezone.utc
START = "https://example.awsapps.com/start"
ROLE = "arn:aws:iam::123456789012:role/r"

METADATA = ("169.254.169.254", "169.254.170.2", "metadata.example")
"""The names of the metadata services; the last is for HTTP clients that resolve no address."""


def moment(endpoint: StrictEndpoint, after: float = 0) -> datetime.datetime:
    """Return the time `after` seconds after the endpoint's present."""
    return datetime.datetime.fromtimestamp(endpoint.now() / 1e9 + after, UTC)


def text(when: datetime.datetime) -> str:
    """Format a time as AWS and botocore do in files."""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


class Metadata(http.server.ThreadingHTTPServer):
    """The instance's and the container's metadata services, with the endpoint's clock and credentials.

    Attributes:
        endpoint: What accepts the credentials.
        lasts: Their life, s; negative if they have expired.
    """

    def __init__(self, endpoint: StrictEndpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint, self.lasts = endpoint, HOUR


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:
        self.answer("token")

    def do_GET(self) -> None:
        if self.path.endswith("/security-credentials/"):
            return self.answer("role")
        endpoint = self.server.endpoint
        until = moment(endpoint, self.server.lasts)
        endpoint.add_credentials("ASIAMETADATA", "secret", "token", int(until.timestamp()))
        given = {"Code": "Success", "AccessKeyId": "ASIAMETADATA", "SecretAccessKey": "secret"}
        return self.answer(json.dumps({**given, "Token": "token", "Expiration": text(until)}))

    def answer(self, text: str) -> None:
        self.send_response_only(200)
        self.send_header("Date", formatdate(self.server.endpoint.now() / 1e9, usegmt=True))
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@contextlib.contextmanager
def without_keys(endpoint: StrictEndpoint, patch: pytest.MonkeyPatch, home: Path) -> Iterator[Metadata]:
    """Reset an endpoint, remove the keys, and run metadata services."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"):
        patch.delenv(name)
    patch.setenv("HOME", str(home))
    endpoint.offset = 0
    endpoint.clear()
    metadata = Metadata(endpoint)
    with running(metadata) as port, redirected(lambda name, _: port if name in METADATA else None, {}):
        yield metadata
    endpoint.clear()


class Broker:
    """Hands out real credentials of an endpoint, stamped by a clock that is some seconds ahead of the endpoint's."""

    def __init__(self, endpoint: StrictEndpoint, lasts: int = HOUR, stamps: int = 0) -> None:
        self.endpoint, self.lasts, self.stamps = endpoint, lasts, stamps
        self.count = 0

    def __call__(self) -> dict[str, str]:
        self.count += 1
        until = self.endpoint.now() // 10**9 + self.lasts
        key = f"ASIA{self.count}"
        self.endpoint.add_credentials(key, "secret", "token", until)
        expires = datetime.datetime.fromtimestamp(until + self.stamps, UTC).isoformat()
        return {"access_key": key, "secret_key": "secret", "token": "token", "expiry_time": expires}

    def session(self, deferred: bool = True) -> Any:
        """Make a session with these credentials."""
        session = botocore.session.get_session()
        if deferred:
            session._credentials = DeferredRefreshableCredentials(self, "test")
        else:
            session._credentials = RefreshableCredentials.create_from_metadata(self(), self, "test")
        return session


def configure(home: Path, patch: pytest.MonkeyPatch, content: str) -> None:
    """Write the AWS config file."""
    (home / "config").write_text(content)
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))


def assume_role(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a role that keys in the config file may assume."""
    keys = endpoint.client_kwargs
    content = f"[default]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n"
    content += "".join(f"{name} = {keys[name]}\n" for name in ("aws_access_key_id", "aws_secret_access_key"))
    configure(home, patch, content)


def cache_role(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint, lasts: float) -> None:
    """Configure that role, and cache credentials of it that live for `lasts` s."""
    assume_role(home, patch, endpoint)
    endpoint.add_credentials("ASIAOLD", "secret", "token", int(endpoint.now() / 1e9 + lasts))
    old = {"AccessKeyId": "ASIAOLD", "SecretAccessKey": "secret", "SessionToken": "token"}
    key = hashlib.sha1(json.dumps({"RoleArn": ROLE}, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    cached = {"Credentials": old | {"Expiration": text(moment(endpoint, lasts))}}
    (home / f"{key}.json").write_text(json.dumps(cached))


def with_cache(home: Path, session: Any) -> Any:
    """Make a session cache roles, as the AWS CLI and scripts do; return it."""
    session.get_component("credential_provider").get_provider("assume-role").cache = JSONFileCache(str(home))
    return session


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
    until = moment(endpoint, HOUR)
    endpoint.add_credentials("ASIAPROCESS", "secret", "token", int(until.timestamp()))
    output = {"Version": 1, "AccessKeyId": "ASIAPROCESS", "SecretAccessKey": "secret", "SessionToken": "token"}
    (home / "output").write_text(json.dumps({**output, "Expiration": until.isoformat()}))
    configure(home, patch, f"[default]\ncredential_process = cat {home}/output\n")


def single_sign_on(home: Path, patch: pytest.MonkeyPatch, endpoint: StrictEndpoint) -> None:
    """Configure a human's role, by a bearer token in a cache."""
    cache = home / "cache"
    cache.mkdir()
    patch.setattr(botocore.credentials.SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(cache))
    token = {"accessToken": "t", "expiresAt": text(moment(endpoint, HOUR)), "startUrl": START}
    (cache / f"{hashlib.sha1(START.encode(), usedforsecurity=False).hexdigest()}.json").write_text(json.dumps(token))
    role = "sso_account_id = 123456789012\nsso_role_name = r\n"
    configure(home, patch, f"[default]\nsso_start_url = {START}\nsso_region = us-east-1\n{role}")


def sso_session(home: Path, patch: pytest.MonkeyPatch) -> Path:
    """Configure an SSO session; return the path of its token."""
    patch.setattr(botocore.tokens.SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", str(home))
    section = f"[sso-session mine]\nsso_start_url = {START}\nsso_region = us-east-1\n"
    configure(home, patch, f"[default]\nsso_session = mine\n{section}")
    return home / f"{hashlib.sha1(b'mine', usedforsecurity=False).hexdigest()}.json"


def write_token(path: Path, expires: datetime.datetime, registered: datetime.datetime) -> None:
    """Cache the token "old" of an SSO session, and until when its client is registered."""
    token = {"accessToken": "old", "expiresAt": text(expires), "startUrl": START, "refreshToken": "r"}
    registration = {"clientId": "c", "clientSecret": "s", "registrationExpiresAt": text(registered)}
    path.write_text(json.dumps(token | registration))


PROVIDERS = [assume_role, web_identity, instance, container, process, single_sign_on]
SSO_EXPIRES = "time_fetcher" in botocore.credentials.SSOCredentialFetcher.__init__.__code__.co_varnames
"""Whether the expiry of a token without a session is judged, as it is since botocore 1.40."""


@pytest.mark.parametrize("offset", [-2 * HOUR, 2 * HOUR], ids=["fast", "slow"])
@pytest.mark.parametrize("provide", PROVIDERS)
class RoleCredentials:
    """Tests of role credentials on a wrong clock, from every provider; a subclass makes the call."""

    @pytest.fixture(autouse=True)
    def _host(
        self, provide: Any, offset: int, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        aws.offset = offset
        provide(tmp_path, monkeypatch, aws)

    @pytest.fixture
    def way(self) -> str:
        return ""

    def call(self, way: str) -> None:
        raise NotImplementedError

    def test_unguarded_they_fail(self, provide: Any, offset: int, way: str) -> None:
        """On a fast host they seem expired; on a slow one their signature is."""
        with pytest.raises((ClientError, BotoCoreError, RuntimeError)):
            self.call(way)

    def test_where_a_source_knows_everything_is_right_at_once(
        self, provide: Any, offset: int, aws: StrictEndpoint, way: str
    ) -> None:
        """No request is wasted."""
        with skewguard.install(sources=[FakeSource(offset=offset)]):
            self.call(way)
        assert {record.status for record in aws.requests} == {200}

    def test_without_a_source_the_first_answer_teaches(
        self, provide: Any, offset: int, aws: StrictEndpoint, way: str
    ) -> None:
        """The metadata service's clock, or the answer to an unsigned call; else one request is refused."""
        with skewguard.install():
            if offset < 0 and (provide is process or (provide is single_sign_on and SSO_EXPIRES)):
                with pytest.raises((RuntimeError, BotoCoreError), match="expired"):
                    self.call(way)  # judged by what lies in a file, before anything is known: as without skewguard
                return
            self.call(way)
        refused = provide in (assume_role, process)
        accepted = [record.status == 200 for record in aws.requests]
        assert accepted == [False] * refused + [True] * (len(accepted) - refused)
