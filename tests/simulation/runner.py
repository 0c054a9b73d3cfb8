"""Run many seeds, in one process or several, and count results."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from tests.simulation.bugs import with_bug
from tests.simulation.scenarios import run
from tests.simulation.threads import end_idle_threads

FAILED_ONCE = Path(__file__).with_name("failed_once.txt")
"""Seeds that failed, one a line. The tests run them from then on.

Once scenarios are drawn in another way a seed means another one, so what it showed deserves a test as well.
"""

CHUNK = 100
"""Seeds per job of a worker process."""


class Score(NamedTuple):
    """The result of some seeds: how many scenarios, signings and retries; and the first that failed, if any."""

    scenarios: int = 0
    signed: int = 0
    retried: int = 0
    failed: int | None = None
    violation: str = ""


def run_seeds(first: int, end: int, bug: str | None = None) -> Score:
    """Run the seeds from `first` up to, but not including, `end`, or up to one that fails."""
    signed = retried = 0
    try:
        with with_bug(bug) if bug else nullcontext():
            for seed in range(first, end):
                scenario = run(seed)
                signed += sum(program.signed for program in scenario.programs)
                retried += sum(program.retried for program in scenario.programs)
                if scenario.world.violation:
                    return Score(seed + 1 - first, signed, retried, seed, scenario.world.violation)
        return Score(end - first, signed, retried)
    finally:
        end_idle_threads()


def run_in_parallel(first: int, end: int, jobs: int, bug: str | None = None) -> Score:
    """Run seeds in several processes; of those that fail, the lowest counts."""
    total = Score()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        starts = range(first, end, CHUNK)
        futures = [pool.submit(run_seeds, start, min(start + CHUNK, end), bug) for start in starts]
        for future in as_completed(futures):
            if future.cancelled():
                continue
            score = future.result()
            failed, violation = total.failed, total.violation
            if score.failed is not None and (failed is None or score.failed < failed):
                failed, violation = score.failed, score.violation
                for other in futures[(score.failed - first) // CHUNK :]:
                    other.cancel()
            sums = (mine + its for mine, its in zip(total[:3], score[:3], strict=True))
            total = Score(*sums, failed, violation)
    return total


def record_failure(seed: int, file: Path = FAILED_ONCE) -> None:
    """Add a seed to those that the tests run."""
    with file.open("a") as opened:
        opened.write(f"{seed}\n")


def recorded_failures(file: Path = FAILED_ONCE) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def story_of(seed: int, bug: str | None = None) -> str:
    try:
        with with_bug(bug) if bug else nullcontext():
            return f"seed {seed}:\n{run(seed).world.story()}"
    finally:
        end_idle_threads()
