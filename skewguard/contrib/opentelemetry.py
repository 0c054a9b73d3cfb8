"""For OpenTelemetry: ``instrument()`` reports metrics, and marks the span in which a call was signed again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

import skewguard
from skewguard.events import Event, Refused, Retried, Stepped, subscribe


def instrument(meter_provider: MeterProvider | None = None) -> Callable[[], None]:
    """Create the instruments, and keep them up to date.

    While the true time is not known, there are no observations.

    Args:
        meter_provider: The provider of the meter; the global one by default.

    Returns:
        A function that ends it. OpenTelemetry cannot remove instruments; they stop reporting.
    """
    ended = False

    def several(read: Callable[[], Iterable[Observation]]) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        return [lambda _: [] if ended else read()]

    def observing(read: Callable[[], float | None]) -> list[Callable[[CallbackOptions], Iterable[Observation]]]:
        def observations() -> list[Observation]:
            value = read()
            return [] if value is None else [Observation(value)]

        return several(observations)

    meter = metrics.get_meter("skewguard", skewguard.__version__, meter_provider=meter_provider)
    meter.create_observable_gauge(
        "skewguard.clock.offset",
        observing(lambda: getattr(skewguard.offset(), "seconds", None)),
        unit="s",
        description="True time minus wall clock; positive when the host is behind.",
    )
    meter.create_observable_gauge(
        "skewguard.clock.offset.error_bound",
        observing(lambda: getattr(skewguard.offset(), "error_bound", None)),
        unit="s",
        description="The true offset lies within this of the reported one.",
    )
    meter.create_observable_gauge(
        "skewguard.clock.proved",
        observing(_proved),
        unit="1",
        description="1 while true time is known by a vote of time sources, or proved by an accepted request.",
    )
    meter.create_observable_gauge(
        "skewguard.correcting",
        observing(lambda: int(skewguard.status().correcting)),
        unit="1",
        description="1 while requests to AWS are signed as of true time, not by the wall clock.",
    )
    meter.create_observable_gauge(
        "skewguard.source.agrees",
        several(_votes),
        unit="1",
        description="1 if a time source agreed with most others when last asked, 0 if it did not.",
    )
    retries = meter.create_counter(
        "skewguard.retries", unit="{retry}", description="Refused attempts that were signed again."
    )
    refusals = meter.create_counter(
        "skewguard.refused", unit="{statement}", description="Statements about time that were not believed."
    )
    steps = meter.create_counter("skewguard.steps", unit="{step}", description="Steps of the wall clock.")

    def count(event: Event) -> None:
        match event:
            case Retried(service, operation, verdict, reason):
                retries.add(1, {"aws.service": service, "skewguard.verdict": verdict})
                span = trace.get_current_span()  # the call's own, where botocore is instrumented too
                span.set_attribute("skewguard.retried", True)
                attributes = {"aws.service": service, "aws.operation": operation, "skewguard.verdict": verdict}
                span.add_event("skewguard.retried", {**attributes, "skewguard.reason": reason})
            case Refused():
                refusals.add(1)
            case Stepped(by):
                steps.add(1, {"skewguard.direction": "forward" if by > 0 else "backward"})

    unsubscribe = subscribe(count)

    def end() -> None:
        nonlocal ended
        ended = True
        unsubscribe()

    return end


def _proved() -> int | None:
    known = skewguard.offset()
    return None if known is None else int(known.proved)


def _votes() -> list[Observation]:
    answered = [one for one in skewguard.status().sources if one.interval is not None]
    return [Observation(int(one.off_by == 0), {"skewguard.source": one.name}) for one in answered]
