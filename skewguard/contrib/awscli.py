"""A plugin of the AWS CLI: ``skewguard = skewguard.contrib.awscli``, below ``[plugins]`` in its config file."""

from __future__ import annotations

from typing import Any

from skewguard._plugins import guard


def awscli_initialize(event_emitter: Any) -> None:
    """Register for the CLI's session: it exists, but its profile is known only after an event."""
    event_emitter.register("session-initialized", _initialized, unique_id="skewguard-awscli")


def _initialized(session: Any, **_: Any) -> None:
    guard(session)
