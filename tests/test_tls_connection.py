"""TLS on true time, attacked: each attack beside plain OpenSSL, on a clock that is right.

Nothing may be accepted that plain OpenSSL refuses, and a server with a dead certificate may not get one byte of a
request.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from skewguard.interval import SECOND, Interval, Trust
from skewguard.tls import connection
from skewguard.tls.connection import NO_CHECK_TIME, Judge, TrueTimeContext, adopt, release_all
from skewguard.tls.dates import BY_TRUE_TIME
from tests.certificates import (
    DEAD,
    HOST,
    LIVING,
    REQUEST,
    UNBORN,
    Certificate,
    accepts,
    bios,
    client,
    issue,
    redated,
    request,
    server,
    serving,
    shake,
)
from tests.fakes import raising
from tests.patience import PATIENCE, eventually
from tests.real.need import need
from tests.test_tls_dates import dated, seconds

DAY = 86_400
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
ROOT = issue("root", (-400, 400), authority=True)
LEAVES = {name: issue(HOST, days, ROOT) for name, days in (("living", LIVING), ("dead", DEAD), ("unborn", UNBORN))}


@pytest.fixture(autouse=True)
def plain_afterwards() -> Iterator[None]:
    """Leave no context adopted."""
    yield
    release_all()


def around(now: int, bound: int = 0) -> Interval:
    return Interval(0, now - bound, now + bound, Trust.WITNESS, "s")


def true_time() -> Interval:
    """The right time, as a source might know it."""
    return around(time.time_ns(), SECOND // 100)


def on_true_time(context: ssl.SSLContext, said: Callable[[], Any] = true_time) -> ssl.SSLContext:
    """Let a context's connections be judged on true time, as where the wall clock is known to be wrong."""
    assert adopt(context, Judge(said))
    return context


class TestACertificate:
    """The server's own, its issuers', and the anchor."""

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("state", LEAVES)
    def test_of_the_server(self, state: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
        """It is accepted while it lives, refused with OpenSSL's own code, and then no byte is sent."""
        with serving(server(tmp_path, LEAVES[state])) as peer:
            found = []
            for context in (client(ROOT), on_true_time(client(ROOT))):
                context.maximum_version = version
                peer.heard = b""
                found.append(request(context, peer))
                assert peer.heard == (REQUEST if state == "living" else b"")
        assert found == [{"living": "", "dead": "10", "unborn": "9"}[state]] * 2

    @pytest.mark.parametrize("days", [DEAD, UNBORN])
    @pytest.mark.parametrize("which", ["root", "intermediate", "intermediate as anchor"])
    def test_of_an_issuer(self, which: str, days: tuple[int, int], tmp_path: Path) -> None:
        """One that is not valid invalidates what it issued, the anchor's too."""
        root = issue("root", days if which == "root" else LIVING, authority=True)
        middle = issue("middle", LIVING if which == "root" else days, root, authority=True)
        leaf = issue(HOST, LIVING, middle)
        anchor = middle if which == "intermediate as anchor" else root
        with serving(server(tmp_path, leaf, middle)) as peer:
            plain, ours = client(anchor), client(anchor)
            for context in (plain, ours):
                context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)
            assert request(plain, peer) == request(on_true_time(ours), peer) != ""
            assert peer.heard == b""

    @pytest.mark.parametrize("wrong", ["name", "authority"])
    def test_that_is_wrong_otherwise(self, wrong: str, tmp_path: Path) -> None:
        """Chain, names and signatures are OpenSSL's."""
        anchor, name = (ROOT, "other.test") if wrong == "name" else (issue("other", authority=True), HOST)
        with serving(server(tmp_path, LEAVES["living"])) as peer:
            plain = request(client(anchor), peer, name)
            assert request(on_true_time(client(anchor)), peer, name) == plain != ""
            assert peer.heard == b""

    def test_it_is_not_checked_where_none_is_required(self, tmp_path: Path) -> None:
        """As before: the caller has asked for that."""
        for context in (client(ROOT), on_true_time(client(ROOT))):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            with serving(server(tmp_path, LEAVES["dead"])) as peer:
                assert request(context, peer) == ""


