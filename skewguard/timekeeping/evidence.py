"""What is known of one clock, how well that is proved, and how an answer changes it. Pure.

What a server says about the time may be wrong: a proxy may have written it, a customer's code, or another clock than
the one that judges signatures. So an estimate is kept with its grade, and each act demands one: what a retry can mend
may go by any, what nothing can mend only by what is proved.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from skewguard.interval import SECOND, Interval, intersect

MOVES = 120 * SECOND
"""By how much, ns, the ``Date`` of an accepted answer may move a proof: half the strictest tolerance.

A proof is as good as the tolerance of the server that accepted it, not good to the second.
"""


class Grade(enum.IntEnum):
    """How well an estimate is proved, the weakest first."""

    NONE = 0
    """Nothing is known."""
    GUESS = 1
    """Nothing has confirmed it: a bare ``Date``, UTC standing in for an endpoint's clock, another process's word."""
    CLAIM = 2
    """A server refused a request for its time, in words. That disproves the wall clock there, and only there."""
    VOTE = 3
    """Most of the time sources agree on it."""
    PROOF = 4
    """A server accepted a request that was dated by it."""

    @property
    def label(self) -> str:
        """The name that is told: ``"guess"``, ``"claim"``, ``"vote"``, ``"proof"``."""
        return self.name.lower()


class Evidence(NamedTuple):
    """What is known of one clock.

    Attributes:
        grade: How well it is proved.
        estimate: The interval of its time.
        where: The origin of the server that said so.
        by_wall: Whether a server has only accepted the wall clock: that tells nothing once the clock is set.
    """

    grade: Grade
    estimate: Interval
    where: str = ""
    by_wall: bool = False

    def suffices(self, where: str) -> bool:
        """Return whether what no retry can mend may be dated by it at an origin."""
        return self.grade >= Grade.VOTE or (self.grade is Grade.CLAIM and self.where == where)


class Shown(enum.Enum):
    """What an answer shows."""

    HINT = "a `Date`, and nothing that confirms it"
    REFUSAL = "a refusal for time, in words"
    ACCEPTANCE = "the time of the request was accepted, and the `Date` agrees"
    AUTHENTIC = "AWS's own `Date`, over verified TLS, on a signature that it accepted"
    WALL_CLOCK = "the wall clock was accepted, against what was known"


class Observation(NamedTuple):
    """What the answer to an attempt shows of its server's clock.

    Attributes:
        shown: What kind of answer it was.
        estimate: The server's clock, as of the receipt of the answer.
        where: The server's origin.
        signed: The time that the attempt carried, moved to the same instant, ns.
    """

    shown: Shown
    estimate: Interval
    where: str
    signed: int


Rule: TypeAlias = Callable[[Evidence, Observation], Evidence]


def _keep(old: Evidence, _: Observation) -> Evidence:
    """It stays."""
    return old


def _guess(old: Evidence, seen: Observation) -> Evidence:
    """A guess."""
    return Evidence(Grade.GUESS, _narrowed(old, seen), seen.where)


def _claim(old: Evidence, seen: Observation) -> Evidence:
    """A claim."""
    said = _narrowed(old, seen) if old.grade is Grade.CLAIM and old.where == seen.where else seen.estimate
    return Evidence(Grade.CLAIM, said, seen.where)


def _claim_unless_it_agrees(old: Evidence, seen: Observation) -> Evidence:
    """A claim, if it contradicts the proof; else it renews the proof."""
    agreed = None if old.by_wall else intersect(old.estimate, seen.estimate)
    return Evidence(Grade.CLAIM, seen.estimate, seen.where) if agreed is None else old._replace(estimate=agreed)


def _proof(old: Evidence, seen: Observation) -> Evidence:
    """A proof."""
    said = _narrowed(old, seen) if old.grade is Grade.PROOF else seen.estimate
    return Evidence(Grade.PROOF, said, seen.where)


def _moved_proof(old: Evidence, seen: Observation) -> Evidence:
    """A proof, moved by less than 120 s; or replaced, if the request was dated otherwise."""
    known = old.estimate.aged(seen.estimate.at)
    if _apart(known, seen.signed, seen.signed) < MOVES <= _apart(known, seen.estimate.earliest, seen.estimate.latest):
        return old  # a Date that far off is another clock's
    return Evidence(Grade.PROOF, _narrowed(old, seen), seen.where)


def _proof_of_the_wall(_: Evidence, seen: Observation) -> Evidence:
    """A proof, until the wall clock is set."""
    return Evidence(Grade.PROOF, seen.estimate, seen.where, by_wall=True)


_STORED = (Grade.NONE, Grade.GUESS, Grade.CLAIM, Grade.PROOF)

TRANSITIONS: Mapping[Shown, Mapping[Grade, Rule]] = {
    Shown.HINT: {
        Grade.NONE: _guess,
        Grade.GUESS: _guess,
        Grade.CLAIM: _keep,
        Grade.PROOF: _keep,
    },
    Shown.REFUSAL: {
        Grade.NONE: _claim,
        Grade.GUESS: _claim,
        Grade.CLAIM: _claim,
        Grade.PROOF: _claim_unless_it_agrees,
    },
    Shown.ACCEPTANCE: {
        Grade.NONE: _proof,
        Grade.GUESS: _proof,
        Grade.CLAIM: _proof,
        Grade.PROOF: _moved_proof,
    },
    Shown.AUTHENTIC: dict.fromkeys(_STORED, _proof),
    Shown.WALL_CLOCK: dict.fromkeys(_STORED, _proof_of_the_wall),
}
"""What is known after an answer, by what it shows and by the grade of what was known. A vote is never stored here."""


def after(known: Evidence | None, seen: Observation) -> Evidence:
    """Return what is known of a clock after an answer. `known` is None, or of `Grade` GUESS, CLAIM or PROOF."""
    before = known or Evidence(Grade.NONE, seen.estimate)
    return TRANSITIONS[seen.shown][before.grade](before, seen)


def _narrowed(old: Evidence, seen: Observation) -> Interval:
    """Return the observed interval, narrowed by the known one where the two agree."""
    return intersect(old.estimate, seen.estimate) or seen.estimate


def _apart(known: Interval, earliest: int, latest: int) -> int:
    """Return by how much, ns, two intervals of one instant miss each other; 0 if they meet."""
    return max(known.earliest - latest, earliest - known.latest, 0)
