"""The URIs of sources, which are their names, and equality by them.

One rule for all: a URI is ASCII, its path is absolute and percent-encoded, and its options are switches, ``?name=0`` or
``?name=1``. Encoded, so that a path may contain commas and spaces, which separate sources in environment variables.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes, urlsplit

from skewguard.errors import ConfigError

_LONE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


class Named:
    """A source named by its URI without options; it equals another one with the same target and the same options.

    So a source that is configured twice is asked once. All of them may be shared by threads, and used on both sides of
    a fork.
    """

    _name: str

    @property
    def name(self) -> str:
        """The source's URI, without options."""
        return self._name

    @property
    def _key(self) -> tuple[object, ...]:
        """The values by which two sources of one class are equal."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Named) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class Uri(NamedTuple):
    """A source's URI, parsed.

    Attributes:
        authority: The part after ``//``, as it is written: a host, or an address with or without a port. None if there
            is no ``//``; never empty.
        path: The path, decoded; None if there is none, or an authority.
        switches: All the switches there are, by name; those that the URI leaves out are off.
    """

    authority: str | None
    path: str | None
    switches: dict[str, bool]


def split_uri(uri: str, scheme: str, forms: str, *, host: bool = False, switches: tuple[str, ...] = ()) -> Uri:
    """Parse a URI of this scheme, in whatever case, and with these switches; a `host` is an address, too.

    Raises:
        ConfigError: It is none of `forms`. One sentence with the URI and the reason.
    """
    problem = f"{uri!r} is not {forms}"
    if not uri.isascii() or not uri.isprintable() or " " in uri:
        raise ConfigError(f"{problem}: it contains characters that no URI may have")
    if "#" in uri:
        raise ConfigError(f"{problem}: it has a fragment; # in a path is written %23")
    plain, _, query = uri.partition("?")
    found, colon, rest = plain.partition(":")
    if found.lower() != scheme:
        raise ConfigError(f"{problem}: it does not begin with {scheme}")
    chosen = dict.fromkeys(switches, False)
    for option in query.split("&") if query else ():
        name, _, value = option.partition("=")
        if name not in chosen or value not in ("0", "1"):
            raise ConfigError(f"{problem}: {option} is not understood")
        chosen[name] = value == "1"
    if not colon:
        return Uri(None, None, chosen)
    if not rest.startswith("//"):
        return Uri(None, _decoded(rest, problem), chosen)
    authority, _, path = rest.removeprefix("//").partition("/")
    if not host:
        raise ConfigError(f"{problem}: a path begins with one slash; two would begin a host's name")
    if not authority:
        raise ConfigError(f"{problem}: it names no host or address")
    if path:
        raise ConfigError(f"{problem}: only options may follow the host and port")
    return Uri(authority, None, chosen)


def split_server(uri: str, scheme: str, form: str, switches: tuple[str, ...] = ()) -> tuple[str, int | None, Uri]:
    """Parse the URI of a server; return its host, its port if one is named, and the URI.

    Raises:
        ConfigError: It is not `form`. One sentence with the URI and the reason.
    """
    parts = split_uri(uri, scheme, form, host=True, switches=switches)
    problem = f"{uri!r} is not {form}"
    if parts.authority is None:
        raise ConfigError(f"{problem}: it does not begin with {scheme}://")
    try:
        server = urlsplit(f"//{parts.authority}")
        host, port = server.hostname, server.port
    except ValueError as error:
        raise ConfigError(f"{problem}: {error}") from None
    if not host or server.username is not None:
        raise ConfigError(f"{problem}: {'it must not name a user' if host else 'it names no host'}")
    return host, port, parts


def server_uri(scheme: str, host: str, port: int, default_port: int) -> str:
    """Return the URI of a server, for a host that may be an IPv6 address. ConfigError if the port is none."""
    if not 0 < port < 65536:
        raise ConfigError(f"{port} is not a port: 1 to 65535 are")
    quoted = quote(host, safe=":")  # a scoped address has a percent sign
    bracketed = f"[{quoted}]" if ":" in host else quoted
    return f"{scheme}://{bracketed}" if port == default_port else f"{scheme}://{bracketed}:{port}"


def _decoded(path: str, problem: str) -> str:
    if _LONE_PERCENT.search(path):
        raise ConfigError(f"{problem}: % in a path is written %25")
    try:
        decoded = os.fsdecode(unquote_to_bytes(path))
    except UnicodeError:  # on Windows, where names are UTF-8 and not any bytes
        decoded = ""
    if not usable_path(decoded):
        raise ConfigError(f"{problem}: {path!r} is not the absolute path of a file")
    return decoded


def path_uri(scheme: str, path: str, what: str) -> str:
    """Return the URI of a source that is known by the path of a `what`: the inverse of `split_uri`.

    Raises:
        ConfigError: The path is not absolute, or unusable.
    """
    if not usable_path(path):
        raise ConfigError(f"{path!r} is not the absolute path of a {what}")
    return f"{scheme}:{quote(os.fsencode(path))}"


def usable_path(path: str) -> bool:
    """Return whether a text can be the absolute path of a file, device or socket."""
    if not path.startswith("/") or path.startswith("//") or path.endswith("/"):  # // begins a host's name in a URI
        return False
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeError:
        return False
