"""``skewguard check``: a plugin for Nagios, Icinga, Sensu and others that follow the Monitoring Plugins guidelines.

One line on stdout and one of four exit codes. Every fault of the check itself is UNKNOWN, wrong arguments included; but
it is CRITICAL by default if no time source answers, because a host that cannot learn the time is in trouble.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import NamedTuple

from skewguard.cli import survey
from skewguard.cli.output import write
from skewguard.cli.survey import Survey
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.thresholds import CRITICAL, FAIL_FROM, OK, WARN_FROM, WARNING, severity
from skewguard.wording import decimal, plain

HELP = "Check the clock for a monitoring system."

UNKNOWN = 3
"""The exit code beside OK, WARNING and CRITICAL."""

NAMES = {OK: "OK", WARNING: "WARNING", CRITICAL: "CRITICAL", UNKNOWN: "UNKNOWN"}

USAGE_ERROR = UNKNOWN
"""The exit code for wrong arguments: argparse's own, 2, would be an alarm."""


class Outcome(NamedTuple):
    """What a check reports: an exit code, a sentence, and performance data (empty if there is none)."""

    code: int
    text: str
    performance: str = ""

    @property
    def status(self) -> str:
        """The exit code's name, such as ``WARNING``."""
        return NAMES[self.code]

    @property
    def line(self) -> str:
        """The line that a monitoring system reads."""
        text = f"{self.status} - {self.text}".replace("|", "/")  # what follows a | is performance data
        return f"{text} | {self.performance}" if self.performance else text


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
        choices=[name.lower() for name in NAMES.values()],
        default="critical",
        help="the status if the time is not known (critical)",
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
        empty = next(code for code, name in NAMES.items() if name.lower() == options.empty_state)
        outcome = assess(found, options.warning, options.critical, empty)
    except Exception as error:
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        outcome = Outcome(UNKNOWN, " ".join(f"{kind}{error}".split()))
    write(json.dumps(outcome_json(outcome, found)) if options.json else outcome.line)
    return outcome.code


def _check_order(warning: int, critical: int) -> None:
    if warning > critical:
        raise ConfigError(f"-w {plain(warning)} is more than -c {plain(critical)}")


def assess(found: Survey, warning: int = WARN_FROM, critical: int = FAIL_FROM, empty: int = CRITICAL) -> Outcome:
    """Assess a survey.

    Args:
        found: The survey.
        warning: Warn beyond this offset, ns.
        critical: Be critical beyond this offset, ns.
        empty: The exit code if the time is not known.
    """
    known = found.estimate
    if known is None:
        return Outcome(empty, found.why_not)
    ranges = ";".join(f"-{plain(limit)}:{plain(limit)}" for limit in (warning, critical))
    performance = f"offset={decimal(known.offset)}s;{ranges} bound={decimal(known.bound)}s;;;0"
    return Outcome(severity(known.offset, warning, critical), f"this host's clock is {known}", performance)


def outcome_json(outcome: Outcome, found: Survey | None) -> dict[str, object]:
    """Return an outcome and the survey behind it as JSON values; lengths of time are seconds."""
    return {
        "status": outcome.status,
        "exit_code": outcome.code,
        "message": outcome.text,
        **survey.survey_json(found),
    }


def timestamp(found: Survey) -> str:
    """Format when a survey was made, by the wall clock under test, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.wall // SECOND))
