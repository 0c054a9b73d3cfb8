"""What caused an error, as far as the clocks tell: this host's clock, something else, or it cannot be known. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from skewguard.assessment import WARN_FROM
from skewguard.cli.doctor.finding import MINUTE
from skewguard.cli.survey import ClockOffset
from skewguard.wording import off

REFUSED_FROM = 15 * MINUTE
"""A clock that is further off than this is refused by every AWS service, ns."""


class Cause(enum.Enum):
    """What caused an error."""

    CLOCK = "clock"
    """This host's clock."""
    OTHER = "other"
    """Something else."""
    UNKNOWN = "unknown"
    """It cannot be known; the sentences say why."""


class Explanation(NamedTuple):
    """What an error message means on this host.

    Attributes:
        id: The kind of message, which has a heading in docs/troubleshooting/doctor.md.
    """

    id: str
    cause: Cause
    sentences: tuple[str, ...]


def slow(known: ClockOffset | None) -> bool:
    """Return whether this host's clock is slow, by more than AWS's services surely tolerate."""
    return known is not None and known.most > WARN_FROM and known.offset > 0


def fast(known: ClockOffset | None) -> bool:
    """Return whether it is fast, likewise."""
    return known is not None and known.most > WARN_FROM and known.offset < 0


def wrong(known: ClockOffset | None) -> bool:
    """Return whether it is either."""
    return slow(known) or fast(known)


def here(known: ClockOffset | None) -> str:
    """Format this host's clock as a sentence."""
    if known is None:
        return "It is not known whether this host's clock is right."
    if known.most > WARN_FROM:
        return f"This host's clock is {off(known.offset)}."
    return "This host's clock is right." if known.is_right else f"{tolerated(known)}."


def tolerated(known: ClockOffset) -> str:
    """Format a clock that is wrong by less than AWS minds, as the beginning of a sentence."""
    return f"This host's clock is {off(known.offset)}, which AWS tolerates"
