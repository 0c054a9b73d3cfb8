"""``skewguard watch``: how far off each source holds the clock, again and again, until it is interrupted.

On a terminal a table and a plot, drawn by `screen` with rich; else a line for each round, for which rich is not needed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator

from skewguard.cli import check, survey
from skewguard.cli.output import tell
from skewguard.cli.survey import Survey
from skewguard.config import Settings
from skewguard.errors import ConfigError
from skewguard.interval import SECOND

HELP = "Watch how far off each time source holds the clock: a table and a plot, or a line for each round."

USAGE_ERROR = 2
"""The exit code for wrong arguments, or where rich is missing."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.add_argument(
        "--interval", type=survey.seconds, default=2 * SECOND, metavar="S", help="how often to look, s (2)"
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many rounds; otherwise on Ctrl-C")
    survey.configure(parser)
    parser.epilog = (
        "Where stdout is no terminal, and with --json, there is a line for each round. An NTP server is sent a packet "
        "no more often than every 15 s; between, its last answer is carried on, and still shows a clock that is "
        "stepped. Exit codes: 0 ended by Ctrl-C or --count, 2 wrong arguments, or rich is missing."
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Watch; answer the exit code."""
    try:
        wanted = survey.settings(options)
    except ConfigError as error:
        return _refuse(str(error))
    # The same objects in every round: they know when they may ask their server again.
    wanted = wanted._replace(sources=survey.everyone(wanted))
    if not wanted.sources:
        return _refuse("no time source is configured; name one, such as --source ntp://time.aws.com")
    rounds = look(wanted, options.interval, options.count)
    if options.json or not (sys.stdout and sys.stdout.isatty()):
        return _print(rounds, as_json=options.json)
    try:
        from skewguard.cli.watch import screen
    except ImportError:
        return _refuse("the table and the plot need rich: pip install 'skewguard[cli]' (or pipe into cat, for lines)")
    screen.show(rounds, options.interval)
    return 0


def _refuse(why: str) -> int:
    tell(f"skewguard watch: {why}", aside=True, fold=True)
    return USAGE_ERROR


def look(wanted: Settings, interval: int, count: int | None) -> Iterator[Survey]:
    """Ask everybody, every `interval` ns, `count` times or for ever. Ends on an interrupt."""
    with contextlib.suppress(KeyboardInterrupt):
        while count is None or count > 0:
            began = time.monotonic()
            yield survey.ask(wanted, everybody=True)
            if count is not None:
                count -= 1
            if count != 0:
                time.sleep(max(began + interval / SECOND - time.monotonic(), 0))


def _print(rounds: Iterator[Survey], *, as_json: bool) -> int:
    with contextlib.suppress(KeyboardInterrupt):
        for found in rounds:
            if not tell(json_line(found) if as_json else line(found)):
                break
    return 0


def line(found: Survey) -> str:
    """Put a round in a line, for people and for grep."""
    outcome = check.judged(found)
    said = [] if found.known is None else [str(one) for one in found.heard]  # else they are in the outcome's text
    return "; ".join([f"{check.stamp(found)} {check.NAMES[outcome.code]} - {outcome.text}", *said])


def json_line(found: Survey) -> str:
    """Put a round as JSON, in a line: as ``skewguard check`` does, with the wall clock's time."""
    return json.dumps({"time": check.stamp(found), **check.as_values(check.judged(found), found)})
