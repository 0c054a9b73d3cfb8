"""What a `Report` means: sentences for people, worst first. Pure."""

from __future__ import annotations

from urllib.parse import urlsplit

from skewguard.cli.check import FAIL_FROM, WARN_FROM
from skewguard.cli.doctor import daemons
from skewguard.cli.doctor.examination import Report
from skewguard.cli.doctor.finding import DAY, MINUTE, Finding, Level, truth, whole_hours
from skewguard.cli.survey import Heard, Known
from skewguard.interval import SECOND
from skewguard.wording import length, off

TOLERANCES = (
    (
        5 * MINUTE,
        "Lambda, API Gateway, AppConfig, AppSync, Amplify, Rekognition, Route 53, SES, Glacier, OpenSearch, SWF",
    ),
    (15 * MINUTE, "S3, STS, DynamoDB, SQS, SNS, Cognito"),
)
"""How far off a request's time may be, ns, and the services that were seen to hold it so."""


def examine(report: Report) -> list[Finding]:
    """List everything there is to say, in the order of its parts."""
    found = [headline(report), *_fakes(report), *_refusals(report), *_mix_up(report)]
    found += _sources(report) + _udp(report) + daemons.daemons(report) + daemons.hardware(report) + _endpoint(report)
    return found


def headline(report: Report) -> Finding:
    """Say in one sentence who is wrong, and by how much."""
    known = truth(report)
    if known is None:
        why = report.survey.why_not.partition(":")[0]  # what each says is told below
        return Finding(Level.FAIL, f"It cannot be told whether this host's clock is right: {why}.")
    level = _level(known)
    says = f"give or take {length(known.bound)}, says {known.source}"
    if level is Level.OK:
        return Finding(level, f"This host's clock is right: it is {off(known.offset)}, {says}. AWS accepts it.")
    whose = "The clock that this process is shown" if _only_faked(report, known) else "This host's clock"
    return Finding(level, f"{whose} is {off(known.offset)}, {says}.")


def _level(known: Known) -> Level:
    return Level.FAIL if known.most > FAIL_FROM else Level.WARN if known.most > WARN_FROM else Level.OK


def _only_faked(report: Report, known: Known) -> bool:
    """Tell whether the kernel's own clock is right where this process's is not."""
    ahead = report.kernel_ahead
    return ahead is not None and abs(ahead) > SECOND and abs(known.offset - ahead) + known.bound < WARN_FROM


def faked_only(report: Report) -> bool:
    """Tell whether the clock is wrong in this process alone, so that nothing is to be set."""
    known = truth(report)
    return known is not None and (bool(report.faked) or _only_faked(report, known))


def _fakes(report: Report) -> list[Finding]:
    found = []
    if report.faked:
        found.append(Finding(Level.FAIL, f"{report.faked} fakes the clock in this process: AWS refuses such times."))
    ahead = report.kernel_ahead
    shown = ahead is not None and abs(ahead) > SECOND
    if shown and ahead is not None:
        by = f" ({report.preloaded} is set: libfaketime)" if report.preloaded else ""
        known = truth(report)
        kernel = f"; the kernel's is {off(known.offset - ahead)}" if known is not None else ""
        text = f"Somebody fakes this process's clock{by}: it is {off(ahead)} against the kernel's{kernel}."
        found.append(Finding(Level.FAIL, text))
    elif report.preloaded:
        found.append(Finding(Level.NOTE, f"{report.preloaded} names libfaketime, which can fake the clock."))
    return found


def _refusals(report: Report) -> list[Finding]:
    known = truth(report)
    if known is None or _level(known) is Level.OK:
        return []
    found = []
    for tolerance, services in TOLERANCES:
        minutes = tolerance // MINUTE
        if known.least >= tolerance:
            found.append(Finding(Level.FAIL, f"AWS refuses this host's requests now ({minutes} min): {services}."))
        elif known.most >= tolerance:
            found.append(Finding(Level.FAIL, f"AWS may refuse this host's requests now ({minutes} min): {services}."))
    if not found:
        left = length(TOLERANCES[0][0] - known.most)
        found.append(
            Finding(Level.WARN, f"AWS still accepts this host's requests; {left} more, and the first will not.")
        )
    if known.least >= DAY:
        what = "not yet valid" if known.offset > 0 else "expired"
        text = f"TLS goes by this clock too. It may fail first, as it holds certificates for {what}"
        found.append(Finding(Level.NOTE, f"{text}: then nothing helps but to set the clock."))
    return found


