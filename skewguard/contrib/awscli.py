"""A plugin of the AWS CLI, version 1 or 2, which ``skewguard awscli enable`` sets up.

The CLI ends if it cannot import a plugin. So this file is read before anything of skewguard is imported, by any Python
3, and what fails after that is told once.
"""

from __future__ import annotations

import logging
import sys

TYPE_CHECKING = False  # to import typing's would cost time
if TYPE_CHECKING:
    from typing import Any


def awscli_initialize(event_emitter: Any) -> None:
    """Register for the CLI's session: it exists, but its profile is known only after an event."""
    event_emitter.register("session-initialized", _skewguard, unique_id="skewguard-awscli")


def _skewguard(session: Any, **_: Any) -> None:  # `skewguard awscli status` looks for this name
    # Of a correction the CLI's stderr shows nothing: scripts read it, and it would come with each command.
    logging.getLogger("skewguard").addHandler(logging.NullHandler())
    try:
        from skewguard._plugins import guard
    except Exception as error:  # such as a frozen Python without a module that skewguard needs
        reason = str(error)
    else:
        reason = guard(session)
    if reason and sys.stderr is not None:
        sys.stderr.write(f"skewguard: the AWS CLI is not guarded: {reason}\n")
