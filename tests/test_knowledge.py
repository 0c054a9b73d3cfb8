"""What follows from what was said, whatever it was: the rules, held against a true time that is known here."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skewguard.clocks import Reading
from skewguard.config import Settings
from skewguard.http_date import response_interval
from skewguard.interval import DRIFT_PPB, EARLIEST, LATEST, SECOND, Interval, Trust, plausible
from skewguard.timekeeping.domain import UTC, Change, Domain
from skewguard.timekeeping.evidence import Evidence, Grade, Observation, Shown
from skewguard.timekeeping.knowledge import MAX_LAG, OUTRANKS_FOR, Knowledge

ZERO = EARLIEST + 10**17
"""True time when the steady clock of these tests shows 0, ns."""

seconds = st.integers(0, 3 * 86_400).map(lambda whole: whole * SECOND)
breadths = st.integers(0, 600 * SECOND)
drifts = st.integers(-DRIFT_PPB, DRIFT_PPB)  # of the steady clock, parts per billion


def true_at(steady: int, drift: int = 0) -> int:
    return ZERO + steady + steady * drift // 10**9


@st.composite
def honest(draw: st.DrawFn, drift: int, trust: Trust) -> Interval:
    """A source that states something true at some instant."""
    at = draw(seconds)
    return Interval(at, true_at(at, drift) - draw(breadths), true_at(at, drift) + draw(breadths), trust, "source")


def make(**settings: object) -> Knowledge:
    return Knowledge(Settings(**settings), Domain(UTC))  # type: ignore[arg-type]


def learn(known: Knowledge, domain: Domain, said: Interval, shown: Shown = Shown.AUTHENTIC) -> Change:
    """Let a domain learn from an answer to a request that was dated by its clock."""
    return domain.learn(Observation(shown, said, domain.key, said.midpoint), known.own(domain, said.at))


@given(data=st.data(), drift=drifts, later=seconds)
def test_of_honest_words_only_the_truth_follows(data: st.DataObject, drift: int, later: int) -> None:
    """Whatever the origins, their order and age, and wherever the wall clock jumped."""
    known = make()
    own = Domain("https://store", stand_in=data.draw(st.sampled_from([Grade.NONE, Grade.GUESS, Grade.PROOF])))
    for domain in data.draw(st.lists(st.sampled_from([known.utc, own]), max_size=6)):
        said = data.draw(honest(drift, Trust.AUTHENTICATED))
        learn(known, domain, said, data.draw(st.sampled_from(Shown)))
    if data.draw(st.booleans()):
        known.witness = data.draw(honest(drift, Trust.WITNESS))
    if data.draw(st.booleans()):
        known.overheard = data.draw(honest(drift, Trust.WITNESS))
    known.jumps.extend(data.draw(st.lists(st.tuples(seconds, seconds), max_size=3)))
    spoken = [known.utc.learned_at, own.learned_at, *(said.at for said in (known.witness, known.overheard) if said)]
    steady = max(spoken) + later
    for domain in (known.utc, own):
        found = known.of(domain, steady)
        if found is not None:
            assert found.estimate.earliest <= true_at(steady, drift) <= found.estimate.latest


@given(data=st.data())
def test_the_newest_word_is_never_widened(data: st.DataObject) -> None:
    """What was known before can make it more exact, and nothing else."""
    known = make()
    for _ in range(2):
        said = data.draw(honest(data.draw(drifts), Trust.AUTHENTICATED))
        before, after = learn(known, known.utc, said)
        assert after is known.utc.evidence
        assert said.earliest <= after.estimate.earliest <= after.estimate.latest <= said.latest
    assert before is not None


@pytest.mark.parametrize(
    ("age", "jumped", "answer_stands"),
    [
        (OUTRANKS_FOR, 0, True),
        (OUTRANKS_FOR + 1, 0, False),
        (SECOND, 60 * SECOND - 1, True),
        (SECOND, 60 * SECOND, False),
    ],
)
def test_how_long_an_answer_outranks_sources(age: int, jumped: int, answer_stands: bool) -> None:
    """To the last nanosecond; unless they are ahead of it by no more than the wall clock has jumped since."""
    known = make()
    learn(known, known.utc, Interval(0, ZERO, ZERO, Trust.AUTHENTICATED, "aws"))
    answer = known.of(known.utc, age)
    assert answer is not None
    ahead = answer.estimate.latest + 60 * SECOND
    known.witness = Interval(age, ahead, ahead, Trust.WITNESS, "sources")
    known.jumps.append((0, jumped))
    assert known.of(known.utc, age) == (answer if answer_stands else Evidence(Grade.VOTE, known.witness))


@given(breadth=breadths, wall=st.integers(ZERO - 10**14, ZERO + 10**14), deadband=st.integers(0, 10 * SECOND))
def test_a_correction_is_made_only_where_it_is_needed_and_then_in_full(breadth: int, wall: int, deadband: int) -> None:
    """A clock that may be right is left alone; another is put in the middle of what is known, or a minute into it."""
    known = make(deadband=deadband)
    found = Interval(0, ZERO - breadth, ZERO + breadth, Trust.WITNESS, "source")
    correction = known.offset(found, wall)
    if abs(wall - ZERO) <= breadth + deadband:
        assert correction == 0
    else:
        assert abs(correction) > deadband
        assert (wall + correction == found.midpoint) == (breadth <= 60 * SECOND)
        near = found.earliest if wall < ZERO else found.latest
        assert abs(wall + correction - near) == min(breadth, 60 * SECOND)


@given(breadth=breadths, lead=st.integers(0, 12 * SECOND), moved=st.integers(-(10**11), 10**11), data=st.data())
def test_a_correction_goes_on_until_the_clock_is_well_within_the_deadband(
    breadth: int, lead: int, moved: int, data: st.DataObject
) -> None:
    """In both directions: else it would come and go at the edge. One of quite another size is another correction."""
    deadband = data.draw(st.integers(0, 10 * SECOND))
    known = make(deadband=deadband)
    found = Interval(0, ZERO - breadth, ZERO + breadth, Trust.WITNESS, "source")
    for wall in (found.latest + lead, found.earliest - lead):
        so_far = found.midpoint - wall + moved
        ends = deadband // 2 if so_far and abs(moved) <= deadband else deadband
        assert bool(known.offset(found, wall, so_far)) == (lead > ends)


@given(limit=st.none() | st.integers(0, 10**15), offset=st.integers(-(10**15), 10**15))
def test_the_largest_correction(limit: int | None, offset: int) -> None:
    """It is a limit in both directions, and no correction is always allowed."""
    known = make(max_offset=limit, deadband=0)
    learn(known, known.utc, Interval(0, ZERO, ZERO, Trust.AUTHENTICATED, "aws"))
    found = known.correction(known.utc, Reading(0, ZERO - offset))
    allowed = limit is None or abs(offset) <= limit
    assert (found.offset, found.withheld) == ((offset, False) if allowed else (0, True))


@given(said=honest(0, Trust.AUTHENTICATED), data=st.data(), by=st.integers(1, 10**15))
def test_doubt_needs_a_jump_that_explains_half_of_the_lead(said: Interval, data: st.DataObject, by: int) -> None:
    """And the other way round: such a jump since the last measurement is a reason for doubt."""
    known = make()
    learn(known, known.utc, said)
    found = known.utc.evidence and known.utc.evidence.estimate
    lead = data.draw(st.sampled_from([0, 1, by, by + 1]) | st.integers(-(10**15), 10**16))
    wall = said.latest + known.settings.deadband + lead
    assert not known.in_doubt(known.utc, found, wall)
    at = data.draw(st.sampled_from([said.at - 1, said.at]) | seconds)
    known.jumps.append((at, by))
    assert known.in_doubt(known.utc, found, wall) == (
        at >= said.at and 0 < lead <= by + max(0, by - known.settings.deadband)
    )


@pytest.mark.parametrize("who", ["answer", "witness", "overheard"])
def test_doubt_ends_with_the_first_word_since_the_jump(who: str) -> None:
    """Whatever its origin, and however old the others are."""
    known = make()
    said = known.witness = known.overheard = Interval(0, ZERO, ZERO, Trust.WITNESS, "source")
    learn(known, known.utc, said)
    known.jumps.append((SECOND, 3600 * SECOND))
    wall = ZERO + 3602 * SECOND
    assert known.in_doubt(known.utc, said.aged(2 * SECOND), wall)
    again = said.aged(2 * SECOND)
    if who == "answer":
        learn(known, known.utc, again)
    else:
        setattr(known, who, again)
    assert not known.in_doubt(known.utc, again, wall)


@pytest.mark.parametrize(("breadth", "doubt"), [(9000 * SECOND, True), (SECOND, False)])
def test_a_wide_answer_does_not_end_doubt_in_an_older_vote(breadth: int, doubt: bool) -> None:
    """An answer that was under way through a freeze agrees with the late vote, and with the wall clock."""
    known = make()
    known.witness = Interval(0, ZERO, ZERO, Trust.WITNESS, "sources")
    known.jumps.append((SECOND, 3600 * SECOND))
    now = 10 * SECOND
    learn(known, known.utc, Interval(now, ZERO + now, ZERO + now + breadth, Trust.AUTHENTICATED, "aws"))
    found = known.of(known.utc, now)
    assert found is not None
    assert known.in_doubt(known.utc, found.estimate, ZERO + now + 3600 * SECOND) == doubt


@given(said=honest(0, Trust.WITNESS), age=st.integers(0, 10**16), limit=seconds)
def test_what_is_too_old_is_not_used(said: Interval, age: int, limit: int) -> None:
    """Up to that age, it is, aged."""
    found = make(max_age=limit).usable(said, said.at + age)
    assert found == (said.aged(said.at + age) if age <= limit else None)


@pytest.mark.parametrize(("before", "usable"), [(MAX_LAG - 1, True), (MAX_LAG, False)])
def test_what_is_yet_to_be_said_is_not_used(before: int, usable: bool) -> None:
    """But for a thread that was put aside: it asks about a moment before the latest word, and not long before."""
    said = Interval(MAX_LAG, ZERO, ZERO, Trust.WITNESS, "source")
    assert make().usable(said, MAX_LAG - before) == (said.aged(MAX_LAG - before) if usable else None)


@given(earliest=st.integers(0, 2 * LATEST), breadth=breadths)
@example(earliest=EARLIEST, breadth=LATEST - EARLIEST)
@example(earliest=EARLIEST - 1, breadth=0)
@example(earliest=LATEST, breadth=1)
def test_the_plausible_range(earliest: int, breadth: int) -> None:
    """All of an interval must lie in it."""
    said = Interval(0, earliest, earliest + breadth, Trust.WITNESS, "source")
    assert plausible(said) == (EARLIEST <= earliest and earliest + breadth <= LATEST)
    assert (make().objection(said, 0) is None) == plausible(said)
    assert make(require_authenticated=True).objection(said, 0) is not None


@given(data=st.data(), drift=drifts, sent=seconds, took=st.integers(0, 900 * SECOND), error=breadths)
def test_an_answer_holds_the_truth_whenever_the_server_looked(
    data: st.DataObject, drift: int, sent: int, took: int, error: int
) -> None:
    """At the beginning of the exchange, at its end, or anywhere between."""
    shown = true_at(data.draw(st.integers(sent, sent + took)), drift)
    received = Reading(sent + took, 0)
    said = response_interval(shown - error, shown + error, Reading(sent, 0), received, Trust.AUTHENTICATED, "server")
    assert said.at == received.steady
    assert said.earliest <= true_at(received.steady, drift) <= said.latest
