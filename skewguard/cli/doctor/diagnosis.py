"""Diagnose an `Examination`: findings for people, the most important first. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from skewguard.assessment import OK, WARN_FROM, WARNING, severity
from skewguard.cli.doctor import daemons
from skewguard.cli.doctor.examination import Examination
from skewguard.cli.doctor.finding import DAY, MINUTE, Finding, Level, whole_hours
from skewguard.cli.survey import ClockOffset, SourceResult
from skewguard.interval import SECOND
from skewguard.wording import length, off

TOLERANCES = (
    (
        5 * MINUTE,
        "Lambda, API Gateway, AppConfig, AppSync, Amplify, Rekognition, Route 53, SES, Glacier, OpenSearch, SWF",
    ),
    (15 * MINUTE, "S3, STS, DynamoDB, SQS, SNS, Cognito"),
)
"""How far off a request's time may be, ns, and services that were observed to apply that limit."""


def diagnose(examination: Examination) -> list[Finding]:
    """Return all findings."""
    return [
        headline(examination),
        *_fakes(examination),
        *_refusals(examination),
        *_mix_up(examination),
        *_sources(examination),
        *_udp(examination),
        *daemons.daemons(examination),
        *daemons.hardware(examination),
        *_endpoint(examination),
    ]


def headline(examination: Examination) -> Finding:
    """Return in one sentence which clock is wrong, and by how much."""
    known = examination.known
    if known is None:
        why = examination.survey.why_not.partition(":")[0]  # the result from each source follows below
        return Finding(Level.FAIL, f"It is not known whether this host's clock is right: {why}.", "clock-unknown")
    level = _level(known)
    if level is Level.OK and known.is_right:
        return Finding(level, f"This host's clock is right: it is {known}. AWS accepts it.", "clock-right")
    if level is Level.OK:
        return Finding(Level.NOTE, f"This host's clock is {known}. AWS tolerates that.", "clock-tolerated")
    name = "The clock that this process sees" if _faked_outside(examination, known) else "This host's clock"
    return Finding(level, f"{name} is {known}.", "clock-wrong")


def _level(known: ClockOffset) -> Level:
    return {OK: Level.OK, WARNING: Level.WARN}.get(severity(known.most), Level.FAIL)


def _faked_outside(examination: Examination, known: ClockOffset) -> bool:
    """Return whether the kernel's clock is right and this process's is not."""
    ahead = examination.kernel_ahead
    return ahead is not None and abs(ahead) > SECOND and abs(known.offset - ahead) + known.bound < WARN_FROM


def faked_only(examination: Examination) -> bool:
    """Return whether the clock is wrong in this process alone, so that there is nothing to set."""
    known = examination.known
    return known is not None and (bool(examination.faked) or _faked_outside(examination, known))


def _fakes(examination: Examination) -> list[Finding]:
    found = []
    if examination.faked:
        text = f"{examination.faked} fakes the clock in this process, and AWS refuses such times."
        found.append(Finding(Level.FAIL, text, "clock-faked"))
    ahead, known = examination.kernel_ahead, examination.known
    if ahead is not None and abs(ahead) > SECOND:
        how = f" ({examination.preloaded} is set: libfaketime)" if examination.preloaded else ""
        side = "behind" if ahead > 0 else "ahead of"
        kernel = f", which is {off(known.offset - ahead)}" if known is not None else ""
        text = f"This process's clock is faked{how}: it is {length(ahead)} {side} the kernel's clock{kernel}."
        found.append(Finding(Level.FAIL, text, "clock-faked"))
    elif examination.preloaded:
        text = f"{examination.preloaded} is set for libfaketime, which can fake the clock."
        found.append(Finding(Level.NOTE, text, "libfaketime"))
    return found


def _refusals(examination: Examination) -> list[Finding]:
    known = examination.known
    if known is None or _level(known) is Level.OK:
        return []
    found = []
    for tolerance, services in TOLERANCES:
        if known.most >= tolerance:
            verb = "refuses" if known.least >= tolerance else "may refuse"
            limit = f"limit {tolerance // MINUTE} min"
            text = f"AWS {verb} this host's requests now ({limit}): {services}."
            found.append(Finding(Level.FAIL, text, "aws-refuses"))
    if not found:
        left = length(TOLERANCES[0][0] - known.most)
        text = f"AWS still accepts this host's requests; another {left} off, and the first services will refuse them."
        found.append(Finding(Level.WARN, text, "aws-still-accepts"))
    if known.least >= DAY:
        seem = "not yet valid" if known.offset > 0 else "expired"
        text = f"TLS uses this clock too, and may fail first, because certificates seem {seem}"
        found.append(Finding(Level.NOTE, f"{text}. Then set the clock, or use true_time_tls.", "tls-first"))
    return found


