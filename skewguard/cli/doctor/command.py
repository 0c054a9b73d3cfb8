"""``skewguard doctor``: who is wrong, by how much, what AWS makes of it, and what to type."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from skewguard.cli import survey
from skewguard.cli.output import tell
from skewguard.errors import ConfigError
from skewguard.interval import SECOND

if TYPE_CHECKING:
    from skewguard.cli.doctor import examination, finding
    from skewguard.cli.survey import Known

HELP = "Find out whether a clock is wrong, whose, by how much, and what to do."

HEALTHY, SICK, USAGE_ERROR, UNKNOWN = range(4)
"""Exit codes: nothing is wrong; something is; the arguments are wrong; true time cannot be learned."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument("--endpoint", metavar="URL", help="also ask this server's clock, by one HEAD request")
    parser.add_argument("--error", metavar="MESSAGE", help="explain this error message of AWS; - reads it from stdin")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell everything, also where nothing is wrong")
    parser.add_argument("--config", action="store_true", help="print each option and where it comes from; ask nobody")
    survey.configure(parser)
    parser.epilog = (
        "Needs no AWS credentials and sets nothing. Sends one NTP packet to each address of each time source that is "
        "an NTP server (where none is configured: time.aws.com, and on EC2 169.254.169.123 and fd00:ec2::123), and to "
        "an endpoint one HEAD request without credentials. Exit codes: 0 nothing is wrong, 1 something is, 2 wrong "
        "arguments, 3 true time cannot be learned."
    )


def run(options: argparse.Namespace) -> int:
    """Look, and tell; answer the exit code."""
    from skewguard.cli.doctor import endpoint

    try:
        if options.config:
            return _config(options)
        url = None if options.endpoint is None else endpoint.check(options.endpoint)
        wanted = survey.settings(options)
    except ConfigError as error:
        tell(f"skewguard doctor: {error}", aside=True)
        return USAGE_ERROR
    from skewguard.cli.doctor import diagnosis, examination, finding

    names = [source.name for source in survey.everyone(wanted)]
    asked = ", ".join(names + ([] if url is None else [f"HEAD {url}"]))
    tell(f"skewguard doctor: asking {asked or 'nobody: no time source is configured'}", aside=True)
    seen = examination.gather(wanted, url)
    found = diagnosis.examine(seen)
    told = [] if options.error is None else _explain(options.error, finding.truth(seen))
    found[1:1] = told
    worst = diagnosis.verdict(found)
    code = SICK if worst >= finding.Level.WARN else HEALTHY
    if finding.truth(seen) is None:
        code = UNKNOWN
    if options.json:
        tell(as_json(seen, found, code))
    else:
        tell(as_text(seen, found, code, everything=options.verbose, also=len(told)), fold=True)
    return code


def _explain(text: str, known: Known | None) -> list[finding.Finding]:
    from skewguard.cli.doctor import error_message

    if text == "-":
        text = sys.stdin.read(error_message.LIMIT) if sys.stdin else ""  # closed before we began
    return error_message.explain(text, known)


def as_text(
    seen: examination.Report, found: list[finding.Finding], code: int, *, everything: bool, also: int = 0
) -> str:
    """Put it for people: one line where all is well, and `also` more; else every finding and, last, what to type."""
    if code == HEALTHY and not everything:
        return "\n".join(map(str, found[: 1 + also]))
    lines = [str(one) for one in found]
    if code == HEALTHY:
        lines.append(
            "If AWS still refuses requests for their time, they waited between signing and arrival: a slow upload, a "
            "blocked thread or event loop, or a clock frozen by a test."
        )
    return "\n".join([*lines, *remedy(seen)])


def remedy(seen: examination.Report) -> list[str]:
    """Say what to type; nothing if this host's clock is right."""
    from skewguard.cli.check import WARN_FROM
    from skewguard.cli.doctor import diagnosis, finding
    from skewguard.cli.doctor.remedies import fix

    known = finding.truth(seen)
    if known is not None and known.most <= WARN_FROM and not seen.faked:
        return []
    if seen.faked:
        return ["", f"Leave the block that freezes the clock with {seen.faked}, or ask AWS before it."]
    if diagnosis.faked_only(seen):
        name = seen.preloaded
        what = f"    env {' '.join(f'-u {one}' for one in dict.fromkeys((name, 'LD_PRELOAD')))} COMMAND" if name else ""
        return ["", "This host's clock is right: run the program without what fakes its clock.", *filter(None, [what])]
    if known is None:
        end = ["", "If the clock is wrong nevertheless, or to be sure:"]
        if not seen.survey.heard:
            end = ["", "Name a time source, such as --source ntp://time.aws.com; if the clock is wrong:"]
    else:
        end = ["", "What to do:"]
    do = fix(seen.place, seen.host.daemons, blocked=diagnosis.blocked(seen))
    end += [do.where, *(f"    {command}" for command in do.commands)]
    if do.then:
        end.append(do.then)
    if seen.place.kind != "lambda":
        end.append("Until then skewguard.install(), or `skewguard exec -- COMMAND`, has AWS calls from Python succeed.")
        if known is not None and known.least >= finding.DAY:
            end[-1] = f"{end[-1][:-1]}, unless TLS fails first."
    return end


def as_json(seen: examination.Report, found: list[finding.Finding], code: int) -> str:
    """Put it for programs: seconds, as numbers."""
    from skewguard.cli.doctor import diagnosis, finding
    from skewguard.cli.doctor.remedies import fix

    known = finding.truth(seen)
    do = fix(seen.place, seen.host.daemons, blocked=diagnosis.blocked(seen)) if remedy(seen) else None
    commands = [] if do is None or seen.faked or diagnosis.faked_only(seen) else list(do.commands)
    return json.dumps(
        {
            "exit_code": code,
            "offset": None if known is None else known.offset / SECOND,
            "error_bound": None if known is None else known.bound / SECOND,
            "source": None if known is None else known.source,
            "sources": survey.as_json(seen.survey),
            "findings": [{"level": one.level.name, "text": one.text} for one in found],
            "commands": commands,
        }
    )


def _config(options: argparse.Namespace) -> int:
    from skewguard.cli.doctor import option_origins

    found = option_origins.trace(survey.given(options))
    if options.json:
        tell(json.dumps([row._asdict() for row in found]))
    else:
        tell(option_origins.table(found))
    return SICK if any(row.problem for row in found) else HEALTHY
