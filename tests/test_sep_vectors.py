"""AWS's cross-SDK clock skew rules: the ten shared vectors, through a real client, over verified TLS, to AWS's names.

Times are seconds on the host's clock, which starts at 2026-01-01T00:00:00Z. "Client skew" is the time that
a request would be signed with, minus the wall clock, in whole seconds, because the vectors have no fractions.
"""

from __future__ import annotations

import email.utils
from typing import NamedTuple

import pytest

import skewguard
from skewguard.testing import Canned, FakeClocks, StrictEndpoint
from tests.support import aws_client, code_of

T0 = 1_767_225_600
OK = b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult/></GetCallerIdentityResponse>'


class Attempt(NamedTuple):
    """An attempt: when it is sent and answered, the answer, and the timestamp that the request must have."""

    sent: int
    received: int
    date: float | None
    signed: int
    status: int = 200
    code: str = ""
    age: int | None = None


class Operation(NamedTuple):
    """An API call: its attempts, the client's skew after it, and the error that the caller sees."""

    attempts: list[Attempt]
    skew: int
    error: str = ""


class Vector(NamedTuple):
    name: str
    operations: list[Operation]
    max_attempts: int = 3
    initial: int = 0


RTTS, ISE = "RequestTimeTooSkewed", "InvalidSignatureException"
VECTORS = [
    Vector("1 clocks agree", [Operation([Attempt(0, 2, 1, 0)], 0)]),
    Vector(
        "2 definite error, retry, persists",
        [
            Operation([Attempt(0, 2, 301, 0, 403, RTTS), Attempt(2, 4, 303, 302)], 300),
            Operation([Attempt(60, 62, 361, 360)], 300),
        ],
    ),
    Vector("3 no budget", [Operation([Attempt(0, 2, 301, 0, 403, RTTS)], 300, RTTS)], max_attempts=1),
    Vector(
        "4 delayed response",
        [Operation([Attempt(0, 960, 600, 0)], 0), Operation([Attempt(1020, 1022, 1321, 1020)], 300)],
    ),
    Vector("5 stale skew healed", [Operation([Attempt(0, 2, 1, 300)], 0)], initial=300),
    Vector("6 possible code below threshold", [Operation([Attempt(0, 2, 121, 0, 400, ISE)], 120, ISE)]),
    Vector(
        "7 possible code above threshold", [Operation([Attempt(0, 2, 301, 0, 400, ISE), Attempt(2, 4, 303, 302)], 300)]
    ),
    Vector("8 no Date header", [Operation([Attempt(0, 2, None, 0, 403, RTTS)], 0, RTTS)]),
    Vector(
        "9 Age header",
        [Operation([Attempt(0, 2, 1 - 17280, 0, age=17280)], 0), Operation([Attempt(60, 62, 361, 60)], 300)],
    ),
    Vector(
        "10 cached then aligned",
        [Operation([Attempt(0, 2, 1 - 17280, 0, age=17280)], 0), Operation([Attempt(60, 62, 61, 60)], 0)],
    ),
]


def answer(attempt: Attempt) -> Canned:
    """Make an attempt's answer."""
    headers = {"Content-Type": "text/xml"}
    headers["Date"] = "" if attempt.date is None else email.utils.formatdate(T0 + attempt.date, usegmt=True)
    if attempt.age is not None:
        headers["Age"] = str(attempt.age)
    error = f"<ErrorResponse><Error><Type>Sender</Type><Code>{attempt.code}</Code></Error></ErrorResponse>"
    return Canned(attempt.status, headers, error.encode() if attempt.code else OK)


def skew() -> int:
    """Return the client's skew: the time to sign as of, minus the wall clock, in whole seconds."""
    keeper = skewguard._process.process.keeper()
    signed, wall, _ = keeper.signing_time(keeper.utc)
    return signed // 10**9 - wall // 10**9


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: Vector, aws: StrictEndpoint, clocks: FakeClocks) -> None:
    """When signed, whether retried, and what is learned: as AWS demands."""
    with skewguard.install(clocks=clocks):
        sts = aws_client("sts", aws, retries={"total_max_attempts": vector.max_attempts, "mode": "standard"})
        if vector.initial:
            aws.script(answer(Attempt(-62, -60, vector.initial - 61, -62)))
            clocks.step(-62)
            sts.meta.events.register("before-send", lambda **_: clocks.advance(2), unique_id="seed")
            sts.get_caller_identity()
            sts.meta.events.unregister("before-send", unique_id="seed")
            clocks.advance(60)
            aws.clear()
        attempts: list[Attempt] = []
        sts.meta.events.register("before-send", lambda **_: clocks.advance(attempts[0].received - attempts.pop(0).sent))
        for operation in vector.operations:
            clocks.advance(operation.attempts[0].sent - (clocks.wall // 10**9 - T0))
            attempts.extend(operation.attempts)
            aws.script(*map(answer, operation.attempts))
            assert code_of(sts.get_caller_identity) == operation.error
            assert not attempts, "fewer attempts than the vector"
            assert skew() == operation.skew
    signed = [(record.signed_at or 0) // 10**9 - T0 for record in aws.requests]
    assert signed == [attempt.signed for operation in vector.operations for attempt in operation.attempts]


def test_where_we_do_better_than_the_eighth_vector(aws: StrictEndpoint, clocks: FakeClocks) -> None:
    """Without a Date, the error message counts, which the vectors leave out: the call succeeds."""
    error = (
        b"<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code><Message>Signature expired: "
        b"20260101T000000Z is now earlier than 20260101T000501Z (20260101T002001Z - 15 min.)</Message></Error></ErrorResponse>"
    )
    with skewguard.install(clocks=clocks):
        sts = aws_client("sts", aws)
        aws.script(Canned(403, {"Date": ""}, error), Canned(200, {"Date": ""}, OK))
        sts.get_caller_identity()
        assert skew() in (1200, 1201, 1202)
