"""Small files of the system, as ``/proc``, ``/sys`` and ``/etc`` hold: read, or found missing, without an exception."""

from __future__ import annotations

import os
from pathlib import Path

_LONGEST = 65_536
# Without NONBLOCK, opening a FIFO would wait for its other end.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def text(path: str | Path) -> str:
    """Return a small file's text, bytes that are no UTF-8 replaced; empty if it cannot be read."""
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            return os.read(descriptor, _LONGEST).decode("utf-8", "replace")
        finally:
            os.close(descriptor)
    except OSError:
        return ""


def exists(path: Path) -> bool:
    """Return whether a file exists and can be seen."""
    try:
        return path.exists()
    except OSError:
        return False
