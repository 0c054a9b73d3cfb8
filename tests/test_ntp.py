"""The NTP source: its URI, its manners, and what a hostile network can and cannot do to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from skewguard.clocks import Reading
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval
from skewguard.sources.ntp import MIN_POLL, NtpSource
from skewguard.testing import FakeClocks
from tests.fakes import raising
from tests.forking import forked_while, needs_fork
from tests.ntp_server import (
    CLOCKS,
    Server,
    after,
    answering,
    ask,
    check,
    honest,
    refusing,
    serving,
    silent,
    source_of,
    to_stamp,
    truth,
)
from tests.patience import PATIENCE, eventually, in_threads
from tests.support import nothing_left_open, run_python


@pytest.mark.parametrize(
    "options", [{"host": ""}, {"port": 0}, {"max_distance": 0}, {"max_distance": 17 * SECOND}, {"min_poll": -1}]
)
def test_bad_option(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        NtpSource(**{"host": "host", **options})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- on the wire


class Ahead(FakeClocks):
    """Clocks that move only as the test likes, so that a slow machine does not count as waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self.stepped = 0  # how far the wall clock was set, ns
        self._start = CLOCKS.read()

    def read(self) -> Reading:
        passed = int(self.seconds * SECOND)
        return Reading(self._start.steady + passed, self._start.wall + passed + self.stepped)


@pytest.fixture
def clocks() -> Ahead:
    return Ahead()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_measures_an_honest_server(host: str) -> None:
    """Both families; the interval holds true time and is about as narrow as the round trip."""
    try:
        server = Server(honest, host)
    except OSError:
        pytest.skip("this host has no IPv6")
    with contextlib.closing(server):
        source = source_of(server, host=host)
        for _ in range(50):
            said = ask(source)
            check(said)
            assert said.source == source.name
            assert said.width < SECOND


def test_each_request_has_a_new_nonce_and_port() -> None:
    """Nothing in a request, or about it, tells what the next one will be."""
    with serving(honest) as server:
        source = source_of(server)
        for _ in range(50):
            ask(source)
        nonces = {request[40:48] for request, _ in server.requests}
        ports = {peer[1] for _, peer in server.requests}
    assert len(nonces) == 50
    assert len(ports) > 25  # the system draws them at random, so a few may repeat
    assert all(request[:40] == b"\x23" + bytes(39) and len(request) == 48 for request, _ in server.requests)


def test_reply_with_extensions_is_accepted() -> None:
    """What follows the header is none of our business, however long."""
    with serving(answering(tail=bytes(65_507 - 48))) as server:
        check(ask(source_of(server)))


def test_slow_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver cannot be cut short, and takes none of the server's time."""
    look_up = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> Any:
        time.sleep(0.2)
        return look_up(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with serving(honest) as server:
        check(ask(source_of(server), 0.1))


def test_distant_deadline() -> None:
    with serving(honest) as server:
        check(ask(source_of(server), 1e9))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 300, "x..y"])
def test_unknown_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that has no address, or can have none, is a source's failure like any other; it is not asked late."""
    look_up = socket.getaddrinfo

    def without_network(name: str, *args: Any, **options: Any) -> object:
        if name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", without_network)
    with pytest.raises(SourceError, match="cannot be looked up: "):
        ask(NtpSource(host))


def test_wall_clock_step_during_the_exchange_changes_nothing() -> None:
    """The round trip is measured on the steady clock alone."""

    class Stepping(Ahead):
        """The real clocks, but the wall jumps by an hour at each look."""

        def read(self) -> Reading:
            self.seconds += 3600
            return Reading(CLOCKS.read().steady, int(self.seconds * SECOND))

    with serving(honest) as server:
        said = ask(source_of(server), clocks=Stepping())
    check(said)
    assert said.width < SECOND


