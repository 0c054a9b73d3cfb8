"""A response, read and judged: what time the server's clock showed, and whether the server objected to the time. Pure.

Three places can state a server's time, and they count in this order: the error message (all AWS front ends use the same
words, and name the clock that refused the request), S3's ``ServerTime`` element, and the ``Date`` header. If the first
two quote a timestamp, they count only if it is this attempt's own.
"""

from __future__ import annotations

import enum
import http.client
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from skewguard.http_date import Span, fixdate, read_date, utc
from skewguard.interval import SECOND

TOLERANCE = 240 * SECOND
"""Assumed if an error names none, ns: the threshold of AWS's cross-SDK rules. The strictest service allows 300 s."""

_TEXT_LIMIT = 8192  # a message is searched no further
_QUOTE_SLACK = SECOND  # a quoted timestamp has whole seconds
_ANSWERED_WITHIN = 60 * SECOND  # between stating the time in a message and stamping the answer
_SLOP = 2 * SECOND  # stated tolerances are applied by the server to whole seconds

# A stated clock was read for this very answer.
_TEXT_BEFORE, _TEXT_AFTER = SECOND // 2, 3 * SECOND // 2

CLOCK_CODES = frozenset({"RequestTimeTooSkewed", "RequestInTheFuture"})
"""Certainly about time."""
POSSIBLE_CODES = frozenset(
    {"SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure", "RequestExpired", "ExpiredRequest"}
)
"""About time, or about keys."""
REFUSALS = frozenset({400, 401, 403})
"""The statuses of refusals that may be about time whatever their code: AWS says skew as ``AccessDenied`` too."""

NO_CLOCK = "the server stated no time"
"""The reason where an error may be about time, but nothing tells the server's."""

_OTHER_ERROR = "the error is not about time"

# Patterns that `re` compiles at their first use, so that a process without an error does not pay for them.
_GRAMMAR = (
    r"Signature (expired|not yet current): (\d{8}T\d{6}Z) is (?:now earlier|still later) than (\d{8}T\d{6}Z) "
    r"\((\d{8}T\d{6}Z) ([-+]) (\d{1,4}) min\.\)"
)
_SKEW_TEXT = r"(?i)difference between the request time and the (?:current|server's|server&#39;s) time"
_NOT_YET_TEXT = r"(?i)\s*request is not yet valid"
_EXPIRED_STAMP = r"(?i)\s*request has expired\. timestamp date is (\S+?)\.?(?:\s|$)"
WRONG_KEY_TEXT = r"(?i)does not match the signature you provided"

_BASIC_ISO = r"(?a)(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z"
_EXTENDED_ISO = r"(?a)(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?Z"
_EPOCH_MS = r"(?a)\d{12,14}"


class Verdict(enum.Enum):
    """What an error says about time."""

    SKEW = "skew"
    """The attempt carried a time that the server could not accept, however fast it had travelled."""
    STALE = "stale"
    """The attempt carried an acceptable time, but took too long to arrive."""
    NOT_TIME = "not-time"
    """No error, or one that another timestamp would not mend."""


class Attempt(NamedTuple):
    """One signed request, as far as it matters for judging it.

    Attributes:
        signed: The timestamp it carried, ns since the Unix epoch.
        elapsed: The time from signing until its answer was read, ns; the longer of what the clocks show.
        exact: Whether `signed` is what it carried, rather than the wall clock shortly before botocore read it.
    """

    signed: int
    elapsed: int
    exact: bool = True


