"""``skewguard doctor``: find which clock is wrong, by how much, what AWS does about it, and what to type."""

from __future__ import annotations

import argparse
import json
import sys

from skewguard.cli import survey
from skewguard.cli.doctor import diagnosis, endpoint, error_message, examination, log_messages, option_origins, remedies
from skewguard.cli.doctor.examination import Examination
from skewguard.cli.doctor.finding import Finding, Level
from skewguard.cli.output import write

HEALTHY, UNHEALTHY, UNKNOWN = 0, 1, 3
"""Exit codes: nothing is wrong; something is; the correct time is not known."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--endpoint", metavar="URL", help="also read this server's clock, by one HEAD request")
    parser.add_argument("--error", metavar="MESSAGE", help="explain this AWS error message; - reads it from stdin")
    parser.add_argument("-v", "--verbose", action="store_true", help="print all findings, even if nothing is wrong")
    parser.add_argument("--config", action="store_true", help="print each option and its origin; send nothing")
    survey.configure(parser)
    parser.epilog = (
        "Needs no AWS credentials and sets nothing. Sends one NTP packet to each address of each time source that is "
        "an NTP server (if none is configured: time.aws.com, and on EC2 169.254.169.123 and fd00:ec2::123). Sends one "
        "HEAD request without credentials to each that is an HTTPS server (if none is configured and NTP is silent: "
        "STS), and to an endpoint. Exit codes: 0 nothing is wrong, 1 something is, 2 wrong "
        "arguments, 3 the correct time is not known."
    )


def run(options: argparse.Namespace) -> int:
    """Examine, diagnose and report; return the exit code."""
    if options.config:
        return _config(options)
    url = None if options.endpoint is None else endpoint.complete(options.endpoint)
    settings = survey.settings(options)
    asked = ", ".join([source.name for source in survey.sources(settings)] + ([f"HEAD {url}"] if url else []))
    write(f"skewguard doctor: {f'asking {asked}' if asked else 'no time source is configured'}", to_stderr=True)
    examined = examination.examine(settings, url)
    findings = diagnosis.diagnose(examined)
    explained = [] if options.error is None else error_message.explain(_read(options.error), examined.known)
    findings[1:1] = explained
    code = UNHEALTHY if diagnosis.verdict(findings) >= Level.WARN else HEALTHY
    if examined.known is None:
        code = UNKNOWN
    if options.json:
        write(as_json(examined, findings, code))
    else:
        text = as_text(examined, findings, code, verbose=options.verbose, explained=len(explained))
        if sys.stdout is not None and sys.stdout.isatty():
            text = f"{text}\n\n{summary(findings)}"
        write(text, wrap=True)
    return code


def _read(message: str) -> str:
    if message != "-":
        return message
    return sys.stdin.read(log_messages.LIMIT) if sys.stdin else ""  # closed before this process began


def as_text(examined: Examination, findings: list[Finding], code: int, *, verbose: bool, explained: int = 0) -> str:
    """Format findings for people, followed by what to do.

    If the exit code is HEALTHY, the first finding is enough, with the `explained` ones after it that explain an error.
    """
    if code == HEALTHY and not verbose:
        return "\n".join(map(str, findings[: 1 + explained]))
    lines = [f"{finding} ({finding.id})" if verbose else str(finding) for finding in findings]
    if code == HEALTHY:
        lines.append(
            "If AWS still refuses requests because of their time, they waited between signing and arrival (a slow "
            "upload, a blocked thread or event loop), or a test froze the clock."
        )
    return "\n".join([*lines, *remedies.advise(examined)])


def summary(findings: list[Finding]) -> str:
    """Return the line that closes the report on a terminal: the names of what is wrong."""
    bad = list(dict.fromkeys(finding.id for finding in findings if finding.level >= Level.WARN))
    if not bad:
        return "No problem was found."
    count = f"{len(bad)} kinds of problems were" if len(bad) > 1 else "One kind of problem was"
    return f'{count} found: {", ".join(bad)}. The page "The findings of doctor" explains each.'


def as_json(examined: Examination, findings: list[Finding], code: int) -> str:
    """Format findings for programs; lengths of time are seconds."""
    return json.dumps(
        {
            "exit_code": code,
            **survey.survey_json(examined.survey),
            **survey.offset_json(examined.known),
            "findings": [finding.as_json() for finding in findings],
            "commands": remedies.commands(examined),
        }
    )


def _config(options: argparse.Namespace) -> int:
    rows = option_origins.trace(survey.given(options))
    if options.json:
        write(json.dumps([row._asdict() for row in rows]))
    else:
        write(option_origins.table(rows))
    return UNHEALTHY if any(row.problem for row in rows) else HEALTHY
