"""Write to the terminal: data to stdout, messages to stderr. A reader that closes the pipe is not an error."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence

_COLOURS = {" OK ": 32, "NOTE": 36, "WARN": 33, "FAIL": 31}  # of ANSI terminals: green, cyan, yellow, red
_MARK = re.compile(rf"^\[({'|'.join(_COLOURS)})\]", re.MULTILINE)


class CannotWriteError(Exception):
    """Nothing more can be written, such as to a full disk."""


def write(text: str, *, to_stderr: bool = False, wrap: bool = False) -> bool:
    """Write a text and a line break, and flush; return whether the stream is still being read.

    With `wrap`, long lines are wrapped to the width of the terminal, if the stream is one, and marks such as ``[ OK ]``
    are coloured.

    Raises:
        CannotWriteError: Writing failed for another reason.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if stream is None:  # closed before this process began
        return False
    if wrap and stream.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
        text = coloured(text) if _shows_colour() else text
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # Discard what is still in the buffer, else Python complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise CannotWriteError(error.strerror) from error
        return False
    return True


def _shows_colour() -> bool:
    """Return whether the terminal shows colours, and the user wants them (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return os.name != "nt" or "WT_SESSION" in os.environ  # the older console of Windows prints the codes


def coloured(text: str) -> str:
    """Colour the mark at the start of each finding."""
    return _MARK.sub(lambda mark: f"[\033[{_COLOURS[mark[1]]}m{mark[1]}\033[0m]", text)


def wrapped(text: str, width: int) -> str:
    """Wrap lines between words, indented below a mark such as ``[ OK ]``; leave indented commands as they are."""
    lines = []
    for line in text.splitlines():
        if len(line) <= width or line.startswith(" "):
            lines.append(line)
        else:
            indent = " " * 7 if line.startswith("[") else ""
            lines += textwrap.wrap(
                line, max(width, 20), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
            )
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Align rows of cells in columns, two spaces apart; the columns in `right` are aligned right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
