"""``skewguard offset``: one number, for scripts."""

from __future__ import annotations

import argparse
import json

from skewguard.cli import survey
from skewguard.cli.output import write
from skewguard.wording import decimal

UNKNOWN = 3
"""The exit code if the offset is not known."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    survey.configure(parser)
    parser.epilog = "Exit codes: 0, 2 for wrong arguments, 3 if the offset is not known, and no number is printed."


def run(options: argparse.Namespace) -> int:
    """Print the number; return the exit code."""
    found = survey.ask(survey.settings(options))
    if options.json:
        why = None if found.estimate is not None else found.why_not
        write(json.dumps({**survey.offset_json(found.estimate), "error": why}))
        return UNKNOWN if why else 0
    if found.estimate is None:
        write(f"skewguard offset: {found.why_not}", to_stderr=True)
        return UNKNOWN
    write(decimal(found.estimate.offset))
    return 0
