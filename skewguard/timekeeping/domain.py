"""One set of servers that share a clock: what its answers taught, and the verdict a signing needs. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

from skewguard.interval import Interval, intersect

UTC = "utc"
"""The key of what is authenticated; all other keys are endpoints' origins, each a witness to its own clock."""

LOOK: tuple[int, int, int, int, int] = (-1, 0, 0, 0, 0)
"""A `Domain.fast` that never stands: look closely."""

Lesson: TypeAlias = tuple[Interval | None, Interval]
"""What was known of a domain before something was learned, and after."""


class Domain:
    """One set of servers that share a clock.

    Attributes:
        key: `UTC`, or the endpoint's origin.
        seeded: Whether UTC stands in until the domain's own first answer. A loopback endpoint shares the host's wall
            clock, so for it UTC would be a guess in the wrong direction.
        shared: Whether what it taught may become a neighbour process's estimate.
        estimate: What its answers taught.
        inherited: The estimate that a neighbour's was, at the beginning; False until neighbours are looked for.
        unproved: What a refusal taught that did not say it was about time, until a call has succeeded with it.
        fast: (until, low, high, correction, to_steady), ns: while the quick clock is before `until` and the wall
            clock between `low` and `high` ahead of it, sign at wall + `correction`; steady is quick + `to_steady`.
        announced: The correction last told of, ns.
        way: Whether it was then told that requests are corrected, and that `max_offset` forbids it.
    """

    def __init__(self, key: str, *, seeded: bool, shared: bool = True) -> None:
        self.key = key
        self.seeded = seeded
        self.shared = shared
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.estimate: Interval | None = None
        self.inherited: Interval | Literal[False] | None = False
        self.unproved: Lesson | None = None
        self.fast = LOOK
        self.announced = 0
        self.way: tuple[bool, bool] = (False, False)

    def learn(self, said: Interval, old: Interval | None) -> Lesson:
        """Take a server's word: it narrows what was known where the two agree, and replaces it where they do not.

        Args:
            said: The word.
            old: What was known, as far as it is still usable.
        """
        before = self.estimate
        after = self.estimate = (intersect(old, said) if old is not None else None) or said
        return before, after
