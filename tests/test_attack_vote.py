"""Attacks on the vote, over real sockets: NTP servers that lie or are dead.

Fewer than half do no harm. Where most lie, no vote can find out; a verified answer of AWS's can.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

import skewguard
from skewguard.events import Measured
from skewguard.interval import SECOND
from skewguard.sources.ntp import NtpSource
from skewguard.testing import StrictEndpoint
from tests.fakes import Emitted, FakeSource
from tests.ntp_server import (
    CLOCKS,
    MS,
    Handler,
    Server,
    after,
    honest,
    knows_the_truth,
    refusing,
    serving,
    silent,
    source_of,
    to_stamp,
    truth,
)
from tests.patience import PATIENCE, eventually
from tests.support import aws_client, client

HOUR = 3600 * SECOND


def lying(by: int, *, dispersion: int = 66) -> Handler:
    """Make a server whose clock is `by` ns wrong, with a root dispersion of `dispersion` / 65,536 s."""

    def handler(server: Server, request: bytes, peer: tuple[str, int]) -> None:
        stamp = to_stamp(truth(CLOCKS.read().steady) + by)
        server.send(replace(server.good(request), receive=stamp, transmit=stamp, root_dispersion=dispersion), peer)

    return handler


@contextlib.contextmanager
def asking(*handlers: Handler, timeout: float = 5.0) -> Iterator[list[str]]:
    """Install skewguard with a server of each kind; yield their names, in order."""
    with contextlib.ExitStack() as running:
        sources = [source_of(running.enter_context(serving(handler))) for handler in handlers]
        with skewguard.install(sources=sources, timeout=timeout):
            yield [source.name for source in sources]


def measured(emitted: Emitted) -> Measured:
    """Ask the sources now, and return the outcome."""
    before = len(outcomes(emitted))
    began = time.monotonic()
    skewguard.measure(timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    return latest(emitted, before)


def outcomes(emitted: Emitted) -> list[Measured]:
    """Return the outcomes of polls with votes (an earlier test's may end late, without)."""
    return [event for event in emitted.of(Measured) if event.truechimers or event.falsetickers]


def latest(emitted: Emitted, before: int = 0) -> Measured:
    """Wait for one more outcome than there were, because events are emitted after `measure` returns."""
    eventually(lambda: len(outcomes(emitted)) > before)
    return outcomes(emitted)[-1]


MINORITIES = {
    "an hour ahead": [HOUR],
    "an hour behind": [-HOUR],
    "two that agree": [HOUR, HOUR],
    "two to each side": [HOUR, -HOUR],
    "two an hour apart": [HOUR, 2 * HOUR],
    "years": [10 * 365 * 24 * HOUR, -300 * 24 * HOUR],
}


@pytest.mark.parametrize("lies", MINORITIES.values(), ids=MINORITIES)
def test_a_minority_of_liars_is_outvoted_and_named(lies: list[int], emitted: Emitted) -> None:
    """With one or two liars of five, what is known always holds the truth, and liars are falsetickers."""
    handlers = [honest] * (5 - len(lies)) + [lying(by) for by in lies]
    with asking(*handlers) as names:
        for _ in range(3):
            outcome = measured(emitted)
            assert knows_the_truth()
            # A source that states an implausible date has no vote, and is refused by name instead.
            refused = {result.name for result in skewguard.status().sources if result.interval is None}
            assert {*outcome.falsetickers, *refused} == set(names[5 - len(lies) :])
            assert set(outcome.truechimers) == set(names[: 5 - len(lies)])


@pytest.mark.parametrize("by", [20 * MS, 500 * MS, 990 * MS], ids=lambda by: f"{by // MS} ms")
def test_liars_at_the_edge_do_not_push_the_truth_out(by: int, emitted: Emitted) -> None:
    """Two of five lie by so little that they seem to agree with the honest: they can only widen what is known."""
    unsure = lying(0, dispersion=65_536)  # right, with an error bound of a second
    with asking(unsure, unsure, unsure, lying(by), lying(by)):
        for _ in range(3):
            assert measured(emitted).interval is not None
            assert knows_the_truth()


def test_a_liar_with_many_addresses_is_one_voice(emitted: Emitted) -> None:
    """A source configured several times is asked, and counted, once."""
    with contextlib.ExitStack() as running:
        liar = running.enter_context(serving(lying(HOUR)))
        well = [source_of(running.enter_context(serving(honest))) for _ in range(2)]
        with skewguard.install(sources=[*well, *(source_of(liar) for _ in range(5))], timeout=5):
            assert measured(emitted).falsetickers == (source_of(liar).name,)
            assert knows_the_truth()


def test_half_and_half_is_no_majority(emitted: Emitted) -> None:
    """If two of four lie alike, nothing is known, rather than something false."""
    with asking(honest, honest, lying(HOUR), lying(HOUR)) as names:
        outcome = measured(emitted)
        assert outcome.interval is None
        assert set(outcome.falsetickers) == set(names)
        assert skewguard.now() is None


class TestMostServersLie:
    """Three of five give the same false time: only AWS's answer can show that."""

    LIARS = (honest, honest, lying(HOUR), lying(HOUR), lying(HOUR))

    @pytest.fixture
    def aws(self) -> Iterator[StrictEndpoint]:
        """AWS over verified TLS, on true time."""
        with StrictEndpoint(tls=True, clock=lambda: truth(CLOCKS.read().steady)) as endpoint, endpoint.as_aws():
            yield endpoint

    def test_an_answer_of_aws_puts_it_right(self, aws: StrictEndpoint, emitted: Emitted) -> None:
        """The call that was signed an hour wrong costs one more request; from then on the truth is known."""
        with asking(*self.LIARS) as names:
            outcome = measured(emitted)
            assert set(outcome.falsetickers) == set(names[:2])  # no vote can find out
            sts = aws_client("sts", aws)
            sts.get_caller_identity()
            assert aws.count == 2
            assert knows_the_truth()
            measured(emitted)  # nor do later lies change that
            assert knows_the_truth()
            sts.get_caller_identity()
            assert aws.count == 3
            sts.close()

    def test_they_cannot_unsettle_what_aws_has_said(self, aws: StrictEndpoint, emitted: Emitted) -> None:
        """Truth that was known before the lie is known after it."""
        released = threading.Event()
        later = after(lambda: released.wait(PATIENCE), then=lying(HOUR))
        with asking(honest, honest, later, later, later, timeout=20):
            sts = aws_client("sts", aws)
            sts.get_caller_identity()
            requests = aws.count
            assert knows_the_truth()
            assert not skewguard.status().sources  # the sources are still being asked
            released.set()
            assert skewguard.measure(timeout=20).sources
            assert len(latest(emitted).falsetickers) == 2
            assert knows_the_truth()
            sts.get_caller_identity()
            assert aws.count == requests + 1
            sts.close()


class TestDeadServers:
    """Eight servers of which none answers."""

    @pytest.fixture
    def gate(self) -> Iterator[threading.Event]:
        gate = threading.Event()
        yield gate
        gate.set()

    @pytest.fixture
    def blocked(self, gate: threading.Event) -> list[FakeSource]:
        """Make eight sources that fail once their gate is open."""
        return [FakeSource(f"dead-{number}", offset=None, instant=False, gate=gate) for number in range(8)]

    def test_signing_waits_for_none_of_them(
        self, strict_endpoint: StrictEndpoint, blocked: list[FakeSource], gate: threading.Event
    ) -> None:
        """Calls are signed, sent and answered while every source is still being asked."""
        with skewguard.install(sources=blocked, timeout=60):
            sts = client("sts", strict_endpoint)
            assert all(source.asked.wait(PATIENCE) for source in blocked)
            for _ in range(20):
                sts.get_caller_identity()
            assert strict_endpoint.count == 20
            assert not skewguard.status().sources  # the poll that began at `install` is still under way
            gate.set()
            results = skewguard.measure().sources
            assert [str(result.error) for result in results] == [f"{source.name} is dead" for source in blocked]
            sts.close()

    def test_signing_on_a_wrong_clock_waits_for_none_of_them(self, blocked: list[FakeSource]) -> None:
        """Nor does the retry, because the answer has the time."""
        with StrictEndpoint(offset=1200) as endpoint, skewguard.install(sources=blocked, timeout=60):
            sts = client("sts", endpoint)
            sts.get_caller_identity()
            sts.get_caller_identity()
            assert endpoint.count == 3
            assert not skewguard.status().sources
            sts.close()

    @pytest.fixture
    def dead(self) -> Iterator[Callable[[], list[NtpSource]]]:
        """Make new clients of eight: four that receive and never reply, and four closed ports."""
        with contextlib.ExitStack() as running:
            mute = [running.enter_context(serving(silent)).port for _ in range(4)]
            closed = [running.enter_context(refusing()) for _ in range(4)]
            yield lambda: [NtpSource("127.0.0.1", port) for port in (*mute, *closed)]

    def test_real_ones(self, dead: Callable[[], list[NtpSource]], strict_endpoint: StrictEndpoint) -> None:
        """The same with sockets instead of fakes."""
        with skewguard.install(sources=dead(), timeout=30):
            sts = client("sts", strict_endpoint)
            for _ in range(20):
                sts.get_caller_identity()
            assert not skewguard.status().sources
            sts.close()

    @pytest.mark.slow
    def test_measuring_keeps_its_time(self, dead: Callable[[], list[NtpSource]]) -> None:
        """A timeout of a second lasts a second, whichever source is silent, and each has its result."""
        took = []
        while len(took) < 10 and not any(one <= 1.2 for one in took):  # a busy machine may be late
            installing = time.monotonic()
            with skewguard.install(sources=dead(), timeout=1.0):
                began = time.monotonic()
                skewguard.measure(timeout=1.0)
                over = time.monotonic()
                assert over - installing > 0.9  # it may have joined the poll that installing began
                took.append(over - began)
                eventually(lambda: skewguard.status().sources)
                results = skewguard.status().sources
                assert [result.interval for result in results] == [None] * 8
                assert sum("Connection refused" in str(result.error) for result in results) == 4
                assert skewguard.now() is None
        print(f"measure(timeout=1.0) with eight dead servers: {min(took):.3f} s at best of {len(took)}")
        assert min(took) <= 1.2