def _mix_up(report: Report) -> list[Finding]:
    known = truth(report)
    if known is None:
        return []
    what = whole_hours(known.offset, known.bound, report.zone)
    if not what or faked_only(report):
        return []
    text = f"That is {what}: as if UTC and local time had been mixed up, most often where the hardware clock is read."
    return [Finding(Level.NOTE, f"{text} Time zones themselves do not matter to AWS.")]


def _sources(report: Report) -> list[Finding]:
    found = []
    for one in report.survey.heard:
        level = Level.NOTE if one.said is None else Level.OK if one.off_by == 0 else Level.WARN
        found.append(Finding(level, f"source {one}"))
    return found


def blocked(report: Report) -> bool:
    """Tell whether NTP seems to be blocked: servers were asked, and none of them answered."""
    asked = [one for one in report.survey.heard if one.name.startswith("ntp://")]
    return bool(asked) and all(silent(one) for one in asked)


def silent(heard: Heard) -> bool:
    """Tell whether an NTP server was asked and was silent, as if a firewall stood between."""
    error = heard.error or ""
    return heard.said is None and (
        "did not answer within" in error or error == "no answer in time" or "nreachable" in error or "denied" in error
    )


def _udp(report: Report) -> list[Finding]:
    asked = [one for one in report.survey.heard if one.name.startswith("ntp://")]
    if not asked:
        return []
    ports = " and ".join(str(port) for port in sorted({urlsplit(one.name).port or 123 for one in asked}))
    ntp = f"NTP (UDP port {ports})"
    if any(one.said is not None for one in asked):
        return [Finding(Level.OK, f"{ntp} gets through.")]
    if blocked(report):
        text = f"{ntp} gets no answer: most likely a firewall drops it."
        level = Level.WARN if truth(report) is None else Level.NOTE
        return [Finding(level, f"{text} Answers of AWS teach skewguard the time all the same.")]
    if any("cannot be looked up" in (one.error or "") for one in asked):
        return [Finding(Level.NOTE, "Whether NTP gets through cannot be told: a server's name cannot be looked up.")]
    if any("refused" in (one.error or "") for one in asked):
        return [Finding(Level.NOTE, f"{ntp} gets through to a machine where no NTP server listens.")]
    return [Finding(Level.NOTE, f"{ntp} is answered, but with no time that can be used.")]


def _endpoint(report: Report) -> list[Finding]:
    answer, known = report.endpoint, truth(report)
    if answer is None:
        return []
    name = f"endpoint {answer.url}"
    if answer.offset is None:
        return [Finding(Level.FAIL, f"{name}: {unheard(answer.certificate, answer.problem, known)}")]
    against = (
        f"{name}: its clock is {length(answer.offset)} {'ahead of' if answer.offset > 0 else 'behind'} this host's"
    )
    if abs(answer.offset) - answer.bound >= TOLERANCES[0][0]:
        text = f"{against}, give or take {length(answer.bound)}, so it may refuse what is signed by this host's clock"
        found = [Finding(Level.FAIL, f"{text}.")]
    else:
        found = [Finding(Level.OK, f"{against}, give or take {length(answer.bound)}.")]
    sources = report.survey.known
    if sources is not None:
        wrong = sources.offset - answer.offset
        if abs(wrong) - sources.bound - answer.bound > WARN_FROM:
            text = f"{name}: the server's own clock is {off(wrong)}, say the time sources; its owner must mend that."
            found.append(Finding(Level.FAIL, text))
    return found


def unheard(certificate: str, problem: str, known: Known | None) -> str:
    """Explain why a server was not heard.

    Args:
        certificate: ``"not yet valid"`` or ``"expired"``, if TLS held its certificate for that.
        problem: What it was, if something else.
        known: How far this host's clock is off, if that is known.
    """
    if certificate == "not yet valid":
        blame = ""
        if known is not None and known.offset <= WARN_FROM:
            blame = f" But this host's clock is {off(known.offset) if known.most > WARN_FROM else 'right'}."
        return f"TLS holds its certificate for not yet valid: so it looks on a clock that is too slow.{blame}"
    if certificate == "expired":
        if known is not None and known.offset < -WARN_FROM:
            return "TLS holds its certificate for expired: so it looks on a clock that is too fast, as this one is."
        if known is not None:
            return "its certificate has expired: the clock is not the reason."
        return "TLS holds its certificate for expired: it is, or this host's clock is too fast."
    return f"no time was heard: {problem}"


def verdict(findings: list[Finding]) -> Level:
    """Say how bad it is altogether."""
    return max((finding.level for finding in findings), default=Level.OK)
