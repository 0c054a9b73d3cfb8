"""Keeps AWS calls from Python working, and truthful, when the host's clock is wrong.

``import skewguard; skewguard.install()`` is all that most programs need. Nothing happens at import.
"""

from skewguard._api import (
    Installation,
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
from skewguard._signed_call import SignedCall
from skewguard._status import Offset, Status, TrueTime
from skewguard.errors import ConfigError, SkewguardError, SkewguardWarning, SourceError
from skewguard.host_clock import HostClock
from skewguard.interval import Interval, Trust

__version__ = "0.1.0"  # the one place: the build and the command line read it here

__all__ = [
    "ConfigError",
    "HostClock",
    "Installation",
    "Interval",
    "Offset",
    "SignedCall",
    "SkewguardError",
    "SkewguardWarning",
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
