"""The seam: every signer signs as of the time it is given, exactly as botocore would have at that time."""

from __future__ import annotations

import base64
import contextlib
import datetime
import importlib
import io
import json
import pkgutil
import types
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import botocore
import botocore.auth
import botocore.session
import botocore.signers
import botocore.tokens
import botocore.utils
import pytest
import time_machine
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.httpchecksum import AwsChunkedWrapper
from botocore.httpsession import URLLib3Session

from skewguard import events
from skewguard._reach import apply_patches, undo_patches
from skewguard.interval import SECOND
from skewguard.signing.patches import library
from skewguard.signing.patches import signers as seam
from skewguard.signing.patches.as_of import AS_OF, DatetimeModule, clock_patch, steered_datetime
from tests.fakes import Emitted
from tests.patience import in_threads

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token").get_frozen_credentials()
# Two seconds before midnight UTC: the scope's day must be the timestamp's.
UTC = datetime.timezone.utc
MOMENT = datetime.datetime(2026, 3, 1, 23, 59, 58, 999_999, tzinfo=UTC)
MOMENT_NS = int(MOMENT.timestamp()) * SECOND + 999_999_999


class Call:
    """A guarded call that signs as of one moment."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.begun = 0

    def begin(self, request: Any) -> int | None:
        self.begun += 1
        return self.at


def own_signers() -> list[type]:
    return [cls for cls in library.signer_classes() if "add_auth" in vars(cls)]


CLOCK = library.clock_name()


def utc_by(module: Any) -> datetime.datetime:
    """Return UTC as a module of botocore reads it."""
    found = vars(module)[CLOCK]
    return found.datetime.utcnow() if CLOCK == "datetime" else found()


def signers() -> list[type]:
    """List every signer class there is, each protocol's and those of awscrt if it is installed."""
    return [
        *sorted(own_signers(), key=lambda cls: (cls.__module__, cls.__name__)),
        botocore.auth.SigV4QueryAuth,
        botocore.auth.S3SigV4Auth,
        botocore.auth.S3SigV4QueryAuth,
        *([botocore.auth.S3ExpressQueryAuth] if hasattr(botocore.auth, "S3ExpressQueryAuth") else []),
        botocore.auth.HmacV1QueryAuth,
    ]


def build(cls: Any) -> Any:
    if getattr(cls, "REQUIRES_IDENTITY_CACHE", None):
        return cls(CREDENTIALS, "s3", "us-east-1", identity_cache=None)
    return cls(CREDENTIALS, "s3", "us-east-1") if cls.REQUIRES_REGION else cls(CREDENTIALS)


def sign(cls: Any, call: Call | None = None) -> dict[str, Any]:
    """Sign a request and gather everything that a signature can be in."""
    body: Any = {} if "V2" in cls.__name__ else b""
    request = AWSRequest("GET", "https://s3.us-east-1.amazonaws.com/bucket/key", data=body)
    request.context["s3-presign-post-policy"] = {"expiration": "2030-01-01T00:00:00Z", "conditions": []}
    request.context["s3-presign-post-fields"] = {}
    request.context["timestamp"] = ""
    if call is not None:
        request.context[seam.KEY] = call
    build(cls).add_auth(request)
    return {
        "url": request.url,
        "headers": sorted((name.lower(), value) for name, value in request.headers.items()),
        "fields": request.context["s3-presign-post-fields"],
        "params": request.params or request.data,
    }


def without_signature(cls: type, signed: dict[str, Any]) -> dict[str, Any]:
    """Drop what is random: asymmetric signatures never repeat."""
    if "Asym" not in cls.__name__:
        return signed
    signed["headers"] = [
        (name, value.split("Signature=")[0] if name == "authorization" else value) for name, value in signed["headers"]
    ]
    signed["url"] = signed["url"].split("X-Amz-Signature")[0]
    return signed


@contextlib.contextmanager
def at_that_moment() -> Iterator[None]:
    """Sign as of `MOMENT` in this context."""
    token = AS_OF.set(MOMENT_NS)
    try:
        yield
    finally:
        AS_OF.reset(token)


@pytest.fixture
def opened() -> Iterator[None]:
    apply_patches()
    yield
    undo_patches()


