"""List each option, its value, and the value's origin: ``skewguard doctor --config``.

It calls `skewguard.config.resolve` for each origin in turn, so that both always agree.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from skewguard import _aws_profile
from skewguard.cli.output import columns
from skewguard.config import OFF_SWITCH, PREFIX, Settings, as_boolean, no_such_option, resolve, unknown_variables
from skewguard.wording import plain

_LENGTHS = frozenset({"deadband", "max_age", "refresh_interval", "timeout", "wait", "max_offset"})


class Row(NamedTuple):
    """One option.

    Attributes:
        origin: ``command line``, ``environment``, ``profile`` or ``default``.
        place: The variable, or the profile and its file; empty for the others.
        problem: Which values are ignored, and why; empty if none.
    """

    name: str
    value: str
    origin: str
    place: str = ""
    problem: str = ""


def trace(
    given: Mapping[str, Any], environ: Mapping[str, str] | None = None, profile: Mapping[str, Any] | None = None
) -> list[Row]:
    """Trace the origin of every option: `given` on the command line, in the environment, or in its AWS profile.

    Raises:
        ConfigError: The command line is wrong.
    """
    environ = os.environ if environ is None else environ
    profile = _aws_profile.options(environ) if profile is None else profile
    resolve(given, {}, {})
    rows = [_row(name, given, environ, profile) for name in Settings._fields]
    known = {row.name for row in rows}
    rows += [
        Row(variable.removeprefix(PREFIX).lower(), "(ignored)", "environment", variable, no_such_option(variable))
        for variable in unknown_variables(environ)
    ]
    where = _aws_profile.location(environ)
    rows += [Row(name, "(ignored)", "profile", where, no_such_option(name)) for name in sorted(profile.keys() - known)]
    return rows


def _row(name: str, given: Mapping[str, Any], environ: Mapping[str, str], profile: Mapping[str, Any]) -> Row:
    variable = OFF_SWITCH if name == "enabled" else f"{PREFIX}{name.upper()}"
    origins = [("command line", "", given.get(name)), ("environment", variable, environ.get(variable))]
    origins.append(("profile", _aws_profile.location(environ), profile.get(name)))
    problems = []
    for origin, place, text in origins:
        if text is None:
            continue
        if name == "enabled" and origin == "profile":
            problems.append(f"{place}: it is not an option there")
            continue
        try:
            value = not as_boolean(text) if name == "enabled" else getattr(resolve({name: text}, {}, {}), name)
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        return Row(name, _text(name, value), origin, place, "; ".join(problems))
    return Row(name, _text(name, getattr(Settings(), name)), "default", "", "; ".join(problems))


def _text(name: str, value: Any) -> str:
    if name == "sources":
        if value is None:
            return "auto"
        return ", ".join(source.name for source in value) or "response"
    if name in _LENGTHS:
        return "no limit" if value is None else f"{plain(value)} s"
    if value is None:  # enabled, unless the AWS profile switches it off
        return "true"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value).lower()


def table(rows: list[Row]) -> str:
    """Format the rows as ``aws configure list`` does, followed by the values that are ignored."""
    lines = [line.rstrip() for line in columns([("name", "value", "from", "where"), *(row[:4] for row in rows)])]
    lines += [f"ignored: {row.name}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)
