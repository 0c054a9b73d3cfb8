"""What lies in a cache, is extended, or belongs to one bucket, is judged by true time as well."""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
from pathlib import Path
from typing import Any

import botocore.auth
import botocore.compat
import botocore.credentials
import botocore.session
import botocore.tokens
import botocore.utils
import pytest
from botocore.exceptions import TokenRetrievalError

import skewguard
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource
from tests.real.need import need
from tests.roles import (
    HOUR,
    Metadata,
    cache_role,
    configure,
    moment,
    sso_session,
    text,
    with_cache,
    write_token,
)
from tests.support import decoded

LOGIN = "arn:aws:iam::123456789012:user/me"

each_clock = pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["slow", "fast"])


@pytest.fixture
def aws(metadata: Metadata) -> StrictEndpoint:
    return metadata.endpoint


def left(aws: StrictEndpoint, when: str) -> float:
    """Return the seconds until a time, by true time."""
    parsed = datetime.datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    return parsed.timestamp() - aws.now() / 1e9


def call(session: Any) -> None:
    session.create_client("dynamodb", region_name="us-east-1").list_tables()


class TestTokens:
    """The bearer token of an SSO session: in a cache on disk, renewed by an unsigned call."""

    @pytest.fixture(autouse=True)
    def cached(self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Configure a session; return the path of its token."""
        return sso_session(tmp_path, monkeypatch)

    @staticmethod
    def given(aws: StrictEndpoint, cached: Path, lasts: float, registered: float = HOUR, then: float = HOUR) -> None:
        """Write a token to the cache that lives for `lasts` s, and let the service give a new one."""
        write_token(cached, moment(aws, lasts), moment(aws, registered))
        TestTokens.renewable(aws, "new", then)

    @staticmethod
    def renewable(aws: StrictEndpoint, token: str, lasts: float) -> None:
        """Let the server give this token for one more request."""
        given = {"accessToken": token, "expiresIn": lasts, "refreshToken": "r", "tokenType": "Bearer"}
        aws.reply_next(200, {"Content-Type": "application/json"}, json.dumps(given).encode())

    @each_clock
    @pytest.mark.parametrize(
        ("lasts", "token"), [(-60, "new"), (300, "new"), (3000, "old")], ids=["dead", "dying", "alive"]
    )
    def test_they_are_renewed_when_true_time_says_so(
        self, aws: StrictEndpoint, cached: Path, offset: int, lasts: float, token: str
    ) -> None:
        """Neither sooner nor later; and the cache states the real expiry of the new one."""
        aws.offset = offset
        self.given(aws, cached, lasts)
        with skewguard.install(sources=[FakeSource(offset=offset)]):
            assert botocore.session.get_session().get_auth_token().get_frozen_token().token == token
        assert aws.count == (token == "new")
        expected = HOUR if token == "new" else lasts
        assert left(aws, json.loads(cached.read_text())["expiresAt"]) == pytest.approx(expected, abs=5)

    def test_unguarded_the_wall_clock_says_so(self, aws: StrictEndpoint, cached: Path) -> None:
        """An expired one is used on a slow host; on a fast one, its registration seems expired too."""
        for offset, lasts in ((2 * HOUR, -60), (-2 * HOUR, 3000)):
            aws.offset = offset
            self.given(aws, cached, lasts)
            token = botocore.session.get_session().get_auth_token()
            if offset > 0:
                assert token.get_frozen_token().token == "old"
            else:
                with pytest.raises(TokenRetrievalError, match="expired"):
                    token.get_frozen_token()

    def test_an_answer_that_tells_the_time_puts_off_no_renewal(self, aws: StrictEndpoint, cached: Path) -> None:
        """The pause between two attempts is a minute, although it began by a clock two hours fast."""
        aws.offset = -2 * HOUR
        self.given(aws, cached, 300, 3 * HOUR, then=300)  # else the fast clock takes its registration for expired
        self.renewable(aws, "newer", HOUR)
        with skewguard.install():
            token = botocore.session.get_session().get_auth_token()
            token._attempt_timeout = 0  # as if it were over
            assert [token.get_frozen_token().token for _ in range(3)] == ["new", "newer", "newer"]


@each_clock
class TestLogin:
    """The cache of `aws login`: credentials, renewed by a call with a dated proof of possession."""

    @pytest.fixture(autouse=True)
    def cached(self, aws: StrictEndpoint, offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Configure a login; return the path of its token."""
        if not hasattr(botocore.credentials, "LoginProvider"):
            pytest.skip("this botocore came before aws login")
        need(botocore.compat.HAS_CRT, "awscrt", "pip install awscrt")
        aws.offset = offset
        (tmp_path / "cache").mkdir()
        monkeypatch.setenv("AWS_LOGIN_CACHE_DIRECTORY", str(tmp_path / "cache"))
        configure(tmp_path, monkeypatch, f"[default]\nlogin_session = {LOGIN}\nregion = us-east-1\n")
        return tmp_path / "cache" / f"{botocore.utils.generate_login_cache_key(LOGIN)}.json"

    @staticmethod
    def given(aws: StrictEndpoint, cached: Path, lasts: float) -> None:
        """Write credentials to the cache that live for `lasts` s, and let the service give new ones."""
        from awscrt.crypto import EC, ECExportFormat, ECType

        def credentials(key: str, expires: float) -> dict[str, str]:
            aws.add_credentials(key, "secret", "token", int(aws.now() / 1e9 + expires))
            return {"accessKeyId": key, "secretAccessKey": "secret", "sessionToken": "token"}

        old = credentials("ASIAOLD", lasts) | {"accountId": "1", "expiresAt": text(moment(aws, lasts))}
        key = b""
        while len(key) != 121:  # awscrt drops leading zeros of one key in 256, and then rejects it
            key = EC.new_generate(ECType.P_256).export_key(ECExportFormat.SEC1)
        token = {"accessToken": old, "refreshToken": "r", "clientId": "c", "dpopKey": base64.b64encode(key).decode()}
        cached.write_text(json.dumps(token))
        new = {"accessToken": credentials("ASIANEW", 900), "expiresIn": 900, "refreshToken": "r", "tokenType": "t"}
        aws.reply_next(200, {"Content-Type": "application/json"}, json.dumps(new).encode())

    @pytest.mark.parametrize("lasts", [-60, 300], ids=["dead", "dying"])
    def test_it_is_renewed_when_true_time_says_so(
        self, aws: StrictEndpoint, cached: Path, offset: int, lasts: float
    ) -> None:
        """With a proof dated now, and the real expiry of the new ones in the cache."""
        self.given(aws, cached, lasts)
        with skewguard.install(sources=[FakeSource(offset=offset)]):
            call(botocore.session.get_session())
        renewal, used = aws.requests
        assert (used.status, used.access_key) == (200, "ASIANEW")
        assert dated(aws, renewal) == pytest.approx(0, abs=5)
        assert left(aws, json.loads(cached.read_text())["accessToken"]["expiresAt"]) == pytest.approx(900, abs=5)

    @pytest.mark.parametrize("made", ["before", "after"])
    @pytest.mark.parametrize("status", [400, 401])
    def test_a_renewal_refused_for_its_date_is_repeated(
        self, aws: StrictEndpoint, cached: Path, offset: int, status: int, made: str
    ) -> None:
        """Nothing knew the time: the refusal tells it, and a new proof is dated by it. The program notices nothing."""
        self.refuse(aws, status)
        self.given(aws, cached, -3 * HOUR)
        session = botocore.session.get_session() if made == "before" else None
        with skewguard.install():
            call(session or botocore.session.get_session())
        refused, renewal, used = aws.requests
        assert [record.status for record in aws.requests] == [status, 200, 200]
        assert dated(aws, refused) == pytest.approx(-offset, abs=5)
        assert dated(aws, renewal) == pytest.approx(0, abs=5)
        assert used.access_key == "ASIANEW"
        assert left(aws, json.loads(cached.read_text())["accessToken"]["expiresAt"]) == pytest.approx(900, abs=5)

    def test_a_login_that_is_over_is_tried_once_more_at_most(
        self, aws: StrictEndpoint, cached: Path, offset: int
    ) -> None:
        """The program gets botocore's own error; once the time is known, there is no second attempt."""
        for expected in (2, 1):
            aws.clear()
            self.refuse(aws, 400, times=expected)
            with skewguard.install() if expected == 2 else skewguard.install(sources=[FakeSource(offset=offset)]):
                self.given(aws, cached, -3 * HOUR)
                with pytest.raises(botocore.exceptions.LoginRefreshRequired):
                    call(botocore.session.get_session())
            assert [record.status for record in aws.requests] == [400] * expected

    @staticmethod
    def refuse(aws: StrictEndpoint, status: int, times: int = 1) -> None:
        """Let the service say that the login has expired, as it does whatever is wrong with the proof."""
        headers = {"Content-Type": "application/json", "x-amzn-ErrorType": "AccessDeniedException"}
        aws.reply_next(status, headers, b'{"error": "TOKEN_EXPIRED", "message": "expired"}', times=times)

    def test_it_is_left_alone_while_it_lives(self, aws: StrictEndpoint, cached: Path, offset: int) -> None:
        self.given(aws, cached, 3000)
        aws.clear()
        with skewguard.install(sources=[FakeSource(offset=offset)]):
            call(botocore.session.get_session())
        assert [(record.status, record.access_key) for record in aws.requests] == [(200, "ASIAOLD")]

    def test_unguarded_the_wall_clock_dates_the_proof(self, aws: StrictEndpoint, cached: Path, offset: int) -> None:
        self.given(aws, cached, -3 * HOUR)
        credentials = botocore.session.get_session().get_credentials()
        with contextlib.suppress(RuntimeError):
            credentials.get_frozen_credentials()
        assert dated(aws, aws.requests[0]) == pytest.approx(-offset, abs=5)


def dated(aws: StrictEndpoint, renewal: Any) -> float:
    """Return how far a proof's date is ahead of true time, s."""
    return float(json.loads(decoded(renewal.headers["dpop"].split(".")[1]))["iat"] - aws.now() / 1e9)


@each_clock
@pytest.mark.parametrize(("lasts", "fresh"), [(-60, True), (600, True), (3000, False)], ids=["dead", "dying", "alive"])
def test_a_disk_cache_of_assumed_roles(
    aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offset: int, lasts: float, fresh: bool
) -> None:
    """As the AWS CLI and scripts keep one: a role is assumed again when its credentials expire by either clock."""
    aws.offset = offset
    cache_role(tmp_path, monkeypatch, aws, lasts)
    with skewguard.install(sources=[FakeSource(offset=offset)]):
        call(with_cache(tmp_path, botocore.session.get_session()))
    fresh = fresh or offset < 0  # a cache that shares a fast clock would hand out dead ones
    assert [record.status for record in aws.requests] == [200] * (1 + fresh)
    assert (aws.requests[-1].access_key != "ASIAOLD") == fresh


@each_clock
class TestStaticStability:
    """An instance's credentials are extended while its service cannot renew them, and only then."""

    @staticmethod
    def lasts(metadata: Metadata, lasts: int) -> float:
        """Return for how long a session takes credentials for valid that live for `lasts` s, both by true time."""
        metadata.lasts = lasts
        credentials = botocore.session.get_session().get_credentials()
        return float((credentials._expiry_time - moment(metadata.endpoint)).total_seconds())

    @pytest.mark.parametrize("lasts", [-1800, 60, HOUR], ids=["dead", "dying", "alive"])
    def test_dead_ones_are_stretched_from_now(self, metadata: Metadata, offset: int, lasts: int) -> None:
        """By botocore's fifteen minutes and two to ten more; so the service is asked again in time."""
        metadata.endpoint.offset = offset
        with skewguard.install(sources=[FakeSource(offset=offset)]):
            found = self.lasts(metadata, lasts)
        assert found == pytest.approx(HOUR, abs=5) if lasts == HOUR else 17 * 60 - 5 <= found <= 25 * 60 + 5

    def test_unguarded_it_is_the_other_way_round(self, metadata: Metadata, offset: int) -> None:
        """Expired ones are used on a slow host, and valid ones are extended for hours on a fast one."""
        metadata.endpoint.offset = offset
        lasts, expected = (-1800, -1800) if offset > 0 else (HOUR, 2 * HOUR + 21 * 60)
        assert self.lasts(metadata, lasts) == pytest.approx(expected, abs=4 * 60 + 5)


@pytest.mark.skipif(not hasattr(botocore.auth, "S3ExpressAuth"), reason="this botocore came before S3 Express")
@each_clock
def test_the_session_of_an_s3_express_bucket(aws: StrictEndpoint, offset: int) -> None:
    """It lasts five minutes, is used while it lives, and is renewed near its end, by true time.

    A fast wall clock has its say, once.
    """
    bucket = "mine--use1-az4--x-s3"
    aws.offset = offset
    held: list[Any] = []

    def hold(request: Any, **_: Any) -> None:
        signing = request.context["signing"]
        if "identity_cache" in signing:
            held.append(signing["identity_cache"].get_credentials(signing["cache_key"]))

    with skewguard.install(sources=[FakeSource(offset=offset)]):
        keys = {name: value for name, value in aws.client_kwargs.items() if name != "endpoint_url"}
        s3 = botocore.session.get_session().create_client("s3", **keys)
        s3.meta.events.register("before-sign.s3", hold)
        s3.create_bucket(Bucket=bucket)
        s3.list_objects_v2(Bucket=bucket)
        s3.list_objects_v2(Bucket=bucket)
        held[0]._advisory_refresh_timeout = held[0]._mandatory_refresh_timeout = 301  # as if it were nearly over
        s3.list_objects_v2(Bucket=bucket)
    first = ["CreateSession"] * (1 + (offset < 0))
    expected = ["CreateBucket", *first, "ListObjectsV2", "ListObjectsV2", "CreateSession", "ListObjectsV2"]
    assert [(record.operation, record.status) for record in aws.requests] == [(name, 200) for name in expected]