class Reply(NamedTuple):
    """A response as read, before it is judged.

    Attributes:
        status: The HTTP status.
        code: The error code; empty where the response has none (HEAD, some gateways) and on success.
        message: The error message; empty likewise.
        stated: The server's clock as its error states it, if it does.
        date: The server's clock by a usable ``Date`` header.
        requested: The request's timestamp as the error quotes it, ns since the Unix epoch.
        tolerance: The tolerance the error states, ns.
        time_text: Whether the error's words are about time.
    """

    status: int
    code: str = ""
    message: str = ""
    stated: Span | None = None
    date: Span | None = None
    requested: int | None = None
    tolerance: int | None = None
    time_text: bool = False

    @property
    def explicit(self) -> bool:
        """Whether this is a refusal for time in words: its message, its code, or both clocks as it quotes them."""
        quoted = self.stated is not None and self.requested is not None
        return self.time_text or self.code in CLOCK_CODES or quoted

    @property
    def likely(self) -> bool:
        """Whether this is explicit, or an error that servers give for a wrong time and for a wrong key alike."""
        silent = not self.code and not self.message
        return self.explicit or self.code in POSSIBLE_CODES or silent

    @property
    def own(self) -> bool:
        """Whether the called server itself answered, rather than a redirect, a gateway or a proxy."""
        return self.status < 300 or (400 <= self.status < 500 and self.status != 407)

    @property
    def refuses(self) -> bool:
        """Whether this is a refusal that may be about time, whatever its code."""
        return self.status in REFUSALS and not re.search(WRONG_KEY_TEXT, self.message)

    @property
    def contradictory(self) -> bool:
        """Whether the stated clock and the ``Date`` are further apart than making an answer takes."""
        if self.stated is None or self.date is None:
            return False
        apart = max(self.stated.earliest - self.date.latest, self.date.earliest - self.stated.latest)
        return apart > _ANSWERED_WITHIN

    @property
    def heard(self) -> Span | None:
        """The server's clock: as stated, narrowed by `date` where the two agree; or `date` alone."""
        if self.stated is None or self.date is None:
            return self.stated or self.date
        earliest = max(self.stated.earliest, self.date.earliest)
        latest = min(self.stated.latest, self.date.latest)
        # A stated clock is that of the server that judged; a Date that contradicts it is an intermediary's.
        return Span(earliest, latest) if earliest <= latest else self.stated


class Judgement(NamedTuple):
    """A verdict and its reason, for people."""

    verdict: Verdict
    reason: str


def read(status: int, headers: Mapping[str, Any], parsed: Mapping[str, Any] | None) -> Reply:
    """Return everything that a response says about time. Strange content raises nothing; it is left out.

    Args:
        status: The HTTP status.
        headers: Its headers, looked up case-insensitively.
        parsed: botocore's result of parsing it. Where a query or EC2 client meets an S3-shaped error, there is no
            ``Error`` key, and the error's fields are at the top level.
    """
    date = None if status == 304 else read_date(headers)
    if status < 300:
        return Reply(status, date=date)
    error = _error_of(parsed)
    code = _text(error.get("Code")).split(":")[0].rpartition("#")[2]
    message = _text(error.get("Message") or error.get("message"))
    if code == str(status):  # botocore puts these where a response has neither code nor message
        code = ""
        if message == http.client.responses.get(status):
            message = ""
    stated = requested = tolerance = None
    time_text = False
    if match := re.search(_GRAMMAR, message):
        claim = _coral(match)
        if claim:
            requested, stated, tolerance = claim
            time_text = True
    elif match := re.match(_EXPIRED_STAMP, message):
        requested, time_text = read_stamp(match[1]), True
    else:
        time_text = bool(re.search(_SKEW_TEXT, message) or re.match(_NOT_YET_TEXT, message))
    if stated is None and (server := read_stamp(_text(error.get("ServerTime")))) is not None:
        stated = Span(server - _TEXT_BEFORE, server + _TEXT_AFTER)
    if requested is None:
        requested = read_stamp(_text(error.get("RequestTime") or error.get("X-Amz-Date")))
    if tolerance is None:
        tolerance = _milliseconds(error.get("MaxAllowedSkewMilliseconds"))
    return Reply(status, code, message, stated, date, requested, tolerance, time_text)


