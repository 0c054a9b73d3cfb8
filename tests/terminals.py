"""The terminals in README and docs, drawn by rich from what the commands really print.

``python -m tests.terminals --write`` draws them; tests/test_docs_pictures.py runs the commands again, and compares what
is drawn with what they print, apart from times, lengths and addresses.
"""

from __future__ import annotations

import html
import io
import os
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.color import parse_rgb_hex
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from skewguard.cli import output
from skewguard.cli.doctor import command as doctor
from skewguard.cli.doctor.diagnosis import diagnose
from skewguard.cli.survey import SourceResult, Survey
from skewguard.cli.watch import screen
from skewguard.interval import SECOND
from skewguard.testing import StrictEndpoint
from tests.ntp_server import wall_server
from tests.real.faketime import FakeTime
from tests.support import completed
from tests.surveys import WALL, example, known

FOLDER = Path(__file__).parent.parent / "docs" / "pictures"
CELL = 12.2  # the width of a character in what rich draws, in its own units

PLAIN = """import boto3

sts = boto3.client("sts", region_name="us-east-1")
print(sts.get_caller_identity()["Arn"])
"""
GUARDED = PLAIN.replace("boto3\n\n", "boto3\nimport skewguard\n\nskewguard.install()\n", 1)

REDIRECTED = """
from skewguard.testing.tls import AWS_SUFFIXES, redirected
lead = redirected(lambda name, port: {port} if name.endswith(AWS_SUFFIXES) else None, {{"no_proxy": "*"}})
lead.__enter__()
"""
"""Makes a program take the server for AWS."""

# Every colour has a contrast of at least 4.5 to the background, as WCAG AA wants.
_COLOURS = ["#181b21", "#ff7b72", "#7ed385", "#f0c86e", "#79b8ff", "#d2a8ff", "#76d6e0", "#e5e9f0"]
_BRIGHT = ["#a0a8b4", "#ff9991", "#96e19d", "#fad88c", "#96cbff", "#debdff", "#96e4ec", "#ffffff"]
THEME = TerminalTheme(
    parse_rgb_hex("181b21"),
    parse_rgb_hex("e5e9f0"),
    [parse_rgb_hex(colour[1:]) for colour in _COLOURS],
    [parse_rgb_hex(colour[1:]) for colour in _BRIGHT],
)

# rich's own format fetches a font from another site; this one uses the reader's.
FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<style>
.{unique_id}-matrix {{ font: {char_height}px/{line_height}px ui-monospace, Menlo, Consolas, monospace }}
.{unique_id}-title {{ font: bold 18px sans-serif }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def draw(name: str, printed: str) -> str:
    """Draw what a command printed, escape sequences included, as SVG."""
    width = 96 if name.startswith("watch") else 84
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(printed), highlight=False, soft_wrap=False)
    drawn = console.export_svg(title=TITLES[name], theme=THEME, code_format=FORMAT, unique_id=name.removesuffix(".svg"))
    return re.sub(r" +$", "", drawn, flags=re.M)


def shown(svg: str) -> str:
    """Return the text that a drawing shows, line by line."""
    lines: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for x, y, text in re.findall(r'<text class="[\w-]+-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)', svg):
        lines[float(y)].append((float(x), html.unescape(text).replace("\N{NO-BREAK SPACE}", " ")))
    result = []
    for y in sorted(lines):
        line = ""
        for x, text in sorted(lines[y]):
            line = line.ljust(round(x / CELL)) + text
        result.append(line.rstrip())
    return "\n".join(result).strip()


def before_and_after() -> str:
    """Run a program on a clock 20 minutes slow, without the two lines and with them."""
    with (
        tempfile.TemporaryDirectory() as made,
        StrictEndpoint(tls=True) as aws,
        wall_server() as server,
        FakeTime(Path(made), "-20m") as clock,
    ):
        keys = {name.upper(): str(aws.client_kwargs[name]) for name in ("aws_access_key_id", "aws_secret_access_key")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ours = {"SKEWGUARD_SOURCES": server.uri, "SKEWGUARD_WAIT": "5", "SKEWGUARD_SHARE": "false"}
        Path(made, "sitecustomize.py").write_text(REDIRECTED.format(port=aws.port), "utf-8")
        python = {"PATH": path, "PYTHONPATH": made, "AWS_CA_BUNDLE": str(aws.ca_bundle)}
        environment = clock.env(**keys, **ours, **python)
        panels = []
        for head, program, command in (
            ("\x1b[1;31mBefore, on a clock that is 20 minutes slow\x1b[0m", PLAIN, "python app.py 2>&1 | tail -n 1"),
            ("\x1b[1;32mAfter, on the same clock\x1b[0m", GUARDED, "python app.py"),
        ):
            Path(made, "app.py").write_text(program, "utf-8")
            parts = [head]
            for typed in ("cat app.py", command):
                done = completed("bash", "-c", f"{typed} 2>&1", cwd=made, env=environment)
                printed = re.sub(
                    r"^(import skewguard|skewguard.*|arn:.*)$", "\x1b[32m\\1\x1b[0m", done.stdout, flags=re.M
                )
                printed = re.sub(r"^(botocore.*)$", "\x1b[31m\\1\x1b[0m", printed, flags=re.M)
                parts.append(f"{prompt(typed)}{printed.rstrip()}")
            panels.append("\n".join(parts))
    return "\n\n".join(panels).replace(server.uri, "ntp://time.aws.com")


def prompt(typed: str) -> str:
    """Return a typed command, with its prompt."""
    return f"\x1b[94m$\x1b[0m \x1b[1m{typed}\x1b[0m\n"


def diagnosed() -> str:
    """Return what ``skewguard doctor`` prints on a terminal of a host that is 20 minutes slow."""
    found = example(1200)
    findings = diagnose(found)
    text = f"{doctor.as_text(found, findings, 1, verbose=False)}\n\n{doctor.summary(findings)}"
    return prompt("skewguard doctor") + output.coloured(output.wrapped(text, 84))


def drifting(width: int, **options: Any) -> str:
    """Return what ``skewguard watch`` shows after twelve rounds: a clock that drifts, and a source that is wrong."""
    console = Console(file=io.StringIO(), width=width, height=25, **options)
    history = screen.History(2 * SECOND)
    for number in range(12):
        drift = 0.004 - number * 0.009 / 11
        rows = [("a", drift, 0.002, 0), ("b", drift + 0.001, 0.003, 0), ("c", drift + 180, 0.002, 180 * SECOND)]
        said = [known(offset, bound, f"ntp://{name}.example") for name, offset, bound, _ in rows]
        results = [SourceResult(one.source, one, None, row[3]) for one, row in zip(said, rows, strict=True)]
        history.add(Survey(said[0], tuple(results), WALL))
    console.print(history.picture(console))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


TITLES = {"before-and-after.svg": "app.py", "doctor.svg": "skewguard doctor", "watch.svg": "skewguard watch"}
PRINTED: dict[str, Callable[[], str]] = {
    "before-and-after.svg": before_and_after,
    "doctor.svg": diagnosed,
    "watch.svg": lambda: drifting(96, force_terminal=True, color_system="standard"),
}


if __name__ == "__main__":
    for name in sys.argv[2:] or PRINTED:
        drawn = draw(name, PRINTED[name]())
        if "--write" in sys.argv:
            (FOLDER / name).write_text(drawn, "utf-8")
        else:
            print(shown(drawn))
