"""Both the wall clock and true time may be wrong: neither makes a call fail that succeeds with botocore alone."""

from __future__ import annotations

import contextlib
import datetime
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.credentials
import botocore.session
import botocore.tokens
import botocore.utils
import pytest
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError
from hypothesis import example, given
from hypothesis import strategies as st

import skewguard
from skewguard._reach import undo_patches
from skewguard.signing.patches import expiry
from skewguard.testing import StrictEndpoint
from tests.fakes import FakeSource, raising
from tests.roles import (
    HOUR,
    UTC,
    Broker,
    Metadata,
    cache_role,
    process,
    single_sign_on,
    sso_session,
    with_cache,
    write_token,
)

MINUTE = 60
FAIL = raising(ZeroDivisionError())


class World:
    """A host, what skewguard believes, and a provider of credentials; all offsets are from real time, s.

    Attributes:
        wall: The wall clock's offset.
        believed: The offset of what skewguard takes for true time.
        stamps: The offset of the clock that states the credentials' expiry.
        lasts: For how long the credentials live, s.
        renewed: For how long they still live when the provider replaces them; 0 if it makes new ones each time.
        now: Real time.
        dies: When the newest credentials really die.
        refreshes: How often the provider was asked.
    """

    def __init__(self, wall: int, believed: int, stamps: int, lasts: int, renewed: int = 0) -> None:
        self.wall, self.believed, self.stamps, self.lasts, self.renewed = wall, believed, stamps, lasts, renewed
        self.now = 1_800_000_000.0
        self.dies = 0.0
        self.refreshes = 0

    def behind(self) -> int:
        return (self.believed - self.wall) * 10**9

    def steady(self) -> float:
        return self.now

    def provide(self) -> dict[str, str]:
        self.refreshes += 1
        if not self.renewed or self.dies - self.now <= self.renewed:
            self.dies = self.now + self.lasts
        until = datetime.datetime.fromtimestamp(self.dies + self.stamps, UTC).isoformat()
        return {"access_key": str(self.refreshes), "secret_key": "s", "token": "t", "expiry_time": until}

    def run(self, gaps: list[int]) -> list[bool | str]:
        """Make calls, some seconds apart; return of each whether its credentials lived, or what was raised."""
        global _now
        credentials = DeferredRefreshableCredentials(self.provide, "test", botocore.credentials._local_now)
        results: list[bool | str] = []
        for gap in gaps:
            self.now += gap
            _now = datetime.datetime.fromtimestamp(self.now + self.wall, UTC)
            try:
                credentials.get_frozen_credentials()
            except RuntimeError as error:
                results.append(str(error))
            else:
                results.append(self.now < self.dies)
        return results

    def twin(self) -> World:
        return World(self.wall, self.believed, self.stamps, self.lasts, self.renewed)


_now = datetime.datetime.now(UTC)


def _played() -> datetime.datetime:
    return _now


@contextlib.contextmanager
def guarded(world: Any) -> Iterator[None]:
    """Judge expiry by what a world believes; its wall clock is `_played`."""
    patch = pytest.MonkeyPatch()
    patch.setattr(expiry, "_clock", None)
    patch.setattr(botocore.credentials, "_local_now", _played)
    try:
        expiry.judge_expiry_by(world)
        yield
    finally:
        undo_patches()
        patch.undo()


def compare(world: World, gaps: list[int]) -> tuple[World, list[bool | str], list[bool | str]]:
    """Play the same calls with botocore alone and guarded; return the unguarded world and both results."""
    plain = world.twin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.credentials, "_local_now", _played)
        unguarded = plain.run(gaps)
    with guarded(world):
        return plain, unguarded, world.run(gaps)


OFFSETS = st.integers(-4 * HOUR, 4 * HOUR) | st.sampled_from([0, 0, -2 * HOUR, 2 * HOUR, 175 * MINUTE])
GAPS = st.lists(st.integers(1, 20 * MINUTE) | st.integers(1, 5 * HOUR), min_size=1, max_size=40)


