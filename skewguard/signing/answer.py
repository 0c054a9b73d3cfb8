"""What an answer means: what it shows of the server's clock, and whether the call is signed again. Pure."""

from __future__ import annotations

from typing import NamedTuple

from skewguard.http_date import Span
from skewguard.interval import SECOND
from skewguard.signing.call import Call
from skewguard.signing.domains import same_server
from skewguard.signing.reply import (
    REFUSALS,
    TOLERANCE,
    WRONG_KEY_TEXT,
    Attempt,
    Judgement,
    Reply,
    Verdict,
    judge,
)
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import Evidence, Grade, Shown
from skewguard.timekeeping.timekeeper import Signing

_USEFUL = 30 * SECOND  # a new timestamp closer than this to the refused one would be refused again
_ACCEPTED = 900 * SECOND  # a server that accepts a signature has a clock within this of its timestamp


class Answer(NamedTuple):
    """All that is read, once, of the answer to an attempt.

    Attributes:
        reply: The response.
        elapsed: The time from signing to reading, ns; the longer of what the clocks show.
        source: The origin that answered.
        known: What is known of the server's clock, as of the signing.
        quiet: Whether a bare ``Date`` did not help there lately.
        given_up: Whether corrections there are given up.
        trusted: Whether its certificate was checked; for other servers than AWS always true.
        learns: Whether answers may teach the time.
        inactive: Why nothing is done; empty while the guard is on.
        attempts_left: Whether the caller allows one more attempt.
    """

    reply: Reply
    elapsed: int
    source: str
    known: Evidence | None
    quiet: bool
    given_up: bool
    trusted: bool
    learns: bool
    inactive: str
    attempts_left: bool


class Decision(NamedTuple):
    """What to do about an answer.

    Attributes:
        judgement: What the answer says about the time that the attempt carried.
        heard: The server's clock, as far as it may be believed.
        shown: What is to be learned from that; None if nothing is.
        objection: Why its ``Date`` is not believed; empty if there is no objection.
        refused: Whether the attempt was refused for its time, or may have been.
        obstacle: Why the call is not signed again after a refusal; empty if nothing forbids it.
        by_wall: Whether it is signed again by the wall clock.
        restores_first: Whether signing again did not help, so that the caller gets the first answer.
        quietens: Whether no guess helped, so that none is acted on there for a while.
        lost: Whether a corrected attempt was refused for its time, so that there may be two clocks.
        disproves: Whether the claim that dated the attempt was of no help, so that it is dropped.
    """

    judgement: Judgement
    heard: Span | None = None
    shown: Shown | None = None
    objection: str = ""
    refused: bool = False
    obstacle: str = ""
    by_wall: bool = False
    restores_first: bool = False
    quietens: bool = False
    lost: bool = False
    disproves: bool = False


def decide(call: Call, answer: Answer) -> Decision:
    """Return what to do about an answer to a call's last attempt."""
    signed, wall, _ = call.signing
    reply = answer.reply
    utc = call.route.domain.key == UTC
    attempt = Attempt(signed, answer.elapsed, exact=signed != wall)
    if answer.inactive and reply.requested is not None:
        attempt = Attempt(reply.requested, answer.elapsed)  # a faked clock dated it, and ours may not be faked
    judgement = judge(attempt, reply)
    refused = judgement.verdict is not Verdict.NOT_TIME and not call.timeless
    disproves = not utc and _disproves(call, answer, judgement.verdict)
    no_help = _did_not_help(call, reply, judgement.verdict, utc=utc) or (call.first is not None and disproves)
    by_wall = _is_undone(call, answer, judgement.verdict, no_help or disproves, utc=utc)
    by_wall = by_wall and not _obstacle(call, answer, Verdict.SKEW, by_wall)
    unheard = by_wall and judgement.verdict is not Verdict.SKEW
    if by_wall:
        refused, no_help = True, False
        judgement = Judgement(Verdict.SKEW, "the timestamp may have been wrong")
    elif refused and not reply.explicit and (no_help or (answer.quiet and not call.undoable)):
        refused = False
        judgement = Judgement(Verdict.NOT_TIME, "another timestamp did not help")
    shown, heard, objection = (None, None, "") if unheard else _observe(call, answer, refused, no_help)
    if heard is not None and not _may_teach(call, answer):
        shown = heard = None
    obstacle = _obstacle(call, answer, judgement.verdict, by_wall) if refused else ""
    corrected, skewed = signed != wall or call.retried, judgement.verdict is Verdict.SKEW
    return Decision(
        judgement=judgement,
        heard=heard,
        shown=None if answer.given_up else shown,
        objection="" if answer.inactive else objection,
        refused=refused,
        obstacle=obstacle,
        by_wall=by_wall,
        restores_first=no_help and not _as_alone(call),
        quietens=no_help and call.first is not None and not call.first.reply.explicit,
        disproves=disproves and not by_wall,
        lost=(not refused or (bool(obstacle) and skewed)) and reply.explicit and not utc and corrected,
    )


