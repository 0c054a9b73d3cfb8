"""Play many seeds, in one process or several, and keep the score."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from tests.simulation.planted import planted
from tests.simulation.scenarios import run
from tests.simulation.strands import dismiss

FAILED_ONCE = Path(__file__).with_name("failed_once.txt")
"""Seeds that failed, one a line: the tests play them from then on. They mean what they meant for as long as scenarios
are drawn in the same way, so what a seed has shown deserves a test with a name as well."""

CHUNK = 100
"""How many seeds a process is given at once."""


class Score(NamedTuple):
    """What came of a range of seeds: how many were played, signed, and repeated; and the first that failed, if any."""

    scenarios: int = 0
    signed: int = 0
    retried: int = 0
    failed: int | None = None
    violation: str = ""


def play(first: int, end: int, plant: str | None = None) -> Score:
    """Play the seeds from `first` up to, but not including, `end`, or up to one that fails."""
    signed = retried = 0
    try:
        with planted(plant) if plant else nullcontext():
            for seed in range(first, end):
                scenario = run(seed)
                signed += sum(program.signed for program in scenario.programs)
                retried += sum(program.retried for program in scenario.programs)
                if scenario.world.violation:
                    return Score(seed + 1 - first, signed, retried, seed, scenario.world.violation)
        return Score(end - first, signed, retried)
    finally:
        dismiss()


def play_in_parallel(first: int, end: int, jobs: int, plant: str | None = None) -> Score:
    """Play seeds in several processes; of those that fail, the lowest counts."""
    total = Score()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        starts = range(first, end, CHUNK)
        futures = [pool.submit(play, start, min(start + CHUNK, end), plant) for start in starts]
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


def remember(seed: int, file: Path = FAILED_ONCE) -> None:
    """Have the tests play a seed from now on."""
    with file.open("a") as opened:
        opened.write(f"{seed}\n")


def remembered(file: Path = FAILED_ONCE) -> list[int]:
    """List the seeds that failed once."""
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def tell(seed: int, plant: str | None = None) -> str:
    """Tell the story of a seed."""
    try:
        with planted(plant) if plant else nullcontext():
            return f"seed {seed}:\n{run(seed).world.story()}"
    finally:
        dismiss()
