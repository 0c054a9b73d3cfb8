"""Keeps AWS calls from Python working, and truthful, when the host's clock is wrong.

``import skewguard; skewguard.install()`` is all that most programs need. Nothing happens at import.
"""

from skewguard._api import (
    Installation,
    Offset,
    Status,
    TrueTime,
    attach,
    detach,
    install,
    measure,
    now,
    offset,
    session,
    status,
    uninstall,
    wait_until_synchronized,
)
from skewguard._plugins import initialize_client_plugin
from skewguard.errors import ConfigError, SkewguardError, SourceError
from skewguard.host_clock import HostClock
from skewguard.interval import Interval, Trust

__all__ = [
    "ConfigError",
    "HostClock",
    "Installation",
    "Interval",
    "Offset",
    "SkewguardError",
    "SourceError",
    "Status",
    "TrueTime",
    "Trust",
    "attach",
    "detach",
    "initialize_client_plugin",
    "install",
    "measure",
    "now",
    "offset",
    "session",
    "status",
    "uninstall",
    "wait_until_synchronized",
]
