"""What guarding costs in instructions: imports, signing and a whole call, with skewguard and without.

    python benchmarks/instructions.py [--check] [--write docs/performance.md]

valgrind's cachegrind counts the instructions that a process executes, which are the same on a busy machine. A process
that only warms up is subtracted from one that warms up and then goes on. Where frames and objects lie in memory decides
what Python allocates anew and which entries of its caches collide, which changes a whole call by up to 0.3 %. So the
loops run at several depths of the stack and in several layouts of memory, and the mean counts.

``--check`` fails if a ratio is above its limit; ``--write`` replaces the table in a file.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import botocore
import common

HEADER = ("instructions", "botocore alone", "with skewguard", "ratio")

LAYOUTS = 4
WARM_UP = 48
TIMES = {"sign": 208, "call": 64}
SMALL = {"sign": 16, "call": 16}


class Comparison(NamedTuple):
    """One row.

    Attributes:
        what: What is done.
        crt: Whether with awscrt.
        plain: The process that does it without skewguard.
        guarded: The process that does it with skewguard.
        limit: The largest ratio that ``--check`` lets pass on Python 3.11, which the table in the docs is of.
        elsewhere: The same on other Pythons, if that is more.
    """

    what: str
    crt: bool
    plain: str
    guarded: str
    limit: float | None = None
    elsewhere: float | None = None


ROWS = (
    Comparison("signing", False, "plain sign", "guarded sign", 1.037),
    Comparison("signing, with awscrt", True, "plain sign", "guarded sign", 1.042),
    Comparison("signing, on a clock 20 minutes off", False, "plain sign", "corrected sign", 1.06, 1.07),
    Comparison("signing, on a clock 20 minutes off, with awscrt", True, "plain sign", "corrected sign", 1.06, 1.07),
    Comparison("a whole call over loopback", False, "plain call", "guarded call", 1.012, 1.014),
    Comparison("a whole call over loopback, with awscrt", True, "plain call", "guarded call", 1.014),
    Comparison("`import boto3` and `skewguard`", False, "boto3", "guarded import"),
    Comparison("`import boto3` and `skewguard`, `install()`", False, "boto3", "guarded install"),
)

PROGRAM = (
    """
import gc, os, sys, traceback

url, (layout, warm_up, *times) = sys.argv[1], map(int, sys.argv[2:])
padding = [object() for _ in range(331 * layout)]

def fork(name, run):
    # valgrind counts on in the child, and writes the sum into a file named by its process id.
    pid = os.fork()
    if not pid:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        os._exit(1)
    print(name, pid, flush=True)

def nothing():
    pass

fork("start", nothing)
import boto3
fork("boto3", nothing)
import datetime
from botocore.awsrequest import AWSRequest

body = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}

def signing(session):
    client = session.client("sts", region_name="us-east-1")
    sign = client._request_signer.sign
    def once():
        request = AWSRequest("POST", "https://sts.us-east-1.amazonaws.com/", data=body)
        request.context = {"client_config": client.meta.config}
        sign("GetCallerIdentity", request)
        return request.headers["X-Amz-Date"]
    return once

def calling(session):
    return session.client("sts", region_name="us-east-1", endpoint_url=url).get_caller_identity

# Python allocates memory for frames in pieces of 16 KiB. A loop at the end of a piece would allocate the next one, and
# free it, at every turn; so sixteen depths, each about 1 KiB apart, are tried.
large = f"[{'run, ' * 110}]"  # never made, but room for it is
deeper = eval(f"lambda depth, run: deeper(depth - 1, run) if depth > 0 else {large} if depth else run()")