def test_readiness_without_a_datagram_is_waited_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may announce a datagram and then drop it for its checksum."""
    receive = NtpSource._receive
    looks: list[None] = []

    def dropped_at_first(self: NtpSource, *args: Any) -> Any:
        looks.append(None)
        if len(looks) == 1:
            raise BlockingIOError
        return receive(self, *args)

    monkeypatch.setattr(NtpSource, "_receive", dropped_at_first)
    with serving(honest) as server:
        check(ask(source_of(server)))
    assert len(looks) == 2


# ------------------------------------------------------------------------------------------- manners: polling, kisses


def test_asked_too_soon_repeats_itself(clocks: Ahead) -> None:
    """No server is asked twice within 15 s; the earlier statement stands, and says how old it is."""
    with serving(honest) as server:
        source = source_of(server, min_poll=MIN_POLL)
        first = ask(source, clocks=clocks)
        clocks.seconds = 14
        assert ask(source, clocks=clocks) is first
        clocks.seconds = 15.5
        second = ask(source, clocks=clocks)
        assert second.at > first.at
        assert len(server.requests) == 2


def test_what_was_said_before_the_wall_clock_jumped_is_not_repeated(clocks: Ahead) -> None:
    """The machine may have stood still since, the steady clock too: then it is late, and must not pass for news."""
    with serving(honest) as server:
        source = source_of(server, min_poll=MIN_POLL)
        first = ask(source, clocks=clocks)
        clocks.stepped = -3600 * SECOND  # set back, as no tool does to correct a clock that stood still
        assert ask(source, clocks=clocks) is first
        clocks.stepped = 3600 * SECOND
        clocks.seconds = 5
        with pytest.raises(SourceError, match=r"was asked before the wall clock was set; it is asked again in 10 s$"):
            ask(source, clocks=clocks)
        clocks.seconds = 16
        assert ask(source, clocks=clocks) is not first
        assert len(server.requests) == 2


def test_a_short_way_narrows_what_comes_after(clocks: Ahead) -> None:
    """The clock filter: an answer that was long under way says less than the one before it, and rests on it."""
    slow = False

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        answer = server.good(request)
        if slow:
            clocks.seconds += 1  # on its way back
        server.send(answer, peer)

    with serving(handler) as server:
        source = source_of(server)
        first = ask(source, clocks=clocks)
        slow = True
        second = ask(source, clocks=clocks)
    assert second.at >= first.at + SECOND
    aged = first.aged(second.at)
    assert aged.earliest <= second.earliest <= second.latest <= aged.latest
    assert second.width < SECOND // 2


def test_eight_answers_are_kept(clocks: Ahead) -> None:
    """And the newest decides which of them count."""
    shift = 0

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        stamp = to_stamp(truth(clocks.read().steady) + shift)
        server.send(replace(server.good(request), receive=stamp, transmit=stamp), peer)

    with serving(handler) as server:
        source = source_of(server)
        for _ in range(20):
            ask(source, clocks=clocks)
        assert len(source._samples) == 8
        shift = 3600 * SECOND
        said = ask(source, clocks=clocks)
        assert len(source._samples) == 1
    assert abs(said.midpoint - truth(said.at) - shift) < SECOND


def test_asked_too_soon_after_a_failure(clocks: Ahead) -> None:
    """A server that gives no time is not pestered either; the message says why and how long."""
    with serving(answering(stratum=0)) as server:
        source = source_of(server, min_poll=MIN_POLL)
        with pytest.raises(SourceError):
            ask(source, clocks=clocks)
        clocks.seconds = 5
        with pytest.raises(SourceError, match=r"; it is asked again in 10 s$"):
            ask(source, clocks=clocks)
        assert len(server.requests) == 1


@pytest.mark.slow
def test_silence_is_asked_again_soon(clocks: Ahead) -> None:
    """A packet may be lost; but not many in a row: after four, the server counts as silent."""
    with serving(silent) as server:
        source = source_of(server, min_poll=MIN_POLL)
        for second in range(8):
            clocks.seconds = second
            with pytest.raises(SourceError, match=r"did not answer within 0\.1 s"):
                ask(source, 0.1, clocks)
        eventually(lambda: len(server.requests) == 4)
        with pytest.raises(SourceError, match=r"did not answer within 0\.1 s; it is asked again in \d+ s$"):
            ask(source, 0.1, clocks)
        clocks.seconds = 19
        with pytest.raises(SourceError):
            ask(source, 0.1, clocks)
        eventually(lambda: len(server.requests) == 5)


def test_failure_is_not_covered_up_by_an_earlier_success(clocks: Ahead) -> None:
    """What was heard before the last request is no answer to it."""
    well = True

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        if well:
            honest(server, request, peer)

    with serving(handler) as server:
        source = source_of(server, min_poll=MIN_POLL)
        ask(source, clocks=clocks)
        clocks.seconds, well = 20, False
        for _ in range(2):
            with pytest.raises(SourceError, match="did not answer"):
                ask(source, 0.1, clocks)


def test_failed_look_up_is_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was sent, nothing has to be waited for."""
    with serving(honest) as server:
        source = source_of(server, min_poll=MIN_POLL)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", raising(socket.gaierror(-3, "later")))
            with pytest.raises(SourceError, match="cannot be looked up: later"):
                ask(source)
        check(ask(source))


