"""Plot offsets and their bounds in characters. Pure; integer nanoseconds in, lines of text out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from skewguard.cli.survey import ClockOffset
from skewguard.wording import decimal


class Marks(NamedTuple):
    """The characters for an offset, the range within its bound, offset zero, and the axis."""

    offset: str
    bound: str
    zero: str
    axis: str


UNICODE = Marks("●", "│", "┈", "┤")
ASCII = Marks("o", "|", "-", "+")


def draw(offsets: Sequence[ClockOffset | None], width: int, height: int, marks: Marks = UNICODE) -> list[str]:
    """Draw the newest offsets, given oldest first, one in each column, the newest at the right; None leaves a gap.

    `width` includes the scale; `height` is at least 2 lines.
    """
    known = [one for one in offsets if one is not None]
    if not known:
        return ["no time yet", *[""] * (height - 1)]
    low = min(one.offset - one.bound for one in known)
    high = max(one.offset + one.bound for one in known)
    if low == high:
        low, high = low - 1, high + 1
    scale = _scale(low, high, height)
    columns = max(width - len(scale[0]) - 2, 1)

    def row(value: int) -> int:
        return ((high - value) * (height - 1) + (high - low) // 2) // (high - low)

    shown = offsets[-columns:]
    grid = [[" "] * len(shown) for _ in range(height)]
    if low <= 0 <= high:
        grid[row(0)] = [marks.zero] * len(shown)
    for column, one in enumerate(shown):
        if one is None:
            continue
        for line in range(row(one.offset + one.bound), row(one.offset - one.bound) + 1):
            grid[line][column] = marks.bound
        grid[row(one.offset)][column] = marks.offset
    return [f"{label} {marks.axis}{''.join(line).rstrip()}" for label, line in zip(scale, grid, strict=True)]


def _scale(low: int, high: int, height: int) -> list[str]:
    """Label the highest, the lowest and the middle line, with enough digits that labels of two lines differ."""
    digits = min(max(10 - len(str((high - low) // (height - 1) or 1)), 0), 9)
    labelled = {0: high, height - 1: low}
    if height >= 5 and height % 2:
        labelled[height // 2] = (high + low) // 2
    labels = []
    for line in range(height):
        text = decimal(labelled[line], digits) if line in labelled else ""
        labels.append(f"+{text} s" if text and labelled[line] > 0 else f"{text} s" if text else "")
    width = max(map(len, labels))
    return [label.rjust(width) for label in labels]
