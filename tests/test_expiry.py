"""Credentials are judged by true time: valid while they live, and expired after that."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import botocore.credentials
import botocore.session
import botocore.tokens
import botocore.utils
import freezegun
import pytest
from botocore.credentials import DeferredRefreshableCredentials, RefreshableCredentials  # noqa: F401 - by eval
from botocore.exceptions import ClientError
from dateutil.tz import gettz

import skewguard
from skewguard import events
from skewguard._reach import undo_patches
from skewguard.signing.patches import expiry, library
from skewguard.testing import StrictEndpoint
from tests.fakes import Emitted, FakeSource, raising
from tests.roles import HOUR, ROLE, Broker, Metadata, RoleCredentials, moment
from tests.support import running


def known(behind: float) -> skewguard.Installation:
    installation = skewguard.install(sources=[FakeSource(offset=behind)])
    botocore.session.get_session()  # guards it, and applies the patches
    return installation


def seconds_ahead(now: datetime.datetime) -> float:
    """Return how far a time is ahead of the wall clock."""
    wall = datetime.datetime.now(datetime.timezone.utc)
    return (now.replace(tzinfo=now.tzinfo or datetime.timezone.utc) - wall).total_seconds()


CLOCK = library.clock_name()


class TestNames:
    """Every name by which botocore reads the clock for this."""

    READERS = (
        "botocore.credentials._local_now()",
        "botocore.tokens._utc_now()",
        "inspect.signature(RefreshableCredentials.__init__).parameters['time_fetcher'].default()",
        "inspect.signature(DeferredRefreshableCredentials.__init__).parameters['time_fetcher'].default()",
        f"botocore.utils.{'datetime.datetime.utcnow' if CLOCK == 'datetime' else CLOCK}()",
        "datetime.datetime.fromtimestamp(botocore.credentials.time.time(), datetime.timezone.utc)",
    )

    @pytest.mark.parametrize("read", READERS)
    def test_all_tell_true_time(self, read: str) -> None:
        """Also those bound as default arguments; and the wall clock's again at the end."""
        before = eval(read)
        with known(2 * HOUR):
            now = eval(read)
            assert seconds_ahead(now) == pytest.approx(2 * HOUR, abs=5)
            assert str(now.tzinfo) == str(before.tzinfo)
        assert seconds_ahead(eval(read)) == pytest.approx(0, abs=5)

    @pytest.mark.parametrize("read", READERS)
    def test_a_right_clock_is_left_alone(self, read: str) -> None:
        """Within the deadband, botocore's own reading is unchanged."""
        with known(5):
            assert seconds_ahead(eval(read)) == pytest.approx(0, abs=2)

    def test_living_objects_are_reached(self) -> None:
        """They hold the function, not its name."""
        expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
        made_before = RefreshableCredentials("a", "s", "t", expires, dict, "test")
        with known(2 * HOUR):
            assert made_before.refresh_needed(0)
        assert not made_before.refresh_needed(0)

    def test_all_is_put_back(self) -> None:
        holders = (botocore.credentials._local_now, botocore.tokens._utc_now)
        before = [(one.__code__, one.__defaults__) for one in holders]
        names = (vars(botocore.utils)[CLOCK], botocore.credentials.time)
        with known(HOUR):
            assert [one.__code__ for one in holders] != [code for code, _ in before]
        undo_patches()
        assert [(one.__code__, one.__defaults__) for one in holders] == before
        assert (vars(botocore.utils)[CLOCK], botocore.credentials.time) == names

    def test_an_hour_is_an_hour_when_summer_begins(self) -> None:
        """Arithmetic in a zone would count the hour that the clocks skip."""
        zone = gettz("Europe/Berlin")
        night = datetime.datetime(2027, 3, 28, 1, 30, tzinfo=zone)
        with known(2 * HOUR):
            shifted = expiry._corrected(lambda: night)()
        elapsed = shifted.astimezone(datetime.timezone.utc) - night.astimezone(datetime.timezone.utc)
        assert elapsed.total_seconds() == pytest.approx(2 * HOUR, abs=1)
        assert shifted.tzinfo is zone

    def test_frozen_time_is_a_test_s_wish(self) -> None:
        with known(2 * HOUR), freezegun.freeze_time("2026-03-01T12:00:00Z"):
            assert botocore.credentials._local_now().timestamp() == 1_772_366_400

    def test_a_failure_of_ours_is_the_wall_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with known(2 * HOUR):
            monkeypatch.setattr(expiry.ExpiryClock, "behind", raising(ZeroDivisionError()))
            assert seconds_ahead(botocore.credentials._local_now()) == pytest.approx(0, abs=2)

    def test_an_unknown_botocore_causes_a_warning(self, monkeypatch: pytest.MonkeyPatch, emitted: Emitted) -> None:
        undo_patches()
        monkeypatch.setattr(botocore.credentials, "_local_now", lambda _zone: None)
        monkeypatch.delattr(botocore.utils, "IMDSFetcher")
        with known(2 * HOUR):
            assert seconds_ahead(botocore.tokens._utc_now()) == pytest.approx(2 * HOUR, abs=2)
        undo_patches()
        assert len(emitted.of(events.Degraded)) == 3

    def test_who_reads_the_clock_is_known(self) -> None:
        """A tripwire: every function of these modules that reads a clock is covered."""
        readers = set()
        for module in (botocore.credentials, botocore.tokens, botocore.utils):
            for name, code in codes(module):
                if {"now", "utcnow", "get_current_datetime", "time"} & set(code.co_names):
                    readers.add(f"{module.__name__}.{name}")
        covered = {
            "botocore.credentials._local_now",
            "botocore.tokens._utc_now",
            "botocore.utils.InstanceMetadataFetcher._evaluate_expiration",
        }
        by_time = {  # a session's name, and in newer versions the proof of `aws login`
            "botocore.credentials.BaseAssumeRoleCredentialFetcher._generate_assume_role_name",
            "botocore.credentials._build_dpop_header",
        }
        assert covered <= readers <= covered | by_time