@pytest.mark.parametrize("code", ["DENY", "RSTR"])
def test_refusal_is_for_good(code: str, clocks: Ahead) -> None:
    """A server that wants no more of us gets no more, however long ago that was."""
    with serving(answering(stratum=0, leap=3, refid=code.encode())) as server:
        source = source_of(server)
        for later in (0, 20, 1e6):
            clocks.seconds = later
            with pytest.raises(
                SourceError, match=rf"^{source.name} refuses .*kiss code {code}\) and is not asked again$"
            ):
                ask(source, clocks=clocks)
        assert len(server.requests) == 1


@pytest.mark.parametrize(("min_poll", "waits"), [(0, (15, 30, 60, 120)), (MIN_POLL, (30, 60))])
def test_rate_kiss_doubles_the_wait(min_poll: int, waits: tuple[int, ...], clocks: Ahead) -> None:
    """From the first one on (RFC 5905, §7.4), until the server answers with the time again."""
    kissing = True

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        good = server.good(request)
        server.send(replace(good, stratum=0, refid=b"RATE") if kissing else good, peer)

    with serving(handler) as server:
        source = source_of(server, min_poll=min_poll)
        for asked, wait in enumerate(waits, 1):
            with pytest.raises(SourceError, match=r"asks this host to slow down \(kiss code RATE\)$"):
                ask(source, clocks=clocks)
            clocks.seconds += wait - 1
            with pytest.raises(SourceError, match=r"slow down \(kiss code RATE\); it is asked again in 1 s$"):
                ask(source, clocks=clocks)
            clocks.seconds += 1
            assert len(server.requests) == asked
        kissing = False
        ask(source, clocks=clocks)
        clocks.seconds += min_poll / SECOND
        kissing = True
        with pytest.raises(SourceError):
            ask(source, clocks=clocks)
        clocks.seconds += waits[0]
        kissing = False
        ask(source, clocks=clocks)


def test_steady_clock_that_went_back_forgets(clocks: Ahead) -> None:
    """Restored from a snapshot: what was said before is of another time line."""
    with serving(honest) as server:
        source = source_of(server, min_poll=MIN_POLL)
        clocks.seconds = 1000
        ask(source, clocks=clocks)
        clocks.seconds = 0
        ask(source, clocks=clocks)
        assert len(server.requests) == 2


# --------------------------------------------------------------------------------------------- names, threads, forks


def _resolving(monkeypatch: pytest.MonkeyPatch, *ports: int) -> NtpSource:
    """A source whose name has one loopback address for each port."""
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    return NtpSource("pool.example", min_poll=0)


def test_next_address_is_asked_when_one_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal moves on at once, silence after a quarter of a second, all under one deadline."""
    with refusing() as dead, serving(silent) as mute, serving(honest) as well:
        source = _resolving(monkeypatch, dead, mute.port, well.port)
        began = time.monotonic()
        check(ask(source, PATIENCE))
        assert 0.2 < time.monotonic() - began < PATIENCE / 2
        assert len(mute.requests) == len(well.requests) == 1


def test_next_address_is_asked_when_one_is_not_synchronized(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(leap=3)) as bad, serving(honest) as well:
        check(ask(_resolving(monkeypatch, bad.port, well.port)))


@pytest.mark.parametrize("code", [b"DENY", b"RATE"])
def test_kiss_of_one_address_is_obeyed_for_the_name(code: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that refuses this host is not asked at its next address either."""
    with serving(answering(stratum=0, refid=code)) as first, serving(honest) as second:
        source = _resolving(monkeypatch, first.port, second.port)
        for _ in range(2):
            with pytest.raises(SourceError, match=f"kiss code {code.decode()}"):
                ask(source)
        assert not second.requests