class TestWorlds:
    """Hours of calls on any clocks."""

    @given(OFFSETS, OFFSETS, st.booleans(), st.sampled_from([15 * MINUTE, HOUR, 3 * HOUR, 12 * HOUR]), GAPS)
    @example(0, 0, True, HOUR, [60] * 100)
    def test_if_either_clock_has_stamped_them_none_is_used_dead(
        self, wall: int, believed: int, by_wall: bool, lasts: int, gaps: list[int]
    ) -> None:
        """And nothing raises."""
        world = World(wall, believed, wall if by_wall else believed, lasts)
        assert compare(world, gaps)[2] == [True] * len(gaps)

    @given(OFFSETS, st.booleans(), st.sampled_from([2 * MINUTE, 10 * MINUTE]), GAPS)
    def test_nor_of_a_provider_that_renews_them_late(
        self, error: int, slow: bool, renewed: int, gaps: list[int]
    ) -> None:
        """Which has no better ones when it is asked first: so it is asked again."""
        world = World(error if slow else 0, 0 if slow else error, 0, 6 * HOUR, renewed)
        assert compare(world, gaps)[2] == [True] * len(gaps)

    @given(OFFSETS, OFFSETS, OFFSETS, st.sampled_from([15 * MINUTE, HOUR, 3 * HOUR]), GAPS)
    def test_nothing_is_raised_that_botocore_does_not_raise(
        self, wall: int, believed: int, stamps: int, lasts: int, gaps: list[int]
    ) -> None:
        """Whichever clock has stamped them, even a third one."""
        _, unguarded, ours = compare(World(wall, believed, stamps, lasts), gaps)
        for plain, found in zip(unguarded, ours, strict=True):
            assert isinstance(plain, str) or not isinstance(found, str)

    @pytest.mark.parametrize(
        ("world", "a_day"),
        [
            (World(-2 * HOUR, 0, -2 * HOUR, HOUR), 35),  # host and store slow alike
            (World(2 * HOUR, 0, 2 * HOUR, HOUR), 35),  # host and store fast alike
            (World(0, 2 * HOUR, 0, HOUR), 35),  # a source that lies
            (World(0, -2 * HOUR, 0, HOUR), 35),
            (World(0, 175 * MINUTE, 0, 3 * HOUR), 480),  # which may also be credentials that live five minutes
            (World(-2 * HOUR, 0, 0, HOUR), 35),  # a slow host, in AWS
            (World(2 * HOUR, 0, 0, HOUR), 35),  # a fast one
            (World(-2 * HOUR, 0, 0, HOUR, 5 * MINUTE), 80),  # the provider has no better ones until then
        ],
    )
    def test_there_is_no_storm(self, world: World, a_day: int) -> None:
        """Ten calls at once take one refresh, ten calls in ten minutes at most four; then a call a minute for a day."""
        for gaps, limit in ([1] * 10, 1), ([MINUTE] * 10, 4), ([MINUTE] * 1440, a_day):
            world = world.twin()
            assert compare(world, gaps)[2] == [True] * len(gaps)
            assert world.refreshes <= limit

    def test_a_healthy_host_refreshes_as_botocore_does(self) -> None:
        plain, unguarded, ours = compare(world := World(0, 0, 0, HOUR), [MINUTE] * 600)
        assert (unguarded, plain.refreshes) == (ours, world.refreshes)

    def test_custom_clocks_are_left_alone(self) -> None:
        """Those of a program that judges by a clock of its own."""
        until = datetime.datetime.fromtimestamp(World(0, 0, 0, 0).now, UTC)
        credentials = RefreshableCredentials("a", "s", "t", until, dict, "test", lambda: until)
        with guarded(World(0, 2 * HOUR, 0, HOUR)):
            assert credentials._seconds_remaining() == 0


@pytest.fixture
def aws(metadata: Metadata) -> StrictEndpoint:
    return metadata.endpoint


def outcomes(session: Any, calls: int = 10, **options: Any) -> list[str]:
    """Make calls; return the name of each one's exception, or ""."""
    client = session.create_client("dynamodb", region_name="us-east-1", **options)
    found = []
    for _ in range(calls):
        try:
            client.list_tables()
        except (BotoCoreError, ClientError, RuntimeError) as error:
            found.append(type(error).__name__)
        else:
            found.append("")
    return found


