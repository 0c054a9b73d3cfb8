"""A plot of offsets and their bounds, in characters. Pure; integer nanoseconds in, lines of text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from skewguard.cli.survey import Known
from skewguard.wording import decimal


class Marks(NamedTuple):
    """What is drawn with: an offset, what lies within its bound, a clock that is right, and the axis."""

    offset: str
    bound: str
    right: str
    axis: str


UNICODE = Marks("●", "│", "┈", "┤")
ASCII = Marks("o", "|", "-", "+")


def draw(rounds: Sequence[Known | None], width: int, height: int, marks: Marks = UNICODE) -> list[str]:
    """Draw the newest rounds, one to a column, with the newest at the right; where nothing is known, nothing.

    Args:
        rounds: Oldest first.
        width: How many characters a line may have, of which the scale takes some. Lines can be shorter.
        height: How many lines, at least 2.
        marks: What to draw with.
    """
    known = [one for one in rounds if one is not None]
    if not known:
        return ["nothing heard yet", *[""] * (height - 1)]
    low = min(one.offset - one.bound for one in known)
    high = max(one.offset + one.bound for one in known)
    if low == high:
        low, high = low - 1, high + 1
    scale = _scale(low, high, height)
    columns = max(width - len(scale[0]) - 2, 1)

    def row(value: int) -> int:
        return ((high - value) * (height - 1) + (high - low) // 2) // (high - low)

    shown = rounds[-columns:]
    grid = [[" "] * len(shown) for _ in range(height)]
    if low <= 0 <= high:
        grid[row(0)] = [marks.right] * len(shown)
    for column, one in enumerate(shown):
        if one is None:
            continue
        for line in range(row(one.offset + one.bound), row(one.offset - one.bound) + 1):
            grid[line][column] = marks.bound
        grid[row(one.offset)][column] = marks.offset
    return [f"{label} {marks.axis}{''.join(line).rstrip()}" for label, line in zip(scale, grid, strict=True)]


def _scale(low: int, high: int, height: int) -> list[str]:
    """Name the highest, the lowest and the middle line, to as many digits as tell two lines apart."""
    digits = min(max(10 - len(str((high - low) // (height - 1) or 1)), 0), 9)
    named = {0: high, height - 1: low}
    if height >= 5 and height % 2:
        named[height // 2] = (high + low) // 2
    labels = []
    for line in range(height):
        text = decimal(named[line], digits) if line in named else ""
        labels.append(f"+{text} s" if text and named[line] > 0 else f"{text} s" if text else "")
    width = max(map(len, labels))
    return [label.rjust(width) for label in labels]
