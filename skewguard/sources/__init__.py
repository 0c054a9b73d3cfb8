"""Time sources: one module each, with one method."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from skewguard import _late_imports
from skewguard.clocks import Clocks
from skewguard.errors import ConfigError
from skewguard.interval import Interval


@runtime_checkable
class Source(Protocol):
    """A time source: a name, and a method that returns an interval of true time.

    A source of your own is any object with these two members; pass it to ``install(sources=[...])``. If it always
    returns within a millisecond, and never blocks for longer than its deadline, give it an attribute
    ``instant = True``: it is then asked in the thread that signs, before the first request.
    """

    @property
    def name(self) -> str:
        """The name of this source in `skewguard.status`, events and logs; by convention its URI."""
        ...

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask once.

        Args:
            clocks: The clocks to measure with; the interval's `at` is one of their ``read().steady``.
            deadline: The steady instant, ns, by which to answer or give up.

        Returns:
            An interval that contains true time for certain.

        Raises:
            SourceError: The source is unreachable, not synchronized, or not to be believed. Any other exception counts
                as the same.
        """
        ...


FORMS = "clockbound[:/path], clockboundd[:/path], chrony[:/path], phc[:/dev/ptpN], ntp://host[:port] and https://host[:port]"
"""All forms of URIs, for messages."""


def from_uri(uri: str) -> Source:
    """Make a source from its URI, such as ``clockbound`` or ``ntp://time.example.com``. ConfigError if it is none."""
    # Imported one by one, because a program uses one or two of them.
    with _late_imports.importing:
        match uri.partition("?")[0].partition(":")[0].lower():
            case "clockbound":
                from skewguard.sources.clockbound import ClockBoundSource

                return ClockBoundSource.from_uri(uri)
            case "clockboundd":
                from skewguard.sources.clockboundd import ClockBounddSource

                return ClockBounddSource.from_uri(uri)
            case "chrony":
                from skewguard.sources.chrony import ChronySource

                return ChronySource.from_uri(uri)
            case "phc":
                from skewguard.sources.phc import PhcSource

                return PhcSource.from_uri(uri)
            case "ntp":
                from skewguard.sources.ntp import NtpSource

                return NtpSource.from_uri(uri)
            case "https":
                from skewguard.sources.https import HttpsSource

                return HttpsSource.from_uri(uri)
    raise ConfigError(f"{uri!r} is not a time source; there are {FORMS}")
