"""Forks at rare moments, and at any moment, on a host 20 minutes slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import botocore
import pytest

import skewguard
from skewguard import _process, _reach
from skewguard.config import resolve
from skewguard.interval import SECOND, Interval, Trust
from skewguard.signing.patches import library
from skewguard.testing import FakeClocks, StrictEndpoint
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import FakeSource, accepted
from tests.forking import forked_while, needs_fork
from tests.support import TO_AWS, run_as_aws, run_python

pytestmark = [pytest.mark.slow, needs_fork]

LATE = 1200


class TestFork:
    """At rare moments."""

    def test_while_something_is_being_learned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The child does not sign by the earlier verdict."""
        keeper = Timekeeper(resolve({"sources": ["response"]}), FakeClocks())
        steady, wall = keeper.clocks.read()
        assert keeper.signing_time(keeper.utc)[0] == wall
        true = wall + LATE * SECOND
        forget = keeper._expire_caches

        def learn(pause: Callable[[], None]) -> None:
            monkeypatch.setattr(keeper, "_expire_caches", pause)
            keeper.learn(keeper.utc, accepted(Interval(steady, true, true, Trust.AUTHENTICATED, "aws")))

        def child() -> bool:
            monkeypatch.setattr(keeper, "_expire_caches", forget)
            keeper.reset_after_fork()
            return keeper.signing_time(keeper.utc)[0] == true

        assert forked_while(learn, child)

    def test_when_a_poll_is_over_and_its_outcome_not_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The child asks the sources again."""
        keeper = Timekeeper(resolve({"sources": ["response"]}), FakeClocks())
        keeper.add_sources((FakeSource(offset=LATE),))

        def ask(pause: Callable[[], None]) -> None:
            monkeypatch.setattr(keeper._poller, "_on_results", lambda *_: pause())
            keeper.start()

        def child() -> bool:
            keeper.reset_after_fork()
            return keeper.due(keeper.utc)

        assert forked_while(ask, child)

    @pytest.mark.parametrize("change", ["install", "uninstall"])
    def test_while_another_thread_installs_or_uninstalls(self, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
        """The child's own `install` starts anew."""
        name = {"install": "register_initializer", "uninstall": "unregister_initializer"}[change]
        original = getattr(library, name)
        if change == "uninstall":
            skewguard.install()

        def alter(pause: Callable[[], None]) -> None:
            monkeypatch.setattr(library, name, lambda callback: (pause(), original(callback)))
            getattr(skewguard, change)()

        def child() -> bool:
            monkeypatch.setattr(library, name, original)
            skewguard.install()
            registered = botocore._INITIALIZERS.count(_reach.initialize)  # type: ignore[attr-defined]
            return registered == 1 and _process.process.everywhere.settings is not None

        assert forked_while(alter, child)

    def test_during_the_very_first_install(self) -> None:
        """In a new process, which has no timekeeper yet."""
        run_python(FIRST_INSTALL)

    @pytest.mark.parametrize("what", ["skewguard.signing.hooks", "skewguard.signing.patches.expiry"])
    def test_while_another_thread_imports_what_signs(self, what: str) -> None:
        """For `install`, or for the first session. The fork waits, or the child would wait for the import for ever."""
        run_python(IMPORTING, what)

    @pytest.mark.parametrize(
        ("module", "code"),
        [
            ("skewguard.sources.chrony", "resolve({'sources': 'chrony'})"),
            ("skewguard.sources.phc", "HostSources(sys.argv[3])._hardware_clock()"),
            ("encodings.idna", "NtpSource('localhost')._addresses()"),
            ("ntplib", "decode(bytes(48), bytes(8))"),
        ],
    )
    def test_while_a_poll_imports(self, module: str, code: str, tmp_path: Path) -> None:
        """In the background: otherwise a child could not resolve names any more, with or without skewguard."""
        (tmp_path / "sys/class/ptp/ptp0").mkdir(parents=True)
        run_python(POLL_IMPORTING, module, code, str(tmp_path))

    def test_at_any_moment(self, aws: StrictEndpoint) -> None:
        """Beside threads that install, call, measure and uninstall: each child's call succeeds, at a second attempt."""
        ends, requests = run_as_aws(aws, FORKS, "20")  # fails, with what they said, unless all children succeed
        assert ends == [0] * 20
        assert max(requests) <= 2