@pytest.mark.parametrize("bound", [0, 1, 5])
@pytest.mark.parametrize("edge", ["begin", "end"])
def test_the_seconds_at_the_edges(edge: str, bound: int, tmp_path: Path) -> None:
    """The first second counts, the last does not, as with OpenSSL; and the whole interval must be inside."""
    start = int(time.time()) // DAY * DAY
    leaf = redated(LEAVES["living"], seconds(start, start + 1000), ROOT)
    edge_at = start if edge == "begin" else start + 1000
    for second in range(-2 - bound, 3 + bound):
        for beyond in (0, SECOND - 1):
            now = (edge_at + second) * SECOND + beyond
            early, late = now - bound * SECOND, now + bound * SECOND
            inside = early >= start * SECOND and late < (start + 1000) * SECOND
            context = on_true_time(client(ROOT), lambda now=now: around(now, bound * SECOND))  # type: ignore[misc]
            assert accepts(context, server(tmp_path, leaf)) == inside


def by_openssl(at: int, root: Certificate, middle: Certificate, leaf: Certificate, directory: Path) -> bool:
    """Return whether plain OpenSSL accepts a chain at a second."""
    for name, made in (("root", root), ("middle", middle), ("leaf", leaf)):
        (directory / name).write_text(made.pem)
    files = ["-CAfile", directory / "root", "-untrusted", directory / "middle", directory / "leaf"]
    done = subprocess.run(["openssl", "verify", "-attime", str(at), *files], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data())
def test_beside_openssl_at_any_second(data: st.DataObject) -> None:
    """Chains of any dates, judged by any interval: OpenSSL on a right clock accepts at both ends what is accepted."""
    need(shutil.which("openssl") is not None, "openssl", "apt-get install openssl")
    start = int(time.time())
    spans = st.tuples(st.integers(-3, 2), st.integers(0, 5)).map(lambda each: (each[0], each[0] + each[1]))

    def made(name: str, issuer: Certificate | None = None) -> Certificate:
        first, last = data.draw(spans) if data.draw(st.integers(0, 3)) == 0 else (-3, 5)
        plain = issue(name, LIVING, issuer, authority=name != HOST, key=ROOT.key)
        return redated(plain, seconds(start + first, start + last), ROOT)

    root = made("root")
    named = issue("root", authority=True, key=ROOT.key)
    middle = made("middle", named)
    leaf = made(HOST, issue("middle", LIVING, named, authority=True, key=ROOT.key))
    early, late = sorted(data.draw(st.tuples(st.integers(-5, 7), st.integers(-5, 7))))
    said = Interval(0, (start + early) * SECOND, (start + late) * SECOND + SECOND - 1, Trust.WITNESS, "s")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        accepted = accepts(on_true_time(client(root), lambda: said), server(directory, leaf, middle))
        assert accepted == all(by_openssl(start + each, root, middle, leaf, directory) for each in (early, late))


