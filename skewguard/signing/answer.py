"""What an answer means: what it shows of the server's clock, and whether the call is signed again. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from skewguard.http_date import Span
from skewguard.interval import SECOND
from skewguard.signing.call import Call
from skewguard.signing.domains import same_server
from skewguard.signing.reply import REFUSALS, TOLERANCE, Attempt, Judgement, Reply, Verdict, judge
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.evidence import Evidence, Grade, Shown
from skewguard.timekeeping.timekeeper import Signing

_USEFUL = 30 * SECOND  # a new timestamp closer than this to the refused one would be refused again
_ACCEPTED = 900 * SECOND  # a server that accepts a signature has a clock within this of its timestamp
_NOTHING = (None, None, "")


class Answer(NamedTuple):
    """All that is read, once, of the answer to an attempt.

    Attributes:
        reply: The response.
        elapsed: The time from signing to reading, ns; the longer of what the clocks show.
        source: The origin that answered.
        known: What was known of a private server's clock, as of the signing; for AWS, None.
        quiet: Whether a bare ``Date`` did not help there lately.
        given_up: Whether corrections there are given up.
        trusted: Whether its certificate was checked; for other servers than AWS always true.
        learns: Whether answers may teach the time.
        inactive: Why nothing is done; empty while the guard is on.
        faked: The faked clock that dated the attempt, ns since the Unix epoch; None if it was dated by another.
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
    faked: int | None
    attempts_left: bool


class Then(enum.Enum):
    """What becomes of a call after an answer."""

    CALLERS = "the caller gets the answer"
    FIRST = "the caller gets the first answer, because signing again was in vain"
    AGAIN = "it is signed again by the time that the answer tells"
    BY_WALL = "it is signed again by the wall clock, because what dated it may be wrong"


class Decision(NamedTuple):
    """What to do about an answer.

    Attributes:
        then: What becomes of the call.
        judgement: What the answer says about the time that the attempt carried.
        shown: What is to be learned from it; None if nothing is.
        heard: The server's clock, as far as it may be believed.
        objection: Why its ``Date`` is not believed; empty if there is no objection.
        obstacle: Why the call is not signed again all the same; empty if nothing forbids it.
        quietens: Whether a bare ``Date`` did not help, so that none is acted on there for a while.
        disproves: Whether the claim that dated the attempt is dropped.
        lost: Whether the call ends, corrected, with a refusal for its time, so that there may be two clocks.
    """

    then: Then
    judgement: Judgement
    shown: Shown | None
    heard: Span | None
    objection: str
    obstacle: str
    quietens: bool
    disproves: bool
    lost: bool


def decide(call: Call, answer: Answer) -> Decision:
    """Return what to do about an answer to a call's last attempt."""
    signed, wall, _ = call.signing
    reply, first = answer.reply, call.first
    attempt = Attempt(signed, answer.elapsed, exact=signed != wall)
    if answer.inactive and reply.requested is not None:
        attempt = Attempt(reply.requested, answer.elapsed)  # a faked clock dated it, and ours may not be faked
    elif answer.faked is not None:
        attempt = Attempt(answer.faked, answer.elapsed, exact=False)
    judgement = judge(attempt, reply)
    verdict = judgement.verdict
    disproved = _is_disproved(call, answer, verdict)
    in_vain = first is not None and (disproved or _is_in_vain(call, first.reply, reply, verdict))
    then = _then(call, answer, verdict, disproved=disproved, in_vain=in_vain)
    obstacle = _obstacle(call, answer, verdict) if then is Then.AGAIN else ""
    if then is Then.BY_WALL:
        judgement = Judgement(Verdict.SKEW, "the timestamp may have been wrong")
    refused = verdict is not Verdict.NOT_TIME and (reply.explicit or then in {Then.AGAIN, Then.BY_WALL})
    helped = first is not None and not in_vain and not reply.explicit
    shown, heard, objection = _observe(call, answer, refused=refused, helped=helped)
    corrected = (signed != wall or call.retried) and call.route.domain.key != UTC
    ends = then in {Then.CALLERS, Then.FIRST} or (bool(obstacle) and verdict is Verdict.SKEW)
    return Decision(
        then,
        judgement,
        None if answer.given_up else shown,
        heard,
        objection,
        obstacle,
        quietens=then is not Then.BY_WALL and in_vain and first is not None and not first.reply.explicit,
        disproves=then is not Then.BY_WALL and disproved,
        lost=reply.explicit and corrected and ends,
    )


