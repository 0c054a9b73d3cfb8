"""What processes tell each other: each new one begins with what the last one learned, and only with that."""

from __future__ import annotations

import email.utils
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import boto3
import freezegun
import pytest

import skewguard
from skewguard.clocks import Clocks
from skewguard.config import Settings
from skewguard.errors import StoreError
from skewguard.events import Degraded
from skewguard.interval import SECOND, Interval, Trust, Vote
from skewguard.signing.domains import find_domain
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.timekeeping import shared_file
from skewguard.timekeeping.domain import UTC, Domain
from skewguard.timekeeping.evidence import Grade, Shown
from skewguard.timekeeping.shared_file import Store
from skewguard.timekeeping.sharing import OWN_CLOCK_FOR, RENEW, SharedEstimates
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import Emitted, accepted, raising
from tests.real.need import need
from tests.support import TO_AWS, aws_environment, client, code_of, run_python, with_bucket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is shared elsewhere")

DAY = 86_400
MINIO = "https://minio:9000"


class Host:
    """A host whose wall clock may be wrong, and on which one process after the other starts."""

    def __init__(self, offset: float) -> None:
        """Set its wall clock `offset` seconds behind true time."""
        self.clocks = FakeClocks()
        self.truth_at_zero = self.clocks.wall + round(offset * SECOND) - self.clocks.steady

    def process(self, **settings: Any) -> Timekeeper:
        keeper = Timekeeper(Settings(sources=(), **settings), self.clocks)
        keeper._others = SharedEstimates(Store(), keeper.clocks)
        return keeper

    def answer(
        self, keeper: Timekeeper, key: str = UTC, *, error: float = 0.0, shown: Shown = Shown.AUTHENTIC
    ) -> Domain:
        """Let a process make a call, and a server answer whose clock is `error` seconds wrong."""
        domain = keeper.utc if key == UTC else keeper.domain(key, stand_in=Grade.GUESS)
        keeper.signing_time(domain)
        told = self.truth_at_zero + self.clocks.steady + round(error * SECOND)
        trust = Trust.AUTHENTICATED if key == UTC else Trust.WITNESS
        source = "https://sts.amazonaws.com" if key == UTC else key
        said = Interval(self.clocks.steady, told - SECOND, told + SECOND, trust, source)
        keeper.learn(domain, accepted(said, shown))
        keeper.share(domain)
        return domain

    def error(self, keeper: Timekeeper, key: str = UTC, *, handed_out: bool = False) -> float:
        """Sign, and say how many seconds the timestamp is after true time."""
        domain = keeper.utc if key == UTC else keeper.domain(key, stand_in=Grade.GUESS)
        signed = (keeper.irrevocable_time(domain, key) if handed_out else keeper.signing_time(domain))[0]
        return (signed - self.truth_at_zero - self.clocks.steady) / SECOND


