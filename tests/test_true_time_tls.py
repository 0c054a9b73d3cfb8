"""`true_time_tls` with botocore: which clients it reaches, what it costs, and what it must not teach.

The wall clock of these tests is a fake one, and OpenSSL reads the real one. The server's certificate is valid around
the server's own time, which is months away, so OpenSSL alone always refuses it.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import trustme
from botocore.config import Config
from botocore.endpoint import Endpoint
from botocore.exceptions import ClientError, ProxyConnectionError, SSLError
from botocore.httpsession import URLLib3Session

import skewguard
from skewguard import _process
from skewguard.events import Retried
from skewguard.interval import EARLIEST, SECOND, Trust
from skewguard.signing.patches import tls
from skewguard.signing.patches.signers import is_guarded
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.timekeeping import certificates
from skewguard.timekeeping.sharing import SharedEstimates
from skewguard.tls.connection import TrueTimeContext
from tests.fakes import Emitted, FakeSource
from tests.patience import PATIENCE
from tests.real.need import installed
from tests.support import GREENLETS, aws_client, https, run_python
from tests.tunnel import Tunnel, running

DAY = 86_400
NOW = time.time_ns()
SLOW_BY, FAST_BY = 400 * DAY, 250 * DAY

unverified = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


class World:
    """A host, true time, and AWS.

    Attributes:
        truth: True time minus the host's wall clock at the beginning, s.
    """

    def __init__(self, clocks: FakeClocks, truth: float) -> None:
        self.clocks = clocks
        clocks.step((NOW - clocks.wall) / SECOND)
        begin = clocks.steady
        self.now = lambda: NOW + round(truth * SECOND) + clocks.steady - begin
        self.aws = StrictEndpoint(tls=True, clock=self.now)

    def source(self, name: str = "ntp://a", **options: Any) -> FakeSource:
        return FakeSource(name, truth=self.now, **options)

    def sources(self, count: int) -> list[FakeSource]:
        return [self.source(f"ntp://{name}") for name in "abc"[:count]]

    def install(self, *sources: Any, **options: Any) -> skewguard._api.Installation:
        return skewguard.install(sources=sources, clocks=self.clocks, **{"true_time_tls": True, **options})

    def client(self, **options: Any) -> Any:
        return aws_client("sts", self.aws, retries={"total_max_attempts": 2}, **options)


@contextlib.contextmanager
def world(clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch, truth: float) -> Iterator[World]:
    made = World(clocks, truth)
    about = datetime.datetime.fromtimestamp(NOW / SECOND + truth, datetime.timezone.utc)
    dates = {"not_before": about - datetime.timedelta(days=5), "not_after": about + datetime.timedelta(days=5)}
    issue = trustme.CA.issue_cert
    monkeypatch.setattr(trustme.CA, "issue_cert", lambda *names, **options: issue(*names, **{**dates, **options}))
    with made.aws, made.aws.as_aws():
        yield made


@pytest.fixture
def slow(clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A host that is months slow."""
    with world(clocks, monkeypatch, SLOW_BY) as made:
        yield made


