"""Play pairs: ``python -m tests.differential --pairs 1000 --seed 1``.

``--library aiobotocore`` plays them with aiobotocore, in its environment. Of each kind that is worse, the first pair
is printed in its simplest form that still is, for ``--script``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context

from tests.differential.judge import judge
from tests.differential.play import Stage, Worse, worse
from tests.differential.scripts import Script

CHUNK = 100
"""Pairs per job of a worker process."""

SETTINGS = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
}


def main() -> int:
    """Read the command line, play the pairs, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--pairs", type=int, default=1000, metavar="N", help="how many, each from the next seed")
    parser.add_argument("--seed", type=int, default=1, metavar="A", help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--library", choices=["botocore", "aiobotocore"], default="botocore")
    parser.add_argument("--script", metavar="LINE", help="play this script instead, and print both sides")
    options = parser.parse_args()
    os.environ.update(SETTINGS)
    if options.script:
        return _replay(Script.parse(options.script), options.library)
    began = time.monotonic()
    starts = range(options.seed, options.seed + options.pairs, CHUNK)
    ends = (min(start + CHUNK, starts.stop) for start in starts)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        found = [one for part in pool.map(worse, starts, ends, repeat(options.library)) for one in part]
    print(f"{options.pairs} pairs of {options.library}, {len(found)} worse, {time.monotonic() - began:.1f} s")
    first: dict[tuple[str, str], Worse] = {}
    for one in reversed(found):
        first[one.kind] = one
    for kind, count in Counter(one.kind for one in found).most_common():
        print(f"{count:5} {': '.join(kind)}")
    with Stage(options.library) as stage:
        for one in first.values():
            print(f"seed {one.seed}: {one.complaints[0]}\n  --script '{one.simplest(stage).line()}'")
    return bool(found)


def _replay(script: Script, library: str) -> int:
    """Play one script, and print both sides."""
    with Stage(library) as stage:
        plain, guarded = stage.pair(script)
    for call, *sides in zip(script.calls, plain, guarded, strict=True):
        print(f"{call.op:12}", *(f"{one.code or 'ok':24} {one.requests}" for one in sides))
    complaints = judge(script, plain, guarded)
    print(*complaints or ["not worse"], sep="\n")
    return bool(complaints)


if __name__ == "__main__":
    sys.exit(main())
