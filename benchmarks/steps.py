"""A program whose wall clock is stepped 50 times, by one second to two hours, and which calls ten times after each.

libfaketime steps the clock of an unguarded and a guarded program in the same moments; the server keeps true time.

    python benchmarks/steps.py [--small]
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

import common

CALLS = 10

PROGRAM = """
made = client()
print("ready", flush=True)
for _ in sys.stdin:
    print(json.dumps(sum(fails(made.get_caller_identity) for _ in range(int(sys.argv[3])))), flush=True)
"""


def measure(small: bool) -> list[common.Row]:
    """Step the clock, let each program call, and count the requests."""
    from tests.real.faketime import FakeTime, library

    if library() is None:
        raise SystemExit("there is no libfaketime: pip install libfaketime==3.0.1 (for Linux on x86-64)")
    steps = 3 if small else 50
    chance = random.Random(1)
    failed, requests = {"plain": 0, "guarded": 0}, {"plain": 0, "guarded": 0}
    with tempfile.TemporaryDirectory() as made, FakeTime(Path(made)) as clock, common.aws(0) as aws:
        faked = {name: value for name, value in clock.env().items() if "FAKE" in name or name == "LD_PRELOAD"}
        programs = {mode: aws.start(PROGRAM, mode, CALLS, **faked) for mode in failed}
        for child in programs.values():
            child.stdout.readline()
        for _ in range(steps):
            clock.shift(f"{chance.choice((-1, 1)) * round(10 ** chance.uniform(0, 3.857)):+d}")
            for mode, child in programs.items():
                aws.server.clear()
                child.stdin.write("\n")
                child.stdin.flush()
                failed[mode] += json.loads(child.stdout.readline())
                requests[mode] += aws.server.count
        for child in programs.values():
            child.communicate()
    return [
        common.Row(
            f"{steps} steps, {CALLS} calls after each: failed", failed["plain"], failed["guarded"], "calls", aim=0
        ),
        common.Row("requests that they took", requests["plain"], requests["guarded"], aim=1 + 1 / (steps * CALLS)),
    ]


if __name__ == "__main__":
    common.main(measure, __doc__)