@pytest.mark.parametrize("cls", signers(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_signs_as_botocore_would_have_at_that_time(cls: type) -> None:
    """Byte for byte what plain botocore signs when the whole host is set to that moment."""
    with time_machine.travel(MOMENT, tick=False):
        expected = without_signature(cls, sign(cls))
    apply_patches()
    call = Call(MOMENT_NS)
    assert without_signature(cls, sign(cls, call)) == expected
    assert call.begun >= 1
    if cls is not botocore.auth.HmacV1PostAuth:  # it signs the policy's time, not one of its own
        assert sign(cls) != expected


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize("cls", signers(), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_leaves_alone_what_it_was_not_asked_to_correct(cls: type) -> None:
    """Unguarded requests, and guarded ones on a healthy clock, follow the wall clock."""
    with time_machine.travel(MOMENT, tick=False):
        undo_patches()
        expected = without_signature(cls, sign(cls))
        apply_patches()
        assert without_signature(cls, sign(cls)) == expected
        assert without_signature(cls, sign(cls, Call(None))) == expected


@pytest.mark.usefixtures("opened")
def test_a_signing_inside_another_keeps_its_own_time() -> None:
    """An STS call while another request is being signed has its own clock, and gives the outer one back."""
    inner_at = MOMENT_NS + 3600 * SECOND
    found: list[str] = []

    class Nesting(Call):
        def begin(self, request: Any) -> int | None:
            found.append(dict(sign(botocore.auth.SigV4Auth, Call(inner_at))["headers"])["x-amz-date"])
            found.append(dict(sign(botocore.auth.SigV4Auth)["headers"])["x-amz-date"])
            return self.at

    with at_that_moment():
        headers = dict(sign(botocore.auth.SigV4Auth, Nesting(MOMENT_NS))["headers"])
    assert headers["x-amz-date"] == "20260301T235958Z"
    assert found[0] == "20260302T005958Z"
    unguarded = datetime.datetime.strptime(found[1] + "+0000", "%Y%m%dT%H%M%SZ%z")
    assert abs(unguarded - datetime.datetime.now(UTC)) < datetime.timedelta(seconds=5)


@pytest.mark.usefixtures("opened")
def test_other_threads_see_the_real_clock_meanwhile() -> None:
    seen: list[datetime.datetime] = []
    with at_that_moment():
        in_threads(1, lambda: seen.append(utc_by(botocore.auth)))
        assert utc_by(botocore.auth) == MOMENT.replace(tzinfo=None)
    assert seen[0] != MOMENT.replace(tzinfo=None)


def test_a_clock_is_asked_as_botocore_asks_it() -> None:
    def get_current_datetime(remove_tzinfo: bool = True) -> datetime.datetime:
        now = datetime.datetime.now(UTC)
        return now.replace(tzinfo=None) if remove_tzinfo else now

    stand_in = steered_datetime(get_current_datetime)
    asked: list[dict[str, bool]] = [{}, {"remove_tzinfo": True}, {"remove_tzinfo": False}]
    with at_that_moment():
        answers = [stand_in(**how) for how in asked]
    assert answers == [MOMENT.replace(tzinfo=None), MOMENT.replace(tzinfo=None), MOMENT]
    for how in asked:
        assert stand_in(**how).tzinfo is get_current_datetime(**how).tzinfo


def test_a_clock_of_another_form_is_left_alone() -> None:
    """A later botocore may ask its clock for more, which the replacement could not give."""
    module: Any = types.ModuleType("botocore.later")
    module.get_current_datetime = lambda remove_tzinfo=True, zone=UTC: datetime.datetime.now(zone)
    found = module.get_current_datetime
    degraded = clock_patch("signing", module, steered_datetime).apply()
    assert degraded is not None
    assert module.get_current_datetime is found


def test_the_clock_of_an_older_botocore() -> None:
    """The module ``datetime``: its clock is steered, and all else is the module's own."""
    east = datetime.timezone(datetime.timedelta(hours=9))
    module = DatetimeModule(datetime, steered_datetime)
    with at_that_moment():
        found = [module.datetime.now(UTC), module.datetime.now(east), module.datetime.now(), module.datetime.utcnow()]
    assert found == [MOMENT, MOMENT, MOMENT.astimezone().replace(tzinfo=None), MOMENT.replace(tzinfo=None)]
    assert abs(module.datetime.now(UTC) - datetime.datetime.now(UTC)) < datetime.timedelta(seconds=5)
    assert module.timedelta is datetime.timedelta
    assert isinstance(MOMENT, module.datetime)
    assert not isinstance(MOMENT.date(), module.datetime)
    for made in (module.datetime(2026, 3, 1), module.datetime.strptime("2026", "%Y")):
        assert type(made) is datetime.datetime


def test_the_clocks_name_shows_in_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer releases import ``datetime`` as well; other libraries may have wrapped the signer."""

    def older(self: object, request: object) -> None:
        datetime.datetime.utcnow()

    name = library.clock_name()
    monkeypatch.setattr(botocore.auth.SigV4Auth, "add_auth", older)
    assert library.clock_name.__wrapped__() == "datetime"
    monkeypatch.undo()
    apply_patches()
    assert library.clock_name.__wrapped__() == name


@pytest.mark.usefixtures("opened")
def test_a_failure_of_ours_signs_with_the_wall_clock(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Call):
        def begin(self, request: Any) -> int | None:
            raise ZeroDivisionError

    assert sign(botocore.auth.SigV4Auth, Broken(None))["headers"]


def test_a_posts_policy_expires_as_of_the_same_time() -> None:
    """The policy is written before before-sign is heard; both of its times are corrected."""
    client = botocore.session.get_session().create_client("s3", config=Config(signature_version="s3v4"))
    with time_machine.travel(MOMENT, tick=False):
        expected = client.generate_presigned_post("bucket", "key", ExpiresIn=600)
    apply_patches()
    client.meta.events.register(seam.WHO, lambda **_: SimpleNamespace(handed_out_time=lambda url, auth_path: MOMENT_NS))
    client.meta.events.register("before-sign", lambda request, **_: request.context.update({seam.KEY: Call(MOMENT_NS)}))
    made = client.generate_presigned_post("bucket", "key", ExpiresIn=600)
    assert made == expected
    policy = json.loads(base64.b64decode(made["fields"]["policy"]))
    assert policy["expiration"] == "2026-03-02T00:09:58Z"
    assert made["fields"]["x-amz-date"] == "20260301T235958Z"


def test_opening_twice_and_closing_leaves_no_trace() -> None:
    def held() -> list[object]:
        clocks = [vars(botocore.auth)[CLOCK], botocore.auth.time, vars(botocore.signers)[CLOCK]]
        return [*clocks, *(cls.__dict__.get("add_auth") for cls in signers())]

    before = held()
    apply_patches()
    opened = vars(botocore.auth)[CLOCK]
    apply_patches()
    assert vars(botocore.auth)[CLOCK] is opened is not before[0]
    undo_patches()
    assert held() == before


a_client = lambda: botocore.session.get_session().create_client("s3")
a_token = lambda: botocore.tokens.DeferredRefreshableToken("test", dict)
some_credentials = lambda: botocore.credentials.DeferredRefreshableCredentials(dict, "test")
a_token_provider = lambda: botocore.tokens.SSOTokenProvider(botocore.session.Session())
a_fetcher = lambda: botocore.credentials.SSOCredentialFetcher("url", "region", "role", "account", lambda *_, **__: None)

PRIVATES: dict[str, tuple[Callable[[], Any], str]] = {
    "whether certificates are verified": (URLLib3Session, "_verify"),
    "through which proxy": (URLLib3Session, "_proxy_config"),
    "how that proxy forwards": (lambda: URLLib3Session()._proxy_config, "settings"),
    "a client's HTTP session": (lambda: a_client()._endpoint, "http_session"),
    "the stream in a body that is sent in chunks": (lambda: AwsChunkedWrapper(io.BytesIO()), "_raw"),
    "the emitter behind a client's": (lambda: a_client().meta.events, "_emitter"),
    "whether an emitter awaits": (lambda: a_client().meta.events._emitter, "_emit"),
    "the signer of a form": (lambda: botocore.signers.S3PostPresigner(a_client()._request_signer), "_request_signer"),
    "the emitter of a signer": (lambda: a_client()._request_signer, "_event_emitter"),
    "the botocore session of boto3's": (boto3.Session, "_session"),
    "the HTTP session of the instance's metadata": (botocore.utils.InstanceMetadataFetcher, "_session"),
    "the HTTP session of the container's metadata": (botocore.utils.ContainerMetadataFetcher, "_session"),
    "when a token may be renewed": (a_token, "_next_refresh"),
    "by which clock a token is judged": (a_token, "_time_fetcher"),
    "how often a token may be renewed": (a_token, "_attempt_timeout"),
    "when a token is dying": (a_token, "_mandatory_refresh_timeout"),
    "the token itself": (a_token, "_frozen_token"),
    "when a token is renewed": (a_token_provider, "_REFRESH_WINDOW"),
    "by which clock a token is renewed": (a_token_provider, "_now"),
    "when credentials expire": (some_credentials, "_expiry_time"),
    "by which clock credentials are judged": (some_credentials, "_time_fetcher"),
    "when credentials are dying": (some_credentials, "_advisory_refresh_timeout"),
    "when credentials are as good as dead": (some_credentials, "_mandatory_refresh_timeout"),
    "the cache of fetched credentials": (a_fetcher, "_load_from_cache"),
}
if CLOCK != "datetime":
    PRIVATES["by which clock a legacy token is judged"] = (a_fetcher, "_time_fetcher")


newer = pytest.mark.skipif(CLOCK == "datetime", reason="old releases do not change")


class TestTripwire:
    """What the seam leans on in botocore. A failure here names the place that a new botocore has changed."""

    @newer
    def test_every_module_that_reads_the_clock_is_known(self) -> None:
        """A new holder of the clock's name must be examined: does it sign?"""
        signing = {"botocore.auth", "botocore.signers"}
        if botocore.compat.HAS_CRT:
            signing.add("botocore.crt.auth")
        others = {"botocore.compat", "botocore.endpoint", "botocore.utils"}  # define it; write a TTL; log IMDS expiry
        holders = set()
        for module in pkgutil.walk_packages(botocore.__path__, "botocore."):
            if module.name.startswith(("botocore.vendored", "botocore.docs")):
                continue
            if module.name.startswith("botocore.crt") and not botocore.compat.HAS_CRT:
                continue
            if hasattr(importlib.import_module(module.name), "get_current_datetime"):
                holders.add(module.name)
        assert holders == signing | others

    @newer
    def test_signers_read_no_other_clock(self) -> None:
        """botocore.auth's clock names are those the seam replaces."""
        known = {"datetime", "time", "formatdate", "get_current_datetime"}
        assert set(vars(botocore.auth)) & (known | {"monotonic", "timezone", "utcnow", "now"}) == known

    def test_every_signature_version_is_guarded(self) -> None:
        """No signer of AUTH_TYPE_MAPS escapes, save the one that signs no time."""
        apply_patches()
        guarded = {cls for cls in own_signers() if hasattr(cls.__dict__["add_auth"], "__wrapped__")}
        for version, cls in botocore.auth.AUTH_TYPE_MAPS.items():
            assert version == "bearer" or any(base in guarded for base in cls.__mro__), version

    def test_a_response_names_its_socket(self) -> None:
        """urllib3 still keeps http.client's response where provenance is read."""
        import urllib3.response

        assert "original_response" in urllib3.response.HTTPResponse.__init__.__code__.co_varnames
        assert hasattr(urllib3.response.HTTPResponse(), "_original_response")

    @pytest.mark.parametrize("place", PRIVATES)
    def test_what_is_read_is_where_it_was(self, place: str) -> None:
        """Each private attribute that is read but not patched, in a real object."""
        make, name = PRIVATES[place]
        found = make()
        assert hasattr(found, name), f"{type(found).__module__}.{type(found).__name__} has no {name}: {place}"


def test_an_unknown_botocore_switches_off_one_part_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, emitted: Emitted
) -> None:
    monkeypatch.delattr(botocore.signers, "S3PostPresigner")
    apply_patches()
    assert [event.part for event in emitted.of(events.Degraded)] == ["presigning POST forms"]
    assert dict(sign(botocore.auth.SigV4Auth, Call(MOMENT_NS))["headers"])["x-amz-date"] == "20260301T235958Z"
