"""A plugin of the AWS CLI: ``[plugins]`` in its config file, and there ``skewguard = skewguard.contrib.awscli``."""

from __future__ import annotations

from typing import Any

from skewguard._plugins import guard


def awscli_initialize(event_emitter: Any) -> None:
    """Wait for the CLI's session: it exists, but which profile it uses is known only when it says so.

    Args:
        event_emitter: The session's.
    """
    event_emitter.register("session-initialized", _initialized, unique_id="skewguard-awscli")


def _initialized(session: Any, **_: Any) -> None:
    guard(session)
