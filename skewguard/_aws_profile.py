"""The AWS profile that this process uses, and its ``skewguard`` block.

    [default]
    skewguard =
      sources = clockbound, ntp://time.example.com
      max_offset = 3600

It is read as botocore reads its own file, but without a session, because there may be none yet.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skewguard import _late_imports
from skewguard._fail_open import fail_open
from skewguard._warnings import warn_once

BLOCK = "skewguard"


def options(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read the block's options, unparsed; none if there is no such file, profile or block."""
    block = read(BLOCK, environ)
    if isinstance(block, dict) or not block:
        return block or {}
    warn_once(f"the AWS profile's {BLOCK} block is ignored: it must hold indented options, not {block!r}")
    return {}


def read(key: str, environ: Mapping[str, str] | None = None) -> Any:
    """Read one key of the profile; None if there is no such file, profile or key."""
    name, path = _selected(os.environ if environ is None else environ)
    try:
        if not _mentions(path, key):  # as in most files: then botocore's parser need not be loaded
            return None
        with _late_imports.importing:
            from botocore.configloader import load_config

        return load_config(path)["profiles"].get(name, {}).get(key)
    except Exception as error:  # botocore needs the file more, and will report what is wrong with it
        fail_open(error, "the AWS profile could not be read")
        return None


def mentions(key: str, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether any profile in the file may have a key."""
    try:
        return _mentions(_selected(os.environ if environ is None else environ)[1], key)
    except Exception as error:
        fail_open(error, "the AWS profiles could not be read")
        return False


def location(environ: Mapping[str, str]) -> str:
    """Return the profile's name and file, for people: ``[default] in ~/.aws/config``."""
    name, path = _selected(environ)
    return f"[{name}] in {path}"


def _selected(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the profile's name, and the path of its file."""
    name = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    return name, environ.get("AWS_CONFIG_FILE") or "~/.aws/config"


def _mentions(path: str, key: str) -> bool:
    file = Path(os.path.expandvars(path)).expanduser()
    # A pipe, such as the shell's <(...), can be read only once, and botocore must read it.
    return file.is_file() and key.encode() in file.read_bytes()
