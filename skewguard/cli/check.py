"""``skewguard check``: a plugin for Nagios, Icinga, Sensu and whoever else follows the Monitoring Plugins guidelines.

One line on stdout and one of four exit codes. Whatever goes wrong here is UNKNOWN, wrong arguments included; but that
no time source answers is CRITICAL unless told otherwise, since a host that cannot know its time is in trouble.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import NamedTuple

from skewguard.cli import survey
from skewguard.cli.output import tell
from skewguard.cli.survey import Survey
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.wording import decimal, length, off, plain

HELP = "Check the clock for a monitoring system."

OK, WARNING, CRITICAL, UNKNOWN = range(4)
"""The exit codes."""

WARN_FROM, FAIL_FROM = 60 * SECOND, 240 * SECOND
"""The offsets above which a check warns, and is critical, ns. AWS refuses from 300 s on."""

NAMES = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

USAGE_ERROR = UNKNOWN
"""The exit code for wrong arguments: argparse's own, 2, would be an alarm."""


class Outcome(NamedTuple):
    """What is told: an exit code, a sentence, and performance data (empty if there is none)."""

    code: int
    text: str
    performance: str = ""

    @property
    def line(self) -> str:
        """The line that a monitoring system reads."""
        text = f"{NAMES[self.code]} - {self.text}".replace("|", "/")  # what follows a | is performance data
        return f"{text} | {self.performance}" if self.performance else text


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "-w",
        "--warning",
        type=survey.seconds,
        default=WARN_FROM,
        metavar="S",
        help="warn if it is further off than this, s (60)",
    )
    parser.add_argument(
        "-c",
        "--critical",
        type=survey.seconds,
        default=FAIL_FROM,
        metavar="S",
        help="critical beyond this, s (240: AWS refuses from 300 on)",
    )
    parser.add_argument(
        "--empty-state",
        choices=[name.lower() for name in NAMES],
        default="critical",
        help="what it is when nothing is known of the time (critical)",
    )
    survey.configure(parser)
    parser.epilog = "Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Without --source, those configured are asked."


def usage_line(message: str) -> str:
    """Put it that the arguments are wrong as a plugin does: a monitoring system shows what stands on stdout."""
    return Outcome(UNKNOWN, message).line


def run(options: argparse.Namespace) -> int:
    """Check; answer the exit code."""
    found: Survey | None = None
    try:
        _check_order(options.warning, options.critical)
        found = survey.ask(survey.settings(options))
        outcome = judge(found, options.warning, options.critical, NAMES.index(options.empty_state.upper()))
    except Exception as error:
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        outcome = Outcome(UNKNOWN, " ".join(f"{kind}{error}".split()))
    tell(json.dumps(as_values(outcome, found)) if options.json else outcome.line)
    return outcome.code


def _check_order(warning: int, critical: int) -> None:
    if warning > critical:
        raise ConfigError(f"-w {plain(warning)} is more than -c {plain(critical)}")


def judge(found: Survey, warning: int, critical: int, empty: int = CRITICAL) -> Outcome:
    """Judge what the sources said.

    Args:
        found: What they said.
        warning: Warn of an offset of more than this, ns.
        critical: Be critical of an offset of more than this, ns.
        empty: The exit code where nothing is known.
    """
    known = found.known
    if known is None:
        return Outcome(empty, found.why_not)
    code = CRITICAL if abs(known.offset) > critical else WARNING if abs(known.offset) > warning else OK
    ranges = ";".join(f"-{plain(limit)}:{plain(limit)}" for limit in (warning, critical))
    performance = f"offset={decimal(known.offset)}s;{ranges} bound={decimal(known.bound)}s;;;0"
    return Outcome(
        code, f"the clock is {off(known.offset)}, give or take {length(known.bound)}, says {known.source}", performance
    )


def as_values(outcome: Outcome, found: Survey | None) -> dict[str, object]:
    """Put it as JSON's values: seconds, as numbers."""
    known = None if found is None else found.known
    return {
        "status": NAMES[outcome.code],
        "exit_code": outcome.code,
        "message": outcome.text,
        "offset": None if known is None else known.offset / SECOND,
        "error_bound": None if known is None else known.bound / SECOND,
        "source": None if known is None else known.source,
        "sources": [] if found is None else survey.as_json(found),
    }


def judged(found: Survey) -> Outcome:
    """Judge a round by the default thresholds."""
    return judge(found, WARN_FROM, FAIL_FROM)


def stamp(found: Survey) -> str:
    """Say when a round was, by the wall clock that is being watched, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.wall // SECOND))
