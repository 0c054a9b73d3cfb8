"""The values that `skewguard.status` and its like return, and how they read for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from skewguard.host_clock import HostClock
from skewguard.interval import SECOND
from skewguard.timekeeping.polling import Result
from skewguard.wording import in_utc, source_verdict, this_clock, unknown_time

if TYPE_CHECKING:
    from skewguard.assessment import Outcome
    from skewguard.config import Settings

State: TypeAlias = Literal["unknown", "unproved", "synchronized", "doubtful", "faked"]


class TrueTime(NamedTuple):
    """True time lies in [`earliest`, `latest`], integer nanoseconds since the Unix epoch."""

    earliest: int
    latest: int

    @property
    def midpoint(self) -> int:
        """The best single guess, ns since the Unix epoch."""
        return (self.earliest + self.latest) // 2


class Offset(NamedTuple):
    """How far the wall clock is off.

    Attributes:
        seconds: True time minus wall clock; positive when the host is behind.
        error_bound: The truth lies within this of `seconds`, s.
        source: Where this is known from.
        grade: How well it is proved: ``"guess"``, ``"claim"``, ``"vote"`` or ``"proof"``.
    """

    seconds: float
    error_bound: float
    source: str
    grade: str = ""

    @property
    def proved(self) -> bool:
        """Whether the time sources agree on it, or a server has accepted a request that was dated by it."""
        return self.grade in ("vote", "proof")

    def __str__(self) -> str:
        return this_clock(_ns(self.seconds), _ns(self.error_bound), self.source, grade=self.grade)


class Status(NamedTuple):
    """What skewguard knows and does at the moment. `str` gives the sentence that ``skewguard check`` prints.

    Attributes:
        installed: Whether `install` is in force, even if the environment switches correction off.
        state: ``"unknown"``; ``"unproved"`` if nothing has confirmed the time that was told; ``"synchronized"``;
            ``"doubtful"`` after an unexplained jump of the wall clock; or ``"faked"`` while a test library fakes the
            wall clock.
        now: True time, if known.
        offset: The wall clock's offset, if known.
        correcting: Whether requests to AWS are signed as of true time, not by the wall clock.
        sources: The last result of each source.
        domains: The offset of every time domain that has answered, by key: ``"utc"``, or an endpoint's origin.
        inherited: Those of them that are known from another process only.
        host: What the host reports about its own clock: a hint for people, which corrects nothing.
        reason: Why true time is not known; empty if it is.
    """

    installed: bool
    state: State
    now: TrueTime | None
    offset: Offset | None
    correcting: bool
    sources: tuple[Result, ...]
    domains: dict[str, Offset]
    inherited: tuple[str, ...]
    host: HostClock
    reason: str = ""

    def __str__(self) -> str:
        outcome = assess_status(self)
        return f"{outcome.status} - {outcome.text}"

    def _repr_html_(self) -> str:
        """Return the same as a small table, for notebooks."""
        import html  # with all of HTML's entities

        rows = [
            ("guarded", "yes" if self.installed else "no"),
            ("time", self.state),
            ("requests to AWS are signed with", "true time" if self.correcting else "this host's clock"),
        ]
        if self.now is not None:
            rows.append(("true time", in_utc(self.now.midpoint)))
        rows += [(f"source {one.name}", source_verdict(one.name, one.error, one.off_by)) for one in self.sources]
        rows += [(f"clock of {key}", str(known)) for key, known in self.domains.items() if key != "utc"]
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        return f"<table><caption>{html.escape(str(self))}</caption>{cells}</table>"


def assess_status(status: Status, **limits: Any) -> Outcome:
    """Assess this host's clock by what is known, as ``skewguard check`` does; `limits` are those of `assess`."""
    from skewguard.assessment import CRITICAL, Outcome, assess  # most programs need none of it

    known = status.offset
    if known is None:
        return Outcome(CRITICAL, status.reason)
    return assess(_ns(known.seconds), _ns(known.error_bound), known.source, grade=known.grade, **limits)


def why_unknown(results: Sequence[Result], settings: Settings) -> str:
    """Return why true time is not known, from the last result of each source."""
    if not results and settings.sources != ():
        return "the time is not known yet: no time source has been asked"
    if any(result.off_by == 0 for result in results):
        return "what the time sources said is too old"
    return unknown_time([(result.name, result.error) for result in results], settings.min_sources)


def _ns(seconds: float) -> int:
    return round(seconds * SECOND)
