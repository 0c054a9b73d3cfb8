"""What importing costs: `import skewguard` after `import boto3`, and `install()` after both.

Each fresh process times all three, one after the other, so what slows the machine slows each alike. Counted is time on
the processor, with bytecode written before. Printed are medians, the middle half, and the ratio to boto3 alone.

    python benchmarks/imports.py [--processes 40]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

LIMIT_MS = 15.0
STEPS = ("import boto3", "import skewguard", "skewguard.install()")
PROGRAM = "\n".join(
    ["import time", "clock = time.process_time", "times = [clock()]"]
    + [f"{step}\ntimes.append(clock())" for step in STEPS]
    + ["print(*(after - before for before, after in zip(times, times[1:])))"]
)


def measure(environment: dict[str, str]) -> list[float]:
    """Run a fresh process; answer what each step took, ms."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [float(seconds) * 1000 for seconds in done.stdout.split()]


def rows(processes: int) -> Iterator[str]:
    """Measure, and write the table, a line at a time."""
    with tempfile.TemporaryDirectory() as bytecode:
        ours = {"PYTHONPYCACHEPREFIX": bytecode, "SKEWGUARD_SOURCES": "response", "SKEWGUARD_SHARE": "false"}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | ours
        measure(environment)  # writes the bytecode
        boto3, *added = zip(*(measure(environment) for _ in range(processes)), strict=True)
    yield f"{STEPS[0]:20} {statistics.median(boto3):6.1f} ms"
    for step, times in zip(STEPS[1:], added, strict=True):
        low, middle, high = statistics.quantiles(times, n=4)
        ratio = statistics.median((one + own) / one for one, own in zip(boto3, times, strict=True))
        limit = f", at most {LIMIT_MS:g} ms" if step == "import skewguard" else ""
        yield f"{step:20} {middle:+6.1f} ms ({low:.1f} to {high:.1f}{limit}), ratio {ratio:.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=40, help="two or more")
    for row in rows(parser.parse_args().processes):
        print(row)


if __name__ == "__main__":
    main()
