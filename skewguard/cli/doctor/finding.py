"""One finding of `doctor`: a level and a sentence. Pure."""

from __future__ import annotations

import enum
from typing import NamedTuple

from skewguard.interval import SECOND
from skewguard.wording import length

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_ROUND = MINUTE  # how far from whole hours an offset may be and still be a mix-up of time zones
_QUARTER = 15 * MINUTE


class Level(enum.IntEnum):
    """How bad a finding is."""

    OK = 0
    NOTE = 1
    WARN = 2
    FAIL = 3


class Finding(NamedTuple):
    """One sentence.

    Attributes:
        id: What was found, in words that stay: a heading of docs/troubleshooting/doctor.md.
        cause: Of an error that is explained: a `causes.Cause`; empty for other findings.
    """

    level: Level
    text: str
    id: str = ""
    cause: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        found = {"id": self.id, "level": self.level.name, "text": self.text}
        return {**found, "cause": self.cause} if self.cause else found

    def __str__(self) -> str:
        return f"[{self.level.name:^4}] {self.text}"


def whole_hours(offset: int, bound: int, utc_offsets: tuple[int, ...]) -> str:
    """Describe an offset, known within `bound`, as a difference of time zones; empty if it is none. All in ns."""
    slack = _ROUND + bound
    if slack >= _QUARTER // 2 or abs(offset) < 30 * MINUTE - slack or abs(offset) > 14 * HOUR + slack:
        return ""
    for zone in utc_offsets:
        if zone and abs(abs(offset) - abs(zone)) <= slack:
            return f"exactly this host's time zone ({'+' if zone > 0 else '-'}{length(zone)})"
    hours = (abs(offset) + HOUR // 2) // HOUR
    if hours and abs(abs(offset) - hours * HOUR) <= slack:
        return f"{hours} whole hour{'s' if hours > 1 else ''}"
    return ""
