"""Intervals: what ageing, intersection and the vote may and may not do to the truth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.interval import SECOND, Interval, Trust, intersect, narrowed, vote

NOW = 1_795_000_000 * 10**9
STEADY = st.integers(0, 10**18)
ERRORS = st.integers(0, 10**13)


def said(low: int, high: int, source: str = "s", at: int = 0) -> Interval:
    return Interval(at, NOW + low, NOW + high, Trust.WITNESS, source)


@st.composite
def honest(draw: st.DrawFn, at: int | None = None) -> Interval:
    """Draw a statement that holds a truth in which true time is NOW + steady."""
    when = draw(STEADY) if at is None else at
    return Interval(
        when, NOW + when - draw(ERRORS), NOW + when + draw(ERRORS), Trust.WITNESS, draw(st.sampled_from("abc"))
    )


def test_refuses_to_end_before_it_begins() -> None:
    """An inverted interval is a bug of its creator."""
    with pytest.raises(ValueError, match="ends before"):
        Interval(0, 2, 1, Trust.WITNESS, "s")


@given(honest(), STEADY, st.integers(-100_000, 100_000))
def test_ageing_keeps_the_truth_under_any_allowed_drift(interval: Interval, steady: int, drift_ppb: int) -> None:
    """True time stays inside, however the steady clock drifts within its rate."""
    elapsed = steady - interval.at
    truth = NOW + interval.at + elapsed + elapsed * drift_ppb // 10**9
    aged = interval.aged(steady)
    assert aged.at == steady
    assert aged.earliest <= truth <= aged.latest


@given(honest(), STEADY)
def test_ageing_there_and_back_never_narrows(interval: Interval, steady: int) -> None:
    """Knowledge does not come from waiting."""
    back = interval.aged(steady).aged(interval.at)
    assert back.earliest <= interval.earliest
    assert interval.latest <= back.latest


@given(st.lists(honest(), min_size=1, max_size=8))
def test_honest_samples_narrow_each_other_around_the_truth(samples: list[Interval]) -> None:
    """None is lost, the result speaks of the newest's instant, and is no wider than that."""
    samples.sort(key=lambda sample: sample.at)
    joined, agreeing = narrowed(samples)
    assert list(agreeing) == samples
    assert joined.at == samples[-1].at
    assert joined.earliest <= NOW + joined.at <= joined.latest
    assert joined.width <= samples[-1].width


@given(st.lists(honest(), min_size=1, max_size=7), honest(), st.integers(0, 6))
def test_what_contradicts_the_newest_is_forgotten_with_all_before_it(
    samples: list[Interval], lie: Interval, place: int
) -> None:
    """The server was set meanwhile, or had lied."""
    samples.sort(key=lambda sample: sample.at)
    place = min(place, len(samples) - 1)
    at = samples[place].at
    hour = 3600 * 10**9 + 2 * 10**15  # more than any width and ageing here
    liar = Interval(at, lie.earliest - lie.at + at - hour, lie.latest - lie.at + at - hour, Trust.WITNESS, "liar")
    joined, agreeing = narrowed([*samples[:place], liar, *samples[place:]])
    assert (joined, list(agreeing)) == (narrowed(samples[place:])[0], samples[place:])


def test_samples_from_after_the_newest_are_of_another_life() -> None:
    """A steady clock that went back was restored from a snapshot."""
    samples = [said(0, 10, at=100), said(-500, 500, at=50)]
    assert narrowed(samples) == (samples[1], samples[1:])


@given(honest(), honest())
def test_intersection_of_honest_statements_holds_the_truth(one: Interval, other: Interval) -> None:
    """Two true statements always meet, and what they share is true and no wider than either."""
    joined = intersect(one, other)
    truth = NOW + other.at
    assert joined.earliest <= truth <= joined.latest
    assert joined.width <= min(one.aged(other.at).width, other.width)


def test_contradiction_has_no_intersection() -> None:
    assert intersect(said(0, 10), said(11, 20)) is None


def test_intersection_is_trusted_as_its_weaker_half() -> None:
    """A witness may have cut the truth away, so the join is a witness's."""
    strong = Interval(0, NOW, NOW + 10, Trust.AUTHENTICATED, "aws")
    joined = intersect(strong, said(5, 20))
    assert joined == Interval(0, NOW + 5, NOW + 10, Trust.WITNESS, "s")


