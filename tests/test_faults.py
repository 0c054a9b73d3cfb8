"""Servers that fail, on hosts whose clock is wrong: everything else happens as with botocore alone."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import botocore.endpoint
import botocore.exceptions
import botocore.parsers
import pytest
from botocore.config import Config

import skewguard
from skewguard.testing import StrictEndpoint
from skewguard.testing.listener import Response
from skewguard.testing.records import Canned
from skewguard.testing.wire import Request
from tests.support import client, retry_quota

MODES = ("legacy", "standard", "adaptive")


def refusal(status: int, code: str) -> Canned:
    body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
    return Canned(status, {"Content-Type": "text/xml"}, body)


ANSWERS = {"500": Canned(500), "503": refusal(503, "Busy")}
ANSWERS |= {"throttled": refusal(400, "Throttling"), "denied": refusal(403, "AccessDenied")}
SEVERAL = ["503 503", "reset 500 reset", "truncated 503", "503 reset denied"]
SCRIPTS = [text.split() for text in ("500", "denied", "reset", "truncated", "nonsense", *SEVERAL)]
SCRIPTS += [[fault] * 9 for fault in ("500", "reset", "truncated", "nonsense")]


class Seen(NamedTuple):
    """What the caller and the network see of one call.

    Attributes:
        attempts: The status of each attempt, or the name of its exception.
        delays: botocore's waits between them, s.
        outcome: Type and text of the exception, or the retries in the response.
        quota: What is left of the retry quota; None in legacy mode.
    """

    attempts: list[Any]
    delays: list[float]
    outcome: Any
    quota: int | None


class Faulty(StrictEndpoint):
    """A strict server on a bad network: each request meets the next fault of its script."""

    faults: deque[str] = deque()

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        fault = self.faults.popleft() if self.faults else ""
        if fault in ANSWERS:
            self.script(ANSWERS[fault])
        answer = super()._handle(request, receive)
        match fault:
            case "reset":
                return Response(b"", keep_alive=False)
            case "truncated":
                return Response(answer.data[:-20], keep_alive=False)
            case "nonsense":
                return Response(b"\x16\x03\x01 this is no HTTP\r\n\r\n", keep_alive=False)
            case "timeout":
                self.pause(30)
        return answer


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Make botocore wait for nothing, and record the delays it wants."""
    waited: list[float] = []
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def server() -> Iterator[Faulty]:
    """A server whose clock is right until a test changes it."""
    with Faulty() as running:
        yield running


@cache
def _session() -> boto3.Session:
    return boto3.Session()  # one for all tests, because each reads botocore's models again


def observe(
    server: Faulty, script: list[str], mode: str, delays: list[float], *, warm: bool, guarded: bool = False
) -> Seen:
    """Make a call, with a new client that has succeeded before if it is to be warm."""
    retries = {"mode": mode, "total_max_attempts": 5}
    sts = client("sts", server, _session(), read_timeout=1 if "timeout" in script else 60, retries=retries)
    if guarded:
        skewguard.attach(sts)
    if warm:
        sts.get_caller_identity()
    attempts: list[Any] = []

    def note(response_dict: Any = None, exception: Any = None, **_: Any) -> None:
        attempts.append(type(exception).__name__ if response_dict is None else response_dict["status_code"])

    sts.meta.events.register("response-received", note)
    server.faults = deque(script)
    delays.clear()
    random.seed(1)  # botocore's jitter
    outcome: Any
    try:
        outcome = sts.get_caller_identity()["ResponseMetadata"]["RetryAttempts"]
    except botocore.parsers.ResponseParserError as error:
        outcome = type(error)  # it quotes the answer, with its time and number
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        outcome = (type(error), str(error))
    sts.close()
    server.faults.clear()
    quota = retry_quota(sts)
    return Seen(attempts, list(delays), outcome, quota and int(quota.available_capacity))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("script", SCRIPTS, ids="-".join)