def judge(attempt: Attempt, reply: Reply) -> Judgement:
    """Judge whether this attempt failed because of the time it carried.

    The attempt is judged, not the host: a call that was signed right and failed for another reason is NOT_TIME even on
    the worst of clocks. SKEW where nothing is `heard` means that the error is certainly about time, but does not state
    the time.
    """
    suspect = _suspicion(reply)
    if suspect:
        return Judgement(Verdict.NOT_TIME, suspect)
    signed = attempt.signed
    if reply.requested is not None:
        latest = signed if attempt.exact else signed + attempt.elapsed
        if not signed - SECOND - _QUOTE_SLACK < reply.requested <= latest + _QUOTE_SLACK:
            return Judgement(Verdict.NOT_TIME, "the error quotes another request's timestamp")
        signed = reply.requested
    heard = reply.heard
    if heard is None:
        if reply.explicit:
            return Judgement(Verdict.SKEW, f"the error is about time, but {NO_CLOCK}")
        return Judgement(Verdict.NOT_TIME, NO_CLOCK if reply.likely else _OTHER_ERROR)
    # How far true time at signing was after the timestamp, if the server's clock is right.
    low = heard.earliest - attempt.elapsed - signed
    high = heard.latest - signed
    limit = TOLERANCE if reply.tolerance is None else max(reply.tolerance - _SLOP, 0)
    if low > limit or high < -limit:
        behind = (low + high) // 2
        side = "behind" if behind > 0 else "ahead of"
        return Judgement(Verdict.SKEW, f"signed {abs(behind) / SECOND:.0f} s {side} the server's clock")
    if high > limit and reply.likely:
        return Judgement(Verdict.STALE, f"signed {attempt.elapsed / SECOND:.0f} s before its answer")
    return Judgement(Verdict.NOT_TIME, "the timestamp was acceptable to the server")


def _suspicion(reply: Reply) -> str | None:
    """Return why a clock cannot have caused this error; None if one can."""
    if reply.status < 400 or reply.status >= 500:
        return "not a refusal"
    if re.search(WRONG_KEY_TEXT, reply.message):
        return "the secret key is wrong"
    return None if reply.explicit or reply.refuses else _OTHER_ERROR


def _error_of(parsed: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not isinstance(parsed, Mapping):
        return {}
    error = parsed.get("Error", parsed)
    return error if isinstance(error, Mapping) else {}


def _text(value: object) -> str:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else ""


def _coral(match: re.Match[str]) -> tuple[int, Span, int] | None:
    """Check one sentence of the AWS front ends: A is compared with B, and B must be C -/+ N minutes."""
    kind, signed_text, bound_text, now_text, sign, minutes = match.groups()
    signed, bound, now = read_stamp(signed_text), read_stamp(bound_text), read_stamp(now_text)
    if signed is None or bound is None or now is None:
        return None
    tolerance = int(minutes) * 60 * SECOND
    if sign != ("-" if kind == "expired" else "+"):
        return None
    if bound != (now - tolerance if kind == "expired" else now + tolerance):
        return None
    return signed, Span(now - _TEXT_BEFORE, now + _TEXT_AFTER), tolerance


def _milliseconds(value: object) -> int | None:
    text = _text(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        return None
    return int(text) * 1_000_000


def read_stamp(text: str) -> int | None:
    """Parse a timestamp in any form that AWS errors use: basic or extended ISO 8601, IMF-fixdate, epoch milliseconds.

    The result is ns since the Unix epoch; None for anything else, including dates that no calendar has.
    """
    if match := re.fullmatch(_BASIC_ISO, text):
        return utc(*map(int, match.groups()))
    if match := re.fullmatch(_EXTENDED_ISO, text):
        second = utc(*map(int, match.groups()[:6]))
        return None if second is None else second + int((match[7] or "").ljust(9, "0"))
    if re.fullmatch(_EPOCH_MS, text):
        return int(text) * 1_000_000
    return fixdate(text)