@pytest.fixture
def fast(clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A host that is months fast."""
    monkeypatch.setattr(certificates, "RELEASED", EARLIEST)
    with world(clocks, monkeypatch, -FAST_BY) as made:
        yield made


@pytest.fixture
def impossible(slow: World) -> World:
    """A host that shows 1970."""
    slow.clocks.step(60 - slow.clocks.wall / SECOND)
    return slow


def refused(client: Any) -> str:
    """Make a call that TLS refuses; return its note."""
    with pytest.raises(SSLError) as raised:
        client.get_caller_identity()
    return "\n".join(getattr(raised.value, "__notes__", [""]))


def knows_notes() -> bool:
    return hasattr(BaseException, "add_note")


class TestAFirstCall:
    """One request, right at once, over verified TLS."""

    @pytest.mark.parametrize(("host", "needed"), [("impossible", 1), ("slow", 2), ("fast", 3)])
    def test_takes_more_sources_the_likelier_the_clock(
        self, request: pytest.FixtureRequest, host: str, needed: int
    ) -> None:
        """One of before this release is certainly wrong; one that is ahead may be right, and the sources may lie.

        So a dead certificate stays dead on a right host, unless three sources that the user has named lie alike.
        """
        here: World = request.getfixturevalue(host)
        reason = "true_time_tls does not apply: one source is not enough where"
        for count in range(1, needed):
            with here.install(*here.sources(count)):
                note = refused(here.client())
                assert host == "fast" or not knows_notes() or reason in note
        assert here.aws.requests == []
        with here.install(*here.sources(needed)):
            here.client().get_caller_identity()
        assert [one.status for one in here.aws.requests] == [200]

    @pytest.mark.parametrize("name", ["phc:/dev/ptp0", "ntp://a"])
    def test_fast_with_one_source(self, fast: World, name: str) -> None:
        """That nothing outside the host can forge, or that is authenticated."""
        source = fast.source(name)
        if name == "ntp://a":
            source.trust = Trust.AUTHENTICATED
        with fast.install(source):
            fast.client().get_caller_identity()
        assert [one.status for one in fast.aws.requests] == [200]

    def test_with_a_source_that_answers_late(self, slow: World, emitted: Emitted) -> None:
        """The handshake fails, the sources are asked, and the call is made again at once."""
        sources = slow.sources(2)
        for source in sources:
            source.offset = None
        with slow.install(*sources):
            for source in sources:
                source.offset = 0.0
            slow.client().get_caller_identity()
        assert [one.status for one in slow.aws.requests] == [200]
        (retried,) = emitted.of(Retried)
        assert retried.reason == "the server's certificate was judged by a wrong clock"

    @pytest.mark.parametrize(("attempts", "again"), [(1, 0), (2, 1), (3, 1)])
    def test_it_is_made_again_once(
        self, slow: World, attempts: int, again: int, emitted: Emitted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even if it fails again, and not beyond what the caller allows."""
        monkeypatch.setattr("skewguard.tls.connection.Judge.applies", lambda _: False)
        monkeypatch.setattr("time.sleep", lambda _: None)
        with slow.install(*slow.sources(2)):
            refused(aws_client("sts", slow.aws, retries={"total_max_attempts": attempts}))
        assert len(emitted.of(Retried)) == again

    def test_a_body_that_cannot_be_sent_again(self, slow: World) -> None:
        """botocore rewinds bodies before a retry, and would raise another error."""
        sources = slow.sources(2)
        for source in sources:
            source.offset = None
        with slow.install(*sources):
            for source in sources:
                source.offset = 0.0
            s3 = aws_client("s3", slow.aws, retries={"total_max_attempts": 1})
            with pytest.raises(SSLError):
                s3.put_object(Bucket="bucket", Key="key", Body=Pipe())
        assert slow.aws.requests == []


class Pipe:
    """A stream that cannot be rewound."""

    def read(self, _: int = -1) -> bytes:
        return b""


class TestWithoutTheOption:
    """Everything is as before, but for a note."""

    def test_a_call(self, impossible: World) -> None:
        """It fails as botocore alone fails; the note names the option."""
        with pytest.raises(SSLError) as plain:
            impossible.client().get_caller_identity()
        with impossible.install(*impossible.sources(1), true_time_tls=False), pytest.raises(SSLError) as raised:
            impossible.client().get_caller_identity()
        assert str(raised.value) == str(plain.value)
        assert impossible.aws.requests == []
        if knows_notes():
            (note,) = raised.value.__notes__
            assert note.endswith("; true_time_tls=True would judge them by true time")

    def test_the_note_without_a_time(self, slow: World) -> None:
        """It does not promise what is not known."""
        with slow.install("response", true_time_tls=False):
            note = refused(slow.client())
        assert not knows_notes() or "the option true_time_tls judges them by true time where that is known" in note

    @pytest.mark.slow
    def test_nothing_is_loaded(self) -> None:
        """A process that does not set it does without its modules."""
        program = """
import sys, boto3, skewguard
skewguard.install(sources=["response"])
boto3.client("sts", region_name="us-east-1")
print(sorted(name for name in sys.modules if name.startswith("skewguard.tls.")))
"""
        assert run_python(program).strip() == "['skewguard.tls.dates']"

    def test_where_python_lacks_what_it_needs(self, impossible: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Calls are guarded all the same, but for certificates."""
        monkeypatch.setitem(sys.modules, "skewguard.tls.connection", None)
        with impossible.install(*impossible.sources(1)):
            client = impossible.client()
            refused(client)
            assert is_guarded(client.meta.events)

    def test_no_patch_is_applied(self, slow: World) -> None:
        names = [
            (Endpoint, "_send"),
            (URLLib3Session, "_get_ssl_context"),
            (URLLib3Session, "_setup_proxy_ssl_context"),
        ]
        before = [vars(owner)[name] for owner, name in names]
        with slow.install(*slow.sources(2), true_time_tls=False):
            client = slow.client()
            refused(client)
            assert [vars(owner)[name] for owner, name in names] == before
            assert type(client._endpoint.http_session._manager.connection_pool_kw["ssl_context"]) is ssl.SSLContext
        with slow.install(*slow.sources(2)):
            slow.client()
            assert all(now is not was for now, was in zip([vars(o)[n] for o, n in names], before, strict=True))
        assert [vars(owner)[name] for owner, name in names] == before


class TestWhichClients:
    """Those that are guarded, and no others."""

    def test_made_before_install(self, impossible: World) -> None:
        session = boto3.Session()
        client = aws_client("sts", impossible.aws, session)
        with impossible.install(*impossible.sources(1)):
            client.get_caller_identity()
            aws_client("sts", impossible.aws, session).get_caller_identity()
        assert [one.status for one in impossible.aws.requests] == [200, 200]

    def test_detached(self, impossible: World) -> None:
        client = impossible.client()
        with impossible.install(*impossible.sources(1)):
            skewguard.detach(client)
            refused(client)
        assert impossible.aws.requests == []

    def test_after_uninstall(self, impossible: World) -> None:
        with impossible.install(*impossible.sources(1)):
            client = impossible.client()
            client.get_caller_identity()
            context = client._endpoint.http_session._manager.connection_pool_kw["ssl_context"]
            assert type(context) is TrueTimeContext
        assert type(context) is ssl.SSLContext
        client._endpoint.http_session.close()
        refused(client)
        with impossible.install(*impossible.sources(1)):
            client.get_caller_identity()

    def test_whose_profile_switches_correction_off(
        self, impossible: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """AWS's own switch."""
        (tmp_path / "config").write_text("[default]\ndisable_clock_skew_correction = true\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        with impossible.install(*impossible.sources(1)):
            refused(impossible.client())
        assert impossible.aws.requests == []

    def test_attached(self, impossible: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the environment's option, because `attach` has none."""
        monkeypatch.setenv("SKEWGUARD_TRUE_TIME_TLS", "true")
        keeper = _process.process.keeper()
        keeper.reset(keeper.settings, impossible.clocks)
        client = impossible.client()
        skewguard.attach(client, sources=impossible.sources(1))
        client.get_caller_identity()
        assert [one.status for one in impossible.aws.requests] == [200]

    def test_attached_still_after_uninstall(self, impossible: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SKEWGUARD_TRUE_TIME_TLS", "true")
        client = impossible.client()
        skewguard.attach(client, sources=impossible.sources(1))
        with impossible.install(*impossible.sources(1)):
            client.get_caller_identity()
        keeper = _process.process.keeper()
        keeper.reset(keeper.settings, impossible.clocks)
        client._endpoint.http_session.close()
        client.get_caller_identity()
        assert [one.status for one in impossible.aws.requests] == [200, 200]

    def test_with_a_client_certificate(self, impossible: World, tmp_path: Path) -> None:
        """OpenSSL alone judges: it would be shown to a server with a dead certificate."""
        blob = trustme.CA().issue_cert("me").private_key_and_cert_chain_pem
        blob.write_to_path(str(tmp_path / "me.pem"))
        with impossible.install(*impossible.sources(1)):
            refused(impossible.client(client_cert=str(tmp_path / "me.pem")))
        assert impossible.aws.requests == []

    @unverified
    def test_without_verification(self, impossible: World) -> None:
        """As without skewguard: no certificate is judged."""
        with impossible.install(*impossible.sources(1)):
            kwargs = impossible.aws.client_kwargs | {"verify": False}
            boto3.client("sts", **kwargs).get_caller_identity()
        assert impossible.aws.requests[-1].status == 200


class TestRefusals:
    """What true time itself refuses."""

    def test_a_certificate_that_is_dead_on_true_time(self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> None:
        """Although it lives by the wall clock; no byte of the request is sent, and the note says who has judged."""
        with world(clocks, monkeypatch, 0) as here:
            truth = here.now
            here.now = lambda: truth() + 60 * DAY * SECOND
            here.client().get_caller_identity()
            here.aws.clear()
            with here.install(*here.sources(2)):
                client = here.client()
                note = refused(client)
        assert here.aws.requests == []
        assert not knows_notes() or note.startswith(
            "skewguard: true_time_tls is set, so certificates are judged by true"
        )

    def test_with_the_real_release(self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not even three sources revive what died before skewguard was released."""
        with world(clocks, monkeypatch, -FAST_BY) as here, here.install(*here.sources(3)):
            refused(here.client())
            assert here.aws.requests == []

    def test_on_a_right_clock(self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> None:
        """A certificate that is dead by every clock costs no question to the sources, and the note names no option."""
        with world(clocks, monkeypatch, 0) as here:
            issue = trustme.CA.issue_cert
            last = datetime.datetime.fromtimestamp(NOW / SECOND - DAY, datetime.timezone.utc)
            monkeypatch.setattr(trustme.CA, "issue_cert", lambda *names: issue(*names, not_after=last))
            sources = here.sources(2)
            for option in (True, False):
                with here.install(*sources, true_time_tls=option):
                    here.clocks.advance(60)
                    asked = sources[0].count
                    note = refused(here.client())
                    assert sources[0].count == asked
                    assert "true_time_tls" not in note
        assert here.aws.requests == []


class TestNoLaundering:
    """What is heard over a connection that true time has judged proves no time."""

    def test_an_answer(self, impossible: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """It teaches its own endpoint, ranks no higher than the sources, and is not shared."""
        written: list[Any] = []
        monkeypatch.setattr(SharedEstimates, "publish", lambda _, key, *__: written.append(key))
        (source,) = impossible.sources(1)
        with impossible.install(source, share=True):
            client = impossible.client()
            for _ in range(3):
                client.get_caller_identity()
            keeper = _process.process.keeper()
            assert keeper.utc.evidence is None
            assert skewguard.offset().grade == "vote"  # type: ignore[union-attr]
            assert set(skewguard.status().domains) == {"https://sts.us-east-1.amazonaws.com"}
            assert keeper._knowledge.newest == 0
            source.offset = None
            impossible.clocks.advance(2 * DAY)
            assert keeper.certificates().interval is None
        assert written == []

    def test_over_a_connection_that_is_kept(self, impossible: World) -> None:
        """It stays what it is after the wall clock is set right."""
        with impossible.install(*impossible.sources(1)):
            client = impossible.client()
            client.get_caller_identity()
            impossible.clocks.step((impossible.now() - impossible.clocks.wall) / SECOND)
            client.get_caller_identity()
            assert _process.process.keeper().utc.evidence is None

    def test_after_another_install(self, impossible: World) -> None:
        """Connections outlive `uninstall`."""
        with impossible.install(*impossible.sources(1)):
            client = impossible.client()
            client.get_caller_identity()
        with impossible.install(*impossible.sources(1), true_time_tls=False):
            client.get_caller_identity()
            assert tls.judged(client._endpoint)
            assert _process.process.keeper().utc.evidence is None

    def test_a_right_clock_proves(self, clocks: FakeClocks, monkeypatch: pytest.MonkeyPatch) -> None:
        """While OpenSSL judges, an answer proves the time as before."""
        with world(clocks, monkeypatch, 0) as here, here.install(*here.sources(1)):
            client = here.client()
            client.get_caller_identity()
            assert not tls.judged(client._endpoint)
            assert skewguard.offset().grade == "proof"  # type: ignore[union-attr]

    def test_a_source_that_is_an_hour_off(self, impossible: World) -> None:
        """The answer dates the retry, and the next call."""
        with impossible.install(impossible.source(offset=3600.0)):
            client = impossible.client()
            client.get_caller_identity()
            client.get_caller_identity()
            assert [one.status for one in impossible.aws.requests] == [403, 200, 200]
            assert skewguard.offset().grade == "vote"  # type: ignore[union-attr]


class TestProxies:
    """Their certificates are judged alike."""

    @pytest.fixture
    def proxy(self, slow: World, tmp_path: Path) -> Iterator[Any]:
        """An HTTPS proxy, whose certificate is of the same time and authority."""
        import socketserver

        class Quiet(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                """Print nothing: a client that refuses a certificate hangs up."""

            def get_request(self) -> Any:
                connection, address = super().get_request()
                connection.settimeout(PATIENCE)
                return self.context.wrap_socket(connection, server_side=True), address  # type: ignore[attr-defined]

            def shutdown_request(self, request: Any) -> None:
                with contextlib.suppress(OSError):
                    super().shutdown_request(request)

        made: Any = Quiet(("127.0.0.1", 0), Tunnel)
        made.asked, made.refusal, made.upstream = [], "", 0
        made.context = slow.aws._authority.context  # type: ignore[union-attr]
        with running(made) as port:
            made.url = f"https://localhost:{port}"
            yield made

    @unverified
    @pytest.mark.parametrize("verify", [True, False, "bundle"])
    def test_an_https_proxy(self, slow: World, proxy: Any, verify: Any) -> None:
        """It inherits the session's certificates, and whether they are verified."""
        chosen = slow.aws.ca_bundle if verify == "bundle" else verify
        with slow.install(*slow.sources(2)):
            kwargs = slow.aws.client_kwargs | {"verify": chosen, "endpoint_url": None}
            client = boto3.client("sts", config=Config(proxies={"https": proxy.url}), **kwargs)
            if verify is True:
                client = self.client(slow, proxy, verify=None)
            client.get_caller_identity()
        assert [one.status for one in slow.aws.requests] == [200]
        assert len(proxy.asked) == 1

    def client(self, here: World, proxy: Any, **options: Any) -> Any:
        return here.client(proxies={"https": proxy.url}, **{k: v for k, v in options.items() if v is not None})

    def test_one_of_another_authority(self, slow: World, proxy: Any, tmp_path: Path) -> None:
        """It is refused before it is told where to connect."""
        proxy.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(proxy.context)
        with slow.install(*slow.sources(2)), pytest.raises(ProxyConnectionError):
            self.client(slow, proxy).get_caller_identity()
        assert proxy.asked == slow.aws.requests == []

    @pytest.mark.parametrize("days", [(-100, -90), (90, 100)])
    def test_one_that_is_dead(self, slow: World, proxy: Any, days: tuple[int, int]) -> None:
        """The same, with a certificate that is not valid on true time."""
        about = datetime.datetime.fromtimestamp(slow.now() / SECOND, datetime.timezone.utc)
        first, last = (about + datetime.timedelta(days=each) for each in days)
        proxy.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca = slow.aws._authority._ca  # type: ignore[union-attr]
        ca.issue_cert("localhost", not_before=first, not_after=last).configure_cert(proxy.context)
        with slow.install(*slow.sources(2)), pytest.raises(ProxyConnectionError) as raised:
            self.client(slow, proxy).get_caller_identity()
        assert "by true time" in str(raised.value.kwargs["error"])
        assert proxy.asked == slow.aws.requests == []

    def test_with_a_bundle_of_its_own(self, slow: World, proxy: Any) -> None:
        other = trustme.CA()
        proxy.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.issue_cert("localhost").configure_cert(proxy.context)
        with other.cert_pem.tempfile() as path, slow.install(*slow.sources(2)):
            self.client(slow, proxy, proxies_config={"proxy_ca_bundle": path}).get_caller_identity()
        assert [one.status for one in slow.aws.requests] == [200]


def test_one_judgement_a_connection(impossible: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from skewguard.tls import connection

    judged: list[Any] = []
    problem = connection.Judge.problem
    monkeypatch.setattr(connection.Judge, "problem", lambda self, chain: judged.append(chain) or problem(self, chain))
    with impossible.install(*impossible.sources(1)):
        client = impossible.client()
        for _ in range(5):
            client.get_caller_identity()
    assert len(judged) == 1
    assert impossible.aws.count == 5


def test_a_refused_call_is_not_made_again_for_its_certificate(impossible: World) -> None:
    """Other errors are botocore's."""
    with impossible.install(*impossible.sources(1)), pytest.raises(ClientError):
        impossible.aws.fail_next("AccessDenied", status=403)
        impossible.client().get_caller_identity()


CHILD = (
    GREENLETS
    + """
import boto3, time
from botocore.config import Config
import skewguard
from skewguard.testing import FakeClocks
from tests.fakes import FakeSource
from skewguard.timekeeping.certificates import RELEASED

truth = time.time_ns() + 5 * 86_400 * 10**9
source = FakeSource("ntp://a", truth=lambda: truth)
skewguard.install(sources=[source], clocks=FakeClocks(wall=60 * 10**9), true_time_tls=True)
config = Config(retries={"total_max_attempts": 1})
try:
    boto3.client("sts", endpoint_url=sys.argv[2], config=config).get_caller_identity()
except Exception as error:
    print(type(error).__name__)
"""
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("library", "error"), [("none", "ResponseParserError"), ("gevent", "SSLError"), ("eventlet", "SSLError")]
)
def test_libraries_that_replace_sockets(library: str, error: str, tmp_path: Path) -> None:
    """They are left alone: a handshake fails as it fails without the option. Otherwise the server is reached."""
    if library != "none":
        installed(library)
    with https(tmp_path, 1, 10) as (url, variables):
        found = run_python(CHILD, library, url, env=os.environ | variables, cwd=Path(__file__).parents[1])
    assert found.split() == [error]
