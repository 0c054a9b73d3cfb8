"""What the answer to an attempt means: what it teaches, and whether the call is signed again. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from skewguard.interval import SECOND
from skewguard.signing.call import Call
from skewguard.signing.domains import same_server
from skewguard.signing.reply import TOLERANCE, Attempt, Judgement, Reply, Span, Verdict, judge
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.timekeeper import Signing

_USEFUL = 30 * SECOND  # a new timestamp closer than this to the refused one would be refused again
_ACCEPTED = 900 * SECOND  # a server that accepts a signature has a clock within this of its timestamp


class Answer(NamedTuple):
    """All that is read, once, of the answer to an attempt.

    Attributes:
        reply: The response.
        elapsed: The time from signing to reading, ns; the longer of what the clocks show.
        source: The origin that answered.
        trusted: Whether its certificate was checked; for other servers than AWS always true.
        learns: Whether answers may teach the time.
        enabled: Whether the guard is on.
        attempts_left: Whether the caller allows one more attempt.
    """

    reply: Reply
    elapsed: int
    source: str
    trusted: bool
    learns: bool
    enabled: bool
    attempts_left: bool


class Decision(NamedTuple):
    """What to do about an answer.

    Attributes:
        judgement: What the answer says about the time that the attempt carried.
        heard: The server's clock, where it is to be learned.
        objection: Why its ``Date`` is not believed; empty if there is no objection.
        reverts: Whether to take back what an unexplained refusal taught before, because it did not help.
        proved: Whether what is learned may be shared with other processes.
        refused: Whether the attempt was refused for its time.
        obstacle: Why the call is not signed again after a refusal; empty if nothing forbids it.
    """

    judgement: Judgement
    heard: Span | None
    objection: str
    reverts: bool
    proved: bool
    refused: bool
    obstacle: str


def decide(call: Call, answer: Answer) -> Decision:
    """Return what to do about an answer to a call's last attempt."""
    signed, wall, _ = call.signing
    reply = answer.reply
    judgement = judge(Attempt(signed, answer.elapsed, exact=signed != wall), reply)
    about_time = judgement.verdict is not Verdict.NOT_TIME
    heard, objection, reverts = None, "", False
    if about_time:
        # A stated clock counts only where judging has found the timestamp beside it to be this attempt's. AWS stamps
        # message and Date by one clock, so where they contradict each other, neither is believed.
        contradiction = call.route.domain.key == UTC and reply.contradictory
        heard = None if contradiction else reply.heard
        objection = "its message contradicts its Date" if contradiction else ""
    elif reply.unexplained and call.route.domain.unproved is not None:
        reverts = True  # what was learned did not help, so the Date may not have been the server's
    elif not _fits(reply.date, signed, answer.elapsed) and not call.timeless:
        objection = "its Date contradicts the timestamp it accepted"
    elif _is_the_servers_own(reply.status) and (call.route.domain.key == UTC or (signed != wall and not call.timeless)):
        heard = reply.date  # a private server that accepts the wall clock needs no correction
    refused = about_time and not call.timeless
    return Decision(
        judgement=judgement,
        heard=heard if heard is not None and _may_teach(call, answer) else None,
        objection=objection,
        reverts=reverts,
        proved=not reply.unexplained,
        refused=refused,
        obstacle=_obstacle(call, answer) if refused else "",
    )


def would_help(refused: Signing, again: Signing, reply: Reply) -> bool:
    """Return whether signing again moves the timestamp, and to where the server accepts it if it has said where."""
    elapsed = again[2] - refused[2]
    if abs(again[0] - refused[0] - elapsed) < _USEFUL:
        return False
    heard = reply.heard
    if heard is None:
        return True
    limit = reply.tolerance or TOLERANCE
    return heard.earliest - limit < again[0] < heard.latest + elapsed + limit


def attempts_left(context: Any, attempts: int) -> bool:
    """Return whether the caller allows one more attempt than so many."""
    retries = getattr(context.get("client_config"), "retries", None) or {}
    total = retries.get("total_max_attempts") or context.get("retries", {}).get("max")
    return total is None or attempts < int(total)  # without a count, this is the first of several


def _may_teach(call: Call, answer: Answer) -> bool:
    """Return whether what a server's clock shows may be learned for the domain that the call was signed for."""
    if not answer.learns or not answer.trusted:
        return False
    start = call.route.prefix
    # Else the request was sent elsewhere after it was signed.
    return f"{answer.source}/" == start or same_server(answer.source, start)


def _is_the_servers_own(status: int) -> bool:
    """Return whether the called server itself answered, rather than a redirect, a gateway or a proxy."""
    return status < 300 or (400 <= status < 500 and status != 407)


def _fits(heard: Span | None, signed: int, elapsed: int) -> bool:
    """Return whether a Date can be that of the server which accepted a timestamp, rather than an intermediary's.

    Otherwise a proxy with a clock of its own would break calls that are right.
    """
    if heard is None:
        return True
    return heard.latest >= signed - _ACCEPTED and heard.earliest <= signed + elapsed + _ACCEPTED


def _obstacle(call: Call, answer: Answer) -> str:
    if call.retried:
        return "it was signed again already"
    if not call.rewindable:
        return "its body cannot be sent again"
    if not answer.enabled:
        return "skewguard is switched off"
    return "" if answer.attempts_left else "the caller allows no further attempt"
