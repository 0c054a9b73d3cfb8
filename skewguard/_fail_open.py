"""Failing open: an exception of ours is logged, and the AWS call goes on as botocore alone would make it.

The exception to this is one that a signal's handler raised while our code ran, such as the deadlines of rq's and
Celery's jobs: it is the program's, and passes through us as it would through botocore.
"""

from __future__ import annotations

import logging
import signal
from types import CodeType
from typing import Any

_logger = logging.getLogger("skewguard")


def fail_open(error: Exception, message: str, *args: object, trace: bool = True) -> None:
    """Log an exception, or raise it again if a signal's handler raised it. The message says what happens now."""
    pass_signals(error)
    _logger.debug(message, *args, exc_info=error if trace else None)


def pass_signals(error: BaseException | None) -> None:
    """Raise an exception again, or the one that it was raised from, if a signal's handler raised it."""
    handlers: set[CodeType] | None = None
    while error is not None:
        frames = error.__traceback__
        while frames is not None:
            handlers = _handlers() if handlers is None else handlers
            if frames.tb_frame.f_code in handlers:
                raise error
            frames = frames.tb_next
        error = error.__cause__


def _handlers() -> set[CodeType]:
    """Return the code of every signal handler that is written in Python."""
    codes = (_code(signal.getsignal(number)) for number in signal.valid_signals())
    return {code for code in codes if code is not None}


def _code(handler: Any) -> CodeType | None:
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)