def test_clocks_that_stand_still_do_not_hang_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they keep the next address from being asked."""
    with serving(silent) as first, serving(honest) as second:
        ask(_resolving(monkeypatch, first.port, second.port), 0.4, Ahead())


def test_late_answer_of_the_first_address_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking the next one does not mean to stop listening to the first."""
    with serving(after(lambda: time.sleep(0.4))) as first, serving(silent) as second:
        check(ask(_resolving(monkeypatch, first.port, second.port)))
        assert len(second.requests) == 1


@pytest.mark.slow
def test_a_pool_is_not_asked_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four addresses are tried at most, and only as long as none has answered."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(serving(silent)) for _ in range(6)]
        with pytest.raises(SourceError, match=r"^ntp://pool\.example did not answer within 1\.3 s$"):
            ask(_resolving(monkeypatch, *(server.port for server in servers)), 1.3)
        assert [len(server.requests) for server in servers] == [1, 1, 1, 1, 0, 0]


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with four IPv6 addresses, on a host whose IPv6 leads nowhere, still gets its IPv4 asked second."""
    found = [(socket.AF_INET6, 2, 17, "", (f"2001:db8::{n}", 123, 0, 0)) for n in range(4)]
    found += [(socket.AF_INET, 2, 17, "", ("192.0.2.1", 123))] * 2  # type: ignore[list-item]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    families = [family for family, _ in NtpSource("pool.example")._addresses()]
    assert families == [socket.AF_INET6, socket.AF_INET, socket.AF_INET6, socket.AF_INET6]


def test_no_address_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address refused: the last refusal is the message."""
    refused = pytest.raises(SourceError, match=r"^ntp://pool\.example cannot be reached: Connection refused$")
    with refusing() as first, refusing() as second, refused:
        ask(_resolving(monkeypatch, first, second))


def test_refusal_is_told_rather_than_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several failures, the one that explains something is the message."""
    refused = pytest.raises(SourceError, match="cannot be reached: Connection refused")
    with refusing() as dead, serving(silent) as mute, refused:
        ask(_resolving(monkeypatch, dead, mute.port), 0.2)


def test_socket_error_on_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    """No route to the network is a source's failure too, and no request was sent that had to be waited for."""
    found = [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("255.255.255.255", 9))]  # connecting needs SO_BROADCAST
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    source = NtpSource("host")
    for _ in range(2):
        with pytest.raises(SourceError, match=r"^ntp://host cannot be reached: [^;]+$"):
            ask(source)


def test_threads_take_turns() -> None:
    """Many threads asking at once send one request and get one answer."""
    with serving(after(lambda: time.sleep(0.1))) as server:
        source = source_of(server, min_poll=MIN_POLL)
        answers: list[Interval] = []
        in_threads(20, lambda: answers.append(ask(source, PATIENCE)))
        assert len(answers) == 20
        assert len(set(answers)) == 1
        assert len(server.requests) == 1


def test_a_thread_waits_its_turn_no_longer_than_its_deadline() -> None:
    """Another thread's longer deadline is not one's own."""
    over = threading.Event()
    with serving(after(lambda: over.wait(PATIENCE))) as server:
        source = source_of(server)
        other = threading.Thread(target=_swallow, args=(source,))
        other.start()
        eventually(lambda: server.requests)
        began = time.monotonic()
        with pytest.raises(SourceError, match="is still being asked by another thread"):
            ask(source, 0.1)
        assert time.monotonic() - began < PATIENCE / 2
        over.set()
        other.join()


def _swallow(source: NtpSource) -> None:
    with contextlib.suppress(SourceError):
        ask(source, PATIENCE)


@needs_fork
def test_fork_during_a_measurement() -> None:
    """A child forked while another thread was asking can ask for itself."""
    waits: list[Callable[[], None]] = []

    def late() -> None:
        waits[0]()

    with serving(after(late)) as server:
        source = source_of(server)

        def hold(pause: Callable[[], None]) -> None:
            waits.append(pause)
            _swallow(source)

        assert forked_while(hold, lambda: ask(source, PATIENCE))


def test_sockets_are_closed_whatever_happens() -> None:
    """Useless answers leave no file open; `tests/test_udp_sources.py` has the other cases."""
    with serving(answering(leap=3)) as bad, nothing_left_open(), pytest.raises(SourceError):
        ask(source_of(bad))


def test_importing_it_is_light() -> None:
    """ntplib is loaded when a server has answered, not before."""
    code = "import sys, skewguard.sources.ntp; sys.exit('ntplib' in sys.modules)"
    run_python(code)
