"""kombu's own requests to SQS, by which Celery's workers poll: answers are heard, and what was refused is sent again.

The requests and their HTTP client are kombu's own, on an event loop of the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import skewguard
from skewguard import events
from skewguard.interval import SECOND
from skewguard.testing import FakeClocks, StrictEndpoint
from tests.fakes import Emitted
from tests.patience import eventually
from tests.real.need import installed
from tests.support import aws_client, client

installed("kombu", "pycurl")

import pycurl  # noqa: E402
from kombu.asynchronous import Hub, set_event_loop  # noqa: E402
from kombu.asynchronous.aws.connection import AsyncAWSQueryConnection  # noqa: E402
from kombu.asynchronous.aws.sqs.connection import AsyncSQSConnection  # noqa: E402

# pycurl deprecates what kombu uses.
pytestmark = pytest.mark.filterwarnings("ignore:(IOCTLFUNCTION|socket_all) is deprecated:DeprecationWarning")

DENIED = ("AccessDenied", "User is not authorized to perform: sqs:receivemessage")


class Poller:
    """A connection of kombu's, and the loop that it runs on."""

    def __init__(self, server: StrictEndpoint) -> None:
        self.hub = Hub()
        self.hub.propagate_errors = (Exception,)  # also those that a timer's function raises
        set_event_loop(self.hub)
        self.url = f"{server.url}/123456789012/celery"
        self.connection = AsyncSQSConnection(client("sqs", server))
        self.answers: list[Any] = []

    def begin(self) -> None:
        """Sign a poll and give it to libcurl, which sends it when the loop runs."""
        self.connection.receive_message("celery", self.url, wait_time_seconds=0, callback=self.answers.append)

    def run(self) -> Any:
        """Run the loop until the poll is answered; return the answer, or raise what a worker would end with."""
        loop = self.hub.create_loop()
        eventually(lambda: next(loop) or self.answers)
        return self.answers.pop()

    def poll(self) -> Any:
        self.begin()
        return self.run()


@pytest.fixture
def polling(clocks: FakeClocks) -> Iterator[Callable[[StrictEndpoint], Poller]]:
    """Makes pollers, whose loops end with the test."""
    made: list[Poller] = []

    def make(server: StrictEndpoint) -> Poller:
        made.append(Poller(server))
        return made[-1]

    yield make
    for poller in made:
        poller.hub.close()
    set_event_loop(None)


Polling = Callable[[StrictEndpoint], Poller]


@pytest.fixture
def server(clocks: FakeClocks) -> Iterator[StrictEndpoint]:
    with StrictEndpoint(clock=lambda: clocks.wall) as running:
        yield running


@pytest.fixture
def poller(guarded: None, polling: Polling, server: StrictEndpoint) -> Poller:
    """A guarded poller."""
    return polling(server)


def outcomes(server: StrictEndpoint) -> list[str]:
    """Return the error code of each request since the last call; empty for what was accepted."""
    found = [record.code for record in server.requests]
    server.clear()
    return found


REFUSED = "InvalidSignatureException"


def test_a_clock_that_jumps_costs_one_request_each_time(
    poller: Poller, clocks: FakeClocks, server: StrictEndpoint, emitted: Emitted
) -> None:
    """Eight hours ahead, an hour behind, right again: no poll fails, and each jump is announced once."""
    for offset in (0, 8 * 3600, -3600, 0):
        server.offset = offset
        for _ in range(3):
            poller.poll()
            clocks.advance(20)
        jumped = [REFUSED] if offset or emitted.of(events.Retried) else []
        assert outcomes(server) == [*jumped, "", "", ""]
    changes = [round(event.offset / SECOND / 60) for event in emitted.of(events.CorrectionChanged)]
    assert changes == [480, -60, 0]


def test_a_loop_that_is_blocked_is_no_wrong_clock(
    poller: Poller, clocks: FakeClocks, server: StrictEndpoint, emitted: Emitted
) -> None:
    """A poll that waits for twenty minutes in it is signed again, as often as that happens; nothing is learned."""
    for _ in range(2):
        poller.begin()
        clocks.advance(1200)
        poller.run()
        assert outcomes(server) == [REFUSED, ""]
        poller.poll()
        assert outcomes(server) == [""]
    assert [(event.service, event.operation, event.verdict) for event in emitted.of(events.Retried)] == [
        ("sqs", "ReceiveMessage", "stale")
    ] * 2
    assert not emitted.of(events.CorrectionChanged)


