"""Attacks on one NTP server's answers, over real sockets: on the source alone, and on the product that uses it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

import skewguard
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval
from tests.ntp_server import (
    DAY,
    NONCE,
    ZERO,
    Answer,
    Handler,
    Server,
    ask,
    check,
    honest,
    knows_the_truth,
    serving,
    source_of,
    to_stamp,
)
from tests.patience import PATIENCE

FOREVER_AGO = 1 << 63  # as a signed 32.32 number the most negative one; as a timestamp 1968 or 2104
JUST_BEFORE = (1 << 64) - 1  # -2**-32 s; or 2036
Peer = tuple[str, int]


def attacked(server: Server, seconds: float = 2.0) -> list[Interval | str]:
    """Ask a server twice with a source, then once with the product; return each interval, or the reason for none.

    Fail if anything raises, hangs or misses the truth: a forgery may cost an answer and nothing else.
    """
    source = source_of(server)
    outcomes: list[Interval | str] = []
    for _ in range(2):
        began = time.monotonic()
        try:
            interval = ask(source, seconds)
        except SourceError as error:
            outcomes.append(str(error))
        else:
            check(interval)
            assert interval.width < 3 * SECOND
            outcomes.append(interval)
        assert time.monotonic() - began < seconds + PATIENCE

    began = time.monotonic()
    with skewguard.install(sources=[source_of(server)], timeout=seconds):
        status = skewguard.measure(timeout=seconds + 2 * PATIENCE)  # ends with the poll, which has its own deadline
        assert time.monotonic() - began < seconds + PATIENCE
        (result,) = status.sources
        assert knows_the_truth() == (result.interval is not None)
        outcomes.append(result.interval or str(result.error))
    return outcomes


def all_answered(outcomes: list[Interval | str]) -> bool:
    return all(isinstance(outcome, Interval) for outcome in outcomes)


def all_failed(outcomes: list[Interval | str], reason: str) -> bool:
    """Return whether none is an interval, and the source gives that reason; the product may have timed out before."""
    return isinstance(outcomes[2], str) and all(reason in str(outcome) for outcome in outcomes[:2])


def a_day_late(server: Server, request: bytes) -> Answer:
    """Make an answer whose only fault is the time."""
    return replace(server.good(request), receive=to_stamp(ZERO + DAY), transmit=to_stamp(ZERO + DAY))


def forging(*forgeries: Mapping[str, object]) -> Handler:
    """Make a server whose answer comes after forged ones, each of which is a day wrong."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        for fields in forgeries:
            server.send(replace(a_day_late(server, request), **fields), peer)  # type: ignore[arg-type]
        honest(server, request, peer)

    return handler


def _shifted(request: bytes) -> list[bytes]:
    """Make what a forger might guess of a nonce: each single bit wrong, bytes reversed, shifted by a byte."""
    nonce = request[40:48]
    number = int.from_bytes(nonce, "big")
    return [
        *((number ^ 1 << bit).to_bytes(8, "big") for bit in range(64)),
        *(other for other in (nonce[::-1], nonce[1:] + nonce[:1], bytes(8), b"\xff" * 8) if other != nonce),
    ]


# ----------------------------------------------------------------------------- off the path: without the request


def test_forged_origin() -> None:
    """An answer that does not repeat all 64 bits is ignored, even if a single bit is wrong."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        forging(*({"origin": origin} for origin in _shifted(request)))(server, request, peer)

    with serving(handler) as server:
        assert all_answered(attacked(server))


def test_nonce_in_the_wrong_field() -> None:
    """The nonce in another field of the packet proves nothing."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        number = int.from_bytes(request[40:48], "big")
        misplaced = [{"origin": NONCE, field: number} for field in ("reference", "receive", "transmit")]
        forging(*misplaced)(server, request, peer)

    with serving(handler) as server:
        assert all_answered(attacked(server))


@pytest.mark.slow
def test_replayed_answers() -> None:
    """Genuine answers to earlier questions have earlier nonces: alone they are no answer, and they do no harm."""
    old: list[Answer] = []
    replaying = False

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        for answer in old:
            server.send(answer, peer)
        if not replaying:
            old.append(server.good(request))
            server.send(old[-1], peer)

    with serving(handler) as server:
        for _ in range(3):
            assert all_answered(attacked(server))
        replaying = True
        silence = attacked(server, 0.2)
    assert len(old) >= 9
    assert all_failed(silence, "a datagram was ignored: it repeats a timestamp that was not sent")


