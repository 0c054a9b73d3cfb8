"""What `watch` shows on a terminal, drawn with rich: the extra ``cli``."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Iterable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from skewguard.cli import check
from skewguard.cli.survey import Heard, Known, Survey
from skewguard.cli.watch import plot
from skewguard.wording import decimal, length, plain

_KEPT = 1000  # rounds; more columns than any terminal has
_TALLEST, _LOWEST = 9, 3  # a plot's height
_COLOURS = {check.OK: "green", check.WARNING: "yellow", check.CRITICAL: "red", check.UNKNOWN: "yellow"}


def show(rounds: Iterable[Survey], interval: int) -> None:
    """Show each round in place of the one before, until they end or are interrupted; leave the last one standing.

    Args:
        rounds: What to show, each as soon as it comes.
        interval: How far apart they are, ns; it is told.
    """
    console = Console(highlight=False)
    history = History(interval)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # also then the terminal is put right
    try:
        with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
            for found in rounds:
                history.add(found)
                live.update(history.picture(console), refresh=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    if history.count:
        console.print(history.picture(console))


class History:
    """What was seen so far."""

    def __init__(self, interval: int) -> None:
        self.count = 0
        self._every = plain(interval)
        self._last: Survey
        self._said: dict[str, deque[Known | None]] = {}

    def add(self, found: Survey) -> None:
        """Take a round."""
        self.count += 1
        self._last = found
        for one in found.heard:
            self._said.setdefault(one.name, deque(maxlen=_KEPT)).append(one.said)

    def picture(self, console: Console) -> Group:
        """Draw it: the judgement, a table, and as many plots as there is room for."""
        found = self._last
        outcome = check.judged(found)
        title = f"skewguard watch  {check.stamp(found)}  round {self.count}, every {self._every} s; Ctrl-C ends"
        verdict = (check.NAMES[outcome.code], f"bold {_COLOURS[outcome.code]}")
        lines = [_line(title), _line(verdict, f" - {outcome.text}"), Text(), *_table(found), Text()]
        return Group(*lines, *self._plots(console, console.height - len(lines) - 1))

    def _plots(self, console: Console, room: int) -> list[Text]:
        fitting = min(len(self._said), room // (_LOWEST + 1))
        if fitting < 1:
            return []
        height = min(room // fitting - 1, _TALLEST)
        marks = plot.ASCII if console.options.ascii_only else plot.UNICODE
        lines = []
        for name, said in list(self._said.items())[:fitting]:
            lines.append(_line((name, "bold")))
            lines += map(_line, plot.draw(list(said), console.width, height, marks))
        return lines


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _table(found: Survey) -> list[Text]:
    rows = [("source", "offset", "give or take"), *map(_cells, found.heard)]
    name, offset, bound = (max(map(len, column)) for column in zip(*rows, strict=True))
    left = [f"{row[0]:<{name}}  {row[1]:>{offset}}  {row[2]:>{bound}}  " for row in rows]
    verdicts = [(one.verdict, _colour(one)) for one in found.heard]
    return [_line((left[0] + "verdict", "bold")), *map(_line, left[1:], verdicts)]


def _cells(one: Heard) -> tuple[str, str, str]:
    if one.said is None:
        return one.name, "-", "-"
    return one.name, f"{'+' if one.said.offset > 0 else ''}{decimal(one.said.offset)} s", length(one.said.bound)


def _colour(one: Heard) -> str:
    return "dim" if one.said is None else "yellow" if one.off_by is None else "red" if one.off_by else "green"
