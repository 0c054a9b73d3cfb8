"""Format times, lengths of time and offsets, for people and for programs. Pure; integer nanoseconds in, text out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from skewguard.interval import SECOND

_GRADES = {"guess": ", not confirmed", "claim": ", which refused a request for its time", "proof": ", confirmed"}

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def length(ns: int) -> str:
    """Format a length for people, without its sign: ``12 us``, ``3.4 ms``, ``90.0 s``, ``20 min 0 s``, ``3 d 4 h``."""
    ns = abs(ns)
    if ns < 999_500:
        return f"{ns / 1000:.0f} us"
    if ns < 999_500_000:
        return f"{ns / 1e6:.1f} ms"
    if ns < 119_950_000_000:
        return f"{ns / SECOND:.1f} s"
    whole = (ns + SECOND // 2) // SECOND
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def off(ns: int) -> str:
    """Format an offset, true time minus a clock, as what that clock is: ``20 min 0 s slow``, or ``right``."""
    if not ns:
        return "right"
    return f"{length(ns)} {'slow' if ns > 0 else 'fast'}"


def clock_of(domain: str) -> str:
    """Name the clock that a time domain keeps, by the domain's key: ``true time``, or an endpoint's."""
    return "true time" if domain == "utc" else f"the clock of {domain}"


def clock_offset(ns: int, bound: int, source: str, reference: str = "true time", grade: str = "") -> str:
    """Format how far a clock is off: ``20 min 0 s behind true time (within 12.0 ms, by ntp://10.0.0.1)``.

    `ns` is the reference minus that clock; `grade` is the name of the evidence's, if that is to be told.
    """
    side = "behind" if ns > 0 else "ahead of"
    return f"{length(ns)} {side} {reference} (within {length(bound)}, by {source}{_GRADES.get(grade, '')})"


def this_clock(ns: int, bound: int, source: str, reference: str = "true time", grade: str = "") -> str:
    """Format how far this host's clock is off, as a sentence without its capital and its full stop."""
    return f"this host's clock is {clock_offset(ns, bound, source, reference, grade)}"


def sentence(text: str) -> str:
    """Format a text as a sentence of its own: with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def continued(text: str) -> str:
    """Format a sentence as the rest of another: without its capital."""
    return text[0].lower() + text[1:]


def source_verdict(name: str, error: str | None, off_by: int | None) -> str:
    """Format the result of asking one source: its error, or how far its time is from the majority's, ns."""
    if error is not None:
        return error.removeprefix(name).strip()
    if off_by is None:
        return "too few sources agree with it"
    return f"{length(off_by)} off what most sources agree on" if off_by else "agrees"


def unknown_time(results: Sequence[tuple[str, str | None]], min_sources: int) -> str:
    """Format why the sources do not show the time, from the name and the error of each."""
    if not results:
        return "no time source is configured"
    answers = sum(error is None for _, error in results)
    if not answers:
        each = "; ".join(f"{name}: {source_verdict(name, error, None)}" for name, error in results)
        return f"no time source gave the time: {each}"
    if answers < min_sources:
        return f"only {answers} of the time sources answered; min_sources is {min_sources}"
    return f"the {answers} time sources that answered disagree"


def did_you_mean(name: str, choices: Iterable[str], form: str = "{}") -> str:
    """Return `` Did you mean NAME?`` if a choice is much like a name, else nothing. `form` formats a name."""
    import difflib  # takes longer to import than all of this module

    found = difflib.get_close_matches(name, list(choices), 1)
    return f" Did you mean {form.format(found[0])}?" if found else ""


def decimal(ns: int, digits: int = 6) -> str:
    """Format a length for programs: seconds, exact and rounded once, such as ``-0.000057``; never ``-0.000000``."""
    unit = SECOND // 10**digits
    sign = "-" if ns < 0 else ""
    whole, rest = divmod((abs(ns) + unit // 2) // unit, 10**digits)
    if not whole and not rest:
        sign = ""
    return f"{sign}{whole}.{rest:0{digits}d}" if digits else f"{sign}{whole}"


def plain(ns: int) -> str:
    """Format a threshold for programs: seconds, with no more digits than it needs, such as ``60`` or ``0.5``."""
    text = decimal(ns, 9).rstrip("0").rstrip(".")
    return text or "0"


def in_utc(ns: int) -> str:
    """Format a time (ns since the Unix epoch) for people."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(ns // SECOND))
