"""Pure: the plugin's lines in the AWS CLI's config file. Every other byte stays as it is.

    # Set up by "skewguard awscli enable"; "skewguard awscli disable" removes it.
    [plugins]
    cli_legacy_plugin_path = /home/me/.local/share/skewguard/awscli
    skewguard = skewguard_awscli

Where the file has such a section already, the comment and the settings follow its heading. The CLI imports the modules
that this section names; version 2 looks for them in ``cli_legacy_plugin_path``, which may name several directories.
"""

from __future__ import annotations

import configparser
import os
import re

PLUGIN = "skewguard_awscli"
"""The module that the CLI imports."""

_COMMENT = b'# Set up by "skewguard awscli enable"; "skewguard awscli disable" removes it.'
_HEADING = re.compile(rb"\[plugins\]")
_SETTING = re.compile(rb"([^\s#;\[=:][^=:]*?)\s*[=:]\s*(.*?)\s*$")
_PATH, _OURS = b"cli_legacy_plugin_path", b"skewguard"


def with_plugin(content: bytes, directory: str, *, needs_path: bool) -> bytes:
    """Return a file's content with the plugin set up.

    Args:
        content: The file's content.
        directory: Where the plugin's module is.
        needs_path: Whether this must be told to the CLI. Version 1 takes the setting for another plugin.

    Raises:
        ValueError: The CLI cannot read the file, or it would not read what is meant.
    """
    bare = without_plugin(content, directory)
    lines = bare.splitlines(keepends=True)
    ending = b"\r\n" if bare.partition(b"\n")[0].endswith(b"\r") else b"\n"
    heading = next((index for index, line in enumerate(lines) if _HEADING.match(line)), None)
    added = [_COMMENT] if heading is not None else [*([b""] if bare else []), _COMMENT, b"[plugins]"]
    if needs_path:
        path = os.fsencode(directory)
        others = None if heading is None else _find(lines, heading + 1, _PATH)
        if others is None:
            added.append(_PATH + b" = " + path)
        else:
            line = lines[others]
            lines[others] = line.rstrip() + os.pathsep.encode() + path + line[len(line.rstrip()) :]
    added.append(_OURS + b" = " + PLUGIN.encode())
    at = len(lines) if heading is None else heading + 1
    if at and not lines[at - 1].endswith(b"\n"):  # a last line without an end stays one
        result = b"".join(lines) + b"".join(ending + line for line in added)
    else:
        result = b"".join([*lines[:at], *(line + ending for line in added), *lines[at:]])
    _compare(bare, result, directory if needs_path else None)
    return result


def without_plugin(content: bytes, directory: str) -> bytes:
    """Return a file's content as it was before the plugin was set up."""
    lines = content.splitlines(keepends=True)
    kept: list[bytes] = []
    in_section, ours = False, -1  # where our own heading is in `kept`, if the section has one
    for index, line in enumerate(lines):
        if line.startswith(b"["):
            in_section = _HEADING.match(line) is not None
        if line.rstrip() == _COMMENT:
            if _HEADING.match(b"".join(lines[index + 1 : index + 2])):
                ours = len(kept)
            continue
        setting = _SETTING.match(line) if in_section else None
        if setting is None:
            kept.append(line)
        elif setting[1].lower() == _PATH:
            kept.append(_without_directory(line, setting[2], os.fsencode(directory)))
        elif setting[1].lower() != _OURS:
            kept.append(line)
    if ours >= 0 and _is_empty(kept, ours + 1):
        blank = ours > 0 and not kept[ours - 1].strip()
        del kept[ours - blank : ours + 1]
    result = b"".join(kept)
    if result != content and not content.endswith(b"\n") and result.endswith(b"\n"):
        return result[: -2 if result.endswith(b"\r\n") else -1]
    return result


def _compare(before: bytes, after: bytes, directory: str | None) -> None:
    """Raise ValueError unless all that has changed is what was meant to."""
    was, now = _parsed(before), _parsed(after)
    plugins = now.setdefault("plugins", {})
    expected = was.get("plugins", {}) | {_OURS.decode(): PLUGIN}
    if directory is not None:
        others = expected.get(_PATH.decode())
        expected[_PATH.decode()] = directory if others is None else f"{others}{os.pathsep}{directory}"
    if plugins != expected or {**was, "plugins": 0} != {**now, "plugins": 0}:
        raise ValueError("its section [plugins] is written in a way that skewguard does not change")


def _parsed(content: bytes) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(os.fsdecode(content), "the config file")
    except configparser.Error as error:
        raise ValueError(f"the AWS CLI cannot read it: {' '.join(error.message.split())}") from error
    return {name: dict(parser[name]) for name in parser.sections()}


def names_plugin(content: bytes) -> bool:
    """Return whether a file's content names the plugin, even as it was set up by hand."""
    lines = content.splitlines(keepends=True)
    return any(_HEADING.match(line) and _find(lines, index + 1, _OURS) is not None for index, line in enumerate(lines))


def _without_directory(line: bytes, value: bytes, path: bytes) -> bytes:
    """Return the setting of the path without ours; nothing if no other is left."""
    separator = os.pathsep.encode()
    if value == path:
        return b""
    return line.replace(separator + path, b"", 1) if value.endswith(separator + path) else line


def _find(lines: list[bytes], start: int, key: bytes) -> int | None:
    """Return the number of the line with a setting, in the section that begins there."""
    for index in range(start, len(lines)):
        if lines[index].startswith(b"["):
            return None
        setting = _SETTING.match(lines[index])
        if setting is not None and setting[1].lower() == key:
            return index
    return None


def _is_empty(lines: list[bytes], start: int) -> bool:
    """Return whether a section has no more lines than blank ones."""
    for line in lines[start:]:
        if line.startswith(b"["):
            return True
        if line.strip():
            return False
    return True
