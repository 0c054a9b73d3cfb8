"""Each option of skewguard, its value, and where that comes from: ``skewguard doctor --config``.

It asks `skewguard.config.resolve` about each place in turn, so that it cannot hold another opinion.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from skewguard import _aws_profile
from skewguard.config import OFF_SWITCH, Settings, resolve
from skewguard.errors import ConfigError
from skewguard.wording import plain

_PREFIX = "SKEWGUARD_"
_LENGTHS = frozenset({"deadband", "max_age", "refresh_interval", "timeout", "max_offset"})


class Row(NamedTuple):
    """One option.

    Attributes:
        name: The option.
        value: Its value, in words.
        origin: ``command line``, ``environment``, ``profile`` or ``default``.
        place: The variable, or the profile and its file; empty for the others.
        problem: What stands in some place and is ignored, and why; empty if nothing.
    """

    name: str
    value: str
    origin: str
    place: str = ""
    problem: str = ""


def trace(
    given: Mapping[str, Any], environ: Mapping[str, str] | None = None, profile: Mapping[str, Any] | None = None
) -> list[Row]:
    """Find where every option comes from.

    Args:
        given: What the command line gives, unparsed.
        environ: The environment; by default this process's.
        profile: The options in the AWS profile, unparsed; by default those of the profile that `environ` names.

    Raises:
        ConfigError: The command line is wrong.
    """
    environ = os.environ if environ is None else environ
    profile = _aws_profile.options(environ) if profile is None else profile
    resolve(given, {}, {})
    rows = [_row(name, given, environ, profile) for name in Settings._fields]
    known = {row.name for row in rows}
    rows += [
        Row(name, "(ignored)", "environment", variable, "there is no such option")
        for variable in sorted(environ)
        if variable.startswith(_PREFIX)
        and ((name := variable.removeprefix(_PREFIX).lower()) not in known or name == "enabled")
    ]
    where = _profile_place(environ)
    rows += [
        Row(name, "(ignored)", "profile", where, "there is no such option") for name in sorted(profile.keys() - known)
    ]
    return rows


def _row(name: str, given: Mapping[str, Any], environ: Mapping[str, str], profile: Mapping[str, Any]) -> Row:
    variable = OFF_SWITCH if name == "enabled" else f"{_PREFIX}{name.upper()}"
    places = [("command line", "", given.get(name)), ("environment", variable, environ.get(variable))]
    places.append(("profile", _profile_place(environ), profile.get(name)))
    problems = []
    for origin, place, text in places:
        if text is None:
            continue
        if name == "enabled" and origin == "profile":
            problems.append(f"{place}: it is no option there")
            continue
        if name == "enabled":
            switch = str(text).strip().lower()
            if switch in ("true", "false"):
                return Row(name, _words(name, switch == "false"), origin, place, "; ".join(problems))
            problems.append(f"{place}: {text!r} is neither true nor false")
            continue
        try:
            value = getattr(resolve({name: text}, {}, {}), name)
        except ConfigError as error:
            problems.append(f"{place}: {error}")
            continue
        return Row(name, _words(name, value), origin, place, "; ".join(problems))
    return Row(name, _words(name, getattr(Settings(), name)), "default", "", "; ".join(problems))


def _profile_place(environ: Mapping[str, str]) -> str:
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    return f"[{name}] in {environ.get('AWS_CONFIG_FILE') or '~/.aws/config'}"


def _words(name: str, value: Any) -> str:
    if name == "sources":
        if value is None:
            return "auto"
        return ", ".join(source.name for source in value) or "response"
    if name in _LENGTHS:
        return "no limit" if value is None else f"{plain(value)} s"
    if value is None:  # enabled, which the AWS profile's off switch may still decide
        return "true"
    return str(value).lower()


def table(rows: list[Row]) -> str:
    """Put it as ``aws configure list`` does; what is ignored stands below."""
    head = Row("name", "value", "from", "where")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(3)]
    lines = []
    for row in [head, *rows]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row.place]).rstrip())
    lines += [f"ignored: {row.name}: {row.problem}" for row in rows if row.problem]
    return "\n".join(lines)