class TestWhatIsNeverLeftOut:
    """Ways past `do_handshake`."""

    @pytest.mark.parametrize("version", VERSIONS)
    @pytest.mark.parametrize("how", ["send", "sendall", "write", "recv", "recv_into", "read", "sendfile"])
    def test_a_handshake_by_the_first_use(self, how: str, version: ssl.TLSVersion, tmp_path: Path) -> None:
        """OpenSSL does it in whatever call comes first."""
        file = tmp_path / "file"
        file.write_bytes(REQUEST)
        uses: dict[str, Callable[[Any], Any]] = {
            "send": lambda tls: tls.send(REQUEST),
            "sendall": lambda tls: tls.sendall(REQUEST),
            "write": lambda tls: tls.write(REQUEST),
            "recv": lambda tls: tls.recv(10),
            "recv_into": lambda tls: tls.recv_into(bytearray(10)),
            "read": lambda tls: tls.read(10),
        }
        with serving(server(tmp_path, LEAVES["dead"])) as peer, file.open("rb") as opened:
            uses["sendfile"] = lambda tls: tls.sendfile(opened)
            for context in (client(ROOT), on_true_time(client(ROOT))):
                context.maximum_version = version
                opened.seek(0)
                with socket.create_connection(peer.address, PATIENCE) as plain:
                    tls = context.wrap_socket(plain, server_hostname=HOST, do_handshake_on_connect=False)
                    with tls, pytest.raises(ssl.SSLCertVerificationError):
                        uses[how](tls)
            assert peer.heard == b""

    @pytest.mark.parametrize("how", ["read", "write"])
    def test_the_same_in_memory(self, how: str, tmp_path: Path) -> None:
        """As an event loop might use it."""
        ours, theirs = bios(on_true_time(client(ROOT)), server(tmp_path, LEAVES["dead"]))
        use: Callable[[], Any] = (lambda: ours.write(REQUEST)) if how == "write" else (lambda: ours.read(10))
        got = b""
        with pytest.raises(ssl.SSLCertVerificationError):
            for _ in range(10):
                with contextlib.suppress(ssl.SSLWantReadError):
                    use()
                with contextlib.suppress(ssl.SSLWantReadError):
                    got += theirs.read(100)
        with contextlib.suppress(ssl.SSLError):
            got += theirs.read(100)
        assert got == b""

    def test_a_socket_that_is_connected_later(self, tmp_path: Path) -> None:
        """It is wrapped when it connects."""
        with serving(server(tmp_path, LEAVES["dead"])) as peer:
            tls = on_true_time(client(ROOT)).wrap_socket(socket.socket(), server_hostname=HOST)
            with tls, pytest.raises(ssl.SSLCertVerificationError):
                tls.connect(peer.address)
            assert peer.heard == b""

    def test_after_a_refusal(self, tmp_path: Path) -> None:
        """A caller that goes on all the same is refused again."""
        ours, theirs = bios(on_true_time(client(ROOT)), server(tmp_path, LEAVES["dead"]))
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(ours, theirs)
        for use in (lambda: ours.write(REQUEST), lambda: ours.read(1), ours.do_handshake):
            with pytest.raises(ssl.SSLCertVerificationError):
                use()

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_resumed_session(self, version: ssl.TLSVersion, tmp_path: Path) -> None:
        """It shows no certificates."""
        context = on_true_time(client(ROOT))
        context.maximum_version = version
        other = server(tmp_path, LEAVES["living"])
        ours, theirs = bios(context, other)
        shake(ours, theirs)
        theirs.write(b"x")
        ours.read(1)
        session = ours.session
        again, theirs = bios(context, other)
        again.session = session
        with pytest.raises(ssl.SSLCertVerificationError):
            shake(again, theirs)

    def test_renegotiation(self, tmp_path: Path) -> None:
        """OpenSSL is told to refuse it, for this connection only: another certificate could come."""
        context = on_true_time(client(ROOT))
        seen = []

        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(connection._ssl._SSLContext, name)

            @staticmethod
            def _wrap_bio(*args: Any, **kwargs: Any) -> Any:
                seen.append((args[0].options & ssl.OP_NO_RENEGOTIATION, connection._flags(args[0]) & NO_CHECK_TIME))
                return connection._ssl._SSLContext._wrap_bio(*args, **kwargs)

        real, connection._BASE = connection._BASE, Spy()
        try:
            bios(context, server(tmp_path, LEAVES["living"]))
        finally:
            connection._BASE = real
        assert seen == [(ssl.OP_NO_RENEGOTIATION, NO_CHECK_TIME)]
        assert not context.options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.slow
@pytest.mark.parametrize("ours", [True, False])
def test_a_server_that_renegotiates(ours: bool, tmp_path: Path) -> None:
    """It cannot make a judged connection show its request to another certificate; a plain one checks that itself."""
    need(shutil.which("openssl") is not None, "openssl", "apt-get install openssl")
    server(tmp_path, LEAVES["living"])
    (pem,) = tmp_path.glob("*.pem")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pem, "-key", pem, "-tls1_2"]
    context = on_true_time(client(ROOT)) if ours else client(ROOT)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        try:
            connected: list[socket.socket] = []
            eventually(lambda: _connect(port, connected))
            with context.wrap_socket(connected[0], server_hostname=HOST) as tls:
                tls.sendall(b"first\n")
                while peer.stdout.readline() != b"first\n":
                    pass  # it describes itself and the connection
                peer.stdin.write(b"R\n")
                peer.stdin.flush()
                tls.settimeout(PATIENCE if ours else 0.3)
                with pytest.raises(ssl.SSLError if ours else TimeoutError):
                    tls.recv(10)  # here OpenSSL renegotiates, or refuses to
        finally:
            peer.kill()


