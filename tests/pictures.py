"""The pictures of intervals in the docs, drawn from what skewguard's own arithmetic says.

``python -m tests.pictures --write`` draws them; tests/test_docs.py sees that they are fresh.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.interval import SECOND, Interval, Trust, intersect, vote
from skewguard.timekeeping.knowledge import response_interval

PLACE = Path(__file__).parent.parent / "docs" / "pictures"
OFFSET = 1200.3  # s: true time minus wall clock, in the picture of answers
WIDTH, LEFT, RIGHT, ROW, TOP = 720, 210, 40, 34, 30  # pixels
GREY, BLUE, GREEN, RED = "#8a8f98", "#3b6fb6", "#2e8b57", "#c0392b"


class Bar(NamedTuple):
    """One interval, in seconds on the axis, with its words and colour."""

    words: str
    low: float
    high: float
    colour: str


def picture(title: str, axis: str, bars: list[Bar], ends: tuple[float, float], ticks: list[float]) -> str:
    """Draw bars above an axis."""
    low, high = ends
    height = TOP + ROW * len(bars) + 52

    def x(seconds: float) -> float:
        return round(LEFT + (seconds - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="13">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
    ]
    bottom = TOP + ROW * len(bars)
    for tick in ticks:
        lines.append(f'<path d="M{x(tick)} {TOP - 14}V{bottom + 4}" stroke="#ddd"/>')
        lines.append(f'<text x="{x(tick)}" y="{bottom + 20}" text-anchor="middle" fill="#555">{tick:g}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 40}" text-anchor="middle">{axis}</text>')
    for row, bar in enumerate(bars):
        y = TOP + row * ROW
        lines.append(f'<text x="{LEFT - 12}" y="{y + 13}" text-anchor="end">{bar.words}</text>')
        wide = max(round(x(bar.high) - x(bar.low), 1), 2.0)
        lines.append(f'<rect x="{x(bar.low)}" y="{y}" width="{wide}" height="18" rx="3" fill="{bar.colour}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def said(words: str, low: float, high: float, at: float = 0) -> Interval:
    """Make a statement, in seconds: true time at a steady instant, counted from some start."""
    return Interval(round(at * SECOND), round(low * SECOND), round(high * SECOND), Trust.WITNESS, words)


def bar(one: Interval, colour: str, words: str = "") -> Bar:
    """Draw a statement."""
    return Bar(words or one.source, one.earliest / SECOND, one.latest / SECOND, colour)


def answer(words: str, sent: float, took: float) -> Interval:
    """Say what an answer shows of the offset: sent at `sent` s by the wall clock, made halfway, `Date` in whole s."""
    date = int(sent + took / 2 + OFFSET)
    begin, end = round(sent * SECOND), round((sent + took) * SECOND)
    clocks = Reading(begin, begin), Reading(end, end)
    told = response_interval(date * SECOND, (date + 1) * SECOND, *clocks, Trust.WITNESS, words)
    return Interval(0, told.earliest - end, told.latest - end, told.trust, words)


def answers() -> str:
    """What three answers prove: each a second of `Date` and as much as it took; together, less than the best."""
    slow = answer("an upload of 3 s", 40.1, 3)
    quick = answer("an answer after 0.2 s", 60.4, 0.2)
    other = answer("an answer after 0.4 s", 70.9, 0.4)
    joined = intersect(slow, quick)
    joined = joined and intersect(joined, other)
    assert joined is not None
    bars = [bar(slow, GREY), bar(quick, BLUE), bar(other, BLUE), bar(joined, GREEN, "so it lies in")]
    words = "true time minus wall clock, s"
    ticks = [float(tick) for tick in range(1197, 1203)]
    return picture("Answers as intervals, and what they share", words, bars, (1196.5, 1202.5), ticks)


def votes() -> str:
    """Three sources and a falseticker."""
    honest = [said("chrony", 1199.95, 1200.05), said("ntp://a", 1199.7, 1200.2), said("ntp://b", 1199.9, 1200.4)]
    liar = said("ntp://c", 1201.5, 1201.9)
    told = vote([*honest, liar], 0)
    assert told.interval is not None
    assert [one.source for one in told.falsetickers] == [liar.source]
    bars = [bar(one, BLUE) for one in honest]
    bars += [bar(liar, RED, "ntp://c, a falseticker"), bar(told.interval, GREEN, "most agree on")]
    words = "true time minus wall clock, s"
    return picture(
        "A vote of four time sources", words, bars, (1199.5, 1202), [1199.5, 1200, 1200.5, 1201, 1201.5, 1202]
    )


def ageing() -> str:
    """A statement, and how much of it is left after an hour, a day and a jump of the wall clock."""
    told = said("when heard", 0, 1)
    bars = [bar(told, BLUE)]
    for words, seconds in (("an hour later", 3600), ("a day later", 86_400)):
        aged = told.aged(seconds * SECOND)
        bars.append(Bar(words, aged.earliest / SECOND - seconds, aged.latest / SECOND - seconds, GREY))
    words = "true time minus what the steady clock says it should be, s"
    return picture("How a statement loosens with age", words, bars, (-10, 10), [-10, -5, 0, 5, 10])


PICTURES = {"answers.svg": answers, "vote.svg": votes, "ageing.svg": ageing}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        if "--write" in sys.argv:
            PLACE.mkdir(exist_ok=True)
            (PLACE / name).write_text(draw(), "utf-8")
        else:
            print(draw())
