"""Ask the time sources once, for `check`, `offset`, `watch` and `doctor`.

The command uses a timekeeper of its own, so that nothing is installed and botocore's signers stay unloaded.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from skewguard import _aws_profile
from skewguard.clocks import APART_NS, Clocks
from skewguard.config import Settings, nanoseconds, resolve
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources import FORMS, Source
from skewguard.sources.auto import HostSources
from skewguard.timekeeping.polling import Result
from skewguard.timekeeping.timekeeper import Timekeeper
from skewguard.wording import clock_offset, decimal, length, source_verdict, this_clock, unknown_time

_GRACE = SECOND


class ClockOffset(NamedTuple):
    """How far a clock is off.

    Attributes:
        offset: True time minus that clock, ns.
        bound: The true offset lies within this of it, ns.
        source: The source that measured it.
        authenticated: Whether that source was authenticated.
    """

    offset: int
    bound: int
    source: str
    authenticated: bool = False

    @property
    def least(self) -> int:
        """How far the clock is off at the least, either way, ns."""
        return max(abs(self.offset) - self.bound, 0)

    @property
    def is_right(self) -> bool:
        """Whether nothing shows that the clock is off by more than a second."""
        return self.most <= SECOND or self.least == 0

    @property
    def most(self) -> int:
        """How far the clock can be off, either way, ns."""
        return abs(self.offset) + self.bound

    @property
    def sentence(self) -> str:
        """How far this host's clock is off, if that is the clock."""
        return this_clock(self.offset, self.bound, self.source)

    def __str__(self) -> str:
        return clock_offset(self.offset, self.bound, self.source)


class SourceResult(NamedTuple):
    """The result of asking one source.

    Attributes:
        measured: How far off the wall clock is by that source; None if it gave no usable time.
        error: Why it gave none.
        off_by: How far it is from the majority, ns; None if there is no majority, or it gave no time.
    """

    name: str
    measured: ClockOffset | None
    error: str | None = None
    off_by: int | None = None

    @property
    def verdict(self) -> str:
        """Whether it agrees with the others, in a few words; if it gave no time, why."""
        return source_verdict(self.name, self.error, self.off_by)

    def __str__(self) -> str:
        if self.measured is None:
            return f"{self.name}: {self.verdict}"
        offset, bound = decimal(self.measured.offset), length(self.measured.bound)
        sign = "" if offset.startswith("-") else "+"
        return f"{self.name}: {sign}{offset} s +/- {bound}; {self.verdict}"


class Survey(NamedTuple):
    """The result of asking all sources.

    Attributes:
        estimate: What the sources agree on; None if nothing.
        wall: The wall clock then, ns since the Unix epoch.
        min_sources: How many had to agree.
    """

    estimate: ClockOffset | None
    results: tuple[SourceResult, ...]
    wall: int
    min_sources: int = 1

    @property
    def why_not(self) -> str:
        """Why there is no estimate, in a few words."""
        return unknown_time([(result.name, result.error) for result in self.results], self.min_sources)


def seconds(text: str) -> int:
    """Parse a number of seconds from the command line; return ns."""
    try:
        return nanoseconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that asks the sources once."""
    configure_sources(parser)
    parser.add_argument("--timeout", metavar="S", help="how long the sources may take, s")
    parser.add_argument("--json", action="store_true", help="print JSON")


def configure_sources(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that asks the sources."""
    parser.add_argument(
        "--source",
        action="append",
        metavar="URI",
        help=f"a time source to use instead of those configured; may be repeated; auto, or one of {FORMS}",
    )
    parser.add_argument("--min-sources", metavar="N", help="how many sources must agree")


def given(options: argparse.Namespace) -> dict[str, str]:
    """Return the options of `install` that the command line gives, unparsed."""
    sources = ",".join(options.source) if options.source else None
    written = {"sources": sources, "timeout": options.timeout, "min_sources": options.min_sources}
    return {name: value for name, value in written.items() if value is not None}


def settings(options: argparse.Namespace) -> Settings:
    """Resolve the settings: command line, else environment, else AWS profile. ConfigError if one is unusable."""
    return resolve(given(options), profile=_aws_profile.options())


def ask(settings: Settings, *, all_sources: bool = False, clocks: Clocks | None = None) -> Survey:
    """Ask the sources, and wait for them: with `all_sources` all of them, even if one of the host's own is enough."""
    settings = settings._replace(share=False)  # ask the sources, not the file that processes share
    if all_sources:
        settings = settings._replace(sources=tuple(_Patient(source) for source in sources(settings)))
    keeper = Timekeeper(settings, clocks)
    keeper.measure()
    return outcome(keeper)


def outcome(keeper: Timekeeper) -> Survey:
    """Return what a timekeeper that has asked its sources knows, and the last result of each."""
    if not keeper.results:
        keeper.measure(_GRACE)  # joins the poll that is just ending, to learn why it failed
    reading = keeper.clocks.read()
    known = keeper.now()
    return Survey(
        None if known is None else _clock_offset(known.aged(reading.steady), reading.wall, APART_NS),
        tuple(_source_result(result, reading.steady, reading.wall) for result in keeper.results),
        reading.wall,
        keeper.settings.min_sources,
    )


def sources(settings: Settings) -> tuple[Source, ...]:
    """Return all sources that may be asked, each once."""
    if settings.sources is not None:
        return tuple(dict.fromkeys(settings.sources))
    return tuple(source for tier in HostSources().tiers() for source in tier)


class _Patient:
    """A source without ``instant``, so that it is asked along with the others, not instead of them."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        return self._source.measure(clocks, deadline)


def _source_result(result: Result, steady: int, wall: int) -> SourceResult:
    measured = None if result.interval is None else _clock_offset(result.interval.aged(steady), wall)
    return SourceResult(result.name, measured, result.error, result.off_by)


def _clock_offset(measured: Interval, wall: int, apart: int = 0) -> ClockOffset:
    """Compare a measurement with the wall clock, which was read `apart` ns from it, as `skewguard.offset` does."""
    authenticated = measured.trust >= Trust.AUTHENTICATED
    return ClockOffset(measured.midpoint - wall, -(-measured.width // 2) + apart, measured.source, authenticated)


def offset_json(known: ClockOffset | None) -> dict[str, object]:
    """Return an offset as JSON values, in seconds; null if it is not known."""
    if known is None:
        return {"offset": None, "error_bound": None, "source": None}
    return {"offset": known.offset / SECOND, "error_bound": known.bound / SECOND, "source": known.source}


def survey_json(survey: Survey | None) -> dict[str, object]:
    """Return a survey as JSON values: the estimate, and the result from each source."""
    if survey is None:
        return {**offset_json(None), "sources": []}
    return {**offset_json(survey.estimate), "sources": [_result_json(result) for result in survey.results]}


def _result_json(result: SourceResult) -> dict[str, object]:
    measured = offset_json(result.measured)
    del measured["source"]
    off_by = None if result.off_by is None else result.off_by / SECOND
    return {"name": result.name, **measured, "off_by": off_by, "error": result.error}
