"""Replace a file atomically, for `check --textfile` and `awscli`."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def replace(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace a file, or a link itself, as a whole: at any time, even after a crash, it is the old one or the new one.

    Without `mode`, the new file has the mode and, where permitted, the owner of the one before.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    made = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            made.chmod(mode)
        elif path.exists():
            before = path.stat()
            made.chmod(stat.S_IMODE(before.st_mode))
            if hasattr(os, "chown"):
                with contextlib.suppress(PermissionError):
                    os.chown(made, before.st_uid, before.st_gid)
        made.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            made.unlink()
        raise
