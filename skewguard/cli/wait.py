"""``skewguard wait``: block until true time is known, for scripts and systemd units."""

from __future__ import annotations

import argparse
import json

from skewguard.cli import survey
from skewguard.cli.output import write
from skewguard.interval import SECOND
from skewguard.timekeeping.timekeeper import Timekeeper
from skewguard.wording import plain

UNKNOWN = 1
"""The exit code if true time is not known, the same as ``chronyc waitsync``'s."""

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
    settings = survey.settings(options)
    keeper = Timekeeper(settings)
    known = bool(survey.sources(settings)) and keeper.wait_until(options.within, options.limit)
    found = survey.outcome(keeper)
    reached = known and found.estimate is not None
    text = found.why_not if found.estimate is None else found.estimate.sentence
    if options.json:
        error = text if found.estimate is None else None
        write(json.dumps({"synchronized": reached, **survey.offset_json(found.estimate), "error": error}))
    elif reached:
        write(text)
    else:
        waited = f" after {plain(options.limit)} s" if found.results else ""
        write(f"skewguard wait: true time is not known well enough{waited}: {text}", to_stderr=True)
    return 0 if reached else UNKNOWN