def codes(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield every function that a module defines, with its qualified name and code."""
    for owner in (module, *(found for found in vars(module).values() if inspect.isclass(found))):
        if owner is not module and owner.__module__ != module.__name__:
            continue
        for found in vars(owner).values():
            function = getattr(found, "__func__", found)
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                yield function.__qualname__, function.__code__


@pytest.fixture
def aws(metadata: Metadata) -> StrictEndpoint:
    return metadata.endpoint


def call() -> None:
    botocore.session.get_session().create_client("dynamodb", region_name="us-east-1").list_tables()


class TestProviders(RoleCredentials):
    def call(self, way: str) -> None:
        call()


class TestDeadByTrueTime:
    """Credentials that a slow wall clock takes for valid."""

    def session(self, aws: StrictEndpoint, left: float) -> Any:
        """Make a session whose role credentials live `left` seconds more by true time; they can be refreshed."""
        expires = moment(aws, left)
        aws.add_credentials("ASIAOLD", "secret", "token", int(expires.timestamp()))
        session = botocore.session.get_session()
        session._credentials = RefreshableCredentials("ASIAOLD", "secret", "token", expires, Broker(aws), "test")
        return session

    def key_used(self, aws: StrictEndpoint, session: Any) -> str:
        client = session.create_client("dynamodb", region_name="us-east-1")
        client.list_tables()
        return str(aws.requests[-1].access_key)

    @pytest.mark.parametrize(
        ("left", "key"), [(-60, "ASIA1"), (300, "ASIA1"), (3000, "ASIAOLD")], ids=["dead", "dying", "alive"]
    )
    def test_they_are_refreshed_when_true_time_says_so(self, aws: StrictEndpoint, left: float, key: str) -> None:
        """Not two hours later; and valid ones are kept, although the clock was wrong."""
        aws.offset = 2 * HOUR
        with skewguard.install(sources=[FakeSource(offset=2 * HOUR)]):
            assert self.key_used(aws, self.session(aws, left)) == key
        assert {record.status for record in aws.requests} == {200}

    def test_a_refused_signature_renews_them(self, aws: StrictEndpoint) -> None:
        """Without any source: the retry is signed with valid credentials."""
        aws.offset = 2 * HOUR
        with skewguard.install():
            assert self.key_used(aws, self.session(aws, -60)) == "ASIA1"
        assert [record.status for record in aws.requests] == [400, 200]

    def test_on_a_host_whose_signatures_are_accepted(self, aws: StrictEndpoint) -> None:
        """It refreshes at the last moment: unguarded, they are used, and refused."""
        aws.offset = 200
        session = self.session(aws, -60)
        session._credentials._mandatory_refresh_timeout = session._credentials._advisory_refresh_timeout = 0
        with pytest.raises(ClientError, match=r"[Ee]xpired"):
            self.key_used(aws, session)
        with skewguard.install(sources=[FakeSource(offset=200)]):
            assert self.key_used(aws, session) == "ASIA1"


class TestMetadata:
    """The clock of the metadata services."""

    def test_it_counts_until_anything_else_is_known(self, aws: StrictEndpoint) -> None:
        """Any source or answer outranks it."""
        aws.offset = 2 * HOUR
        with skewguard.install():
            session = botocore.session.get_session()
            session.get_credentials()
            measured = skewguard.offset()
            assert (measured.source, measured.seconds) == ("http://169.254.169.254", pytest.approx(2 * HOUR, abs=3))
            aws.offset = HOUR
            session.create_client("dynamodb", region_name="us-east-1").list_tables()
            measured = skewguard.offset()
            assert measured.seconds == pytest.approx(HOUR, abs=3)

    @pytest.mark.parametrize("options", [{"learn_from_responses": False}, {"require_authenticated": True}])
    def test_it_can_be_left_unheard(self, options: dict[str, bool], aws: StrictEndpoint) -> None:
        with skewguard.install(**options):
            botocore.session.get_session().get_credentials()
            assert skewguard.now() is None

    def test_loopback_shares_this_host_s_clock(self, aws: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent on this host that hands out credentials has the host's clock."""
        with running(Metadata(aws)) as port, skewguard.install():
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{port}/creds")
            assert botocore.session.get_session().get_credentials().access_key == "ASIAMETADATA"
            assert skewguard.now() is None

    def test_after_uninstall_nothing_is_learned(self, aws: StrictEndpoint) -> None:
        with skewguard.install():
            session = botocore.session.get_session()
        session.get_credentials()
        assert skewguard.now() is None


def test_answers_to_unsigned_calls_teach(aws: StrictEndpoint) -> None:
    """And the calls are never repeated: their failures have nothing to do with time."""
    aws.offset = 2 * HOUR
    with skewguard.install():
        sts = botocore.session.get_session().create_client("sts", region_name="us-east-1")
        sts.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="session", WebIdentityToken="token")
        measured = skewguard.offset()
    assert measured.seconds == pytest.approx(2 * HOUR, abs=3)
    assert len(aws.requests) == 1
