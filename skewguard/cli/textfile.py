"""What `check` found as a file for the textfile collector of Prometheus's node_exporter.

The names are those of `skewguard.contrib.prometheus`, so the same alerts and dashboard serve hosts and programs.
"""

from __future__ import annotations

from collections.abc import Iterable

from skewguard import __version__
from skewguard.assessment import Outcome
from skewguard.cli.survey import Survey
from skewguard.interval import SECOND


def render(outcome: Outcome, found: Survey | None) -> str:
    """Format a check in Prometheus's text format. Lengths of time are seconds; NaN means unknown."""
    known = found.estimate if found else None
    offset, bound = (str(known.offset / SECOND), str(known.bound / SECOND)) if known else ("NaN", "NaN")
    agrees = [
        (f'source="{escaped(result.name)}"', "NaN" if result.off_by is None else str(int(result.off_by == 0)))
        for result in (found.results if found else ())
    ]
    families: Iterable[tuple[str, str, list[tuple[str, str]]]] = (
        ("check_status", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.", [("", str(outcome.code))]),
        ("clock_offset_seconds", "True time minus wall clock; positive when the host is behind.", [("", offset)]),
        ("clock_offset_error_bound_seconds", "The true offset lies within this of the reported one.", [("", bound)]),
        ("clock_known", "1 while true time is known.", [("", str(int(known is not None)))]),
        ("source_agrees", "1 if a time source agreed with most others, 0 if not; NaN if it was silent.", agrees),
        ("build_info", "1, with skewguard's version.", [(f'version="{__version__}"', "1")]),
    )
    lines = []
    for name, text, samples in families:
        lines += [f"# HELP skewguard_{name} {text}", f"# TYPE skewguard_{name} gauge"]
        lines += [f"skewguard_{name}{'{' + labels + '}' if labels else ''} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def escaped(value: str) -> str:
    """Escape a label's value."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
