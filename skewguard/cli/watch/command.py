"""``skewguard watch``: show how far off the clock is by each source, again and again, until it is interrupted.

On a terminal it draws a table and a plot with rich (`screen`); else it prints a line for each round, without rich.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator

from skewguard.cli import check, survey
from skewguard.cli.output import write
from skewguard.cli.survey import Survey
from skewguard.config import Settings
from skewguard.errors import ConfigError
from skewguard.interval import SECOND

NO_RICH = 2
"""The exit code if rich is missing."""

_STEP = 0.5  # s


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--interval", type=survey.seconds, default=2 * SECOND, metavar="S", help="time between rounds, s (2)"
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after this many rounds; else on Ctrl-C")
    survey.configure(parser)
    parser.epilog = (
        "If stdout is not a terminal, and with --json, each round is a line. An NTP server is sent a packet no more "
        "often than every 15 s; in between, its last answer is extrapolated, and still shows a step of the clock. Exit "
        "codes: 0 ended by Ctrl-C or --count, 2 wrong arguments, or rich is missing."
    )


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Watch; return the exit code."""
    settings = survey.settings(options)
    # The same objects in every round: each remembers when it may ask its server again.
    settings = settings._replace(sources=survey.sources(settings))
    if not settings.sources:
        raise ConfigError("no time source is configured; name one, such as --source ntp://time.aws.com")
    surveys = rounds(settings, options.interval, options.count)
    if options.json or not (sys.stdout and sys.stdout.isatty()):
        return _print(surveys, as_json=options.json)
    try:
        from skewguard.cli.watch import screen
    except ImportError:
        why = "the table and the plot need rich: pip install 'skewguard[cli]' (or pipe into cat, for lines)"
        write(f"skewguard watch: {why}", to_stderr=True, wrap=True)
        return NO_RICH
    screen.show(surveys, options.interval)
    return 0


def rounds(settings: Settings, interval: int, count: int | None) -> Iterator[Survey]:
    """Ask all sources every `interval` ns, `count` times or until an interrupt."""
    with contextlib.suppress(KeyboardInterrupt):
        while count is None or count > 0:
            began = time.monotonic()
            yield survey.ask(settings, all_sources=True)
            if count is not None:
                count -= 1
            if count != 0:
                _sleep_until(began + interval / SECOND)


def _sleep_until(end: float) -> None:
    """Sleep in short steps: a signal that arrives just before a sleep begins is handled only after that sleep."""
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _STEP))


def _print(surveys: Iterator[Survey], *, as_json: bool) -> int:
    with contextlib.suppress(KeyboardInterrupt):
        for found in surveys:
            if not write(json_line(found) if as_json else line(found)):
                break
    return 0


def line(found: Survey) -> str:
    """Format a round as a line, for people and for grep."""
    outcome = check.assess(found)
    results = [] if found.estimate is None else map(str, found.results)  # else the outcome's text holds them
    return "; ".join([f"{check.timestamp(found)} {outcome.status} - {outcome.text}", *results])


def json_line(found: Survey) -> str:
    """Format a round as a line of JSON: as ``skewguard check`` does, with the wall clock's time."""
    return json.dumps({"time": check.timestamp(found), **check.outcome_json(check.assess(found), found)})
