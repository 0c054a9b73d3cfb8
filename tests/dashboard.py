"""The picture of examples/monitoring/dashboard.json: its panels where Grafana puts them, with example data.

The data is a day of two hosts: one is right, one loses 12 s an hour until a daemon sets it right after 15 hours.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from pathlib import Path

DASHBOARD = Path(__file__).parent.parent / "examples" / "monitoring" / "dashboard.json"
COLUMN, ROW, GAP, TOP = 40, 24, 6, 30  # pixels; Grafana divides the width into 24 columns
PAPER, PANEL, LINE, TEXT, PALE = "#111217", "#181b1f", "#2c3235", "#d8d9da", "#9fa7b3"
GREEN, YELLOW, RED, BLUE = "#73bf69", "#fade2a", "#f2495c", "#5794f2"
DRIFT, MENDED, HOURS = 12.0, 15, 24


def drift(hour: float) -> float:
    return DRIFT * hour if hour < MENDED else 0.02


Series = tuple[str, str, Callable[[float], float]]
"""A legend, a colour, and the value at an hour."""

SERIES: dict[str, list[Series]] = {
    "Offset: true time minus wall clock": [("web-1", GREEN, lambda _: 0.01), ("web-2", YELLOW, drift)],
    "Error bound": [
        ("web-1", GREEN, lambda hour: 0.002 + 0.002 * (hour % 0.3)),
        ("web-2", YELLOW, lambda hour: 0.01 + 0.02 * (hour % 0.3)),
    ],
    "Requests signed again": [("s3 skew", BLUE, lambda hour: 0.4 if abs(hour - 9) < 0.25 else 0.0)],
    "Steps of the clock, and rejected measurements": [
        ("steps", RED, lambda hour: 1.0 if abs(hour - MENDED) < 0.15 else 0.0),
        ("rejected", BLUE, lambda hour: 1.0 if abs(hour - 19) < 0.15 else 0.0),
    ],
}
FIGURES = {
    "Furthest off": ("20 ms", GREEN),
    "Time unknown": ("0", GREEN),
    "Being corrected": ("0", GREEN),
    "Sources that contradict the others": ("1", YELLOW),
}
STATES = {"Time sources": [("web-1 chrony", [GREEN] * 24), ("web-2 ntp://c", [GREEN] * 18 + [RED] * 6)]}


def draw() -> str:
    """Draw every panel; one that has no example data is an error."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    height = TOP + ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width = 24 * COLUMN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" '
        f'font-size="13">',
        "<title>The dashboard, with example data</title>",
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
        f'<text x="10" y="20" fill="{TEXT}" font-size="15">skewguard</text>',
    ]
    for panel in panels:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN, TOP + place["y"] * ROW
        wide, high = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        title = panel["title"]
        lines.append(f'<g transform="translate({x} {y})">')
        lines.append(f'<rect width="{wide}" height="{high}" rx="3" fill="{PANEL}" stroke="{LINE}"/>')
        lines.append(f'<text x="10" y="19" fill="{TEXT}">{html.escape(title)}</text>')
        kind = {"stat": figure, "timeseries": graph, "state-timeline": states}[panel["type"]]
        lines += [*kind(title, wide, high), "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def figure(title: str, wide: int, high: int) -> list[str]:
    text, colour = FIGURES[title]
    place = f'x="{wide / 2:g}" y="{high / 2 + 24:g}" text-anchor="middle"'
    return [f'<text {place} font-size="40" fill="{colour}">{text}</text>']


def graph(title: str, wide: int, high: int) -> list[str]:
    left, right, top, bottom = 46, wide - 12, 34, high - 40
    values = {legend: [read(step / 10) for step in range(10 * HOURS + 1)] for legend, _, read in SERIES[title]}
    most = max(max(numbers) for numbers in values.values())
    lines = []
    for part in range(5):
        y = bottom - (bottom - top) * part / 4
        lines.append(f'<path d="M{left} {y:g}H{right}" stroke="{LINE}"/>')
        lines.append(f'<text x="{left - 6}" y="{y + 4:g}" fill="{PALE}" text-anchor="end">{most * part / 4:.3g}</text>')
    for place, (legend, colour, _) in enumerate(SERIES[title]):
        steps = len(values[legend]) - 1
        points = (
            f"{left + (right - left) * step / steps:.0f} {bottom - (bottom - top) * value / most:.0f}"
            for step, value in enumerate(values[legend])
        )
        lines.append(f'<path d="M{"L".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        lines.append(f'<rect x="{left + 110 * place}" y="{high - 22}" width="12" height="4" fill="{colour}"/>')
        lines.append(f'<text x="{left + 110 * place + 18}" y="{high - 15}" fill="{PALE}">{legend}</text>')
    return lines


def states(title: str, wide: int, high: int) -> list[str]:
    lines = []
    left, row = 110, (high - 50) // len(STATES[title])
    for place, (legend, colours) in enumerate(STATES[title]):
        y, hour = 34 + place * row, (wide - left - 12) / HOURS
        lines.append(f'<text x="10" y="{y + row // 2}" fill="{PALE}">{legend}</text>')
        for number, colour in enumerate(colours):
            box = f'x="{left + hour * number:.1f}" y="{y}" width="{hour + 0.2:.1f}" height="{row - 8}"'
            lines.append(f'<rect {box} fill="{colour}"/>')
    return lines
