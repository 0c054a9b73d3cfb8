"""Explain what an AWS error message says about time: ``doctor --error``. Pure.

Many messages state two clocks, the signing host's and the server's. Their difference is how wrong the timestamp was.
Whether the signing clock was wrong, or the request waited, depends on whether this host's clock is right.
"""

from __future__ import annotations

import re

from skewguard.assessment import WARN_FROM
from skewguard.cli.doctor.diagnosis import no_time
from skewguard.cli.doctor.finding import Finding, Level
from skewguard.cli.survey import ClockOffset
from skewguard.interval import SECOND
from skewguard.signing.reply import (
    CLOCK_CODES,
    NO_CLOCK,
    POSSIBLE_CODES,
    TOLERANCE,
    WRONG_KEY_TEXT,
    Attempt,
    Reply,
    Verdict,
    judge,
    read,
)
from skewguard.wording import in_utc, length, off

LIMIT = 65_536
"""The most characters to read, because a whole log may be pasted."""

_CLIENT_ERROR = re.compile(r"An error occurred \(([^()\s]+)\) when calling [^:]{1,200}: *(.*)", re.DOTALL)
_FIELDS = re.compile(r"<(Code|Message|RequestTime|ServerTime|MaxAllowedSkewMilliseconds|X-Amz-Date)>([^<]*)</")
_BARE = re.compile(rf"\b({'|'.join(sorted(CLOCK_CODES | POSSIBLE_CODES))})\b")
_PRESIGNED = re.compile(r"AccessDenied.{0,200}Request has expired", re.DOTALL)
_STILL_EXPIRED = re.compile(r"refreshed credentials are still expired")
_TLS = re.compile(r"certificate (?:is )?(not yet valid|has expired)", re.IGNORECASE)
_DEAD_TOKEN = re.compile(r"ExpiredToken|token included in the request is expired|token has expired", re.IGNORECASE)
_WAITED = "a slow upload, a full connection pool, a blocked thread or event loop, or a process that was frozen"


def explain(text: str, known: ClockOffset | None) -> list[Finding]:
    """Explain an error message: a botocore exception's text, an XML response, or lines of a log."""
    return [Finding(Level.NOTE, f"The error: {sentence}") for sentence in _sentences(text[:LIMIT], known)]


def _sentences(text: str, known: ClockOffset | None) -> list[str]:
    if tls := _TLS.search(text):
        return [no_time(tls[1].lower().removeprefix("has "), "", known)]
    if _DEAD_TOKEN.search(text):
        return [
            "the credentials have expired, by AWS's clock: fetch new ones. On a slow clock, programs keep expired ones."
        ]
    if _STILL_EXPIRED.search(text):
        text = "botocore fetched credentials that have expired by this host's clock, as happens if that is fast."
        return [f"{text} {_here(known, 'their issuer returned old ones')}"]
    if _PRESIGNED.search(text):
        text = (
            "a presigned URL was used after it had expired, by the server's clock. On a slow clock, URLs expire early."
        )
        return [f"{text} {_here(known, 'it was used too late, or made on another host')}"]
    reply = parse(text)
    if reply.requested is not None and reply.stated is not None:
        server = (reply.stated.earliest + reply.stated.latest) // 2 // SECOND * SECOND
        return [*_two_clocks(reply.requested, server, reply.tolerance, known)]
    found = judge(Attempt(reply.requested or 0, 0), reply)
    if found.verdict is Verdict.SKEW:
        return [f"it is about time, but does not state both clocks. {_here(known)}"]
    if found.reason == NO_CLOCK:
        return [f"it may be about time, or about wrong credentials. {_here(known, 'check the credentials')}"]
    if not (reply.code or _CLIENT_ERROR.search(text) or re.search(WRONG_KEY_TEXT, text)):
        return ["no AWS error was found in it. Paste the whole message."]
    return [f"no clock is to blame: {found.reason}."]


def parse(text: str) -> Reply:
    """Parse it as botocore would have parsed the response, as far as the message holds it."""
    error = {name: value.strip() for name, value in _FIELDS.findall(text)}
    if match := _CLIENT_ERROR.search(text):
        error |= {"Code": match[1], "Message": match[2].strip()}
    elif "Code" not in error and (match := _BARE.search(text)):
        error["Code"] = match[1]
    code = error.get("Code", "")
    # The response to a HEAD has no body, so botocore uses its status as the code.
    status = int(code) if code in {"400", "401", "403"} else 403 if code in POSSIBLE_CODES else 404
    return read(status, {}, {"Error": {"Message": text.strip(), **error}})


def _two_clocks(signed: int, server: int, tolerance: int | None, known: ClockOffset | None) -> list[str]:
    gap = server - signed
    late = gap > 0
    text = f"signed at {in_utc(signed)}, refused at {in_utc(server)} by the server's clock, which is {length(gap)}"
    text += f" {'later' if late else 'earlier'}{f'; {length(tolerance)} would be accepted' if tolerance else ''}."
    if known is None:
        blame = (
            f"So the signing host's clock was slow, or the request waited that long ({_WAITED})."
            if late
            else "So the signing host's clock was fast, or the server's is slow."
        )
    elif known.most > WARN_FROM and abs(gap - known.offset) <= (tolerance or TOLERANCE) + known.bound:
        blame = f"this host's clock is {off(known.offset)}, which explains it."
    elif known.most > WARN_FROM:
        blame = f"this host's clock is {off(known.offset)} now, which does not explain it. Was the request signed here?"
    elif late:
        blame = f"this host's clock is right. If it was right then, the request waited that long: {_WAITED}."
    else:
        blame = (
            "this host's clock is right. If it was right then, the server's clock is slow, or the request was signed "
            "elsewhere."
        )
    return [text, blame]


def _here(known: ClockOffset | None, otherwise: str = "the request waited, or the clock has been set since") -> str:
    if known is None:
        return "It is not known whether this host's clock is right."
    if known.most > WARN_FROM:
        return f"This host's clock is {off(known.offset)}: correct that first."
    return f"This host's clock is right: {otherwise}."