WELL = [said(-10, 50, name) for name in "abc"]


@pytest.mark.parametrize(
    ("statements", "agreed", "liars"),
    [
        ([], None, ""),
        ([said(0, 10)], said(0, 10), ""),
        ([said(0, 10, "a"), said(12 * SECOND, 30 * SECOND, "b")], None, "ab"),  # neither is believed
        ([said(0, 10, "a"), said(5, 12, "b"), said(3600, 3610, "x")], said(5, 10, "a, b"), "x"),  # one is outvoted
        # Of two stretches with the same support, either may have the truth.
        ([said(0, 100, "wide"), said(0, 10, "a"), said(90, 100, "b")], said(0, 100, "a, b, wide"), ""),
        # Two who meet the honest at one end share it with all three; the rest is not ruled out by that.
        ([*WELL, said(45, 60, "d"), said(45, 60, "e")], said(-10, 50, "a, b, c, d, e"), ""),
    ],
)
def test_a_vote(statements: list[Interval], agreed: Interval | None, liars: str) -> None:
    """What the majority shares is believed, and the others are named."""
    outcome = vote(statements, 0)
    assert outcome.interval == agreed
    assert "".join(lie.source for lie in outcome.falsetickers) == liars


def test_sources_that_differ_by_a_smeared_leap_second_agree() -> None:
    """But only where there would be no majority: otherwise the vote is as narrow as the sources are."""
    smeared, stepped, third = said(0, 10, "a"), said(SECOND, SECOND + 10, "b"), said(5, 15, "c")
    outcome = vote([smeared, stepped], 0)
    assert smeared.earliest < outcome.interval.earliest < outcome.interval.latest < stepped.latest
    assert not outcome.falsetickers
    outcome = vote([smeared, stepped, third], 0)
    assert outcome.interval == said(5, 10, "a, c")
    assert [one.source for one in outcome.falsetickers] == ["b"]


@given(st.data(), st.integers(1, 7))
def test_vote_holds_the_truth_while_liars_are_a_minority(data: st.DataObject, honest_count: int) -> None:
    """However a minority lies, and even if every lie is the same, the truth is inside and the liars are named."""
    steady = data.draw(STEADY)
    truth = NOW + steady
    chimers = [data.draw(honest(at=steady)) for _ in range(honest_count)]
    lie_low = data.draw(st.integers(10**14, 10**15))
    liars = [
        Interval(steady, truth + lie_low, truth + lie_low + data.draw(ERRORS), Trust.WITNESS, "liar")
        for _ in range(data.draw(st.integers(0, honest_count - 1)))
    ]
    outcome = vote([*chimers, *liars], steady)
    assert outcome.interval.earliest <= truth <= outcome.interval.latest
    assert len(outcome.falsetickers) == len(liars)


@given(st.data(), st.integers(1, 7))
def test_vote_holds_the_truth_among_liars_who_say_nearly_the_same(data: st.DataObject, honest_count: int) -> None:
    """A lie that agrees with some of the honest, or with all, may widen the answer; the truth stays inside."""
    steady = data.draw(STEADY)
    truth = NOW + steady
    chimers = [data.draw(honest(at=steady)) for _ in range(honest_count)]
    liars = []
    for _ in range(data.draw(st.integers(0, honest_count - 1))):
        low = truth + data.draw(st.integers(-(10**13), 10**13))
        liars.append(Interval(steady, low, low + data.draw(ERRORS), Trust.WITNESS, "liar"))
    outcome = vote([*chimers, *liars], steady)
    assert outcome.interval.earliest <= truth <= outcome.interval.latest
    # Wherever most agree, an honest source does: the answer lies within the honest statements.
    assert min(said.earliest for said in chimers) <= outcome.interval.earliest
    assert outcome.interval.latest <= max(said.latest for said in chimers)


@pytest.mark.parametrize("joined", ["intersect", "vote"])
def test_what_is_joined_loosens_as_fast_as_the_loosest_of_it(joined: str) -> None:
    """Either end may be that one's."""
    firm = Interval(0, NOW, NOW + 10, Trust.WITNESS, "firm", 1000)
    loose = Interval(0, NOW - 5, NOW + 5, Trust.WITNESS, "loose", 200_000)
    for one, other in ((firm, loose), (loose, firm)):
        both = intersect(one, other) if joined == "intersect" else vote([one, other], 0).interval
        assert both.drift_ppb == 200_000