FIRST_INSTALL = """
import os, signal, threading
import skewguard
from skewguard import _process

held, release, made = threading.Event(), threading.Event(), _process.Timekeeper
def slowly(*args):
    held.set()
    release.wait(60)
    return made(*args)

_process.Timekeeper = slowly
thread = threading.Thread(target=skewguard.install)
thread.start()
held.wait(60)
child = os.fork()
if not child:
    signal.alarm(60)
    _process.Timekeeper = made
    skewguard.install()
    os._exit(0 if skewguard.status().installed else 1)
release.set()
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""

# A module takes 0.3 s to run, and in that time...
SLOWLY = """
import importlib.machinery, os, signal, sys, threading, time

held = threading.Event()
execute = importlib.machinery.SourceFileLoader.exec_module
def slowly(self, module):
    if module.__name__ == sys.argv[1]:
        held.set()
        time.sleep(0.3)
    return execute(self, module)

importlib.machinery.SourceFileLoader.exec_module = slowly
"""

# ... comes a fork. The child imports it too.
MEANWHILE = """
thread = threading.Thread(target=begin)
thread.start()
assert held.wait(60)
child = os.fork()
if not child:
    signal.alarm(60)
    begin()
    os._exit(0)
thread.join()
assert os.waitpid(child, 0)[1] == 0
"""

IMPORTING = (
    """
import botocore.session, skewguard
"""
    + SLOWLY.replace("0.3", "3")  # as on a busy machine
    + """
def begin():
    skewguard.install()
    botocore.session.Session()
"""
    + MEANWHILE
)

POLL_IMPORTING = (
    """
import socket
from skewguard import _process
from skewguard.config import resolve
from skewguard.sources.auto import HostSources
from skewguard.sources.ntp import NtpSource
from skewguard.sources.ntp_packet import decode
"""
    + SLOWLY
    + """
# As it encodes names; what the C library does next may hang in a child that was forked in the middle of it.
socket.getaddrinfo = lambda host, *_, **__: [host.encode("idna")][:0]
def begin():
    try:
        eval(sys.argv[2])
    except Exception:  # what it comes to is another matter
        pass
"""
    + MEANWHILE
)

FORKS = (
    """
import encodings.idna  # urllib3 would at the first call: a child forked meanwhile hangs, with or without skewguard
import faulthandler, json, logging, os, random, signal, sys, threading, time, warnings
import botocore.httpsession, botocore.session, skewguard, urllib3.connection
from tests.fakes import FakeSource
warnings.simplefilter("ignore")

# A child that is forked while another thread writes to stderr hangs when it flushes that itself (seen with Python 3.14,
# in faulthandler), with or without skewguard. So nothing is logged there.
logging.getLogger("skewguard").addHandler(logging.NullHandler())

# A child that is forked while another thread is in OpenSSL may hang there (seen in SSL_CTX_new, at a lock of
# OBJ_add_sigid), with or without skewguard. So no fork comes while TLS begins.
tls = threading.RLock()
os.register_at_fork(before=tls.acquire, after_in_parent=tls.release, after_in_child=tls.release)
def apart_from_forks(owner, name):
    inner = getattr(owner, name)
    def locked(*args, **kwargs):
        with tls:
            return inner(*args, **kwargs)
    setattr(owner, name, locked)

apart_from_forks(botocore.httpsession.URLLib3Session, "__init__")
apart_from_forks(urllib3.connection.HTTPSConnection, "connect")

data = botocore.session.Session().get_component("data_loader")  # reading it takes most of the time
"""
    + TO_AWS
    + """
def client():
    made = botocore.session.Session()
    made.register_component("data_loader", data)
    return made.create_client("sts")

def busy():
    while not over:
        skewguard.install(sources=[FakeSource(offset=1200, instant=False)])
        skewguard.measure()
        one = client()
        try:
            one.get_caller_identity()
        except Exception:  # uninstalled by the other at the wrong moment
            pass
        one.close()
        skewguard.uninstall()

def child():
    skewguard.install(sources=[FakeSource(offset=1200, instant=False)])
    one, seen = client(), []
    one.meta.events.register("response-received", lambda **_: seen.append(1))
    one.get_caller_identity()
    return len(seen)

with redirected(to_aws, {"no_proxy": "*"}):
    over, ends, counts, chance = False, [], [], random.Random(1)
    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(int(sys.argv[2])):
        time.sleep(chance.uniform(0, 0.05))
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            faulthandler.dump_traceback_later(50)  # what it waits for
            signal.alarm(60)
            try:
                os.write(writing, b"%d" % child())
            except BaseException as error:
                print(repr(error), file=sys.stderr)
                os._exit(1)
            os._exit(0)
        os.close(writing)
        ends.append(os.waitpid(pid, 0)[1])
        counts.append(int(os.read(reading, 9) or -1))
        os.close(reading)
    over = True
    for thread in threads:
        thread.join()
print(json.dumps([ends, counts]))
sys.exit(any(ends))
"""
)
