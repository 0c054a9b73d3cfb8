"""For AWS Lambda: ``aws_lambda.install()`` outside the handler."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import skewguard
from skewguard._api import forget
from skewguard.config import InstallOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

_hooked = False


def install(**options: Unpack[InstallOptions]) -> skewguard.Installation:
    """Install, and forget the time when SnapStart restores a snapshot.

    No source is asked for the time unless one is configured: many functions reach only AWS's network, and a thread
    that is frozen between two invocations measures nothing.

    Args:
        **options: Those of `skewguard.install`.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    global _hooked
    if "SKEWGUARD_SOURCES" not in os.environ:
        options.setdefault("sources", ["response"])
    made = skewguard.install(**options)
    if not _hooked:
        _hooked = True
        try:
            from snapshot_restore_py import register_after_restore
        except ImportError:  # no SnapStart here
            pass
        else:
            register_after_restore(forget)
    return made
