"""``skewguard offset``: one number, for scripts."""

from __future__ import annotations

import argparse
import json

from skewguard.cli import survey
from skewguard.cli.output import tell
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.wording import decimal

HELP = "Print how far the clock is off: true time minus wall clock, s; positive when the host is behind."

USAGE_ERROR, UNKNOWN = 2, 3
"""Exit codes: the arguments are wrong; nothing is known."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    survey.configure(parser)
    parser.epilog = "Exit codes: 0, 2 for wrong arguments, 3 if nothing is known: then there is no number."


def run(options: argparse.Namespace) -> int:
    """Print the number; answer the exit code."""
    try:
        found = survey.ask(survey.settings(options))
    except ConfigError as error:
        tell(f"skewguard offset: {error}", aside=True)
        return USAGE_ERROR
    known = found.known
    if known is None:
        tell(f"skewguard offset: {found.why_not}", aside=True)
        return UNKNOWN
    if options.json:
        values = {"offset": known.offset / SECOND, "error_bound": known.bound / SECOND, "source": known.source}
        tell(json.dumps(values))
    else:
        tell(decimal(known.offset))
    return 0
