"""What an error message of AWS says about time: ``doctor --error``. Pure.

Many messages state two clocks, that of whoever signed and the server's. How far they are apart is how wrong the
timestamp was. Whether the signing clock was wrong, or the request waited, only somebody who knows the time can tell.
"""

from __future__ import annotations

import re

from skewguard.cli.check import WARN_FROM
from skewguard.cli.doctor.diagnosis import unheard
from skewguard.cli.doctor.finding import Finding, Level
from skewguard.cli.survey import Known
from skewguard.interval import SECOND
from skewguard.signing.reply import (
    CLOCK_CODES,
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
"""How many characters are looked at: a log may have been pasted."""

_CLIENT_ERROR = re.compile(r"An error occurred \(([^()\s]+)\) when calling [^:]{1,200}: *(.*)", re.DOTALL)
_FIELDS = re.compile(r"<(Code|Message|RequestTime|ServerTime|MaxAllowedSkewMilliseconds|X-Amz-Date)>([^<]*)</")
_BARE = re.compile(rf"\b({'|'.join(sorted(CLOCK_CODES | POSSIBLE_CODES))})\b")
_PRESIGNED = re.compile(r"AccessDenied.{0,200}Request has expired", re.DOTALL)
_STILL_EXPIRED = re.compile(r"refreshed credentials are still expired")
_TLS = re.compile(r"certificate (?:is )?(not yet valid|has expired)", re.IGNORECASE)
_DEAD_TOKEN = re.compile(r"ExpiredToken|token included in the request is expired|token has expired", re.IGNORECASE)
_WAITED = "a slow upload, a full connection pool, a blocked thread or event loop, or a process that was frozen"


def explain(text: str, known: Known | None) -> list[Finding]:
    """Say what a message means on a host whose clock is known to be so far off, if that is known.

    Args:
        text: What was pasted: a botocore exception's words, an XML answer, a line of a log.
        known: How far this host's clock is off now.
    """
    return [Finding(Level.NOTE, f"The error: {sentence}") for sentence in _sentences(text[:LIMIT], known)]


def _sentences(text: str, known: Known | None) -> list[str]:
    if tls := _TLS.search(text):
        return [unheard(tls[1].lower().removeprefix("has "), "", known)]
    if _DEAD_TOKEN.search(text):
        return [
            "the credentials have expired, by AWS's clock: fetch new ones. A slow clock has programs keep dead ones."
        ]
    if _STILL_EXPIRED.search(text):
        told = "botocore fetched credentials that this host's clock holds for over: so it looks on a fast clock."
        return [f"{told} {_here(known, 'whoever made them handed out old ones')}"]
    if _PRESIGNED.search(text):
        told = "a presigned URL was used after its time, by the server's clock. Those made on a slow clock die early."
        return [f"{told} {_here(known, 'it was used too late, or made on another host')}"]
    reply = parse(text)
    if reply.requested is not None and reply.stated is not None:
        server = (reply.stated.earliest + reply.stated.latest) // 2 // SECOND * SECOND
        return [*_two_clocks(reply.requested, server, reply.tolerance, known)]
    found = judge(Attempt(reply.requested or 0, 0), reply)
    if found.verdict is Verdict.SKEW:
        return [f"it is about time, but does not state both clocks. {_here(known)}"]
    if found.reason == "no server clock was heard":
        return [f"it may be about time; AWS words wrong credentials alike. {_here(known, 'suspect the credentials')}"]
    if not (reply.code or _CLIENT_ERROR.search(text) or WRONG_KEY_TEXT.search(text)):
        return ["no error of AWS was found in it: paste all of the message."]
    return [f"no clock is to blame: {found.reason}."]


def parse(text: str) -> Reply:
    """Read it as botocore would have read the answer, as far as that is still in it."""
    error = {name: value.strip() for name, value in _FIELDS.findall(text)}
    if match := _CLIENT_ERROR.search(text):
        error |= {"Code": match[1], "Message": match[2].strip()}
    elif "Code" not in error and (match := _BARE.search(text)):
        error["Code"] = match[1]
    code = error.get("Code", "")
    # The answer to a HEAD has no words, and botocore puts its status in their place.
    status = int(code) if code in {"400", "401", "403"} else 404
    return read(status, {}, {"Error": {"Message": text.strip(), **error}})


def _two_clocks(signed: int, server: int, tolerance: int | None, known: Known | None) -> list[str]:
    gap = server - signed
    late = gap > 0
    told = f"signed at {in_utc(signed)}, refused at {in_utc(server)} by the server's clock, which is {length(gap)}"
    told += f" {'later' if late else 'earlier'}{f'; {length(tolerance)} would be accepted' if tolerance else ''}."
    if known is None:
        blame = (
            f"So the clock that signed was slow, or the request waited as long ({_WAITED})."
            if late
            else "So the clock that signed was fast, or the server's is slow: nothing arrives before it is signed."
        )
    elif known.most > WARN_FROM and abs(gap - known.offset) <= (tolerance or TOLERANCE) + known.bound:
        blame = f"this host's clock is {off(known.offset)}: that is why."
    elif known.most > WARN_FROM:
        blame = f"this host's clock is {off(known.offset)} now, which does not explain it: was it signed here?"
    elif late:
        blame = f"this host's clock is right. If it was then too, the request waited as long: {_WAITED}."
    else:
        blame = (
            "this host's clock is right. If it was then too, it was signed elsewhere, or the server's clock is slow."
        )
    return [told, blame]


def _here(known: Known | None, otherwise: str = "the request waited, or the clock has been set since") -> str:
    if known is None:
        return "Whether this host's clock is right is not known."
    if known.most > WARN_FROM:
        return f"This host's clock is {off(known.offset)}: mend that first."
    return f"This host's clock is right: {otherwise}."