def _mix_up(examination: Examination) -> list[Finding]:
    known = examination.known
    if known is None or faked_only(examination):
        return []
    hours = whole_hours(known.offset, known.bound, examination.utc_offsets)
    if not hours:
        return []
    text = f"That is {hours}, as if UTC and local time were mixed up, most often in reading the hardware clock."
    return [Finding(Level.NOTE, f"{text} The time zone itself does not matter to AWS.", "time-zone")]


def _sources(examination: Examination) -> list[Finding]:
    found = []
    for result in examination.survey.results:
        level, kind = Level.OK, "source-agrees"
        if result.measured is None:
            level, kind = Level.NOTE, "source-silent"
        elif result.off_by != 0:
            level, kind = Level.WARN, "source-disagrees"
        found.append(Finding(level, f"source {result}", kind))
    return found


def _ntp_servers(examination: Examination) -> list[SourceResult]:
    return [result for result in examination.survey.results if result.name.startswith("ntp://")]


def blocked(examination: Examination) -> bool:
    """Return whether NTP seems to be blocked: servers were asked, and none of them answered."""
    servers = _ntp_servers(examination)
    return bool(servers) and all(silent(result) for result in servers)


def silent(result: SourceResult) -> bool:
    """Return whether an NTP server was silent, as if a firewall blocked the way."""
    error = result.error or ""
    return result.measured is None and (
        "did not answer within" in error or error == "no answer in time" or "nreachable" in error or "denied" in error
    )


def _udp(examination: Examination) -> list[Finding]:
    servers = _ntp_servers(examination)
    if not servers:
        return []
    ports = " and ".join(str(port) for port in sorted({urlsplit(server.name).port or 123 for server in servers}))
    ntp = f"NTP (UDP port {ports})"
    errors = [server.error or "" for server in servers]
    if any(server.measured is not None for server in servers):
        return [Finding(Level.OK, f"{ntp} gets through.", "ntp-works")]
    if blocked(examination):
        text = f"{ntp} gets no answer; most likely a firewall drops it."
        level = Level.WARN if examination.known is None else Level.NOTE
        return [Finding(level, f"{text} skewguard still learns the time from AWS's answers.", "ntp-blocked")]
    if any("cannot be looked up" in error for error in errors):
        text = "It is not known whether NTP gets through: a server's name cannot be looked up."
    elif any("refused" in error for error in errors):
        text = f"{ntp} reaches a machine where no NTP server listens."
    else:
        text = f"{ntp} gets answers, but none with a usable time."
    return [Finding(Level.NOTE, text, "ntp-useless")]


def _endpoint(examination: Examination) -> list[Finding]:
    clock = examination.endpoint
    if clock is None:
        return []
    name = f"endpoint {clock.url}"
    if clock.offset is None:
        why = no_time(clock.certificate, clock.problem, examination.known)
        return [Finding(Level.FAIL, f"{name}: {why}", "endpoint-unread")]
    side = "ahead of" if clock.offset > 0 else "behind"
    text = f"{name}: its clock is {length(clock.offset)} {side} this host's (within {length(clock.bound)})"
    if abs(clock.offset) - clock.bound >= TOLERANCES[0][0]:
        found = [Finding(Level.FAIL, f"{text}, so it may refuse requests signed by this host's clock.", "endpoint-far")]
    else:
        found = [Finding(Level.OK, f"{text}.", "endpoint-near")]
    estimate = examination.survey.estimate
    if estimate is not None:
        wrong = estimate.offset - clock.offset
        if abs(wrong) - estimate.bound - clock.bound > WARN_FROM:
            text = f"{name}: by the time sources, the server's own clock is {off(wrong)}. Its operator must correct it."
            found.append(Finding(Level.FAIL, text, "endpoint-wrong"))
    return found


def no_time(certificate: str, problem: str, known: ClockOffset | None) -> str:
    """Explain why a server's clock could not be read: for its certificate, as in `EndpointClock`, or otherwise."""
    if certificate == "not yet valid":
        text = "TLS rejects its certificate as not yet valid, as happens when the local clock is slow."
        if known is not None and known.offset <= WARN_FROM:
            text += f" But this host's clock is {off(known.offset) if known.most > WARN_FROM else 'right'}."
        return text
    if certificate == "expired":
        if known is None:
            return "TLS rejects its certificate as expired. Either it is, or this host's clock is fast."
        if known.offset < -WARN_FROM:
            return "TLS rejects its certificate as expired, as happens when the local clock is fast. This host's is."
        return "its certificate has expired. The clock is not the reason."
    return f"its clock could not be read: {problem}"


def verdict(findings: list[Finding]) -> Level:
    """Return the worst level."""
    return max((finding.level for finding in findings), default=Level.OK)