@pytest.fixture(autouse=True)
def no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process share, with its children alone, though it may have played AWS to itself before."""
    shared_file.keep_private(False)
    monkeypatch.setattr(shared_file, "bases", lambda: iter([os.environ["XDG_RUNTIME_DIR"]]))
    monkeypatch.setenv("SKEWGUARD_SHARE", "true")


@pytest.fixture
def host() -> Host:
    return Host(1200)


def file() -> Path:
    return Path(os.environ["XDG_RUNTIME_DIR"], f"skewguard-{os.geteuid()}", "estimates")


class TestInheriting:
    """What a new process begins with."""

    def test_the_first_signature_is_right(self, host: Host) -> None:
        """And the estimate is as good, and has the same name, as in the process that learned it."""
        host.answer(host.process())
        host.clocks.advance(3600)
        heir = host.process()
        assert abs(host.error(heir)) < 0.001
        known = heir.now()
        assert known is not None
        assert (known.source, known.trust) == ("https://sts.amazonaws.com", Trust.AUTHENTICATED)
        assert known.width == 2 * SECOND + 2 * 3600 * SECOND // 10_000
        assert heir.inherited() == [heir.utc]

    def test_time_can_be_asked_for_before_anything_is_signed(self, host: Host) -> None:
        """As by a program that makes no call."""
        host.answer(host.process())
        assert host.process().now() is not None

    def test_expired_knowledge_is_none(self, host: Host) -> None:
        """`max_age` is the reader's."""
        host.answer(host.process())
        host.clocks.advance(3600)
        assert host.error(host.process(max_age=3599 * SECOND)) == -1200
        assert abs(host.error(host.process(max_age=3601 * SECOND))) < 0.001
        host.clocks.advance(DAY)
        assert host.error(host.process()) == -1200

    @pytest.mark.parametrize("off", [{"share": False}, {"learn_from_responses": False}])
    def test_it_can_be_switched_off(self, host: Host, off: dict[str, bool]) -> None:
        """For reading and for writing; without learning from answers, others' answers are not used either."""
        host.answer(host.process(**off))
        assert not file().exists()
        host.answer(host.process())
        assert host.error(host.process(**off)) == -1200

    def test_switched_on_later_it_is_read_then(self, host: Host) -> None:
        """A client attached before `install` may have signed already."""
        host.answer(host.process())
        heir = host.process(share=False)
        assert host.error(heir) == -1200
        heir.configure(Settings(sources=()))
        assert abs(host.error(heir)) < 0.001

    def test_own_evidence_replaces_it(self, host: Host) -> None:
        """Where the two contradict each other; and the file is corrected for the next."""
        host.answer(host.process(), error=3600)
        heir = host.process()
        assert abs(host.error(heir) - 3600) < 0.001
        host.answer(heir)
        assert abs(host.error(heir)) < 0.001
        assert heir.inherited() == []
        assert abs(host.error(host.process())) < 0.001

    def test_own_knowledge_is_not_given_up_for_it(self, host: Host) -> None:
        """What was heard while sharing was off stays."""
        early = host.process(share=False)
        host.answer(early)
        host.answer(host.process(), error=3600)
        early.configure(Settings(sources=()))
        assert abs(host.error(early)) < 0.001

    @pytest.mark.parametrize("step", [-7200, 600, 1200, 7200])
    def test_a_step_between_two_processes_changes_nothing(self, host: Host, step: float) -> None:
        """What is known is anchored to the steady clock; a repaired wall clock is followed to the nanosecond."""
        host.answer(host.process())
        host.clocks.advance(600)
        host.clocks.step(step)
        heir = host.process()
        assert abs(host.error(heir)) < 0.001
        assert heir.signing_time(heir.utc)[0] == host.clocks.wall or step != 1200

    def test_a_jump_forward_since_then_leaves_doubt(self, host: Host) -> None:
        """The machine may have stood still, and its tools have put it right: presigned URLs follow the wall clock."""
        host.answer(host.process())
        host.clocks.step(7200)
        host.clocks.advance(1)  # a process starts some time after the file was written
        assert abs(host.error(host.process(), handed_out=True) - 6000) < 0.001
        assert host.process().now() is not None

    def test_a_jump_after_the_file_was_written_counts_in_a_process_that_began_before(self, host: Host) -> None:
        """Its own last reading of the clocks is older than what it inherits."""
        heir = host.process()
        host.clocks.advance(600)
        host.answer(host.process())
        host.clocks.step(7200)
        host.clocks.advance(1)
        assert abs(host.error(heir, handed_out=True) - 6000) < 0.001

    def test_a_jump_that_was_noticed_before_counts_once(self) -> None:
        """By a poll that told nothing, say. Twice, it would explain a wall clock that was ahead by more before."""
        host = Host(-7200)
        host.answer(host.process())
        host.clocks.advance(1)
        heir = host.process()
        host.clocks.step(4000)
        heir._on_results(heir._era, (), Vote(None, (), ()))
        assert -1.1 < host.error(heir, handed_out=True) < 0.001  # the near end of what is known

    def test_a_steady_clock_that_went_back_means_nothing_is_known(self, host: Host) -> None:
        """As after a snapshot was restored, files and all."""
        host.clocks.advance(3600)
        host.answer(host.process())
        host.clocks._steady -= 1800 * SECOND
        assert host.process().now() is None

    def test_implausible_dates_are_not_taken(self, host: Host) -> None:
        said = Interval(host.clocks.steady, 1, 2, Trust.AUTHENTICATED, "https://sts")
        Store().write(shared_file.Contents(host.clocks.read(), {UTC: said}))
        assert host.process().now() is None

    def test_a_faked_clock_reads_nothing(self, host: Host) -> None:
        host.answer(host.process())
        heir = host.process()
        with freezegun.freeze_time("2026-01-01"):
            assert heir.now() is None
            assert host.error(heir) == -1200
        assert abs(host.error(heir)) < 0.001

    def test_other_clocks_than_the_hosts_have_no_others(self, host: Host) -> None:
        """Other processes count from another moment."""
        host.answer(host.process())
        assert Timekeeper(Settings(sources=()), host.clocks).now() is None
        before = file().read_bytes()
        host.answer(Timekeeper(Settings(sources=()), host.clocks), error=50)
        assert file().read_bytes() == before

    def test_the_file_is_read_once(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        reads = []

        def none(clocks: Clocks) -> shared_file.Contents:
            reads.append(clocks)
            raise StoreError("none")

        monkeypatch.setattr(Store, "read", staticmethod(none))
        heir = host.process()
        for _ in range(50):
            host.error(heir)
            host.error(heir, MINIO)
            heir.now()
            host.clocks.advance(60)
        assert len(reads) == 1


class TestEndpoints:
    """Servers with clocks of their own."""

    def test_each_has_its_own_entry(self, host: Host) -> None:
        """Which says nothing of UTC, nor of its neighbours."""
        host.answer(host.process(), MINIO, error=3600)
        heir = host.process()
        assert abs(host.error(heir, MINIO) - 3600) < 0.001
        assert host.error(heir, "https://other:9000") == -1200
        assert heir.now() is None
        assert [domain.key for domain in heir.inherited()] == [MINIO]

    def test_utc_stands_in_for_those_without(self, host: Host) -> None:
        """As it would had this process learned it."""
        host.answer(host.process())
        assert abs(host.error(host.process(), MINIO)) < 0.001

    def test_entries_of_others_stay(self, host: Host) -> None:
        """A writer adds to the entries that are there."""
        host.answer(host.process(), MINIO, error=3600)
        host.answer(host.process())
        host.answer(host.process(), "https://other:9000", error=-50)
        heir = host.process()
        errors = [host.error(heir, key) for key in (UTC, MINIO, "https://other:9000")]
        assert [round(error) for error in errors] == [0, 3600, -50]

    def test_but_not_over_a_step(self, host: Host) -> None:
        """The step may mean that the machine stood still, and new readings of the clocks would hide it from readers."""
        host.answer(host.process(), MINIO, error=3600)
        host.clocks.step(7200)
        host.answer(host.process())
        assert set(Store().read(host.clocks).estimates) == {UTC}

    def test_they_are_not_taken_for_long(self, host: Host) -> None:
        """Such a server's clock may be corrected at any time."""
        host.answer(host.process(), MINIO, error=3600)
        host.clocks.advance(OWN_CLOCK_FOR // SECOND)
        assert abs(host.error(host.process(), MINIO) - 3600) < 0.001
        host.clocks.advance(1)
        assert host.error(host.process(), MINIO) == -1200

    @pytest.mark.parametrize(
        ("url", "shared"),
        [
            ("https://sts.amazonaws.com", True),
            ("http://sts.amazonaws.com", False),
            ("http://localhost:4566", True),
            (MINIO, True),
        ],
    )
    def test_aws_over_plain_http_is_nobodys_truth(self, host: Host, url: str, shared: bool) -> None:
        """Any attacker on the path can write its Date."""
        where = find_domain(url)
        assert where.shared is shared
        keeper = host.process()
        keeper.domain(where.key, stand_in=where.stand_in, shared=where.shared)
        host.answer(keeper, where.key)
        assert file().exists() is shared


class TestTelling:
    """When something is written."""

    def test_a_healthy_host_writes_nothing(self) -> None:
        """No process would sign differently because of it."""
        host = Host(1.0)
        keeper = host.process()
        for _ in range(10):
            host.answer(keeper)
            host.clocks.advance(1000)
        assert not file().parent.exists()

    def test_what_sources_say_is_not_told(self, host: Host) -> None:
        """One process's bad NTP server must not become another's truth; what answers say beside it, is."""
        keeper = host.process()
        keeper.signing_time(keeper.utc)
        truth = host.truth_at_zero + host.clocks.steady
        keeper._knowledge.witness = Interval(host.clocks.steady, truth - 1, truth + 1, Trust.WITNESS, "ntp://x")
        keeper._knowledge.overheard = keeper._knowledge.witness._replace(source="http://metadata")
        keeper.share(keeper.utc)
        assert not file().exists()
        host.answer(keeper)
        (said,) = Store().read(host.clocks).estimates.values()
        assert (said.width, said.source) == (2 * SECOND, "https://sts.amazonaws.com")

    @pytest.mark.parametrize("shown", [Shown.HINT, Shown.REFUSAL])
    def test_what_is_not_proved_is_not_told(self, host: Host, shown: Shown) -> None:
        """A refusal's words and a bare Date may be an intermediary's; once a call has succeeded, it is told."""
        keeper = host.process()
        host.answer(keeper, shown=shown)
        assert not file().exists()
        host.answer(keeper)
        assert file().exists()

    @pytest.mark.parametrize(("key", "grade"), [(UTC, Grade.PROOF), (MINIO, Grade.GUESS)])
    def test_what_was_told_is_proved_for_aws_and_a_guess_for_others(self, host: Host, key: str, grade: Grade) -> None:
        """Such a clock may have been set right since: what no retry can mend goes by the wall clock there."""
        host.answer(host.process(), key)
        heir = host.process()
        assert abs(host.error(heir, key)) < 0.001
        assert (abs(host.error(heir, key, handed_out=True)) < 1.1) == (key == UTC)
        assert [domain.evidence.grade for domain in heir.heard() if domain.evidence is not None] == [grade]

    def test_what_was_inherited_is_not_told_as_news(self, host: Host) -> None:
        """No process makes it younger than it is."""
        host.answer(host.process())
        before = file().read_bytes()
        host.clocks.advance(2 * RENEW / SECOND)
        heir = host.process()
        host.error(heir)
        heir.share(heir.utc)
        assert file().read_bytes() == before

    def test_it_is_renewed_now_and_then(self, host: Host) -> None:
        keeper = host.process()
        written = set()
        for _ in range(100):
            host.answer(keeper)
            written.add(file().stat().st_ino)
            written.add(file().read_bytes())
            host.clocks.advance(10)
        assert len({one for one in written if isinstance(one, bytes)}) == 1 + 1000 * SECOND // RENEW

    def test_a_repaired_host_writes_no_more(self, host: Host) -> None:
        """The entry is as true as it was, and ages."""
        keeper = host.process()
        host.answer(keeper)
        before = file().read_bytes()
        host.clocks.step(1200)
        for _ in range(3):
            host.clocks.advance(RENEW / SECOND)
            host.answer(keeper)
        assert file().read_bytes() == before

    def test_a_false_entry_is_replaced_even_on_a_healthy_host(self) -> None:
        """As after a freeze, which makes everything known late; the tools have put the wall clock right."""
        host = Host(1200)
        host.answer(host.process())
        host.clocks.step(1200 + 3000)
        host.truth_at_zero += 3000 * SECOND
        heir = host.process()
        host.answer(heir)
        assert host.process().now() is not None
        assert abs(host.error(host.process())) == 0

    def test_where_it_cannot_be_written_not_every_answer_tries(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk costs one attempt in a while, and nothing else."""
        tries = []

        def full(memory: shared_file.Contents) -> None:
            tries.append(memory)
            raise StoreError("full")

        monkeypatch.setattr(Store, "write", staticmethod(full))
        keeper = host.process()
        for _ in range(100):
            host.answer(keeper)
            host.clocks.advance(10)
        assert len(tries) == 1 + 1000 * SECOND // RENEW
        assert abs(host.error(keeper)) < 0.001

    @pytest.mark.parametrize("name", ["read", "write"])
    def test_a_bug_in_here_costs_no_call(self, host: Host, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """After an unforeseen error it is as if there were no file."""
        monkeypatch.setattr(Store, name, staticmethod(raising(RuntimeError("never thought of"))))
        keeper = host.process()
        host.answer(keeper)
        assert abs(host.error(keeper)) < 0.001

    def test_a_taken_name_costs_no_call(self, host: Host, emitted: Emitted) -> None:
        """One warning for all processes that a fork makes of this one, and each learns for itself."""
        file().parent.touch()
        for keeper in (host.process(), host.process()):
            for _ in range(3):
                host.answer(keeper)
                assert abs(host.error(keeper)) < 0.001
                host.clocks.advance(RENEW / SECOND)
        assert [event.part for event in emitted.of(Degraded)] == ["sharing with other processes"]

    def test_no_thread_waits_for_another(self, host: Host) -> None:
        """A thread leaves the work to one that is writing; a forked child does not."""
        keeper = host.process()
        keeper.signing_time(keeper.utc)
        holding = threading.Thread(target=keeper._others._lock.acquire)
        holding.start()
        holding.join()
        host.answer(keeper)
        assert not file().exists()
        keeper.reset_after_fork()
        host.answer(keeper)
        assert file().exists()

    def test_uninstall_forgets_memory_not_the_file(self, host: Host) -> None:
        """Other processes still need it."""
        keeper = host.process()
        host.answer(keeper)
        keeper.reset(Settings(sources=()))
        assert keeper.utc.evidence is None
        assert file().exists()


def test_status_says_what_came_from_another_process() -> None:
    """The source keeps its name."""
    now = skewguard.clocks.system().read()
    said = Interval(now.steady, now.wall + 1200 * SECOND, now.wall + 1201 * SECOND, Trust.AUTHENTICATED, "https://sts")
    Store().write(shared_file.Contents(now, {UTC: said}))
    with skewguard.install():
        status = skewguard.status()
        assert (status.inherited, status.state, status.correcting) == (("utc",), "synchronized", True)
        assert status.offset is not None
        assert status.offset.source == "https://sts"
    with skewguard.install(share=False):
        assert (skewguard.status().inherited, skewguard.status().state) == ((), "unknown")


def test_a_process_that_plays_aws_to_itself_shares_nothing() -> None:
    """A user's tests must not teach the user's programs."""
    with StrictEndpoint(offset=1200) as endpoint, skewguard.install():
        sts = client("sts", endpoint)
        sts.get_caller_identity()
        assert endpoint.count == 2
        assert not file().exists()


def test_a_store_that_was_set_right_costs_one_process_a_request() -> None:
    """Its acceptance of the wall clock ends what another process has told, and is told in turn."""
    with StrictEndpoint() as endpoint:
        endpoint_key = find_domain(f"http://[::ffff:127.0.0.1]:{endpoint.port}").key
        kwargs = endpoint.client_kwargs | {"endpoint_url": f"http://[::ffff:127.0.0.1]:{endpoint.port}"}
        shared_file.keep_private(False)
        now = skewguard.clocks.system().read()
        said = Interval(now.steady, now.wall + 1200 * SECOND, now.wall + 1201 * SECOND, Trust.WITNESS, "told")
        Store().write(shared_file.Contents(now, {endpoint_key: said}))
        for requests in (2, 1, 1):
            endpoint.clear()
            with skewguard.install():  # forgets, as a new process would
                assert boto3.client("sts", **kwargs).get_caller_identity()["Account"]
            assert endpoint.count == requests


def test_what_a_silent_refusal_taught_is_told_once_a_call_has_succeeded() -> None:
    """HEAD's refusals do not say what is wrong: here the time, as the retry shows."""
    with StrictEndpoint(offset=1200) as endpoint:
        with_bucket(endpoint)
        shared_file.keep_private(False)
        with skewguard.install():
            client("s3", endpoint).head_object(Bucket="bucket", Key="key")
            assert [record.status for record in endpoint.requests] == [403, 200]
            (key,) = Store().read(skewguard.clocks.system()).estimates
            assert key == endpoint.url


def test_what_a_silent_refusal_taught_is_not_told_if_it_did_not_help() -> None:
    """An intermediary's Date, an hour ahead, on the refusal of a wrong key: one retry, and nothing is shared."""

    def ahead(now: int) -> str:
        return email.utils.formatdate(now // SECOND + 3600, usegmt=True)

    with StrictEndpoint() as endpoint:
        with_bucket(endpoint)
        endpoint.date_mode = ahead
        shared_file.keep_private(False)
        endpoint.fail_next("403", times=4)
        with skewguard.install():
            for _ in range(2):
                assert code_of(lambda: client("s3", endpoint).head_object(Bucket="bucket", Key="key")) == "403"
            assert 2 <= endpoint.count <= 4
            assert not file().exists()


# -- real programs ------------------------------------------------------------------------------------------------

ONE_CALL = """
import os, sys
import botocore.session, skewguard
from skewguard.timekeeping import shared_file

shared_file.bases = lambda: iter([os.environ["XDG_RUNTIME_DIR"]])  # not the file of this user's other programs
def call():
    client = botocore.session.Session().create_client("sts", endpoint_url=sys.argv[2] or None)
    client.get_caller_identity()
    client.close()

with redirected(to_aws, {"no_proxy": "*"}):
    skewguard.install()
    for _ in range(int(sys.argv[3])):
        child = os.fork()
        if child == 0:
            call()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    call()
"""


def run(aws: StrictEndpoint, *, runs: int = 1, url: str = "", forks: int = 0, within: tuple[str, ...] = ()) -> int:
    """Run a program that makes one call, so many times; count the requests."""
    aws.clear()
    for _ in range(runs):
        run_python(TO_AWS + ONE_CALL, str(aws.port), url, str(forks), prefix=within, env=aws_environment(aws))
    return aws.count


@pytest.mark.slow
class TestPrograms:
    """One-call programs, one after the other, on a host 20 minutes slow."""

    def test_twenty_take_21_requests(self, aws: StrictEndpoint) -> None:
        """The first one's first was refused."""
        assert run(aws, runs=20) == 21

    def test_twenty_take_40_without_sharing(self, aws: StrictEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        """As with any SDK that learns for itself alone. Here they are forked, to be done sooner."""
        monkeypatch.setenv("SKEWGUARD_SHARE", "false")
        assert run(aws, forks=19) == 40

    def test_an_endpoint_of_ones_own_too(self, aws: StrictEndpoint) -> None:
        """Which does not teach UTC to any process."""
        assert run(aws, runs=3, url=aws.url) == 4
        assert run(aws, runs=1) == 2

    def test_forked_children_too(self, aws: StrictEndpoint) -> None:
        """A parent that has called no service; each child writes or reads; the parent comes last."""
        assert run(aws, forks=3) == 5
        assert run(aws, forks=1) == 2

    @pytest.mark.parametrize("kind", [("--time", "--boottime", "5000"), ("--pid", "--fork")])
    def test_another_namespace_begins_for_itself(self, aws: StrictEndpoint, kind: tuple[str, ...]) -> None:
        """One whose clocks count from elsewhere; and a container that shares this user's id and memory."""
        within = ("unshare", "--user", "--map-current-user", *kind)
        permitted = shutil.which("unshare") and subprocess.run([*within, "true"], check=False).returncode == 0
        need(bool(permitted), "the right to make a namespace", "util-linux 2.38 on Linux 5.6, with user namespaces")
        assert run(aws) == 2
        assert run(aws) == 1
        assert run(aws, within=within) == 2
