"""``skewguard wait``: block until true time is known, for scripts and systemd units."""

from __future__ import annotations

import argparse
import json

from skewguard.cli import survey
from skewguard.cli.output import write
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.timekeeping.timekeeper import Timekeeper
from skewguard.wording import plain

USAGE_ERROR, UNKNOWN = 2, 1
"""Exit codes: the arguments are wrong; true time is not known (as ``chronyc waitsync`` says it)."""

_ENDLESS = 10**9 * SECOND


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    survey.configure_sources(parser)
    parser.add_argument(
        "--timeout", dest="limit", type=survey.seconds, default=_ENDLESS, metavar="S", help="how long to wait, s"
    )
    parser.add_argument(
        "--within",
        type=survey.seconds,
        default=10 * SECOND,
        metavar="S",
        help="the largest error bound that is good enough, s; by default 10",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(timeout=None)
    parser.epilog = (
        "Exit codes: 0 once true time is known, whether or not the clock is right; 1 if it is not known in time; 2 for "
        "wrong arguments."
    )


def run(options: argparse.Namespace) -> int:
    """Wait, asking the sources again and again; return the exit code."""
    try:
        settings = survey.settings(options)
    except ConfigError as error:
        write(f"skewguard wait: {error}", to_stderr=True)
        return USAGE_ERROR
    keeper = Timekeeper(settings)
    known = bool(survey.sources(settings)) and keeper.wait_until(options.within, options.limit)
    found = survey.outcome(keeper)
    if options.json:
        reached = known and found.estimate is not None
        why = found.why_not if found.estimate is None else None
        write(json.dumps({"synchronized": reached, **survey.offset_json(found.estimate), "error": why}))
        return 0 if reached else UNKNOWN
    if known and found.estimate is not None:
        write(found.estimate.sentence)
        return 0
    waited = f" after {plain(options.limit)} s" if found.results else ""
    why = found.why_not if found.estimate is None else found.estimate.sentence
    write(f"skewguard wait: true time is not known well enough{waited}: {why}", to_stderr=True)
    return UNKNOWN
