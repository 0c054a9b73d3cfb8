"""What is known of one clock, after whatever answers: each row of the table, and what holds whatever comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.interval import EARLIEST, SECOND, Interval, Trust, intersect
from skewguard.timekeeping.domain import MAX_LOST, QUIET_FOR, UTC, Domain
from skewguard.timekeeping.evidence import MOVES, TRANSITIONS, Evidence, Grade, Observation, Shown, after

ZERO = EARLIEST + 10**17
STORED = (Grade.NONE, Grade.GUESS, Grade.CLAIM, Grade.PROOF)
A, B = "https://a", "https://b"


def interval(at: int, ahead: int, breadth: int = SECOND) -> Interval:
    """Return a statement that a clock is `ahead` ns ahead of the wall clock, which shows ZERO at the steady 0."""
    return Interval(at, ZERO + at + ahead - breadth, ZERO + at + ahead + breadth, Trust.WITNESS, "server")


def seen(
    shown: Shown, ahead: int, *, at: int = 0, where: str = A, signed: int = 0, breadth: int = SECOND
) -> Observation:
    """Return an observation; the attempt was dated `signed` ns ahead of the wall clock."""
    return Observation(shown, interval(at, ahead, breadth), where, ZERO + at + signed)


spans = st.integers(-(10**13), 10**13)
observations = st.builds(
    seen,
    st.sampled_from(Shown),
    spans,
    at=st.integers(0, 10**12),
    where=st.sampled_from([A, B]),
    signed=spans,
    breadth=st.integers(0, 10**12),
)
known = st.none() | st.builds(Evidence, st.sampled_from(STORED[1:]), st.builds(interval, st.just(0), spans), st.just(A))


def test_every_cell_has_a_rule() -> None:
    """And a vote is never a cell: it is not stored with a clock."""
    assert {(shown, grade) for shown, row in TRANSITIONS.items() for grade in row} == {
        (shown, grade) for shown in Shown for grade in STORED
    }


@given(known=known, observation=observations)
def test_a_hint_changes_only_guesses(known: Evidence | None, observation: Observation) -> None:
    """What a server refused in words, or accepted, is not touched by a bare Date."""
    hint = observation._replace(shown=Shown.HINT)
    found = after(known, hint)
    if known is None or known.grade is Grade.GUESS:
        assert (found.grade, found.where) == (Grade.GUESS, hint.where)
        assert hint.estimate.earliest <= found.estimate.earliest <= found.estimate.latest <= hint.estimate.latest
    else:
        assert found is known


@given(known=known, observation=observations)
def test_a_refusal_is_a_claim_of_its_endpoint(known: Evidence | None, observation: Observation) -> None:
    """It ends what was proved, or renews it if it agrees with that; and it suffices nowhere else."""
    refusal = observation._replace(shown=Shown.REFUSAL)
    found = after(known, refusal)
    if found.grade is Grade.PROOF:
        assert known is not None
        assert known.grade is Grade.PROOF
        assert found.estimate == intersect(known.estimate, refusal.estimate)
    else:
        assert (found.grade, found.where) == (Grade.CLAIM, refusal.where)
        assert found.suffices(refusal.where)
        assert not found.suffices(B if refusal.where == A else A)


def test_a_refusal_does_not_narrow_what_only_the_wall_clock_proves() -> None:
    """Where a server accepted the wall clock, its words about another time are a claim, though both may be true."""
    wide = after(None, seen(Shown.WALL_CLOCK, 0, breadth=900 * SECOND))
    assert (wide.grade, wide.by_wall) == (Grade.PROOF, True)
    assert after(wide, seen(Shown.REFUSAL, 600 * SECOND)).grade is Grade.CLAIM


@given(observations=st.lists(observations, max_size=8))
def test_only_what_was_accepted_is_proved(observations: Sequence[Observation]) -> None:
    """Refusals and hints alone never prove anything, in whatever order."""
    found = None
    for observation in observations:
        if observation.shown in (Shown.HINT, Shown.REFUSAL):
            found = after(found, observation)
    assert found is None or found.grade < Grade.PROOF


@given(known=known, observation=observations)
def test_what_is_accepted_is_proved(known: Evidence | None, observation: Observation) -> None:
    """By its own Date; what was no proof does not narrow it."""
    accepted = observation._replace(shown=Shown.ACCEPTANCE)
    found = after(known, accepted)
    assert found.grade is Grade.PROOF
    if known is None or known.grade < Grade.PROOF:
        assert found.estimate == accepted.estimate


@pytest.mark.parametrize(
    ("date", "signed", "moves"),
    [
        (MOVES - 1, 0, True),
        (MOVES, 0, False),  # another clock wrote the Date
        (10 * MOVES, MOVES - 1, False),
        (10 * MOVES, MOVES, True),  # the request was dated otherwise, and accepted
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_how_far_a_date_moves_a_proof(date: int, signed: int, moves: bool, sign: int) -> None:
    """To the nanosecond, in both directions."""
    proof = Evidence(Grade.PROOF, interval(0, 0, 0), A)
    found = after(proof, seen(Shown.ACCEPTANCE, sign * date, signed=sign * signed, breadth=0))
    assert (found is proof) == (not moves)
    assert after(proof, seen(Shown.AUTHENTIC, sign * date, breadth=0)) is not proof  # AWS's own moves it freely


def test_what_suffices_where_no_retry_can_mend() -> None:
    """A vote and a proof everywhere on that clock, a claim at its endpoint."""
    sufficient = {grade: [Evidence(grade, interval(0, 0), A).suffices(where) for where in (A, B)] for grade in Grade}
    assert sufficient == {
        Grade.NONE: [False, False],
        Grade.GUESS: [False, False],
        Grade.CLAIM: [True, False],
        Grade.VOTE: [True, True],
        Grade.PROOF: [True, True],
    }


def test_after_some_lost_calls_in_a_row_corrections_are_given_up_for_a_while() -> None:
    """An acceptance between them begins a new row."""
    domain = Domain("https://two")
    for _ in range(MAX_LOST - 1):
        domain.lose(0)
    domain.learn(seen(Shown.ACCEPTANCE, 0), None)
    for _ in range(MAX_LOST):
        assert not domain.given_up(0)
        domain.lose(0)
    assert domain.evidence is None
    late = QUIET_FOR * (MAX_LOST + 3)
    for number in range(MAX_LOST):  # a minute and more apart, they are no row
        domain.lose(late + number * (QUIET_FOR + 1))
        assert not domain.given_up(late + number * (QUIET_FOR + 1))
    assert [domain.given_up(steady) for steady in (0, QUIET_FOR - 1, QUIET_FOR)] == [True, True, False]


def test_where_a_guess_did_not_help_it_is_not_tried_for_a_while() -> None:
    """At that origin alone; an acceptance there ends it."""
    domain = Domain(UTC)
    domain.quieten(A, 0)
    assert [domain.quiet(A, 0), domain.quiet(A, QUIET_FOR - 1), domain.quiet(A, QUIET_FOR)] == [True, True, False]
    assert not domain.quiet(B, 0)
    domain.learn(seen(Shown.AUTHENTIC, 0), None)
    assert not domain.quiet(A, 0)


def table() -> str:
    """Draw the table of transitions, for the docs."""
    names = {Grade.NONE: "nothing", Grade.GUESS: "a guess", Grade.CLAIM: "a claim", Grade.PROOF: "a proof"}
    rows = [["the answer shows", *(f"known: {names[grade]}" for grade in STORED)], ["---"] * 5]
    for shown, row in TRANSITIONS.items():
        rows.append([shown.value, *((row[grade].__doc__ or "").rstrip(".").lower() for grade in STORED)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_docs_show_the_table() -> None:
    page = Path(__file__).parents[1] / "docs" / "how-it-works.md"
    assert table() in page.read_text("utf-8"), f"docs/how-it-works.md needs this table:\n{table()}"