class TestCalls:
    """Real calls, beside the same with botocore alone."""

    @pytest.mark.parametrize("deferred", [True, False])
    @pytest.mark.parametrize("error", [2 * HOUR, -2 * HOUR], ids=["slow", "fast"])
    def test_a_store_with_the_host_s_wrong_clock(self, error: int, deferred: bool) -> None:
        """It stamps what it hands out, and a source knows UTC."""
        with StrictEndpoint() as store:
            url = store.client_kwargs["endpoint_url"]
            assert outcomes(Broker(store).session(deferred), endpoint_url=url) == [""] * 10
            with skewguard.install(sources=[FakeSource(offset=error)]):
                broker = Broker(store)
                assert outcomes(broker.session(deferred), endpoint_url=url) == [""] * 10
        assert broker.count <= 2

    def test_a_process_with_the_host_s_wrong_clock(
        self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It prints the same until they expire."""
        process(tmp_path, monkeypatch, aws)
        url = {"endpoint_url": aws.client_kwargs["endpoint_url"], "verify": aws.client_kwargs["verify"]}
        assert outcomes(botocore.session.get_session(), **url) == [""] * 10
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            assert outcomes(botocore.session.get_session(), **url) == [""] * 10

    @pytest.mark.parametrize(("lie", "lasts"), [(2 * HOUR, HOUR), (175 * MINUTE, 3 * HOUR), (-2 * HOUR, HOUR)])
    def test_a_source_that_lies_to_a_right_host(self, aws: StrictEndpoint, lie: int, lasts: int) -> None:
        """Nothing fails, and there is no storm."""
        plain, guarded = Broker(aws, lasts), Broker(aws, lasts)
        assert outcomes(plain.session()) == [""] * 10
        with skewguard.install(sources=[FakeSource(offset=lie)]):
            assert outcomes(guarded.session()) == [""] * 10
        assert plain.count == 1
        assert guarded.count <= 2

    @pytest.mark.parametrize("offset", [2 * HOUR, -2 * HOUR], ids=["slow", "fast"])
    @pytest.mark.parametrize("knows", [True, False])
    def test_in_aws_stamped_by_this_host(self, aws: StrictEndpoint, offset: int, knows: bool) -> None:
        """Botocore alone is refused; what corrects that raises nothing."""
        aws.offset = offset
        assert set(outcomes(Broker(aws, stamps=-offset).session())) == {"ClientError"}
        with skewguard.install(sources=[FakeSource(offset=offset)] if knows else []):
            broker = Broker(aws, stamps=-offset)
            assert outcomes(broker.session()) == [""] * 10
        assert broker.count <= 2

    def test_in_aws_on_a_fast_host(self, aws: StrictEndpoint) -> None:
        """Botocore alone takes all for dead on arrival."""
        aws.offset = -2 * HOUR
        assert set(outcomes(Broker(aws).session())) == {"RuntimeError"}
        with skewguard.install(sources=[FakeSource(offset=-2 * HOUR)]):
            broker = Broker(aws)
            assert outcomes(broker.session(deferred=False)) == [""] * 10
        assert broker.count == 2  # the wall clock has its say, once

    def test_after_uninstall_the_wall_clock_judges(self, aws: StrictEndpoint) -> None:
        """Also what was under examination."""
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            broker = Broker(aws)
            credentials = broker.session()._credentials
            credentials.get_frozen_credentials()
            assert credentials in expiry._pauses
        assert credentials._seconds_remaining() == pytest.approx(HOUR, abs=5)
        credentials.get_frozen_credentials()
        assert broker.count == 1


def old(left: int, refresh: Any) -> Any:
    """Make credentials that live for `left` s by the wall clock."""
    until = datetime.datetime.now(UTC) + datetime.timedelta(seconds=left)
    return RefreshableCredentials("old", "s", "t", until, refresh, "test")


class TestFailures:
    """A refresh that only true time demanded may fail: botocore alone would not have tried it."""

    @pytest.fixture(autouse=True)
    def _source(self, aws: StrictEndpoint, request: pytest.FixtureRequest) -> Iterator[None]:
        """A right host, and a source that lies, unless the test is of botocore alone."""
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            botocore.session.get_session()
            yield

    @pytest.mark.parametrize("answer", [{}, {"access_key": "a"}, OSError("no network")])
    @pytest.mark.parametrize("left", [HOUR, 130 * MINUTE], ids=["dead", "dying"])
    def test_living_credentials_stay_in_use(self, left: int, answer: Any) -> None:
        """And the provider that fails is not asked at each call."""
        asked = []

        def refresh() -> Any:
            asked.append(1)
            if isinstance(answer, Exception):
                raise answer
            return answer

        credentials = old(left, refresh)
        assert [credentials.get_frozen_credentials().access_key for _ in range(5)] == ["old"] * 5
        assert len(asked) == 1

    def test_dead_ones_are_botocore_s_to_report(self) -> None:
        with pytest.raises(ZeroDivisionError):
            old(-MINUTE, FAIL).get_frozen_credentials()
        with pytest.raises(ZeroDivisionError):
            DeferredRefreshableCredentials(FAIL, "test").get_frozen_credentials()

    def test_a_cached_role_is_used(self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the role cannot be assumed again."""
        cache_role(tmp_path, monkeypatch, aws, HOUR)
        aws.reply_next(403, {}, b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>", times=2)
        credentials = with_cache(tmp_path, botocore.session.get_session()).get_credentials()
        assert credentials.get_frozen_credentials().access_key == "ASIAOLD"
        assert aws.count > 0

    def test_a_legacy_token_is_used(self, aws: StrictEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Which no call can renew."""
        single_sign_on(tmp_path, monkeypatch, aws)
        assert outcomes(botocore.session.get_session(), 1) == [""]

    def test_a_token_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whose renewal cannot reach the service: also the first time."""
        now = datetime.datetime.now(UTC)
        token = sso_session(tmp_path, monkeypatch)
        write_token(token, now + datetime.timedelta(hours=1), now + datetime.timedelta(days=30))
        session = botocore.session.get_session()
        reached = []

        def unreachable(**_: Any) -> None:
            reached.append(1)
            raise EndpointConnectionError(endpoint_url="https://sso")

        session.register("before-send.sso-oidc.CreateToken", unreachable)
        token = session.get_auth_token()
        assert [token.get_frozen_token().token for _ in range(3)] == ["old"] * 3
        assert reached

    def test_a_token_stays_in_use(self) -> None:
        until = datetime.datetime.now(UTC) + datetime.timedelta(hours=1)
        answers = [botocore.tokens.FrozenAuthToken("old", until)]
        token = botocore.tokens.DeferredRefreshableToken("test", answers.pop)
        assert token.get_frozen_token().token == "old"
        token._next_refresh = until - datetime.timedelta(hours=3)
        assert token.get_frozen_token().token == "old"
        token._frozen_token = None
        with pytest.raises(IndexError):
            token.get_frozen_token()

    def test_a_failure_of_ours_is_botocore_s_verdict(self, monkeypatch: pytest.MonkeyPatch) -> None:
        credentials = old(HOUR, FAIL)
        monkeypatch.setattr(expiry, "_left", raising(AttributeError()))
        assert credentials._seconds_remaining() == pytest.approx(-HOUR, abs=5)
        assert credentials._is_expired()
        with pytest.raises(ZeroDivisionError):
            credentials.get_frozen_credentials()


def test_what_decides_after_a_refresh_decides_nothing_else() -> None:
    """A tripwire: `_is_expired` is judged more leniently, so it must be asked only there."""
    for owner in (botocore.credentials.RefreshableCredentials, botocore.tokens.DeferredRefreshableToken):
        callers = [name for name, found in vars(owner).items() if "_is_expired()" in source_of(found)]
        assert callers == ["_protected_refresh"], owner


def source_of(found: Any) -> str:
    return inspect.getsource(found) if inspect.isfunction(found) else ""
