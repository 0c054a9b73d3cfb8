"""Two thousand scenarios keep every invariant (CI: ten thousand), and each bug planted to prove it is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation.planted import BUGS
from tests.simulation.playing import play, play_in_parallel, remember, remembered, tell

SCENARIOS = 2_000
WITHIN = 300
"""A planted bug is found within this many seeds."""


def test_scenarios_keep_every_invariant() -> None:
    """Whatever clocks, sources, servers and callers do."""
    score = play_in_parallel(0, SCENARIOS, os.cpu_count() or 1)
    if score.failed is not None:
        pytest.fail(tell(score.failed))
    assert score.scenarios == SCENARIOS
    # They are not dull: every second one has skewguard ask for a retry, on average.
    assert score.signed > 10 * SCENARIOS
    assert score.retried > SCENARIOS // 2


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """A simulation that cannot fail shows nothing."""
    assert play(0, WITHIN, bug).violation


def test_what_failed_once_fails_no_more(tmp_path: Path) -> None:
    """A seed that was found to fail is played ever after."""
    for seed in (4711, 17):
        remember(seed, tmp_path / "file")
    assert remembered(tmp_path / "file") == [4711, 17]
    assert [tell(seed) for seed in remembered() if play(seed, seed + 1).violation] == []


def test_a_seed_is_one_story() -> None:
    """A failing seed can be replayed: the same things happen at the same times."""
    seeds = (4, 117, 241)
    assert [tell(seed) for seed in seeds] == [tell(seed) for seed in seeds]
    assert len({tell(seed) for seed in seeds}) == len(seeds)


def test_a_failing_seed_tells_its_story() -> None:
    """What happened, when, how far off the wall clock was, and which invariant was broken in the end."""
    bug = "retries are not counted"
    seed = play(0, WITHIN, bug).failed
    assert seed is not None
    story = tell(seed, bug).splitlines()
    assert story[0] == f"seed {seed}:"
    assert any("VIOLATION: a call was repeated twice" in line for line in story)
    assert any("answers" in line for line in story)
