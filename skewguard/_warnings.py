"""Warnings for the author or operator of a program, through Python's own `warnings`: each once in a process."""

from __future__ import annotations

import logging
import sys
import warnings

from skewguard.errors import SkewguardWarning

_logger = logging.getLogger("skewguard")
_warned: set[str] = set()


def warn_once(text: str) -> None:
    """Warn of a wrong setting, unless this process has warned of it, at the line of the program that led here.

    Never raises: if a filter makes it an exception, the log has it instead, because an AWS call may be under way.
    """
    if text in _warned:
        return
    _warned.add(text)
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "skewguard":
        level, frame = level + 1, frame.f_back
    try:
        warnings.warn(text, SkewguardWarning, stacklevel=level)
    except SkewguardWarning:
        _logger.warning("%s", text)


def reset() -> None:
    """Let each warning come again."""
    _warned.clear()