def _connect(port: int, made: list[socket.socket]) -> bool:
    with contextlib.suppress(ConnectionError):
        made.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
    return bool(made)


class TestLeftAlone:
    """Where OpenSSL's check could not be replaced, it is OpenSSL's."""

    def test_client_certificates(self, tmp_path: Path) -> None:
        """They would be shown to a server with a dead certificate before ours is checked."""
        theirs = server(tmp_path, LEAVES["dead"])
        theirs.verify_mode = ssl.CERT_REQUIRED
        theirs.load_verify_locations(cadata=ROOT.pem)
        server(tmp_path, LEAVES["living"])
        (pem,) = [path for path in tmp_path.glob("*.pem") if LEAVES["living"].pem in path.read_text()]
        with serving(theirs) as peer:
            for context in (client(ROOT), on_true_time(client(ROOT))):
                context.load_cert_chain(pem)
                assert request(context, peer) == "10"
            assert (peer.completed, peer.heard) == (0, b"")

    @pytest.mark.parametrize("flag", [ssl.VERIFY_CRL_CHECK_LEAF, ssl.VERIFY_CRL_CHECK_CHAIN])
    def test_revocation_lists(self, flag: ssl.VerifyFlags, tmp_path: Path) -> None:
        """They have dates, too, which the flag would leave out."""
        now = datetime.datetime.now(datetime.timezone.utc)
        dead = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(ROOT.certificate.subject)
            .last_update(now - datetime.timedelta(days=60))
            .next_update(now - datetime.timedelta(days=30))
            .sign(ROOT.key, hashes.SHA256())
        )
        (tmp_path / "crl").write_bytes(dead.public_bytes(serialization.Encoding.PEM))
        with serving(server(tmp_path, LEAVES["living"])) as peer:
            found = []
            for context in (client(ROOT), on_true_time(client(ROOT))):
                context.load_verify_locations(tmp_path / "crl")
                context.verify_flags |= flag
                found.append(request(context, peer))
            assert found == ["12", "12"]  # X509_V_ERR_CRL_HAS_EXPIRED
            assert peer.heard == b""

    def test_contexts_of_other_classes(self) -> None:
        """gevent's, truststore's, and a caller's own."""

        class Other(ssl.SSLContext):
            pass

        class Socket(ssl.SSLSocket):
            pass

        own_class = client(ROOT)
        own_class.sslsocket_class = Socket
        own_method = client(ROOT)
        own_method._wrap_socket = own_method._wrap_socket  # type: ignore[attr-defined]
        undated = client(ROOT)
        undated.verify_flags |= NO_CHECK_TIME
        for context in (Other(ssl.PROTOCOL_TLS_CLIENT), own_class, own_method, undated, None, "context", True):
            assert not adopt(context, Judge(true_time))
        adopted = on_true_time(client(ROOT))
        assert not adopt(adopted, Judge(true_time))

    def test_sockets_of_other_classes(self, tmp_path: Path) -> None:
        """Even of an adopted context: they do not check."""

        class Socket(connection.TrueTimeSocket):
            pass

        for kind in (ssl.SSLSocket, Socket):
            context = on_true_time(client(ROOT))
            context.sslsocket_class = kind
            with serving(server(tmp_path, LEAVES["dead"])) as peer:
                assert request(context, peer) == "10"
                assert peer.heard == b""

    def test_servers(self, tmp_path: Path) -> None:
        """And their clients' certificates."""
        theirs = server(tmp_path, LEAVES["living"])
        theirs.load_verify_locations(cadata=ROOT.pem)
        theirs.verify_mode = ssl.CERT_REQUIRED
        assert adopt(theirs, Judge(true_time))
        ours = client(ROOT)
        server(tmp_path, LEAVES["dead"])
        (pem,) = [path for path in tmp_path.glob("*.pem") if LEAVES["dead"].pem in path.read_text()]
        ours.load_cert_chain(pem)
        one, other = bios(ours, theirs)
        with pytest.raises(ssl.SSLCertVerificationError, match="expired") as raised:
            shake(one, other)
            one.write(b"x")
            other.read(1)
        assert BY_TRUE_TIME not in str(raised.value)


