"""Run scenarios: ``python -m tests.simulation --scenarios 10000 --seed 1``.

The first that fails prints its story, and the tests run it from then on. ``--story`` prints the story of any seed;
``--bug NAME`` puts a bug in first, to see it found.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation.bugs import BUGS
from tests.simulation.runner import CHUNK, FAILED_ONCE, record_failure, run_in_parallel, run_seeds, story_of


def main() -> int:
    """Read the command line, run the seeds, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--scenarios", type=int, default=10_000, metavar="N", help="how many, each from the next seed")
    parser.add_argument("--seed", type=int, default=0, metavar="A", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--bug", choices=list(BUGS), metavar="NAME", help=f"one of: {'; '.join(BUGS)}")
    parser.add_argument("--story", action="store_true", help="print the story of the first seed, failed or not")
    options = parser.parse_args()
    first, end = options.seed, options.seed + options.scenarios
    if options.story:
        print(story_of(first, options.bug))
        return 0
    began = time.monotonic()
    if end - first > CHUNK and options.jobs > 1:
        score = run_in_parallel(first, end, options.jobs, options.bug)
    else:
        score = run_seeds(first, end, options.bug)
    took = time.monotonic() - began
    print(f"{score.scenarios} scenarios, {score.signed} signings, {score.retried} retries, {took:.1f} s")
    if score.failed is None:
        print("every invariant held")
        return 0
    print(story_of(score.failed, options.bug))
    if options.bug is None:
        record_failure(score.failed)
        print(f"added to {FAILED_ONCE.name}: the tests run it from now on")
    return 1


if __name__ == "__main__":
    sys.exit(main())