def repeat(once, times):
    gc.collect()
    gc.freeze()
    gc.disable()
    def run():
        for _ in range(times // 16):
            once()
    for depth in range(16):
        deeper(depth, run)

def measure(mode):
    global skewguard
    if mode != "plain":
        import skewguard
        from skewguard.timekeeping import timekeeper
        for name in ("_CACHE_FOR", "_CACHE_SLACK", "_FRESH_FOR"):  # ns; under valgrind all takes much longer
            assert getattr(timekeeper, name) < 10**15
            setattr(timekeeper, name, 10**15)
        fork(f"{mode} import", nothing)
        skewguard.install(**({"sources": [Radio()]} if mode == "corrected" else {}))
        fork(f"{mode} install", nothing)
    session = boto3.Session()
    for name, make, count in (("call", calling, times[1]), ("sign", signing, times[0])):
        if (mode, name) == ("corrected", "call"):
            continue  # the server would have to be as far off
        once = make(session)
        fork(f"{mode} {name}", lambda: repeat(once, warm_up + count))
        fork(f"{mode} {name}: warm-up", lambda: repeat(once, warm_up))
        if name == "sign":
            signed = datetime.datetime.strptime(once(), "%Y%m%dT%H%M%SZ")
            off = (signed - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)).total_seconds()
            assert abs(off - 1200 * (mode == "corrected")) < 60, off
"""
    + common.SOURCE
    + """
for mode in ("plain", "guarded", "corrected"):
    fork(mode, lambda: measure(mode))
"""
)
"""What runs under valgrind. Each `fork` names a process, whose instructions up to its end are counted."""


class _Sts(BaseHTTPRequestHandler):
    """One fixed answer with the host's own Date, in one packet."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def count(times: dict[str, int], layouts: int) -> dict[tuple[bool, str], float]:
    """Count, with awscrt and without, what each process of the program executed: the mean over the memory layouts."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is missing: apt-get install valgrind")
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    python = [sys.executable, "-X", "frozen_modules=on", "-c"]
    subprocess.run([*python, "import boto3, skewguard; skewguard.install()"], env=common.environment(), check=True)
    with tempfile.TemporaryDirectory() as made, _server() as url, ThreadPoolExecutor(os.cpu_count()) as pool:

        def run(layout: int, crt: bool) -> dict[str, int]:
            logs = tempfile.mkdtemp(dir=made)
            environment = common.environment(PYTHONHASHSEED=str(layout), BOTO_DISABLE_CRT=str(not crt))
            arguments = map(str, (url, layout, WARM_UP, *times.values()))
            command = [*valgrind, f"--log-file={logs}/%p", *python, PROGRAM, *arguments]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"the measured program failed:\n{done.stderr}")
            counts = {}
            for line in done.stdout.splitlines():
                name, _, pid = line.rpartition(" ")
                match = re.search(r"I\s+refs:\s+([\d,]+)", Path(logs, pid).read_text())
                assert match, line
                counts[name] = int(match[1].replace(",", ""))
            return counts

        runs = {crt: [pool.submit(run, layout, crt) for layout in range(layouts)] for crt in (False, True)}
        return {
            (crt, name): statistics.mean(run.result()[name] for run in found)
            for crt, found in runs.items()
            for name in found[0].result()
        }


def measure(small: bool) -> list[common.Row]:
    """Count, and return the comparisons."""
    times = SMALL if small else TIMES
    counts = count(times, 1 if small else LAYOUTS)

    def once(crt: bool, name: str) -> float:
        less = counts.get((crt, f"{name}: warm-up"), counts[crt, "start"])
        return (counts[crt, name] - less) / times.get(name.partition(" ")[2], 1)

    def limit(row: Comparison) -> float | None:
        return row.limit if sys.version_info[:2] == (3, 11) else row.elsewhere or row.limit

    return [
        common.Row(row.what, once(row.crt, row.plain), once(row.crt, row.guarded), "instructions", limit(row))
        for row in ROWS
    ]


def table(rows: list[common.Row]) -> str:
    """Write rows as a table in Markdown."""
    lines = [HEADER]
    lines += [
        (row.what, f"{round(row.plain, -2):,.0f}", f"{round(row.guarded, -2):,.0f}", f"{row.ratio:.3f}") for row in rows
    ]
    where = f"Python {platform.python_version()}, botocore {botocore.__version__}, {platform.machine()}"
    return f"{common.markdown(lines)}\n{where}.\n"


def main() -> int:
    """Count, print, and check or write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="only see that it runs")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a ratio is above its limit")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this file")
    options = parser.parse_args()
    rows = measure(options.small)
    print(common.render(rows))
    if options.write is not None:
        page = options.write.read_text("utf-8")
        options.write.write_text(common.insert(page, "instructions", table(rows)), "utf-8")
    return int(options.check and not all(row.met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
