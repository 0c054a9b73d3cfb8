"""What every target asks of what a parser returns, or raises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from skewguard.interval import SECOND, Interval


@contextlib.contextmanager
def only(documented: type[Exception]) -> Iterator[None]:
    """Let a parser refuse by its documented error and no other, in words that are fit for one line of a log."""
    try:
        yield
    except documented as error:
        assert type(error) is documented, f"{type(error).__name__} instead of {documented.__name__}"
        assert str(error), "it says nothing"
        assert str(error).isprintable(), f"not fit for a log: {error!s}"


def sound(said: Interval) -> None:
    """Fail unless an interval is well-formed: whole numbers in order, which ageing widens and never narrows."""
    assert all(type(value) is int for value in (said.at, said.earliest, said.latest, said.drift_ppb))
    assert said.earliest <= said.latest
    assert said.drift_ppb > 0
    for later in (said.at + SECOND, said.at - SECOND):
        assert said.aged(later).width > said.width