@pytest.mark.slow
def test_reply_from_another_port_or_address() -> None:
    """The socket is connected: even with the right nonce, a packet from elsewhere is not received."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        for host in ("127.0.0.1", "127.0.0.2"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, contextlib.suppress(OSError):
                other.bind((host, server.port if host == "127.0.0.2" else 0))
                other.sendto(bytes(server.good(request)), peer)

    with serving(handler) as server:
        outcomes = attacked(server, 0.2)
    assert all_failed(outcomes, "did not answer within 0.2 s")
    assert not any("ignored" in str(outcome) for outcome in outcomes)


@pytest.mark.slow
def test_flood() -> None:
    """The answer is found among ten thousand forgeries, half from elsewhere and half from the right port."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        lie = a_day_late(server, request)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for burst in range(100):
                for _ in range(50):
                    other.sendto(bytes(lie), peer)
                    server.send(replace(lie, origin=os.urandom(8)), peer)
                time.sleep(0.001)  # a flood that fills the socket's buffer loses the answer: a failure, no lie
                if burst in (50, 99):
                    time.sleep(0.05)
                    honest(server, request, peer)

    with serving(handler) as server:
        assert all_answered(attacked(server, 20))


def test_flood_that_drowns_the_answer() -> None:
    """At full speed the kernel may drop the answer. The outcome is a timeout or the truth."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        lie = a_day_late(server, request)
        for number in range(10_000):
            server.send(replace(lie, origin=number.to_bytes(8, "big")), peer)
            if number == 5000:
                honest(server, request, peer)

    with serving(handler) as server:
        attacked(server)


# ------------------------------------------------------------------------------------- with the request's own nonce


FORGERIES: list[dict[str, object]] = [
    *({"mode": mode} for mode in (0, 1, 2, 3, 5, 6, 7)),  # only a server's reply counts
    *({"version": version} for version in (0, 1, 2, 5, 6, 7)),
    *({"origin": NONCE, "stratum": 0, "leap": 3, "refid": code} for code in (b"DENY", b"RSTR", b"RATE")),
]


@pytest.mark.parametrize("forgery", FORGERIES, ids=str)
def test_what_is_no_answer(forgery: dict[str, object]) -> None:
    """It ends no wait. Nor does a forged kiss bar a server, or slow questions down: each is sent, and answered."""
    with serving(forging(forgery, {**forgery, "origin": bytes(8)})) as server:
        assert all_answered(attacked(server))
        assert len(server.requests) >= 3


@pytest.mark.slow
def test_echo() -> None:
    """A port that sends everything back gives no time."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        server.send(request, peer)
        server.send(request[:24] + request[40:48] + request[32:], peer)  # as origin, too

    with serving(handler) as server:
        assert all_failed(attacked(server, 0.2), "did not answer within 0.2 s (a datagram was ignored: ")


@pytest.mark.parametrize("size", [0, 1, 2, 24, 47, 48, 49, 512, 1472, 1500, 9000, 32_768, 65_507])
def test_size(size: int) -> None:
    """Junk of any length, random or zeros, breaks nothing and does not end the wait; nor does a truncated reply."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        server.send(os.urandom(size), peer)
        server.send(bytes(size), peer)
        if size < 48:
            server.send(bytes(server.good(request))[:size], peer)
        honest(server, request, peer)

    with serving(handler) as server:
        assert all_answered(attacked(server))


BELIEVED: dict[str, list[object]] = {
    "poll": [0, -128],
    "precision": [0, -128],  # 0: its clock ticks once a second
    "root_delay": [0],
    "root_dispersion": [0],
    "refid": [bytes(4), b"\xff" * 4],
    "reference": [0, FOREVER_AGO],
}
REFUSED: dict[str, list[object]] = {
    "precision": [127],
    "root_delay": [1 << 31, (1 << 32) - 1],
    "root_dispersion": [1 << 31, (1 << 32) - 1],
    "reference": [JUST_BEFORE],
    "receive": [0, FOREVER_AGO, JUST_BEFORE],
    "transmit": [0, FOREVER_AGO, JUST_BEFORE],
    "stratum": [0, 16, 255],
    "leap": [3],
}
NOTHING = {"root_delay": 0, "root_dispersion": 0, "precision": -128, "reference": 0, "refid": bytes(4), "poll": 0}
FIELDS: list[tuple[bool, dict[str, object]]] = [
    *((True, {field: value}) for field, values in BELIEVED.items() for value in values),
    *((False, {field: value}) for field, values in REFUSED.items() for value in values),
    (True, NOTHING),
    (False, {"receive": 0, "transmit": 0}),
    (False, {"receive": FOREVER_AGO, "transmit": FOREVER_AGO}),
    (False, {"stratum": 0, "refid": bytes(4)}),
]


@pytest.mark.parametrize(("believed", "fields"), FIELDS, ids=lambda value: str(value).replace("'", ""))
def test_zero_and_negative_fields(believed: bool, fields: dict[str, object]) -> None:
    """With zero or a negative number in each field, the answer is refused at once, or true."""

    def handler(server: Server, request: bytes, peer: Peer) -> None:
        server.send(replace(server.good(request), **fields), peer)  # type: ignore[arg-type]
        honest(server, request, peer)

    with serving(handler) as server:
        began = time.monotonic()
        outcomes = attacked(server, PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2  # without waiting for a better answer
    assert [isinstance(outcome, Interval) for outcome in outcomes] == [believed] * 3
