"""Explain what error messages say about time: ``doctor --error``. Pure.

Many messages state two clocks, the signing host's and the server's. Their difference is how wrong the timestamp was.
Whether the signing clock was wrong, or the request waited, depends on whether this host's clock is right. Messages that
state one clock or none are in `symptoms`.
"""

from __future__ import annotations

import re

from skewguard.assessment import WARN_FROM
from skewguard.cli.doctor import log_messages, symptoms
from skewguard.cli.doctor.causes import REFUSED_FROM, Cause, Explanation, fast, here, slow, wrong
from skewguard.cli.doctor.finding import DAY, Finding, Level
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
from skewguard.wording import continued, in_utc, length, off

_CLIENT_ERROR = re.compile(
    r"rror (?:occurred )?\(([^()\s]+)\) (?:occurred )?when calling [^:]{1,200}: *(.*)", re.DOTALL
)
_FIELDS = re.compile(r"<(Code|Message|RequestTime|ServerTime|MaxAllowedSkewMilliseconds|X-Amz-Date)>([^<]*)</")
_BARE = re.compile(rf"\b({'|'.join(sorted(CLOCK_CODES | POSSIBLE_CODES))})\b")
_CODE = re.compile(r"<Code>|\b(?:Error ?Code|code|__type)\b.{0,40}(?:Exception|Error|Denied)")
_TIME_TEXT = re.compile(r"Signature (?:expired|not yet current):|difference between the request time", re.IGNORECASE)
_PRESIGNED_EXPIRED = re.compile(r"AccessDenied.{0,200}Request has expired", re.DOTALL)
_FROZEN = re.compile(r"freezegun|FakeDatetime|freeze_time|time_machine|time-machine")
_SECONDS = re.compile(r"\b\d+(?:\.\d+)? (?:us|ms|s)\b|\d{4}-\d\d-\d\dT?[ 0-9:]{8,9}Z")
_MOST = 20  # explanations; more are not read
_WAITED = "a slow upload, a full connection pool, a blocked thread or event loop, or a process that was frozen"
_FAKED = (
    "a test library, such as freezegun or time-machine, may have frozen or moved the clock of the process that signed"
)


def explain(text: str, known: ClockOffset | None) -> list[Finding]:
    """Explain each message of a text: a botocore exception's text, an XML response, or a whole log."""
    kinds = _kinds(text, known)
    findings = []
    for number, (said, lines) in enumerate(kinds[:_MOST], 1):
        name = "The error"
        if len(kinds) > 1 or len(lines) > 1:
            times = f", and {len(lines) - 1} more like it" if len(lines) > 1 else ""
            name = f"Error {number} (line {lines[0]}{times})"
        findings += [
            Finding(Level.NOTE, f"{name}: {part}", f"error-{said.id}", said.cause.value) for part in said.sentences
        ]
    if len(kinds) > _MOST:
        findings.append(Finding(Level.NOTE, f"{len(kinds) - _MOST} more kinds of errors are left out.", "error-more"))
    if _FROZEN.search(text) and not any(_FAKED in finding.text for finding in findings):
        findings.append(Finding(Level.NOTE, f"The log names a library that fakes clocks: {_FAKED}.", "error-frozen"))
    return findings


def _kinds(text: str, known: ClockOffset | None) -> list[tuple[Explanation, list[int]]]:
    """List the explanations of a text's messages, each once, with the lines of the messages that it explains.

    Messages are alike if their explanations differ in nothing but seconds and dates.
    """
    found: dict[tuple[str, ...], tuple[Explanation, list[int]]] = {}
    for message in log_messages.split(text, _is_known):
        said = judge_message(message.text, known)
        key = tuple(_SECONDS.sub("", sentence) for sentence in said.sentences)
        found.setdefault(key, (said, []))[1].append(message.line)
    return list(found.values())


def _is_known(text: str) -> bool:
    return bool(
        _BARE.search(text)
        or _TIME_TEXT.search(text)
        or _CLIENT_ERROR.search(text)
        or _CODE.search(text)
        or re.search(WRONG_KEY_TEXT, text)
        or symptoms.explain(text, None)
    )