def _observe(call: Call, answer: Answer, refused: bool, no_help: bool) -> tuple[Shown | None, Span | None, str]:
    """Return what an answer shows, the server's clock, and an objection against its ``Date``."""
    signed, wall, _ = call.signing
    reply = answer.reply
    utc = call.route.domain.key == UTC
    if refused:
        # A stated clock counts only where judging has found the timestamp beside it to be this attempt's. AWS stamps
        # message and Date by one clock, so where they contradict each other, neither is believed.
        if utc and reply.contradictory:
            return None, None, "its message contradicts its Date"
        # A private endpoint's bare Date may be a proxy's. It dates one retry, and is kept if that is accepted, or if
        # the wall clock is disproved there, as it is not if it dated nothing, or something long under way.
        disproved = signed == wall and answer.elapsed <= TOLERANCE
        explicit = reply.explicit and (utc or reply.stated is not None or disproved)
        return (Shown.REFUSAL if explicit else Shown.HINT if utc else None), reply.heard, ""
    if call.timeless:
        return (Shown.HINT, reply.date, "") if utc and _is_the_servers_own(reply.status) else (None, None, "")
    if not _is_the_servers_own(reply.status):
        return None, None, ""
    helped = call.first is not None and not no_help and not reply.explicit
    if not utc and signed == wall:
        accepted = helped or reply.status not in REFUSALS
        return (*_acceptance_of_the_wall_clock(call, answer.known), "") if accepted else (None, None, "")
    if not _near(reply.date, signed, answer.elapsed, _ACCEPTED):
        return None, None, "its Date contradicts the timestamp it accepted"
    accepted = helped or reply.status < 300
    if utc:
        return (Shown.AUTHENTIC if accepted else Shown.HINT), reply.date, ""
    agrees = accepted and _near(reply.date, signed, answer.elapsed, TOLERANCE)
    return (Shown.ACCEPTANCE, reply.date, "") if agrees else (None, None, "")


def _acceptance_of_the_wall_clock(call: Call, known: Evidence | None) -> tuple[Shown | None, Span | None]:
    """Return what a private server shows that accepted the wall clock, whatever its ``Date`` says."""
    wall = call.signing[1]
    refused_before = call.renewed and known is not None and known.grade < Grade.PROOF
    agrees = known is None or known.estimate.earliest - TOLERANCE <= wall <= known.estimate.latest + TOLERANCE
    if agrees and not refused_before:
        return None, None  # that is known
    return Shown.WALL_CLOCK, Span(wall - _ACCEPTED, wall + _ACCEPTED)


def _did_not_help(call: Call, reply: Reply, verdict: Verdict, *, utc: bool) -> bool:
    """Return whether a call that was signed again was refused once more, as far as can be told for its time.

    A private server may refuse a time in words of its own. So after a bare ``Date``, which may be a proxy's, no refusal
    shows that it was right.
    """
    first = call.first
    if first is None or reply.status < 300 or not _is_the_servers_own(reply.status):
        return False
    if first.reply.explicit:
        return reply.explicit and verdict is Verdict.SKEW
    if verdict is not Verdict.NOT_TIME or (reply.status, reply.code) == (first.reply.status, first.reply.code):
        return True
    return reply.status in REFUSALS and (not utc or reply.likely)


