"""For Prometheus: ``export()`` adds skewguard's metrics to a registry of prometheus_client's.

Also if several processes share one exposition (``PROMETHEUS_MULTIPROC_DIR``). In that mode a gauge cannot be computed
at the scrape, so each process writes its values after each event, and the newest value is exposed.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable

import botocore
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

import skewguard
from skewguard.events import Event, Measured, Refused, Retried, Stepped, subscribe

_GAUGES: dict[str, tuple[str, Callable[[], float]]] = {
    "skewguard_clock_offset_seconds": (
        "True time minus wall clock; positive when the host is behind. NaN while unknown.",
        lambda: getattr(skewguard.offset(), "seconds", math.nan),
    ),
    "skewguard_clock_offset_error_bound_seconds": (
        "The true offset lies within this of the reported one. NaN while unknown.",
        lambda: getattr(skewguard.offset(), "error_bound", math.nan),
    ),
    "skewguard_clock_known": ("1 while true time is known.", lambda: skewguard.offset() is not None),
    "skewguard_clock_proved": (
        "1 while true time is known by a vote of time sources, or proved by an accepted request.",
        lambda: getattr(skewguard.offset(), "proved", False),
    ),
    "skewguard_correcting": (
        "1 while requests to AWS are signed as of true time, not by the wall clock.",
        lambda: skewguard.status().correcting,
    ),
}


def export(registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
    """Add the metrics to a registry, and keep them up to date.

    Nothing is sent for it: the metrics show what calls and time sources have measured already.

    Args:
        registry: The registry. In multiprocess mode, the default; another one is scraped.

    Returns:
        A function that removes them again.

    Raises:
        ValueError: They are there already.
    """
    several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
    gauge = functools.partial(Gauge, registry=registry, multiprocess_mode="livemostrecent")
    gauges = {}
    for name, (text, read) in _GAUGES.items():
        gauges[name] = gauge(name, text)
        if not several:
            gauges[name].set_function(read)
    build = gauge("skewguard_build_info", "1, with skewguard's and botocore's versions.", ["version", "botocore"])
    build.labels(skewguard.__version__, botocore.__version__).set(1)
    retries = Counter(
        "skewguard_retries", "Refused attempts that were signed again.", ["service", "verdict"], registry=registry
    )
    refusals = Counter("skewguard_refused", "Statements about time that were not believed.", registry=registry)
    steps = Counter("skewguard_steps", "Steps of the wall clock.", registry=registry)
    agrees = gauge(
        "skewguard_source_agrees",
        "1 if a time source agreed with most others when last asked, 0 if it did not; NaN if it did not answer.",
        ["source"],
    )
    asked = skewguard.status().sources
    known = {one.name for one in asked}

    def count_votes(truechimers: Iterable[str], falsetickers: Iterable[str]) -> None:
        votes = dict.fromkeys(known, math.nan) | dict.fromkeys(falsetickers, 0.0) | dict.fromkeys(truechimers, 1.0)
        known.update(votes)
        for source, vote in votes.items():
            agrees.labels(source).set(vote)

    def count(event: Event) -> None:
        match event:
            case Retried(service, _, verdict):
                retries.labels(service, verdict).inc()
            case Refused():
                refusals.inc()
            case Stepped():
                steps.inc()
            case Measured(_, truechimers, falsetickers):
                count_votes(truechimers, falsetickers)
        if several:
            refresh()

    def refresh() -> None:
        for name, (_, read) in _GAUGES.items():
            gauges[name].set(read())

    answered = [one for one in asked if one.interval is not None]
    count_votes([one.name for one in answered if one.off_by == 0], [one.name for one in answered if one.off_by != 0])
    if several:
        refresh()
    end = subscribe(count)

    def unexport() -> None:
        end()
        for metric in (*gauges.values(), build, retries, refusals, steps, agrees):
            registry.unregister(metric)

    return unexport
