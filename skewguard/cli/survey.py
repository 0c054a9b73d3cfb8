"""Asking the time sources for a command, once: what `check`, `offset` and `doctor` have in common.

A timekeeper of the command's own is used, so that nothing is installed and botocore's machinery stays unloaded.
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

from skewguard import _aws_profile
from skewguard.clocks import Clocks
from skewguard.config import Settings, nanoseconds, resolve
from skewguard.interval import SECOND, Interval, Trust
from skewguard.sources import FORMS, Source
from skewguard.sources.auto import HostSources
from skewguard.timekeeping.polling import Result
from skewguard.timekeeping.timekeeper import Timekeeper
from skewguard.wording import decimal, length

_GRACE = SECOND


class Known(NamedTuple):
    """How far a clock is off.

    Attributes:
        offset: True time minus that clock, ns.
        bound: The truth lies within this of it, ns.
        source: Who says so.
        authenticated: Whether that has been authenticated.
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
    def most(self) -> int:
        """How far the clock can be off, either way, ns."""
        return abs(self.offset) + self.bound


class Heard(NamedTuple):
    """What one source said.

    Attributes:
        name: The source.
        said: How far off it holds the wall clock; None if it told nothing that could count.
        error: Why not.
        off_by: How far it is from what most sources agree on, ns; None if they do not agree, or it told nothing.
    """

    name: str
    said: Known | None
    error: str | None = None
    off_by: int | None = None

    @property
    def verdict(self) -> str:
        """What is to be thought of it, in a few words; if it told nothing, why."""
        if self.said is None:
            return (self.error or "").removeprefix(self.name).strip()
        if self.off_by is None:
            return "too few agree with it"
        return f"wrong by {length(self.off_by)}, say most others" if self.off_by else "agrees"

    def __str__(self) -> str:
        if self.said is None:
            return f"{self.name}: {self.verdict}"
        offset, bound = decimal(self.said.offset), length(self.said.bound)
        sign = "" if offset.startswith("-") else "+"
        return f"{self.name}: {sign}{offset} s, give or take {bound}; {self.verdict}"


class Survey(NamedTuple):
    """What came of asking.

    Attributes:
        known: What the sources agree on; None if nothing.
        heard: What each said.
        wall: The wall clock then, ns since the Unix epoch.
        min_sources: How many had to agree.
    """

    known: Known | None
    heard: tuple[Heard, ...]
    wall: int
    min_sources: int = 1

    @property
    def why_not(self) -> str:
        """Why nothing is known, in a few words."""
        if not self.heard:
            return "no time source is configured"
        spoke = [one for one in self.heard if one.said is not None]
        if not spoke:
            return "no time source tells the time: " + "; ".join(map(str, self.heard))
        if len(spoke) < self.min_sources:
            return f"only {len(spoke)} of {self.min_sources} wanted time sources answered"
        return f"the {len(spoke)} time sources that answered disagree"


def seconds(text: str) -> int:
    """Read a number of seconds from the command line, as ns."""
    try:
        return nanoseconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the options that every command has which asks the sources."""
    parser.add_argument(
        "--source",
        action="append",
        metavar="URI",
        help=f"a time source, in place of those configured; may be repeated; or auto. There are {FORMS}",
    )
    parser.add_argument("--timeout", metavar="S", help="how long the sources may take, s")
    parser.add_argument("--min-sources", metavar="N", help="how many sources must agree")
    parser.add_argument("--json", action="store_true", help="print JSON")


def given(options: argparse.Namespace) -> dict[str, str]:
    """List the options of `install` that the command line gives, unparsed."""
    sources = ",".join(options.source) if options.source else None
    written = {"sources": sources, "timeout": options.timeout, "min_sources": options.min_sources}
    return {name: value for name, value in written.items() if value is not None}


def settings(options: argparse.Namespace) -> Settings:
    """Settle what to ask, by options, else environment, else AWS profile.

    Raises:
        ConfigError: An option is unusable.
    """
    return resolve(given(options), profile=_aws_profile.options())


def ask(wanted: Settings, *, everybody: bool = False, clocks: Clocks | None = None) -> Survey:
    """Ask the sources, and wait for them.

    Args:
        wanted: Which, how long, and how many must agree.
        everybody: Whether to ask all, even where one of the host's own settles it.
        clocks: Other clocks than the system's, for tests.
    """
    wanted = wanted._replace(share=False)  # the sources are asked, not what other processes were taught
    if everybody:
        wanted = wanted._replace(sources=tuple(_Patient(source) for source in everyone(wanted)))
    keeper = Timekeeper(wanted, clocks)
    keeper.measure()
    if not keeper.results:
        keeper.measure(_GRACE)  # joins the poll that ends just now, to hear why it was in vain
    reading = keeper.clocks.read()
    known = keeper.now()
    return Survey(
        None if known is None else _known(known.aged(reading.steady), reading.wall),
        tuple(_heard(result, reading.steady, reading.wall) for result in keeper.results),
        reading.wall,
        wanted.min_sources,
    )


def everyone(wanted: Settings) -> tuple[Source, ...]:
    """List all sources that may be asked, each once."""
    if wanted.sources is not None:
        return tuple(dict.fromkeys(wanted.sources))
    return tuple(source for tier in HostSources().tiers() for source in tier)


class _Patient:
    """A source that is not asked before the others, and so cannot spare them."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def name(self) -> str:
        return self._source.name

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        return self._source.measure(clocks, deadline)


def _heard(result: Result, steady: int, wall: int) -> Heard:
    said = None if result.interval is None else _known(result.interval.aged(steady), wall)
    return Heard(result.name, said, result.error, result.off_by)


def _known(said: Interval, wall: int) -> Known:
    return Known(said.midpoint - wall, -(-said.width // 2), said.source, said.trust >= Trust.AUTHENTICATED)


def as_json(found: Survey) -> list[dict[str, object]]:
    """Put what each source said as JSON's values, in seconds."""
    return [
        {
            "name": one.name,
            "offset": None if one.said is None else one.said.offset / SECOND,
            "error_bound": None if one.said is None else one.said.bound / SECOND,
            "off_by": None if one.off_by is None else one.off_by / SECOND,
            "error": one.error,
        }
        for one in found.heard
    ]
