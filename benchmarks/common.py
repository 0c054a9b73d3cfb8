"""What the benchmarks share: a server that is as strict as AWS, programs that call it, and rows of figures.

Each benchmark measures unguarded botocore in the same run, and returns rows. Run alone, it prints them;
``benchmarks/report.py`` draws the rows of all. Nothing leaves this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # where the tests are a package

WRONG = 1200.0
"""How slow this host is, s, in the benchmarks with a wrong clock."""


class Row(NamedTuple):
    """One comparison.

    Attributes:
        what: What was counted or timed.
        plain: Unguarded botocore's figure; None if it never succeeds.
        guarded: skewguard's figure.
        unit: The unit of both.
        aim: The largest acceptable ratio, or figure if `plain` is None; None if there is no limit.
    """

    what: str
    plain: float | None
    guarded: float
    unit: str = "requests"
    aim: float | None = None

    @property
    def ratio(self) -> float | None:
        """skewguard's figure divided by botocore's."""
        return self.guarded / self.plain if self.plain else None

    @property
    def met(self) -> bool:
        """Whether the figures meet the aim."""
        figure = self.guarded if self.ratio is None or self.aim == 0 else self.ratio
        return self.aim is None or figure <= self.aim + 1e-9


Measure = Callable[[bool], list[Row]]
"""Measure and return the rows; True means the smallest possible run."""


def figure(value: float | None) -> str:
    """Format a count with its thousands marked, or a time."""
    return "never" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def render(rows: list[Row]) -> str:
    """Format rows as a table of text."""
    lines = [f"{'':58}{'botocore':>14}{'skewguard':>14}  {'unit':13}{'ratio':>8}{'aim':>8}"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        aim = "" if row.aim is None else f"{row.aim:g}"
        lines.append(f"{row.what:58}{figure(row.plain):>14}{figure(row.guarded):>14}  {row.unit:13}{ratio:>8}{aim:>8}")
    return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as a table in Markdown; the first is its head."""
    head, *rest = rows
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [head, ["---"] * len(head), *rest])


def split(page: str, script: str) -> tuple[str, str, str]:
    """Split a page at the two marker comments of what a script writes into it.

    Raises:
        ValueError: They are not both there, once and in this order.
    """
    begin, end = f"<!-- {script}: written by benchmarks/{script}.py -->\n", f"<!-- {script}: end -->"
    before, *rest = page.split(begin)
    written, *after = "".join(rest).split(end)
    if len(rest) != 1 or len(after) != 1 or end in before:
        raise ValueError(f"the page does not have {begin.strip()} and {end}, once and in this order")
    return before + begin, written, end + after[0]


def insert(page: str, script: str, table: str) -> str:
    """Replace what a script has written into a page."""
    before, _, after = split(page, script)
    return f"{before}\n{table}\n{after}"


def main(measure: Measure, title: str | None) -> None:
    """Run a benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(title or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="the smallest possible run, as a test")
    print(render(measure(parser.parse_args().small)))


# -- programs -----------------------------------------------------------------------------------------------------

SOURCE = """
class Radio:
    # An instant time source that knows how slow the wall clock is.
    name, instant = "radio", True
    def measure(self, clocks, deadline):
        steady, wall = clocks.read()
        now = wall + 1200 * 10**9
        return skewguard.Interval(steady, now - 1000, now + 1000, skewguard.Trust.WITNESS, "radio")
"""

HEAD = (
    """
import json, os, sys, threading, time
import botocore.config, botocore.exceptions, botocore.session
from skewguard.testing.tls import AWS_SUFFIXES, redirected

mode, port = sys.argv[1], int(sys.argv[2])
"""
    + SOURCE
    + """
def client(service="sts", **options):
    config = botocore.config.Config(**options)
    return botocore.session.Session().create_client(service, region_name="us-east-1", config=config)

def fails(call):
    try:
        call()
    except botocore.exceptions.ClientError:
        return 1
    return 0

lead = redirected(lambda name, asked: port if asked == 443 and name.endswith(AWS_SUFFIXES) else None, {"no_proxy": "*"})
lead.__enter__()
if mode != "plain":
    import skewguard
    from skewguard.timekeeping import shared_file
    shared_file.bases = lambda: iter([os.environ["XDG_RUNTIME_DIR"]])  # not the file of this user's other programs
    skewguard.install(**({"sources": [Radio()]} if mode == "source" else {}))
"""
)
"""The beginning of a program that takes the server for AWS: ``plain``, ``guarded``, or guarded with a ``source``."""


class Aws:
    """The server that the programs take for AWS."""

    def __init__(self, server: Any, environment: dict[str, str]) -> None:
        self.server = server
        self.environment = environment

    def start(self, program: str, mode: str, *arguments: object, **more: str) -> subprocess.Popen[str]:
        """Start a program."""
        command = [sys.executable, "-u", "-c", HEAD + program, mode, str(self.server.port), *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.environment | more, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, program: str, mode: str, *arguments: object, **more: str) -> tuple[Any, int]:
        """Run a program, and return the last JSON that it printed and the number of its requests."""
        self.server.clear()
        child = self.start(program, mode, *arguments, **more)
        out = child.communicate()[0]
        if child.returncode:
            raise SystemExit(f"a {mode} program failed")
        return json.loads(out.splitlines()[-1]), self.server.count


def environment(shared: str = "/nonexistent", **more: str) -> dict[str, str]:
    """Return the environment of a program that signs, and that learns nothing from other programs on this machine."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",  # the same dictionaries in every process
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SKEWGUARD_SOURCES": "response",
        "SKEWGUARD_SHARE": "false",
        "XDG_RUNTIME_DIR": shared,
        **more,
    }


@contextlib.contextmanager
def aws(offset: float = WRONG, **more: str) -> Iterator[Aws]:
    """Run the server, `offset` seconds ahead of this host."""
    from skewguard.testing import StrictEndpoint

    with tempfile.TemporaryDirectory() as shared, StrictEndpoint(tls=True, offset=offset) as server:
        keys = server.client_kwargs
        more |= {
            "AWS_ACCESS_KEY_ID": str(keys["aws_access_key_id"]),
            "AWS_SECRET_ACCESS_KEY": str(keys["aws_secret_access_key"]),
            "AWS_CA_BUNDLE": str(server.ca_bundle),
        }
        yield Aws(server, environment(shared, **more))


def many_files() -> None:
    """Raise the limit of open files to a few thousand sockets, as far as this user may."""
    with contextlib.suppress(ImportError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        room = 10_000 if hard == resource.RLIM_INFINITY else min(hard, 10_000)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, room), hard))