class Broken:
    """An interval that is none."""

    earliest, latest = float("nan"), float("nan")


class TestAJudgeThatFails:
    """Whatever becomes of what is known."""

    def test_that_sees_no_certificate(self) -> None:
        """There is always one."""
        assert Judge(true_time).problem([]) is not None
        assert Judge(true_time).problem([LEAVES["living"].der]) is None

    @pytest.mark.parametrize("state", ["living", "dead"])
    @pytest.mark.parametrize("when", ["before the connection", "in the check"])
    def test_that_knows_nothing(self, when: str, state: str, tmp_path: Path) -> None:
        """It fails, the wall clock was set, or the sources contradict each other: then OpenSSL judges alone."""
        answers = iter([true_time()])
        said = (lambda: 1 / 0) if when == "before the connection" else (lambda: next(answers, None))
        assert accepts(on_true_time(client(ROOT), said), server(tmp_path, LEAVES[state])) == (state == "living")

    @pytest.mark.parametrize(
        "then",
        [
            lambda: 1 / 0,
            Broken,
            lambda: Interval.__base__(0, 2, 1, Trust.WITNESS, "s", 0),  # type: ignore[misc]
            raising(ssl.SSLWantReadError(2, "wait")),
            raising(OSError(11, "again")),
        ],
    )
    def test_in_the_check(self, then: Callable[[], Any], tmp_path: Path) -> None:
        """The connection is refused as OpenSSL would refuse it: another exception could make an event loop wait."""
        answers = iter([true_time])

        def said() -> Any:
            return next(answers, then)()

        ours, theirs = bios(on_true_time(client(ROOT), said), server(tmp_path, LEAVES["living"]))
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            shake(ours, theirs)
        assert raised.value.args[0] == 1
        assert raised.value.verify_code in (9, 10)
        assert raised.value.reason == "CERTIFICATE_VERIFY_FAILED"
        assert type(raised.value) is ssl.SSLCertVerificationError

    def test_in_an_event_loop(self, tmp_path: Path) -> None:
        """A refusal closes the transport at once, and nothing is logged as fatal."""

        async def connect(peer: Any) -> list[dict[str, Any]]:
            problems: list[dict[str, Any]] = []
            asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
            for _ in range(3):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await asyncio.wait_for(
                        asyncio.open_connection(*peer.address, ssl=on_true_time(client(ROOT)), server_hostname=HOST),
                        PATIENCE,
                    )
            return problems

        with serving(server(tmp_path, LEAVES["dead"])) as peer:
            assert asyncio.run(connect(peer)) == []
            assert peer.heard == b""