def judge_message(text: str, known: ClockOffset | None) -> Explanation:
    """Explain one message."""
    reply = parse(text)
    if reply.requested is not None and reply.stated is not None and not _PRESIGNED_EXPIRED.search(text):
        server = (reply.stated.earliest + reply.stated.latest) // 2 // SECOND * SECOND
        return _two_clocks(reply.requested, server, reply.tolerance, known)
    if explained := symptoms.explain(text, known):
        return explained
    found = judge(Attempt(reply.requested or 0, 0), reply)
    blamed = {"RequestExpired": slow, "ExpiredRequest": slow, "RequestInTheFuture": fast}.get(reply.code, wrong)(known)
    if found.verdict is Verdict.SKEW:
        return _about_time(known, blamed=blamed)
    if found.reason == NO_CLOCK:
        return _maybe_time(known, blamed=blamed)
    if not (reply.code or _CLIENT_ERROR.search(text) or re.search(WRONG_KEY_TEXT, text)):
        sentence = "no AWS error was found in it. Paste the whole message."
        return Explanation("none", Cause.UNKNOWN, (sentence,))
    return Explanation("not-time", Cause.OTHER, (f"no clock is to blame: {found.reason}.",))


def _about_time(known: ClockOffset | None, *, blamed: bool) -> Explanation:
    begin = "it is about time, but does not state both clocks."
    if known is None:
        return Explanation("about-time", Cause.UNKNOWN, (f"{begin} {here(known)}",))
    if blamed:
        return Explanation("about-time", Cause.CLOCK, (f"{begin} {here(known)[:-1]}: correct that first.",))
    waited = "the request waited, the server's clock is wrong, or the clock has been set since."
    return Explanation("about-time", Cause.OTHER, (f"{begin} {here(known)[:-1]}: {waited}",))


def _maybe_time(known: ClockOffset | None, *, blamed: bool) -> Explanation:
    begin = "it may be about time, or about wrong credentials."
    if known is None:
        return Explanation("maybe-time", Cause.UNKNOWN, (f"{begin} {here(known)}",))
    if blamed and known.least >= REFUSED_FROM:
        return Explanation("maybe-time", Cause.CLOCK, (f"{begin} {here(known)[:-1]}: correct that first.",))
    if blamed:
        first = "correct that first; which of the two it is, the message does not say."
        return Explanation("maybe-time", Cause.UNKNOWN, (f"{begin} {here(known)[:-1]}: {first}",))
    return Explanation("maybe-time", Cause.OTHER, (f"{begin} {here(known)[:-1]}: check the credentials.",))


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


def _two_clocks(signed: int, server: int, tolerance: int | None, known: ClockOffset | None) -> Explanation:
    gap = server - signed
    late = gap > 0
    text = f"signed at {in_utc(signed)}, refused at {in_utc(server)} by the server's clock, which is {length(gap)}"
    text += f" {'later' if late else 'earlier'}{f'; {length(tolerance)} would be accepted' if tolerance else ''}."
    cause = Cause.OTHER
    if known is None:
        cause = Cause.UNKNOWN
        blame = (
            f"So the signing host's clock was slow, or the request waited that long ({_WAITED})."
            if late
            else "So the signing host's clock was fast, or the server's is slow."
        )
    elif known.most > WARN_FROM and abs(gap - known.offset) <= (tolerance or TOLERANCE) + known.bound:
        cause = Cause.CLOCK
        blame = f"this host's clock is {off(known.offset)}, which explains it."
    elif known.most > WARN_FROM:
        blame = f"this host's clock is {off(known.offset)} now, which does not explain it. Was the request signed here?"
    elif late:
        blame = f"{continued(here(known))} If it was right then, the request waited that long: {_WAITED}."
    else:
        blame = f"{continued(here(known))} If it was right then, the server's clock is slow, or the request was signed "
        blame += "elsewhere."
    more = (f"{length(gap)} is long: {_FAKED}.",) if cause is Cause.OTHER and abs(gap) >= DAY else ()
    return Explanation("two-clocks", cause, (text, blame, *more))
