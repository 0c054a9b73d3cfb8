"""The pictures of intervals in the docs, drawn from the results of skewguard's own arithmetic.

``python -m tests.pictures --write`` draws them; tests/test_docs.py checks that they are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.http_date import response_interval
from skewguard.interval import SECOND, Interval, Trust, intersect, vote

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
OFFSET = 1200.3  # s: true time minus wall clock, in the picture of responses
OFFSET_AXIS = "true time minus wall clock, s"
WIDTH, LEFT, RIGHT, ROW, TOP = 720, 210, 40, 34, 30  # pixels
GREY, BLUE, GREEN, RED = "#8a8f98", "#3b6fb6", "#2e8b57", "#c0392b"


class Bar(NamedTuple):
    """One interval, in seconds on the axis, with its label and colour."""

    label: str
    low: float
    high: float
    colour: str


def picture(title: str, axis: str, bars: list[Bar], ends: tuple[float, float], ticks: list[float]) -> str:
    """Draw bars above an axis, as SVG."""
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
        lines.append(f'<text x="{LEFT - 12}" y="{y + 13}" text-anchor="end">{bar.label}</text>')
        wide = max(round(x(bar.high) - x(bar.low), 1), 2.0)
        lines.append(f'<rect x="{x(bar.low)}" y="{y}" width="{wide}" height="18" rx="3" fill="{bar.colour}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def measured(label: str, low: float, high: float) -> Interval:
    """Build a measurement of the steady instant 0, in seconds."""
    return Interval(0, round(low * SECOND), round(high * SECOND), Trust.WITNESS, label)


def bar(one: Interval, colour: str, label: str = "") -> Bar:
    return Bar(label or one.source, one.earliest / SECOND, one.latest / SECOND, colour)


def response(label: str, sent: float, took: float) -> Interval:
    """Compute what a response proves of the offset: sent at `sent` s by the wall clock, dated halfway, in whole s."""
    date = int(sent + took / 2 + OFFSET)
    begin, end = round(sent * SECOND), round((sent + took) * SECOND)
    clocks = Reading(begin, begin), Reading(end, end)
    proved = response_interval(date * SECOND, (date + 1) * SECOND, *clocks, Trust.WITNESS, label)
    return Interval(0, proved.earliest - end, proved.latest - end, proved.trust, label)


def responses() -> str:
    """Draw what three responses prove (the second of `Date`, and the duration), and their intersection."""
    slow = response("an upload of 3 s", 40.1, 3)
    quick = response("a response after 0.2 s", 60.4, 0.2)
    other = response("a response after 0.4 s", 70.9, 0.4)
    joined = intersect(slow, quick)
    joined = joined and intersect(joined, other)
    bars = [bar(slow, GREY), bar(quick, BLUE), bar(other, BLUE), bar(joined, GREEN, "intersection")]
    ticks = [float(tick) for tick in range(1197, 1203)]
    return picture("Responses as intervals, and their intersection", OFFSET_AXIS, bars, (1196.5, 1202.5), ticks)


def votes() -> str:
    """Draw three sources and a falseticker."""
    honest = [measured("chrony", 1199.95, 1200.05), measured("ntp://a", 1199.7, 1200.2)]
    honest.append(measured("ntp://b", 1199.9, 1200.4))
    liar = measured("ntp://c", 1201.5, 1201.9)
    result = vote([*honest, liar], 0)
    assert [one.source for one in result.falsetickers] == [liar.source]
    bars = [bar(one, BLUE) for one in honest]
    bars += [bar(liar, RED, "ntp://c, a falseticker"), bar(result.interval, GREEN, "most agree on")]
    ticks = [1199.5, 1200, 1200.5, 1201, 1201.5, 1202]
    return picture("A vote of four time sources", OFFSET_AXIS, bars, (1199.5, 1202), ticks)


def ageing() -> str:
    """Draw a measurement, and how wide it is after an hour and a day."""
    fresh = measured("when measured", 0, 1)
    bars = [bar(fresh, BLUE)]
    for label, seconds in (("an hour later", 3600), ("a day later", 86_400)):
        aged = fresh.aged(seconds * SECOND)
        bars.append(Bar(label, aged.earliest / SECOND - seconds, aged.latest / SECOND - seconds, GREY))
    axis = "true time minus what the steady clock predicts, s"
    return picture("How a measurement widens with age", axis, bars, (-10, 10), [-10, -5, 0, 5, 10])


PICTURES = {"answers.svg": responses, "vote.svg": votes, "ageing.svg": ageing}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        if "--write" in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(draw(), "utf-8")
        else:
            print(draw())