def _then(call: Call, answer: Answer, verdict: Verdict, *, disproved: bool, in_vain: bool) -> Then:
    """Return what becomes of a call: the first that applies.

    What botocore alone would get accepted is accepted, whatever is known of the time. So where that may be wrong, and
    the answer tells nothing better, the wall clock is tried as well, once.
    """
    signed, wall, _ = call.signing
    reply, first, known, where = answer.reply, call.first, answer.known, call.route.prefix
    if call.timeless:
        return Then.CALLERS
    if call.undoable and reply.refuses and not _hindrance(call, answer):
        # The Date beside a private server's refusal may be a proxy's.
        told = reply.heard if call.route.domain.key == UTC else reply.stated
        grade, said_by = (known.grade, known.where) if known else (Grade.NONE, where)
        # Anything may answer over plain http, whatever its name.
        guessed = grade is Grade.GUESS or (where.startswith("http:") and said_by != where)
        # A refusal for time whose Date finds the timestamp right is dated by another machine.
        elsewhere = reply.date is None or reply.explicit
        doubtful = {
            Verdict.SKEW: told is None or answer.given_up or call.renewed > 0,
            Verdict.STALE: told is None and grade is not Grade.PROOF,
            Verdict.NOT_TIME: disproved or in_vain or (not call.renewed and (guessed or elsewhere)),
        }
        if doubtful[verdict]:
            return Then.BY_WALL
    # If the caller alone would have dated the last attempt like that, and not the first, the last answer counts.
    if in_vain and first is not None and (first.by_wall or abs(signed - wall) > TOLERANCE):
        return Then.FIRST
    if verdict is Verdict.NOT_TIME:
        return Then.CALLERS
    quiet = answer.quiet and not call.undoable
    return Then.CALLERS if (in_vain or quiet) and not reply.explicit else Then.AGAIN


def _is_disproved(call: Call, answer: Answer, verdict: Verdict) -> bool:
    """Return whether an attempt that was dated by a claim is refused, and no time in the answer agrees with the claim.

    A refusal in words that agrees with it, but for the words, has the clock of another than the server that refused.
    """
    signed, wall, _ = call.signing
    known, reply = answer.known, answer.reply
    if signed == wall or call.timeless or known is None or known.grade is not Grade.CLAIM:
        return False
    if reply.explicit:
        return verdict is Verdict.NOT_TIME and reply.requested is None
    return reply.refuses and (reply.date is None or not _near(reply.date, signed, answer.elapsed, TOLERANCE))


def _is_in_vain(call: Call, first: Reply, second: Reply, verdict: Verdict) -> bool:
    """Return whether a call that was signed again was refused once more, as far as can be told for its time.

    A private server may refuse a time in words of its own. So after a bare ``Date``, which may be a proxy's, no refusal
    shows that it was right.
    """
    if second.status < 300 or not second.own:
        return False
    if first.explicit:
        return second.explicit and verdict is Verdict.SKEW
    if verdict is not Verdict.NOT_TIME or (second.status, second.code) == (first.status, first.code):
        return True
    return second.status in REFUSALS and (call.route.domain.key != UTC or second.likely)


def _hindrance(call: Call, answer: Answer) -> str:
    """Return why nothing can be signed again; empty if it can."""
    if not call.rewindable:
        return "its body cannot be sent again"
    return answer.inactive or ("" if answer.attempts_left else "the caller allows no further attempt")


def _obstacle(call: Call, answer: Answer, verdict: Verdict) -> str:
    """Return why a call is not signed again, though it was refused for its time."""
    if verdict is Verdict.SKEW and call.renewed >= (2 if call.by_wall else 1):
        return "it was signed again already"
    return _hindrance(call, answer) or ("the servers there contradict each other" if answer.given_up else "")


def _observe(call: Call, answer: Answer, *, refused: bool, helped: bool) -> tuple[Shown | None, Span | None, str]:
    """Return what an answer shows, the server's clock, and an objection against its ``Date``."""
    signed, wall, _ = call.signing
    reply = answer.reply
    utc = call.route.domain.key == UTC
    if not _may_teach(call, answer):
        return _NOTHING
    if call.timeless:
        return (Shown.HINT, reply.date, "") if utc and reply.own else _NOTHING
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
    if not reply.own:
        return _NOTHING
    if not utc and signed == wall:
        return _wall_clock(call, answer) if helped or reply.status not in REFUSALS else _NOTHING
    if not _near(reply.date, signed, answer.elapsed, _ACCEPTED):
        return None, None, "its Date contradicts the timestamp it accepted"
    accepted = helped or reply.status < 300
    if utc:
        return (Shown.AUTHENTIC if accepted else Shown.HINT), reply.date, ""
    agrees = accepted and _near(reply.date, signed, answer.elapsed, TOLERANCE)
    return (Shown.ACCEPTANCE, reply.date, "") if agrees else _NOTHING


def _wall_clock(call: Call, answer: Answer) -> tuple[Shown | None, Span | None, str]:
    """Return what a private server shows that accepted the wall clock, whatever its ``Date`` says."""
    wall, known = call.signing[1], answer.known
    if known is None:
        return _NOTHING
    agrees = known.estimate.earliest - TOLERANCE <= wall <= known.estimate.latest + TOLERANCE
    if agrees and not (call.renewed and known.grade < Grade.PROOF):
        return _NOTHING  # that is known
    return Shown.WALL_CLOCK, Span(wall - _ACCEPTED, wall + _ACCEPTED), ""


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


def _near(heard: Span | None, signed: int, elapsed: int, tolerance: int) -> bool:
    """Return whether a Date can be that of a server which accepted a timestamp, rather than an intermediary's.

    Otherwise a proxy with a clock of its own would break calls that are right.
    """
    if heard is None:
        return True
    return heard.latest >= signed - tolerance and heard.earliest <= signed + elapsed + tolerance