def _as_alone(call: Call) -> bool:
    """Return whether the last attempt is dated as the caller would date it alone, and the first was not."""
    signed, wall, _ = call.signing
    return call.first is not None and not call.first.by_wall and abs(signed - wall) <= TOLERANCE


def _disproves(call: Call, answer: Answer, verdict: Verdict) -> bool:
    """Return whether an attempt that was dated by a claim is refused, and no time in the answer agrees with the claim.

    A refusal in words that agrees with it, but for the words, has the clock of another than the server that refused.
    """
    signed, wall, _ = call.signing
    known, reply = answer.known, answer.reply
    if signed == wall or call.timeless or known is None or known.grade is not Grade.CLAIM:
        return False
    if reply.explicit:
        return verdict is Verdict.NOT_TIME and reply.requested is None
    agrees = reply.date is not None and _near(reply.date, signed, answer.elapsed, TOLERANCE)
    return reply.status in REFUSALS and not agrees and not WRONG_KEY_TEXT.search(reply.message)


def _is_undone(call: Call, answer: Answer, verdict: Verdict, did_not_help: bool, *, utc: bool) -> bool:
    """Return whether the call is made again by the wall clock, as it was first dated by another.

    So what botocore alone would get accepted is accepted, whatever is known of the time.
    """
    reply = answer.reply
    if not call.undoable or call.timeless or reply.status not in REFUSALS or WRONG_KEY_TEXT.search(reply.message):
        return False
    if verdict is Verdict.STALE:  # by the Date of a proxy, perhaps, as was what dated it
        proved = answer.known is not None and answer.known.grade is Grade.PROOF
        return not utc and not proved and reply.stated is None
    if call.renewed:
        return did_not_help or verdict is Verdict.SKEW
    if verdict is Verdict.SKEW:
        return answer.given_up or (reply.heard if utc else reply.stated) is None
    guessed = not utc and answer.known is not None and _is_guess(answer.known, call.route.prefix)
    # A refusal for time whose Date finds the timestamp right is dated by another machine.
    return did_not_help or guessed or reply.date is None or reply.explicit


def _is_guess(known: Evidence, where: str) -> bool:
    """Return whether what is known of a server's clock is a guess, as UTC is for any that answers over plain http."""
    return known.grade is Grade.GUESS or (known.where != where and where.startswith("http:"))


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


def _may_teach(call: Call, answer: Answer) -> bool:
    """Return whether what a server's clock shows may be believed for the domain that the call was signed for."""
    if not answer.learns or not answer.trusted:
        return False
    start = call.route.prefix
    # Else the request was sent elsewhere after it was signed.
    return f"{answer.source}/" == start or same_server(answer.source, start)


def _is_the_servers_own(status: int) -> bool:
    """Return whether the called server itself answered, rather than a redirect, a gateway or a proxy."""
    return status < 300 or (400 <= status < 500 and status != 407)


def _near(heard: Span | None, signed: int, elapsed: int, tolerance: int) -> bool:
    """Return whether a Date can be that of a server which accepted a timestamp, rather than an intermediary's.

    Otherwise a proxy with a clock of its own would break calls that are right.
    """
    if heard is None:
        return True
    return heard.latest >= signed - tolerance and heard.earliest <= signed + elapsed + tolerance


def _obstacle(call: Call, answer: Answer, verdict: Verdict, by_wall: bool) -> str:
    allowed = 2 if by_wall or call.by_wall else 1
    if call.renewed >= allowed and verdict is Verdict.SKEW:
        return "it was signed again already"
    if not call.rewindable:
        return "its body cannot be sent again"
    if answer.inactive:
        return answer.inactive
    if answer.given_up and not by_wall:
        return "the servers there contradict each other"
    return "" if answer.attempts_left else "the caller allows no further attempt"
