"""Write to the terminal: data to stdout, messages to stderr. A reader that closes the pipe is not an error."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Collection, Sequence


class CannotWriteError(Exception):
    """Nothing more can be written, such as to a full disk."""


def write(text: str, *, to_stderr: bool = False, wrap: bool = False) -> bool:
    """Write a text and a line break, and flush; return whether the stream is still being read.

    With `wrap`, long lines are wrapped to the width of the terminal, if the stream is one.

    Raises:
        CannotWriteError: Writing failed for another reason.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    if stream is None:  # closed before this process began
        return False
    if wrap and stream.isatty():
        text = wrapped(text, shutil.get_terminal_size().columns)
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # Discard what is still in the buffer, else Python complains about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise CannotWriteError(error.strerror) from error
        return False
    return True


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
