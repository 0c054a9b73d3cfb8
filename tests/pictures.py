"""The pictures in the docs, drawn from the results of skewguard's own arithmetic and rules.

``python -m tests.pictures --write`` draws them; tests/test_docs.py checks that they are up to date.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.http_date import response_interval
from skewguard.interval import EARLIEST, SECOND, Interval, Trust, intersect, vote
from skewguard.testing.clocks import FakeClocks
from skewguard.timekeeping.domain import UTC, Domain
from skewguard.timekeeping.evidence import Evidence, Grade, Observation, Shown, after
from skewguard.timekeeping.knowledge import Correction, Knowledge
from skewguard.timekeeping.timekeeper import Timekeeper
from tests import dashboard

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
OFFSET = 1200.3  # s: true time minus wall clock, in the picture of responses
OFFSET_AXIS = "true time minus wall clock, s"
WIDTH, LEFT, RIGHT, ROW, TOP = 720, 210, 40, 34, 30  # pixels
HOUR = 3_600 * SECOND
GREY, BLUE, GREEN, RED = "#8a8f98", "#3b6fb6", "#2e8b57", "#c0392b"


class Bar(NamedTuple):
    """One interval, in seconds on the axis, with its label and colour."""

    label: str
    low: float
    high: float
    colour: str


def sheet(title: str, height: int, font: int = 13) -> list[str]:
    """Begin an SVG: white paper, with a title."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="{font}">',
        f"<title>{title}</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#fff"/>',
    ]


def picture(title: str, axis: str, bars: list[Bar], ends: tuple[float, float], ticks: list[float]) -> str:
    """Draw bars above an axis, as SVG."""
    low, high = ends
    height = TOP + ROW * len(bars) + 52

    def x(seconds: float) -> float:
        return round(LEFT + (seconds - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    lines = sheet(title, height)
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


A_SERVER, ANOTHER = "https://a", "https://b"


def evidence(grade: Grade) -> Evidence | None:
    """Build evidence of a grade, an hour ahead of the wall clock; None for `Grade.NONE`."""
    said = Interval(0, EARLIEST + HOUR, EARLIEST + HOUR + SECOND, Trust.AUTHENTICATED, "")
    return Evidence(grade, said, A_SERVER) if grade else None


def moves() -> dict[str, dict[Grade, Grade]]:
    """Compute to which grade each kind of answer leads, from each that may have been known; and what a vote adds."""
    stored = [grade for grade in Grade if grade is not Grade.VOTE]
    later = Interval(0, EARLIEST + 9 * HOUR, EARLIEST + 9 * HOUR + SECOND, Trust.AUTHENTICATED, "")
    found = {}
    for shown in Shown:
        seen = Observation(shown, later, ANOTHER, later.earliest)
        found[shown.value.replace("`", "")] = {grade: after(evidence(grade), seen).grade for grade in stored}
    voted = {}
    for grade in stored:
        known = Knowledge(Settings(), Domain(UTC))
        known.utc.evidence = evidence(grade)
        known.witness = Interval(0, EARLIEST, EARLIEST + 2 * HOUR, Trust.WITNESS, "")
        agreed = known.of(known.utc, 0)
        assert agreed is not None
        voted[grade] = agreed.grade
    return {**found, "the time sources agree": voted}


def uses() -> dict[str, list[Grade]]:
    """Compute what each grade may be used for."""
    keeper = Timekeeper(Settings(), FakeClocks())
    published: list[Grade] = []
    found: dict[str, list[Grade]] = {
        "dates requests that can be made again": [],
        "dates what cannot be made again, at the server that said so": [],
        "dates what cannot be made again, at every server with that clock": [],
        "is told to other processes": published,
    }
    again, there, everywhere, _ = found.values()
    rules, domain = keeper._knowledge, keeper.utc
    for grade in list(Grade)[1:]:
        domain.evidence = evidence(grade)
        correction = Correction(domain.evidence, HOUR, withheld=False)
        assert domain.evidence is not None
        if rules.offset(domain.evidence.estimate, EARLIEST):
            again.append(grade)
        if rules.irrevocable(domain, correction, A_SERVER, EARLIEST) != EARLIEST:
            there.append(grade)
        if rules.irrevocable(domain, correction, ANOTHER, EARLIEST) != EARLIEST:
            everywhere.append(grade)
        keeper._others.publish = lambda *_, grade=grade: published.append(grade)  # type: ignore[method-assign]
        keeper.share(domain)
    return found


def grades() -> str:
    """Draw how an answer changes the grade of what is known, and what each grade may be used for."""
    left, wide, top = 440, 56, 56
    changes, allowed = moves(), uses()
    rows = [*changes, "", *allowed]
    height = top + 26 * len(rows) + 12

    def x(grade: Grade) -> int:
        return left + wide * grade + wide // 2

    lines = sheet("The grades of evidence: what leads to each, and what it may be used for", height, font=12)
    for grade in Grade:
        name = grade.label if grade else "nothing"
        lines.append(f'<text x="{x(grade)}" y="24" text-anchor="middle" font-weight="bold">{name}</text>')
        lines.append(f'<path d="M{x(grade)} 34V{height - 16}" stroke="#ddd"/>')
    for row, label in enumerate(rows):
        y = top + 26 * row
        lines.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{label}</text>')
        for before, now in changes.get(label, {}).items():
            if before is not now:
                colour = GREEN if now > before else RED
                lines.append(f'<path d="M{x(before)} {y}H{x(now)}" stroke="{colour}" stroke-width="2"/>')
                lines.append(f'<circle cx="{x(before)}" cy="{y}" r="3" fill="{colour}"/>')
                lines.append(f'<circle cx="{x(now)}" cy="{y}" r="6" fill="{colour}"/>')
        if label in allowed:
            lowest = allowed[label][0]
            assert allowed[label] == list(Grade)[lowest:]  # what a grade may be used for, a higher one may
            start, end = x(lowest) - wide // 2 + 4, x(Grade.PROOF) + wide // 2 - 4
            lines.append(f'<rect x="{start}" y="{y - 8}" width="{end - start}" height="16" rx="3" fill="{BLUE}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


PICTURES = {"answers.svg": responses, "vote.svg": votes, "ageing.svg": ageing, "grades.svg": grades}
PICTURES["dashboard.svg"] = dashboard.draw


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        if "--write" in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / name).write_text(draw(), "utf-8")
        else:
            print(draw())
