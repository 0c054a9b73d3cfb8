"""Which knowledge of true time may judge certificates where the wall clock is wrong. Pure.

An attacker with a stolen key needs the time turned back to before its certificate expired, and may try that by a lie
about the time: a right clock then seems fast. So a clock that seems fast demands more knowledge than a slow one,
where judging on true time is stricter about expiry than judging by the wall clock.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from skewguard.interval import SECOND, Interval, Trust

RELEASED = 1_793_491_200 * SECOND
"""2026-11-01, not later than this release was made: true time is later. Raised with each release."""

_AUTHORITIES = ("clockbound", "clockboundd", "phc")
_LOCAL = (*_AUTHORITIES, "chrony")
_LINK_LOCAL = ("ntp://169.254.169.123", "ntp://[fd00:ec2::123]")


class Wall(enum.Enum):
    """In which way the wall clock is wrong."""

    IMPOSSIBLE = "earlier than this release, or than an authenticated time"
    SLOW = "slow"
    FAST = "fast"


class Ground(enum.Enum):
    """What an interval of true time rests on, the strongest first."""

    AUTHENTICATED = "AWS's answers, or an authenticated source"
    AUTHORITY = "ClockBound or a PTP hardware clock"
    THREE = "three sources that the user has named"
    LOCAL = "chronyd, or Amazon Time Sync on its link-local address"
    TWO = "two sources"
    ONE = "one source"


ENOUGH: Mapping[Wall, frozenset[Ground]] = {
    Wall.IMPOSSIBLE: frozenset(Ground),
    Wall.SLOW: frozenset(Ground) - {Ground.ONE},
    Wall.FAST: frozenset({Ground.AUTHENTICATED, Ground.AUTHORITY, Ground.THREE}),
}
"""The grounds that suffice to judge certificates, by what is wrong with the wall clock."""


class Known(NamedTuple):
    """What is known of UTC at one instant; all intervals are as of that instant.

    Attributes:
        proved: What AWS's answers have proved, over connections whose certificates the wall clock judged.
        agreed: What most time sources agree on.
        voters: The statements of the sources that agree with it.
        named: Whether the user has named the sources.
        newest: The newest time that an authenticated statement has shown, ns.
    """

    proved: Interval | None = None
    agreed: Interval | None = None
    voters: tuple[Interval, ...] = ()
    named: bool = False
    newest: int = 0


class Basis(NamedTuple):
    """The interval that certificates are judged by, or why the wall clock judges them; empty if it may be right."""

    interval: Interval | None
    obstacle: str = ""


def basis(known: Known, wall: int, offset: Callable[[Interval], int], *, authenticated_only: bool = False) -> Basis:
    """Return what certificates are to be judged by.

    Args:
        known: What is known.
        wall: The wall clock, ns.
        offset: Returns by how much an interval shows the wall clock to be wrong, ns; 0 if it may be right.
        authenticated_only: Whether nothing else counts.
    """
    if known.proved is not None and known.agreed is not None and not known.proved.meets(known.agreed):
        return Basis(None, "the time sources contradict AWS's answers")
    floor = max(RELEASED, known.newest)
    found = ""
    for ground, said in _grounds(known):
        off = offset(said)
        if off == 0:
            return Basis(None)
        if authenticated_only and ground is not Ground.AUTHENTICATED:
            return Basis(None, "require_authenticated is set, and nothing authenticated tells the time")
        if said.latest < floor:
            return Basis(None, "the time that the sources tell has passed long ago")
        state = Wall.IMPOSSIBLE if wall < floor else Wall.SLOW if off > 0 else Wall.FAST
        if ground in ENOUGH[state]:
            return Basis(said)
        found = found or f"{ground.value} is not enough where the clock is {state.value}"
    return Basis(None, found)


def _grounds(known: Known) -> Iterator[tuple[Ground, Interval]]:
    """List what is known, the strongest ground first."""
    if known.proved is not None:
        yield Ground.AUTHENTICATED, known.proved
    for said in known.voters:
        if said.trust >= Trust.AUTHENTICATED:
            yield Ground.AUTHENTICATED, said
    for said in known.voters:
        if _scheme(said) in _AUTHORITIES:
            yield Ground.AUTHORITY, said
    if known.agreed is None:
        return
    count = len({said.source for said in known.voters})
    if count >= 3 and known.named:
        yield Ground.THREE, known.agreed
    for said in known.voters:
        if _scheme(said) in _LOCAL or said.source in _LINK_LOCAL:
            yield Ground.LOCAL, said
    yield (Ground.TWO if count >= 2 else Ground.ONE), known.agreed


def _scheme(said: Interval) -> str:
    return said.source.partition(":")[0]
