"""freezegun and time-machine: while a test fakes the wall clock, the faked time counts; afterwards all is as before."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import botocore.credentials
import freezegun
import pytest
import time_machine
from botocore.exceptions import ClientError

import skewguard
from skewguard import events
from skewguard.testing import StrictEndpoint, steady_utc
from tests.fakes import Emitted, FakeSource
from tests.support import OPERATIONS, client, code_of, signed_at, with_bucket
from tests.test_report import notes_of

WISH = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)

Fake = Callable[[], AbstractContextManager[Any]]
FAKES: dict[str, Fake] = {
    "freezegun": lambda: freezegun.freeze_time(WISH),
    "freezegun, ticking": lambda: freezegun.freeze_time(WISH, tick=True),
    "time-machine": lambda: time_machine.travel(WISH, tick=False),
    "time-machine, ticking": lambda: time_machine.travel(WISH),
}


@pytest.fixture(params=FAKES.values(), ids=FAKES)
def fake(request: pytest.FixtureRequest) -> Fake:
    made: Fake = request.param
    return made


@pytest.fixture
def server() -> Iterator[StrictEndpoint]:
    """A server an hour ahead of this host, with a clock that no fake moves."""
    with StrictEndpoint(clock=steady_utc(), offset=3600) as running:
        yield running


def test_a_request_is_dated_by_the_faked_time_and_its_refusal_is_an_error(fake: Fake, server: StrictEndpoint) -> None:
    """Also during a correction: in one request, and without learning from the answer."""
    with skewguard.install():
        sts = client("sts", server)
        sts.get_caller_identity()
        assert [record.status for record in server.requests] == [403, 200]
        server.clear()
        with fake():
            assert skewguard.status().state == "faked"
            assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
        [record] = server.requests
        assert 0 <= record.signed_at / 1e9 - WISH.timestamp() < 5
        server.clear()
        sts.get_caller_identity()
        assert [record.status for record in server.requests] == [200], "what was known before is still known"
        assert skewguard.status().state != "faked"


def test_installing_in_faked_time_guards_once_it_is_over(fake: Fake, server: StrictEndpoint) -> None:
    """A test suite may freeze time before its program starts."""
    with fake():
        handle = skewguard.install()
        sts = client("sts", server)
        assert code_of(sts.get_caller_identity) == "SignatureDoesNotMatch"
        assert not skewguard.status().correcting
    server.clear()
    sts.get_caller_identity()
    assert [record.status for record in server.requests] == [403, 200]
    handle.uninstall()


def known() -> object:
    """What is known of any clock, apart from its age."""
    status = skewguard.status()
    return status.offset and status.offset.grade, sorted(status.domains)


class TestReported:
    """A refusal that a frozen clock caused is explained, and the option that helps is named."""

    @pytest.mark.parametrize("operation", ["dynamodb", "s3-get", "s3-head", "sts"])
    def test_by_a_note(
        self, fake: Fake, server: StrictEndpoint, operation: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """On every protocol's exception, those to HEAD included, which tell no reason."""
        with_bucket(server)
        service, call = OPERATIONS[operation]
        with skewguard.install(sources="response"), fake(), pytest.raises(ClientError) as caught:
            call(client(service, server, retries={"total_max_attempts": 1}))
        (note,) = notes_of(caught.value, caplog)
        assert "fakes this process's clock; ignore_frozen_clock signs by true time" in note
        assert ("freezegun" in note) != ("time-machine" in note)

    def test_by_one_warning(self, fake: Fake, server: StrictEndpoint, caplog: pytest.LogCaptureFixture) -> None:
        with skewguard.install(sources="response"), fake():
            for _ in range(3):
                assert code_of(client("sts", server).get_caller_identity)
        logged = [record.getMessage() for record in caplog.records]
        (line,) = [line for line in logged if line.startswith("correcting requests is switched off: ")]
        assert line.endswith("fakes this process's clock; ignore_frozen_clock signs by true time")


