"""All comparisons with unguarded botocore: printed, and drawn into one HTML file.

Takes some minutes; ``--small`` takes seconds, and means nothing but that it runs.

python benchmarks/report.py [--small] [--write build/benchmarks.html]
"""

from __future__ import annotations

import argparse
import html
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import botocore
import common
import instructions
import memory
import processes
import recovery
import steps
import storms

BENCHMARKS: tuple[ModuleType, ...] = (instructions, memory, recovery, storms, steps, processes)

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>skewguard: benchmarks</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse; width: 100% }} td {{ padding: .4em .6em; border-top: 1px solid #ddd }}
td.ratio {{ text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }}
.missed {{ color: #b00020 }} h2 {{ margin: 1.6em 0 .2em }} p {{ margin: .2em 0 .8em; color: #555 }}
.plain {{ fill: #b8bec6 }} .guarded {{ fill: #2a6fbb }} text {{ font: 12px system-ui, sans-serif }}
</style>
<h1>skewguard, held against botocore</h1>
<p>{host}</p>
<p>Grey: botocore alone. Blue: with skewguard. Both were measured in the same run; on a shared machine only the ratios
and counts mean anything.</p>
{sections}
</html>
"""


def bars(row: common.Row) -> str:
    """Draw a row's two figures; a figure that is None has no bar."""
    longest = max(row.plain or 0, row.guarded) or 1
    lines = []
    for place, (name, value) in enumerate((("plain", row.plain), ("guarded", row.guarded))):
        width = 280 * (value or 0) / longest
        text = common.figure(value) + ("" if value is None else f" {row.unit}")
        y = place * 19
        lines.append(f'<rect class="{name}" x="0" y="{y}" width="{width:.1f}" height="15"/>')
        lines.append(f'<text x="{width + 6:.1f}" y="{y + 12}">{html.escape(text)}</text>')
    return f'<svg width="430" height="36" role="img">{"".join(lines)}</svg>'


def section(title: str, rows: Iterable[common.Row]) -> str:
    """Draw one benchmark."""
    drawn = []
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f} times"
        aim = "" if row.aim is None else f"<br>aim: {row.aim:.4g}"
        kind = "ratio" if row.met else "ratio missed"
        drawn.append(f'<tr><td>{html.escape(row.what)}<td>{bars(row)}<td class="{kind}">{ratio}{aim}')
    name, _, about = title.partition(": ")
    return f"<h2>{html.escape(name)}</h2><p>{html.escape(about)}</p><table>{''.join(drawn)}</table>"


def main() -> None:
    """Measure everything, print it, and draw it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="only see that everything runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="where to draw it")
    options = parser.parse_args()
    sections = []
    for benchmark in BENCHMARKS:
        about = (benchmark.__doc__ or "").splitlines()[0]
        try:
            rows = benchmark.measure(options.small)
        except SystemExit as error:  # what it needs is not installed
            print(f"{benchmark.__name__}: {error}\n")
            continue
        print(f"{about}\n{common.render(rows)}\n", flush=True)
        sections.append(section(f"{benchmark.__name__}: {about}", rows))
    if options.write is not None:
        host = f"{time.strftime('%Y-%m-%d', time.gmtime())}, Python {platform.python_version()}, botocore "
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(
            PAGE.format(host=html.escape(host + botocore.__version__), sections="\n".join(sections)), "utf-8"
        )


if __name__ == "__main__":
    main()
