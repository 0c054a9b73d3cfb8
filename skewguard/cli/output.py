"""What is written, and to whom: data to stdout, talk to stderr. A reader who has seen enough is no error."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap


class CannotWriteError(Exception):
    """Nothing more can be written, such as to a full disk."""


def tell(text: str, *, aside: bool = False, fold: bool = False) -> bool:
    """Write a text and the end of its line, at once.

    Args:
        text: What to write.
        aside: Whether it is talk, for stderr.
        fold: Whether to fold long lines to the width of the terminal, if it is read on one.

    Returns:
        Whether somebody still reads.

    Raises:
        CannotWriteError: It could not be written, for another reason than that.
    """
    stream = sys.stderr if aside else sys.stdout
    if stream is None:  # was closed before we began
        return False
    if fold and stream.isatty():
        text = folded(text, shutil.get_terminal_size().columns)
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # What is still in the buffer goes nowhere, else Python complains of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise CannotWriteError(error.strerror) from error
        return False
    return True


def folded(text: str, width: int) -> str:
    """Fold lines between words; what follows a mark such as ``[ OK ]`` is indented, and a command left as it is."""
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
