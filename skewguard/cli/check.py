"""``skewguard check``: a plugin for Nagios, Icinga, Sensu and others that follow the Monitoring Plugins guidelines.

One line on stdout and one of four exit codes. Every fault of the check itself is UNKNOWN, wrong arguments included; but
it is CRITICAL by default if no time source answers, because a host that cannot learn the time is in trouble.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from skewguard import assessment
from skewguard.assessment import CRITICAL, FAIL_FROM, NAMES, UNKNOWN, WARN_FROM, Outcome
from skewguard.cli import survey, textfile
from skewguard.cli.output import write
from skewguard.cli.replacement import replace
from skewguard.cli.survey import Survey
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.wording import plain

USAGE_ERROR = UNKNOWN
"""The exit code for wrong arguments: argparse's own, 2, would be an alarm."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "-w",
        "--warning",
        type=survey.seconds,
        default=WARN_FROM,
        metavar="S",
        help=f"warn if the clock is further off than this, s ({plain(WARN_FROM)})",
    )
    parser.add_argument(
        "-c",
        "--critical",
        type=survey.seconds,
        default=FAIL_FROM,
        metavar="S",
        help=f"critical beyond this, s ({plain(FAIL_FROM)}: AWS refuses from 300 on)",
    )
    parser.add_argument(
        "--empty-state",
        choices=[name.lower() for name in NAMES],
        default="critical",
        help="the status if the time is not known (critical)",
    )
    parser.add_argument(
        "--textfile", metavar="PATH", help="also write the result for node_exporter's textfile collector"
    )
    survey.configure(parser)
    parser.epilog = (
        "Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Without --source, the configured ones are asked."
    )


def usage_line(message: str) -> str:
    """Return the line on stdout for wrong arguments: a monitoring system shows stdout only."""
    return Outcome(UNKNOWN, message).line


def run(options: argparse.Namespace) -> int:
    """Check; return the exit code."""
    found: Survey | None = None
    try:
        _check_order(options.warning, options.critical)
        found = survey.ask(survey.settings(options))
        outcome = assess(found, options.warning, options.critical, NAMES.index(options.empty_state.upper()))
    except Exception as error:
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        outcome = Outcome(UNKNOWN, " ".join(f"{kind}{error}".split()))
    if options.textfile is not None:
        try:
            text = textfile.render(outcome, found)
            replace(Path(options.textfile), text.encode(), mode=0o644)  # another user's collector reads it
        except OSError as error:
            outcome = Outcome(UNKNOWN, f"{options.textfile} cannot be written: {error.strerror or error}")
    write(json.dumps(outcome_json(outcome, found)) if options.json else outcome.line)
    return outcome.code


def _check_order(warning: int, critical: int) -> None:
    if warning > critical:
        raise ConfigError(f"-w {plain(warning)} is more than -c {plain(critical)}")


def assess(found: Survey, warning: int = WARN_FROM, critical: int = FAIL_FROM, empty: int = CRITICAL) -> Outcome:
    """Assess a survey by thresholds in ns; `empty` is the exit code if the time is not known."""
    known = found.estimate
    if known is None:
        return Outcome(empty, found.why_not)
    return assessment.assess(known.offset, known.bound, known.source, warning, critical)


def outcome_json(outcome: Outcome, found: Survey | None) -> dict[str, object]:
    """Return an outcome and the survey behind it as JSON values; lengths of time are seconds."""
    verdict = {"status": outcome.status, "exit_code": outcome.code, "message": outcome.text}
    return {**verdict, **survey.survey_json(found)}


def timestamp(found: Survey) -> str:
    """Format when a survey was made, by the wall clock under test, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.wall // SECOND))
