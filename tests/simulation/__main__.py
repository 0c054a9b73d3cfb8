"""Play scenarios: ``python -m tests.simulation --scenarios 10000 --seed 1``.

The first that fails tells its story, and is played by the tests from then on. ``--story`` tells it of a seed that keeps
every rule, too; ``--plant NAME`` puts a bug in first, to see it found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.planted import BUGS
from tests.simulation.playing import CHUNK, FAILED_ONCE, play, play_in_parallel, remember, tell


def main() -> int:
    """Read the command line, play, and answer the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--scenarios", type=int, default=10_000, metavar="N", help="how many, each from the next seed")
    parser.add_argument("--seed", type=int, default=0, metavar="A", help="the first's")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--plant", choices=list(BUGS), metavar="NAME", help=f"one of: {'; '.join(BUGS)}")
    parser.add_argument("--story", action="store_true", help="tell the story of the first seed, whatever comes of it")
    options = parser.parse_args()
    first, end = options.seed, options.seed + options.scenarios
    if options.story:
        print(tell(first, options.plant))
        return 0
    began = time.monotonic()
    if end - first > CHUNK and options.jobs > 1:
        score = play_in_parallel(first, end, options.jobs, options.plant)
    else:
        score = play(first, end, options.plant)
    took = time.monotonic() - began
    print(f"{score.scenarios} scenarios, {score.signed} signings, {score.retried} retries, {took:.1f} s")
    if score.failed is None:
        print("every invariant held")
        return 0
    print(tell(score.failed, options.plant))
    if options.plant is None:
        remember(score.failed)
        print(f"added to {FAILED_ONCE.name}: the tests play it from now on")
    return 1


if __name__ == "__main__":
    sys.exit(main())
