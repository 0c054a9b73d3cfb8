"""Checks of what a parser returns or raises, shared by all targets."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from skewguard.interval import SECOND, Interval


@contextlib.contextmanager
def only(documented: type[Exception]) -> Iterator[None]:
    """Accept the parser's documented error and no other, with a message that fits in one line of a log."""
    try:
        yield
    except documented as error:
        assert type(error) is documented, f"{type(error).__name__} instead of {documented.__name__}"
        assert str(error), "the message is empty"
        assert str(error).isprintable(), f"not fit for a log: {error!s}"


def sound(said: Interval) -> None:
    """Check that an interval is well-formed: integers in order, and wider after ageing."""
    assert all(type(value) is int for value in (said.at, said.earliest, said.latest, said.drift_ppb))
    assert said.earliest <= said.latest
    assert said.drift_ppb > 0
    for later in (said.at + SECOND, said.at - SECOND):
        assert said.aged(later).width > said.width