class TestTheFlag:
    """It is the context's for a moment only."""

    def test_one_connection(self, tmp_path: Path) -> None:
        """It is cleared before the handshake begins."""
        context = on_true_time(client(ROOT))
        bios(context, server(tmp_path, LEAVES["living"]))
        assert not connection._flags(context) & NO_CHECK_TIME

    def test_threads(self, tmp_path: Path) -> None:
        """Connections of one context, judged and not, at once: each is right, and the flag is cleared."""
        shared = client(ROOT)
        toggle = threading.local()
        on_true_time(shared, lambda: true_time() if getattr(toggle, "on", False) else None)
        ends = [server(tmp_path, LEAVES[state]) for state in ("living", "dead")]
        wrong: list[object] = []

        def work(start: int) -> None:
            for number in range(start, start + 40):
                toggle.on = bool(number & 1)
                dead = bool(number & 2)
                ours, theirs = bios(shared, ends[dead])
                try:
                    shake(ours, theirs)
                except ssl.SSLCertVerificationError as error:
                    if not dead or (BY_TRUE_TIME in str(error)) != toggle.on:
                        wrong.append(error)
                else:
                    if dead:
                        wrong.append(number)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        assert wrong == []
        assert not connection._flags(shared) & NO_CHECK_TIME
        assert not shared.options & ssl.OP_NO_RENEGOTIATION

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
    def test_a_fork_in_between(self, tmp_path: Path) -> None:
        """A child inherits neither the lock nor the flag: its next connection clears it."""
        context = on_true_time(client(ROOT), lambda: None)
        connection._BASE.verify_flags.__set__(context, connection._flags(context) | NO_CHECK_TIME)
        held = connection._lock
        threading.Thread(target=held.acquire).start()  # and never released
        connection.reset_lock()
        assert not accepts(context, server(tmp_path, LEAVES["dead"]))
        assert not connection._flags(context) & NO_CHECK_TIME

    def test_an_error_in_between(self, tmp_path: Path) -> None:
        """Such as a host name that OpenSSL does not accept."""
        context = on_true_time(client(ROOT))
        with pytest.raises((ValueError, TypeError)):
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a\0b")
        with pytest.raises(TypeError):
            context._wrap_bio("no", "bio", False, owner=None)
        assert not connection._flags(context) & NO_CHECK_TIME

    def test_it_is_released(self, tmp_path: Path) -> None:
        """After `uninstall`, a context is plain again; one that is let go of is not kept."""
        context, gone = on_true_time(client(ROOT)), on_true_time(client(ROOT))
        del gone
        gc.collect()
        assert len(connection._adopted) == 1
        assert type(context) is TrueTimeContext
        release_all()
        assert type(context) is ssl.SSLContext
        ours, _ = bios(context, server(tmp_path, LEAVES["living"]))
        assert type(ours) is ssl.SSLObject


class TestDuplicates:
    """Two certificates of one name and key, one of them dead. OpenSSL prefers the living one only where it checks."""

    @pytest.mark.parametrize("where", ["anchors", "presented"])
    def test_dead_and_living(self, where: str, tmp_path: Path) -> None:
        """Accepted by plain OpenSSL; here, perhaps a false refusal, never a false acceptance."""
        root = issue("root", (-400, 400), authority=True)
        names = ("root", None) if where == "anchors" else ("middle", root)
        pair: list[Certificate] = []
        for days in (DEAD, LIVING):
            key = pair[0].key if pair else None
            pair.append(issue(names[0], days, names[1], authority=True, key=key))
        leaf = issue(HOST, LIVING, pair[1])
        for order in (pair, pair[::-1]):
            anchors, presented = (order, ()) if where == "anchors" else ((root,), tuple(order))
            with serving(server(tmp_path, leaf, *presented)) as peer:
                found = [request(each, peer) for each in (client(*anchors), on_true_time(client(*anchors)))]
            assert found[0] == ""
            assert found[1] in ("", "10")
            assert found[1] == ("10" if order is pair else ""), "docs/security.md lists the false refusals"

    def test_all_dead(self, tmp_path: Path) -> None:
        """Refused, whichever comes first."""
        key = ROOT.key
        roots = [issue("root", days, authority=True, key=key) for days in (DEAD, UNBORN)]
        leaf = issue(HOST, LIVING, roots[0])
        for order in (roots, roots[::-1]):
            with serving(server(tmp_path, leaf)) as peer:
                assert request(client(*order), peer) != ""
                assert request(on_true_time(client(*order)), peer) != ""
                assert peer.heard == b""


def test_odd_dates_are_refused(tmp_path: Path) -> None:
    """OpenSSL refuses a form that Python's own reading accepts."""
    leaf = redated(LEAVES["living"], dated(b"200101000000Z", b"4501010000Z+"), ROOT)
    try:
        presenting = server(tmp_path, leaf)
    except ssl.SSLError:
        return  # OpenSSL 3.6 does not even read it
    assert not accepts(client(ROOT), presenting)
    assert not accepts(on_true_time(client(ROOT)), presenting)