@pytest.mark.slow
def test_a_healthy_poll_is_kombus_own(clocks: FakeClocks, server: StrictEndpoint, polling: Polling) -> None:
    """The same request, byte for byte, and no more of them."""
    polling(server).poll()
    (plain,) = server.requests
    server.clear()
    with skewguard.install(clocks=clocks):
        polling(server).poll()
    (guarded,) = server.requests
    assert (guarded.headers, guarded.body, guarded.path) == (plain.headers, plain.body, plain.path)


@pytest.mark.parametrize("offset", [0, 1200])
def test_a_denial_is_kombus_error(poller: Poller, server: StrictEndpoint, offset: int) -> None:
    """On a right clock it is not tried again; on a wrong one once, and kombu gets the first answer."""
    server.offset = offset
    server.fail_next(*DENIED)
    server.fail_next("AccessDenied", "the second answer")
    with pytest.raises(Exception, match=r"HTTP Error.*HTTP 400.*sqs:receivemessage"):
        poller.poll()
    assert len(outcomes(server)) == (2 if offset else 1)


def test_a_client_that_allows_one_attempt_is_not_repeated(
    guarded: None, server: StrictEndpoint, polling: Polling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with botocore's own calls; but the answer has taught the time."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    server.offset = 1200
    poller = polling(server)
    with pytest.raises(Exception, match="Signature expired"):
        poller.poll()
    poller.poll()
    assert outcomes(server) == [REFUSED, ""]


def test_it_ends_with_the_installation(clocks: FakeClocks, server: StrictEndpoint, polling: Polling) -> None:
    """Also for a poll under way then. What is attached is guarded without an installation."""
    server.offset = 1200
    with skewguard.install(clocks=clocks):
        poller = polling(server)
        poller.begin()
    for go_on in (poller.run, poller.poll):
        with pytest.raises(Exception, match="Signature expired"):
            go_on()
    assert outcomes(server) == [REFUSED] * 2
    skewguard._process.process.keeper().configure(skewguard.config.resolve({"sources": ["response"]}), clocks)
    skewguard.attach(poller.connection.sqs_connection)
    poller.poll()
    assert outcomes(server) == [REFUSED, ""]


def test_a_query_in_a_url_is_repeated_too(poller: Poller, server: StrictEndpoint) -> None:
    """As kombu sends some requests by the query protocol. That URL is not handed out; it is good for an hour."""
    server.offset = -1200
    query = AsyncAWSQueryConnection(poller.connection.sqs_connection)
    query.make_request("ListQueues", {"Version": "2012-11-05"}, server.url, "GET", callback=poller.answers.append)
    assert poller.run().status == 200
    assert [record.status for record in server.requests] == [403, 200]


def test_a_fault_of_ours_is_none_of_kombus(
    poller: Poller, server: StrictEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer reaches kombu unheard."""
    monkeypatch.setattr("skewguard.signing.patches.kombu._hear", lambda *_: 1 / 0)
    assert poller.poll()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_answers_of_aws_teach_true_time(
    clocks: FakeClocks, polling: Polling, monkeypatch: pytest.MonkeyPatch, tls_endpoint: StrictEndpoint
) -> None:
    """Over TLS that libcurl verifies; without that, nothing is learned and nothing repeated."""
    from kombu.asynchronous.http.curl import CurlClient

    setup = CurlClient._setup_request

    def to_server(self: Any, curl: Any, request: Any, *args: Any) -> None:
        request.ca_certs, request.validate_cert = tls_endpoint.ca_bundle, verify
        setup(self, curl, request, *args)
        curl.setopt(pycurl.CONNECT_TO, [f"::127.0.0.1:{tls_endpoint.port}"])

    monkeypatch.setattr(CurlClient, "_setup_request", to_server)
    monkeypatch.setattr(tls_endpoint, "clock", lambda: clocks.wall)
    monkeypatch.setattr(tls_endpoint, "offset", 1200)
    for verify in (True, False):
        tls_endpoint.clear()
        with skewguard.install(clocks=clocks):
            poller = polling(tls_endpoint)
            poller.connection = AsyncSQSConnection(aws_client("sqs", tls_endpoint))
            if verify:
                poller.poll()
                assert skewguard.offset().seconds == pytest.approx(1200, abs=2)
            else:
                with pytest.raises(Exception, match="Signature expired"):
                    poller.poll()
                assert skewguard.offset() is None
        assert [record.code for record in tls_endpoint.requests] == [REFUSED, ""][: 1 + verify]
