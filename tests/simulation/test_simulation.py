"""Two thousand scenarios keep every invariant, and each bug that is put in is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.runner import record_failure, recorded_failures, run_in_parallel, run_seeds, story_of

pytestmark = pytest.mark.slow

SCENARIOS = 2_000
WITHIN = 500
"""Seeds within which a bug is found."""


def test_scenarios_keep_every_invariant() -> None:
    score = run_in_parallel(0, SCENARIOS, os.cpu_count() or 1)
    if score.failed is not None:
        pytest.fail(story_of(score.failed))
    assert score.scenarios == SCENARIOS
    # They test something: on average, every second one has a retry.
    assert score.signed > 10 * SCENARIOS
    assert score.retried > SCENARIOS // 2


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_found(bug: str) -> None:
    """A simulation that cannot fail shows nothing."""
    assert run_seeds(0, WITHIN, bug).violation


def test_failed_seeds_pass_now(tmp_path: Path) -> None:
    for seed in (4711, 17):
        record_failure(seed, tmp_path / "file")
    assert recorded_failures(tmp_path / "file") == [4711, 17]
    assert [story_of(seed) for seed in recorded_failures() if run_seeds(seed, seed + 1).violation] == []


def test_a_seed_is_one_story() -> None:
    """A failing seed can be replayed: the same things happen at the same times."""
    seeds = (4, 117, 241)
    assert [story_of(seed) for seed in seeds] == [story_of(seed) for seed in seeds]
    assert len({story_of(seed) for seed in seeds}) == len(seeds)


def test_a_failing_seed_tells_its_story() -> None:
    """What happened, when, how far off the wall clock was, and which invariant was broken in the end."""
    bug = "retries are not counted"
    seed = run_seeds(0, WITHIN, bug).failed
    assert seed is not None
    story = story_of(seed, bug).splitlines()
    assert story[0] == f"seed {seed}:"
    assert any("VIOLATION: a call was repeated twice" in line for line in story)
    assert any("answers" in line for line in story)
