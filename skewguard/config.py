"""Settings: keyword, else environment, else AWS profile, else default; one frozen object.

A wrong keyword is a `ConfigError`, because its author will see it. A wrong value in the environment or the profile is a
warning and the default, because an AWS call must not fail for it; so is a name there that is no option.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from skewguard._warnings import warn_once
from skewguard.errors import ConfigError
from skewguard.interval import SECOND
from skewguard.sources import Source, from_uri
from skewguard.wording import did_you_mean

OFF_SWITCH = "AWS_DISABLE_CLOCK_SKEW_CORRECTION"
"""AWS's cross-SDK environment variable that switches correction off."""

OFF_SWITCH_PROFILE_KEY = "disable_clock_skew_correction"
"""The same switch in a profile of the AWS config file."""

PREFIX = "SKEWGUARD_"
"""What the environment variables of all other options begin with."""

AUTO = "auto"
"""The word for all sources that this host has."""

RESPONSE = "response"
"""AWS's answers, which are always a source. Alone, it means that no other source is asked."""

OTHER_SIGNERS = {
    "awscrt": "awscrt.auth",
    "aws-requests-auth": "aws_requests_auth.aws_auth",
    "hvac": "hvac.aws_utils",
    "minio": "minio.time",
    "requests-auth-aws-sigv4": "requests_auth_aws_sigv4",
    "requests-aws4auth": "requests_aws4auth.aws4auth",
    "s3cmd": "S3.Crypto",
}
"""Libraries with signers of their own, each with the module that reads the wall clock for them."""


class Settings(NamedTuple):
    """The options of `install`. Lengths of time are given in seconds and kept in nanoseconds.

    The table in docs/options.md is made from these texts.

    Attributes:
        enabled: True or False decide, and True overrides AWS's off switches. None leaves it to those: the
            environment's, else the one in a session's AWS profile.
        learn_from_responses: Whether answers may teach the time. A refusal is judged either way.
        sources: The time sources; they belong to the process. ``auto`` asks those that this host has, cheapest first,
            until one gives the time. ``response`` alone asks none. Else URIs from docs/sources.md, such as
            ``chrony`` or ``ntp://time.example.com``, separated by commas; in code a list of these, and of objects with
            a name and a ``measure`` method.
        deadband: While the wall clock is off by no more than this, requests are signed by the wall clock, byte for byte
            as without skewguard. A correction ends within half of it. What is handed out has no deadband.
        max_age: Measurements older than this are not used. A day's drift stays below the deadband.
        refresh_interval: A signing that finds the sources' measurement older than this asks them again, in the
            background.
        timeout: How long the sources may take to answer, if a call names no other timeout. What is handed out waits for
            them no longer, and only if they are named, there is a ``wait``, or the AWS CLI runs on a host whose kernel
            reports no synchronization.
        wait: How long `install` may block until true time is known. Silent sources are asked again meanwhile.
        min_sources: How many sources must agree before they are believed.
        max_offset: A larger correction than this is never made. ``none`` sets no limit.
        require_authenticated: Whether to believe only sources that authenticate their measurements, which NTP does not.
            AWS's answers over verified TLS are authenticated.
        share: Whether this process starts with the estimates that answers taught the user's other processes, and
            gives them its own (Linux). Without ``learn_from_responses`` it does neither.
        correct_presigned: Whether to correct what is handed out (presigned URLs, forms, tokens), too.
        ignore_frozen_clock: Whether requests are signed by true time although freezegun or time-machine fakes this
            process's clock, as tests against AWS itself need it. Nothing is learned meanwhile.
        other_signers: Libraries whose own signers read true time, too: names from docs/signers.md, such as
            ``requests-aws4auth``, separated by commas.
        true_time_tls: Whether the dates of servers' certificates are judged by true time while the wall clock is known
            to be wrong. See docs/security.md.
    """

    enabled: bool | None = None
    learn_from_responses: bool = True
    sources: tuple[Source, ...] | None = None
    deadband: int = 10 * SECOND
    max_age: int = 86_400 * SECOND
    refresh_interval: int = 1_024 * SECOND
    timeout: int = 1 * SECOND
    wait: int = 0
    min_sources: int = 1
    max_offset: int | None = None
    require_authenticated: bool = False
    share: bool = True
    correct_presigned: bool = True
    ignore_frozen_clock: bool = False
    other_signers: tuple[str, ...] = ()
    true_time_tls: bool = False


