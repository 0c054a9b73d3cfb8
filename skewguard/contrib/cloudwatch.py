"""For Amazon CloudWatch: ``export()`` writes metrics in its embedded metric format, one line of JSON after an event.

Where stdout goes to CloudWatch Logs (Lambda, ECS, EKS with an agent), CloudWatch makes metrics of such lines: no call
is made, and no credentials are needed. Nothing is written while nothing happens.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping

import skewguard
from skewguard.events import CorrectionChanged, Event, Measured, Refused, Retried, Stepped, subscribe

_MILLISECOND = 10**6  # ns


def export(
    namespace: str = "skewguard",
    dimensions: Mapping[str, str] | None = None,
    write: Callable[[str], object] | None = None,
) -> Callable[[], None]:
    """Write a line whenever time sources were asked, a correction changed, or a call was signed again.

    Each line has ``ClockOffset`` and ``ClockOffsetErrorBound`` in seconds, if true time is known, ``ClockKnown``,
    ``ClockProved`` and ``Correcting`` as 0 or 1, and ``Retries``, ``Refused`` and ``Steps``: how many since the line
    before. The service and the verdict of a retry are in the line, but are no dimensions.

    Args:
        namespace: The metrics' namespace.
        dimensions: Dimensions of each metric, at most 30; by default none, so that the hosts' metrics are one.
        write: Writes a line; by default to stdout.

    Returns:
        A function that ends it.
    """
    fixed = dict(dimensions or {})

    def line(event: Event) -> None:
        more: dict[str, object] = {}
        match event:
            case Retried(service, operation, verdict):
                more = {"Service": service, "Operation": operation, "Verdict": verdict}
            case Refused() | Stepped() | Measured() | CorrectionChanged():
                pass
            case _:
                return
        counts = {"Retries": isinstance(event, Retried), "Refused": isinstance(event, Refused)}
        counts["Steps"] = isinstance(event, Stepped)
        text = json.dumps({**document(namespace, fixed, counts), **more, **fixed}, separators=(",", ":"))
        if write is not None:
            write(text)
        else:
            print(text, file=sys.stdout, flush=True)  # noqa: T201

    return subscribe(line)


def document(namespace: str, dimensions: Mapping[str, str], counts: Mapping[str, bool]) -> dict[str, object]:
    """Return the values of one line, by the specification of CloudWatch's embedded metric format."""
    status = skewguard.status()
    known, now = status.offset, status.now
    values: dict[str, tuple[str, float]] = {}
    if known is not None:
        values["ClockOffset"] = "Seconds", known.seconds
        values["ClockOffsetErrorBound"] = "Seconds", known.error_bound
    values["ClockKnown"] = "None", int(known is not None)
    values["ClockProved"] = "None", int(known is not None and known.proved)
    values["Correcting"] = "None", int(status.correcting)
    values |= {name: ("Count", int(count)) for name, count in counts.items()}
    # CloudWatch drops what is dated weeks back or hours ahead, so a wrong clock must not date it.
    at = time.time_ns() if now is None else now.earliest
    metrics = [{"Name": name, "Unit": unit} for name, (unit, _) in values.items()]
    directive = {"Namespace": namespace, "Dimensions": [[*dimensions]], "Metrics": metrics}
    return {
        "_aws": {"Timestamp": at // _MILLISECOND, "CloudWatchMetrics": [directive]},
        **{name: value for name, (_, value) in values.items()},
    }