class TestIgnored:
    """With `ignore_frozen_clock`, true time counts all the same, and nothing is learned."""

    def test_by_the_hosts_clock_if_nothing_is_known(self, fake: Fake, server: StrictEndpoint) -> None:
        server.offset = 0
        with skewguard.install(sources="response", ignore_frozen_clock=True):
            with fake():
                client("sts", server).get_caller_identity()
                assert skewguard.status().state == "faked"
                assert skewguard.status().correcting
            assert known() == (None, [])
            client("sts", server).get_caller_identity()
            assert not skewguard.status().correcting
        assert [record.status for record in server.requests] == [200, 200]
        assert all(abs(record.signed_at / 1e9 - steady_utc()() / 1e9) < 30 for record in server.requests)

    def test_by_what_is_known_of_a_wrong_clock(self, fake: Fake, server: StrictEndpoint) -> None:
        """Learned before, from an answer: it lasts."""
        with skewguard.install(sources="response", ignore_frozen_clock=True):
            sts = client("sts", server)
            sts.get_caller_identity()
            before = known()
            with fake():
                sts.get_caller_identity()
                url = sts.generate_presigned_url("get_caller_identity")
            assert known() == before
            sts.get_caller_identity()
        assert [record.status for record in server.requests] == [403, 200, 200, 200]
        assert abs(signed_at(url) - 3600 - steady_utc()() / 1e9) < 30

    def test_by_a_source(self, fake: Fake) -> None:
        now = steady_utc()
        with skewguard.install(sources=[FakeSource(offset=3600)], ignore_frozen_clock=True), fake():
            call = skewguard.SignedCall("bedrock")
            with call.signing("https://bedrock-runtime.us-east-1.amazonaws.com/"):
                assert abs(call.timestamp().timestamp() - 3600 - now() / 1e9) < 30

    def test_a_refusal_all_the_same(
        self, fake: Fake, server: StrictEndpoint, emitted: Emitted, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The host's clock is wrong, and nothing knows it: one request, a note, nothing learned."""
        with skewguard.install(sources="response", ignore_frozen_clock=True), fake():
            with pytest.raises(ClientError) as caught:
                client("sts", server).get_caller_identity()
            assert known() == (None, [])
        (note,) = notes_of(caught.value, caplog)
        assert "fakes this process's clock, so nothing is signed again" in note
        assert "signed 3600 s behind" in note or "signed 3599 s behind" in note or "signed 3601 s behind" in note
        assert len(server.requests) == 1
        assert not emitted.of(events.Degraded)

    @pytest.mark.parametrize("year", [2020, 2040])
    def test_credentials_expire_by_true_time(
        self, fake: Fake, server: StrictEndpoint, year: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those of a role are used, and fetched no more than once, however far in the future the test is."""
        monkeypatch.setattr("tests.test_faked_clocks.WISH", WISH.replace(year=year))
        end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=5)
        fetched: list[int] = []

        def fetch() -> dict[str, str]:
            fetched.append(1)
            return {"access_key": "new", "secret_key": "b", "token": "c", "expiry_time": end.isoformat()}

        role = botocore.credentials.RefreshableCredentials("old", "b", "c", end, fetch, "test")
        with skewguard.install(sources="response", ignore_frozen_clock=True):
            client("sts", server)
            with fake():
                assert {role.get_frozen_credentials().access_key for _ in range(3)} <= {"old", "new"}
        assert len(fetched) <= 1

    def test_set_by_the_environment(self, fake: Fake, server: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """Frozen or not while it is installed."""
        monkeypatch.setenv("SKEWGUARD_IGNORE_FROZEN_CLOCK", "true")
        server.offset = 0
        with fake(), skewguard.install(sources="response"):
            client("sts", server).get_caller_identity()
        assert [record.status for record in server.requests] == [200]
