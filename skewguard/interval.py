"""Intervals that contain true time: ageing, intersection, vote. Pure; integer nanoseconds throughout.

A measurement does not state what time it is. It states: *at this steady instant, true time lay between these two
instants*. All conclusions follow from such statements by ageing and intersection, so a wrong statement shows as a
contradiction instead of hiding in an average.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SECOND = 1_000_000_000
"""One second, ns."""

LEAP_SMEAR = SECOND
"""By how much sound sources may differ, ns: around a leap second, some smear it over a day and some do not."""

DRIFT_PPB = 100_000
"""How fast a steady clock may wander, in parts per billion: 100 ppm, the widest a crystal's data sheet allows."""

EARLIEST = 1_761_955_200 * SECOND
"""2025-11-01, a year before this package was first released: an earlier date is wrong."""

LATEST = EARLIEST + 40 * 366 * 86_400 * SECOND
"""Decades ahead: a later date is wrong too."""

_BILLION = 1_000_000_000  # parts


def drift_over(elapsed: int, drift_ppb: int = DRIFT_PPB) -> int:
    """Return by how much a clock may have wandered while it counted `elapsed` ns, in ns.

    Rounded up, because a bound never shrinks.
    """
    return -(-abs(elapsed) * drift_ppb // _BILLION)


class Trust(enum.IntEnum):
    """How trustworthy a measurement's origin is; a larger value outranks a smaller one that contradicts it."""

    WITNESS = 1
    """A configured time source, or an endpoint that nothing authenticates."""
    AUTHENTICATED = 2
    """An AWS endpoint whose certificate was verified."""


class _Fields(NamedTuple):
    at: int
    earliest: int
    latest: int
    trust: Trust
    source: str
    drift_ppb: int


class Interval(_Fields):
    """At steady instant `at`, true time lay in [`earliest`, `latest`].

    A named tuple, because a frozen dataclass takes several times as long to create, and each reading creates some.

    Attributes:
        at: The steady clock's reading, ns.
        earliest: The earliest that true time can have been then, ns since the Unix epoch.
        latest: The latest that it can have been, ns since the Unix epoch.
        trust: How trustworthy its origin is.
        source: The name of its origin, for people: ``"ntp://10.0.0.1"``, ``"https://sts.amazonaws.com"``.
        drift_ppb: How fast this statement widens with age, in parts per billion.
    """

    __slots__ = ()

    def __new__(
        cls, at: int, earliest: int, latest: int, trust: Trust, source: str, drift_ppb: int = DRIFT_PPB
    ) -> Interval:
        """Create an interval; ValueError if it ends before it begins."""
        if earliest > latest:
            raise ValueError(f"interval of {source} ends before it begins")
        return tuple.__new__(cls, (at, earliest, latest, trust, source, drift_ppb))

    @property
    def midpoint(self) -> int:
        """The best single guess at true time, ns since the Unix epoch."""
        return (self.earliest + self.latest) // 2

    @property
    def width(self) -> int:
        """The distance between the two ends, ns."""
        return self.latest - self.earliest

    def aged(self, steady: int) -> Interval:
        """Return the same statement as of another steady instant: moved by the time between, widened by possible drift.

        Works in both directions; ageing there and back never narrows.
        """
        elapsed = steady - self.at
        if not elapsed:
            return self
        slack = drift_over(elapsed, self.drift_ppb)
        return Interval(
            steady,
            self.earliest + elapsed - slack,
            self.latest + elapsed + slack,
            self.trust,
            self.source,
            self.drift_ppb,
        )

    def widened(self, by: int) -> Interval:
        """Return the same statement, `by` ns wider at either end."""
        return self._replace(earliest=self.earliest - by, latest=self.latest + by)

    def meets(self, other: Interval) -> bool:
        """Return whether both can be true. Both must be of the same steady instant."""
        return self.earliest <= other.latest and other.earliest <= self.latest


def plausible(said: Interval) -> bool:
    """Return whether an interval lies between the year before this package's first release and some decades later."""
    return said.earliest >= EARLIEST and said.latest <= LATEST


def intersect(older: Interval, newer: Interval) -> Interval | None:
    """Join two statements, as of the newer one's instant; None if they contradict each other.

    The result is trusted no more than the less trusted of the two, because either may have excluded the truth.
    """
    moved = older.aged(newer.at)
    if not moved.meets(newer):
        return None
    return Interval(
        newer.at,
        max(moved.earliest, newer.earliest),
        min(moved.latest, newer.latest),
        min(moved.trust, newer.trust),
        newer.source,
        max(moved.drift_ppb, newer.drift_ppb),
    )


def narrowed(samples: Sequence[Interval]) -> tuple[Interval, Sequence[Interval]]:
    """Join one source's statements: the newest, narrowed by those before it, back to the first that contradicts it.

    Ageing widens a statement by more than a sound clock wanders, so the truth is in the result if it was in each. There
    is at least one. Return the joint statement, as of the newest's instant, and those it rests on, all oldest first.
    """
    joined = newest = samples[-1]
    for index in range(len(samples) - 2, -1, -1):
        tighter = intersect(samples[index], joined) if samples[index].at <= newest.at else None
        if tighter is None:
            return joined, samples[index + 1 :]
        joined = tighter
    return joined, samples


class Vote(NamedTuple):
    """The outcome of `vote`.

    Attributes:
        interval: The majority's interval of true time; None without a majority.
        truechimers: The statements that agree with it.
        falsetickers: The statements that contradict it, or all of them without a majority (RFC 5905, §11.2.1).
    """

    interval: Interval | None
    truechimers: tuple[Interval, ...]
    falsetickers: tuple[Interval, ...]


def vote(statements: Iterable[Interval], steady: int) -> Vote:
    """Find the smallest interval that contains every instant on which most of the statements agree.

    That is wider than what all truechimers share (Marzullo), and on purpose. A liar whose statement is close to
    the truth agrees with some honest sources on a false instant, which then has more supporters than the true one; so
    the best supported instants may all be false. But while most statements are true, most of them support the truth.

    Args:
        statements: At most one per source.
        steady: The steady instant of the result, ns; statements are aged to it.

    Returns:
        The verdict. More than half of all statements must share a point, so one statement alone decides for
        itself, and of two both must agree. A liar may widen the truth, never move it out. Where there is no majority,
        sources that differ by less than `LEAP_SMEAR` agree.
    """
    aged = tuple(said.aged(steady) for said in statements)
    outcome = _vote(aged, aged, steady)
    if outcome.interval is None:
        outcome = _vote(aged, tuple(said.widened(LEAP_SMEAR // 2) for said in aged), steady)
    return outcome


def _vote(aged: tuple[Interval, ...], counted: tuple[Interval, ...], steady: int) -> Vote:
    """Vote with statements, each counted as wide as the other sequence has it."""
    most = len(aged) // 2 + 1
    # A start sorts before an end at the same instant: touching intervals agree.
    edges = sorted([(said.earliest, 0) for said in counted] + [(said.latest, 1) for said in counted])
    depth = 0
    low = high = None
    for value, is_end in edges:
        if is_end:
            if depth == most:
                high = value
            depth -= 1
        else:
            depth += 1
            if depth == most and low is None:
                low = value
    if low is None or high is None:
        return Vote(None, (), aged)
    agreeing = tuple(
        said for said, wide in zip(aged, counted, strict=True) if wide.earliest <= high and low <= wide.latest
    )
    joined = Interval(
        steady,
        low,
        high,
        min(said.trust for said in agreeing),
        ", ".join(sorted({said.source for said in agreeing})),
        max(said.drift_ppb for said in agreeing),
    )
    return Vote(joined, agreeing, tuple(said for said in aged if said not in agreeing))
