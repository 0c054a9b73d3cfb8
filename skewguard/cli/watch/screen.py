"""Draw what `watch` shows on a terminal, with rich: the extra ``cli``."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from skewguard.cli import check
from skewguard.cli.output import columns
from skewguard.cli.survey import ClockOffset, SourceResult, Survey
from skewguard.cli.watch import plot
from skewguard.wording import decimal, length, plain

_KEPT = 1000  # rounds; more than any terminal has columns
_MAX_HEIGHT, _MIN_HEIGHT = 9, 3  # of a plot, lines
_COLOURS = {"OK": "green", "WARNING": "yellow", "CRITICAL": "red"}


def show(surveys: Iterable[Survey], interval: int) -> None:
    """Show each survey in turn, `interval` ns apart, until they end or an interrupt; leave the last on the terminal."""
    console = Console(highlight=False)
    history = History(interval)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM must restore the terminal too
    try:
        with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
            for found in surveys:
                history.add(found)
                live.update(history.picture(console), refresh=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    if history.count:
        console.print(history.picture(console))


class History:
    """The surveys so far."""

    def __init__(self, interval: int) -> None:
        self.count = 0
        self._every = plain(interval)
        self._last: Survey
        self._offsets: dict[str, deque[ClockOffset | None]] = {}

    def add(self, found: Survey) -> None:
        """Add a survey."""
        self.count += 1
        self._last = found
        for result in found.results:
            self._offsets.setdefault(result.name, deque(maxlen=_KEPT)).append(result.measured)

    def picture(self, console: Console) -> Group:
        """Draw the assessment, a table, and as many plots as fit."""
        found = self._last
        outcome = check.assess(found)
        title = f"skewguard watch  {check.timestamp(found)}  round {self.count}, every {self._every} s; Ctrl-C ends"
        verdict = (outcome.status, f"bold {_COLOURS[outcome.status]}")
        lines = [_line(title), _line(verdict, f" - {outcome.text}"), Text(), *_table(found), Text()]
        return Group(*lines, *self._plots(console, console.height - len(lines) - 1))

    def _plots(self, console: Console, room: int) -> list[Text]:
        fitting = min(len(self._offsets), room // (_MIN_HEIGHT + 1))
        if fitting < 1:
            return []
        height = min(room // fitting - 1, _MAX_HEIGHT)
        marks = plot.ASCII if console.options.ascii_only else plot.UNICODE
        lines = []
        for name, offsets in list(self._offsets.items())[:fitting]:
            lines.append(_line((name, "bold")))
            lines += map(_line, plot.draw(list(offsets), console.width, height, marks))
        return lines


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _table(found: Survey) -> list[Text]:
    head, *rows = columns([("source", "offset", "error bound"), *map(_cells, found.results)], right={1, 2})
    verdicts = [(result.verdict, _colour(result)) for result in found.results]
    return [
        _line((f"{head}  verdict", "bold")),
        *(_line(f"{row}  ", end) for row, end in zip(rows, verdicts, strict=True)),
    ]


def _cells(result: SourceResult) -> tuple[str, str, str]:
    known = result.measured
    if known is None:
        return result.name, "-", "-"
    return result.name, f"{'+' if known.offset > 0 else ''}{decimal(known.offset)} s", length(known.bound)


def _colour(result: SourceResult) -> str:
    if result.measured is None:
        return "dim"
    return "yellow" if result.off_by is None else "red" if result.off_by else "green"