def test_on_a_corrected_host_nothing_is_different(
    server: Faulty, script: list[str], mode: str, delays: list[float]
) -> None:
    """20 minutes slow, and known: attempts, delays, quota and outcome as on a right clock."""
    expected = observe(server, script, mode, delays, warm=True)
    assert expected.attempts[:1] != [200]
    server.offset = 1200
    assert observe(server, script, mode, delays, warm=True, guarded=True) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("script", [script for script in SCRIPTS if len(script) < 5], ids="-".join)
def test_on_a_cold_host_one_refusal_comes_on_top(
    server: Faulty, script: list[str], mode: str, delays: list[float]
) -> None:
    """After the faults comes the refusal, which costs an attempt and no quota; all else is as on a right clock."""
    expected = observe(server, script, mode, delays, warm=False)
    server.offset = 1200
    seen = observe(server, script, mode, delays, warm=False, guarded=True)
    if "denied" in script:  # as AWS says skew too, so it is signed again once; here that is granted
        assert seen.attempts == [*expected.attempts, 200]
        return
    if not isinstance(expected.outcome, int):  # it ended before the server checked the time
        assert seen == expected
        return
    assert seen.attempts == [*expected.attempts[:-1], 403, 200]
    assert seen.delays == [*expected.delays, *[0] * (len(seen.delays) - len(expected.delays))]
    assert seen.outcome == expected.outcome + 1
    assert seen.quota == expected.quota


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ["500", "503", "reset", "truncated", "nonsense", "denied"])
def test_a_fault_of_the_second_attempt_is_botocores_own(
    server: Faulty, fault: str, mode: str, delays: list[float]
) -> None:
    """Faults of the request that was signed again are handled as without skewguard."""
    expected = observe(server, [fault], mode, delays, warm=False)
    server.offset = 1200
    seen = observe(server, ["", fault], mode, delays, warm=False, guarded=True)
    assert seen.attempts == [403, *expected.attempts]
    failed = not isinstance(expected.outcome, int)
    assert seen.outcome == (expected.outcome if failed else expected.outcome + 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["legacy", "standard"])
def test_a_server_that_falls_silent_is_given_up(server: Faulty, mode: str, delays: list[float]) -> None:
    """On a cold host, timeouts count as without skewguard, and the refusal adds to them."""
    expected = observe(server, ["timeout"], mode, delays, warm=False)
    assert expected.attempts == ["ReadTimeoutError", 200]
    server.offset = 1200
    seen = observe(server, ["timeout"], mode, delays, warm=False, guarded=True)
    assert (seen.attempts, seen.quota) == (["ReadTimeoutError", 403, 200], expected.quota)
    assert seen.delays[:1] == expected.delays


@pytest.mark.parametrize("mode", ["legacy", "standard"])  # adaptive mode would wait by its own clock
@pytest.mark.parametrize("script", [["throttled"], ["throttled"] * 9], ids=["once", "always"])
def test_throttling_is_left_to_botocore(server: Faulty, script: list[str], mode: str, delays: list[float]) -> None:
    """On a wrong clock, corrected or not."""
    expected = observe(server, script, mode, delays, warm=True)
    assert len(expected.attempts) > 1
    server.offset = 1200
    assert observe(server, script, mode, delays, warm=True, guarded=True) == expected


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("trouble", ["certificate", "no TLS"])
def test_tls_errors_stay_the_same(mode: str, trouble: str, delays: list[float]) -> None:
    """An untrusted certificate, a server without TLS: as many attempts, and the same error."""
    with StrictEndpoint(offset=1200, tls=trouble == "certificate") as server:
        url = f"https://127.0.0.1:{server.port}"

        def call(*, guarded: bool) -> tuple[int, type, str, list[float]]:
            delays.clear()
            random.seed(1)
            sent: list[int] = []
            kwargs = {**server.client_kwargs, "endpoint_url": url, "verify": None}
            sts = _session().client("sts", **kwargs, config=Config(retries={"mode": mode, "total_max_attempts": 2}))
            if guarded:
                skewguard.attach(sts)
            sts.meta.events.register("before-send", lambda **_: sent.append(1))
            with pytest.raises(botocore.exceptions.BotoCoreError) as caught:
                sts.get_caller_identity()
            sts.close()
            return len(sent), caught.type, str(caught.value), list(delays)

        assert call(guarded=True) == call(guarded=False)
        assert server.count == 0