class Switch:
    """The settings in force for a set of event handlers; None while they are off."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings


class AttachOptions(TypedDict, total=False):
    """The keywords of `attach`, for type checkers. Lengths of time are in seconds; `Settings` has the meanings."""

    enabled: bool | None
    learn_from_responses: bool
    correct_presigned: bool
    sources: Iterable[str | Source]


class ProcessOptions(AttachOptions, total=False):
    """The keywords of functions that install and have a ``wait`` of their own, for type checkers."""

    deadband: float
    max_age: float
    refresh_interval: float
    timeout: float
    min_sources: int
    max_offset: float | None
    require_authenticated: bool
    share: bool
    ignore_frozen_clock: bool
    other_signers: Iterable[str]
    true_time_tls: bool


class InstallOptions(ProcessOptions, total=False):
    """The keywords of `install`, for type checkers."""

    wait: float


ATTACH_OPTIONS = tuple(AttachOptions.__annotations__)
"""The options of `attach`; the others belong to the process, and to `install`."""


def resolve(
    options: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    profile: Mapping[str, Any] | None = None,
    allowed: Iterable[str] | None = None,
) -> Settings:
    """Resolve every option.

    Args:
        options: The keywords given in code.
        environ: The environment; by default this process's.
        profile: The options in the AWS profile, unparsed.
        allowed: The names that code may use here; by default all.

    Raises:
        ConfigError: An option is unknown, not `allowed` here, or its value unusable.
    """
    environ = os.environ if environ is None else environ
    names = Settings._fields
    permitted = names if allowed is None else list(allowed)
    for name in options:
        if name not in permitted:
            if name in names:
                raise ConfigError(f"option {name!r} is an option of install() only")
            hint = did_you_mean(name, permitted)
            raise ConfigError(f"option {name!r} is unknown; there are {', '.join(permitted)}.{hint}")
    written = {name: (f"{name!r} in the AWS profile", text) for name, text in (profile or {}).items()}
    chosen = {name: value for name, value in _read(written).items() if name not in options}
    for variable in unknown_variables(environ):
        warn_once(f"{variable} is ignored: {no_such_option(variable)}")
    variables = {name: f"{PREFIX}{name.upper()}" for name in _ELSEWHERE if name not in options}
    chosen |= _read({name: (where, environ[where]) for name, where in variables.items() if where in environ})
    chosen |= {name: parse_keyword(name, value, _PARSERS[name]) for name, value in options.items()}
    if chosen.get("enabled") is None and OFF_SWITCH in environ:
        try:
            chosen["enabled"] = not as_boolean(environ[OFF_SWITCH])
        except ValueError as error:
            warn_once(f"{OFF_SWITCH} is ignored: {error}")
    return Settings(**chosen)


def _read(written: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Parse options from elsewhere than code, each given with its place; warn of wrong ones and leave them out."""
    found = {}
    for name, (place, text) in written.items():
        if name not in _ELSEWHERE:
            warn_once(f"{place} is ignored: {no_such_option(name)}")
            continue
        try:
            found[name] = _PARSERS[name](text)
        except (ValueError, TypeError) as error:
            warn_once(f"{place} is ignored: {error}")
    return found


def unknown_variables(environ: Iterable[str]) -> list[str]:
    """List the variables that are named as options are, and are none."""
    return sorted(
        name for name in environ if name.startswith(PREFIX) and name.removeprefix(PREFIX).lower() not in _ELSEWHERE
    )


def no_such_option(name: str) -> str:
    """Explain that a name in the environment or the AWS profile is no option there."""
    option = name.removeprefix(PREFIX).lower()
    if option == "enabled":
        return f"the switch is {OFF_SWITCH}, or {OFF_SWITCH_PROFILE_KEY} in the AWS profile"
    known, form = sorted(_ELSEWHERE), "{}"
    if name.startswith(PREFIX):
        option, known, form = option.upper(), [one.upper() for one in known], f"{PREFIX}{{}}"
    hint = did_you_mean(option, known, form) or f" There are {', '.join(map(form.format, known))}"
    return f"there is no such option.{hint}"


def as_boolean(value: object) -> bool:
    """Read a switch: a boolean, or the word true or false in any case. ValueError if it is neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "false"):
        return word == "true"
    raise ValueError(f"{value!r} is neither true nor false")


def parse_keyword(name: str, value: Any, parse: Callable[[Any], Any]) -> Any:
    """Parse one option given in code; ConfigError if it is unusable."""
    try:
        return parse(value)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(f"option {name!r}: {error}") from error


def _as_boolean_or_none(value: Any) -> bool | None:
    return None if value is None else as_boolean(value)


def nanoseconds(value: Any) -> int:
    """Parse a number of seconds as ns. ValueError unless it is one, and not negative."""
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number of seconds")
    try:
        length = round(float(value) * SECOND)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{value!r} is not a number of seconds") from error
    if length < 0:
        raise ValueError(f"{value!r} is negative")
    return length


def _nanoseconds_or_none(value: Any) -> int | None:
    return None if value is None or value == "none" else nanoseconds(value)


def _count(value: Any) -> int:
    if isinstance(value, (int, str)) and not isinstance(value, bool) and int(value) >= 1:
        return int(value)
    raise ValueError(f"{value!r} is not a number of sources")


def _items(value: Any) -> list[Any]:
    """Return what a list holds; of a text, what stands between its commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else list(value)


def _sources(value: Any) -> tuple[Source, ...] | None:
    items = _items(value)
    if items == [AUTO]:
        return None
    found: list[Source] = []
    for item in items:
        if item == AUTO:
            raise ValueError(f"{AUTO!r} must be alone: it finds sources itself")
        if item == RESPONSE:
            continue
        source = from_uri(item) if isinstance(item, str) else item
        if not isinstance(source, Source):
            raise ValueError(f"{item!r} is not a time source: it has no name or no measure()")
        found.append(source)
    return tuple(found)


def _other_signers(value: Any) -> tuple[str, ...]:
    names = _items(value)
    for name in names:
        if name not in OTHER_SIGNERS:
            raise ValueError(f"{name!r} is not a library whose signer is known; there are {', '.join(OTHER_SIGNERS)}")
    return tuple(names)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "enabled": _as_boolean_or_none,
    "learn_from_responses": as_boolean,
    "sources": _sources,
    "deadband": nanoseconds,
    "max_age": nanoseconds,
    "refresh_interval": nanoseconds,
    "timeout": nanoseconds,
    "wait": nanoseconds,
    "min_sources": _count,
    "max_offset": _nanoseconds_or_none,
    "require_authenticated": as_boolean,
    "share": as_boolean,
    "correct_presigned": as_boolean,
    "ignore_frozen_clock": as_boolean,
    "other_signers": _other_signers,
    "true_time_tls": as_boolean,
}
_ELSEWHERE = frozenset(_PARSERS) - {"enabled"}  # AWS's own switch does this there
