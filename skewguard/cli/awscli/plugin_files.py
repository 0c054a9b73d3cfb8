"""The directory that the AWS CLI's Python gets to see: skewguard and its one dependency, nothing else.

It is a copy, because the CLI ends if it cannot import a plugin, and a virtual environment with skewguard may be
removed. All is pure Python, for whatever Python the CLI brings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from skewguard.cli.awscli.config_file import PLUGIN
from skewguard.cli.replacement import replace

_PACKAGE = Path(__file__).parents[2]
_NEEDLESS = frozenset({"cli", "contrib", "testing"})  # of skewguard's parts


def directory() -> Path:
    """Return where the copy is, for all config files of a user."""
    base = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (base if base.is_absolute() else Path("~/.local/share").expanduser()) / "skewguard" / "awscli"


def missing(target: Path) -> dict[str, bytes]:
    """Return those files, by their path within a directory, that are not there or have another content."""
    found = {}
    for name, content in _files():
        try:
            if (target / name).read_bytes() == content:
                continue
        except OSError:
            pass
        found[name] = content
    return found


def copy(target: Path) -> None:
    """Copy the files to a directory, each one atomically, and remove what an older skewguard left there.

    A process of the CLI may be running. It can always import the plugin's module, which goes on without the others.
    """
    changed = missing(target)
    for name in sorted(changed, key=lambda name: name == f"{PLUGIN}.py"):  # that one last
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path.resolve(), changed[name])
    names = {name for name, _ in _files()}
    for path in target.rglob("*.py"):
        if path.relative_to(target).as_posix() not in names:
            path.unlink()


def _files() -> Iterator[tuple[str, bytes]]:
    yield f"{PLUGIN}.py", (_PACKAGE / "contrib" / "awscli.py").read_bytes()
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = path.relative_to(_PACKAGE)
        if name.parts[0] not in _NEEDLESS:
            yield (_PACKAGE.name / name).as_posix(), path.read_bytes()
    spec = find_spec("ntplib")
    assert spec is not None, "ntplib is a dependency"
    assert spec.origin is not None, "ntplib is a file"
    yield "ntplib.py", Path(spec.origin).read_bytes()
