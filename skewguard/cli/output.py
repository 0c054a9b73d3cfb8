"""What is written, and to whom: data to stdout, talk to stderr. A reader who has seen enough is no error."""

from __future__ import annotations

import os
import sys


class CannotWriteError(Exception):
    """Nothing more can be written, such as to a full disk."""


def tell(text: str, *, aside: bool = False) -> bool:
    """Write a text and the end of its line, at once.

    Args:
        text: What to write.
        aside: Whether it is talk, for stderr.

    Returns:
        Whether somebody still reads.

    Raises:
        CannotWriteError: It could not be written, for another reason than that.
    """
    stream = sys.stderr if aside else sys.stdout
    if stream is None:  # was closed before we began
        return False
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        # What is still in the buffer goes nowhere, else Python complains of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if not isinstance(error, BrokenPipeError):
            raise CannotWriteError(error.strerror) from error
        return False
    return True
