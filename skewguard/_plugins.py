"""The entry points of plugins that receive a client or a session: botocore's, and the AWS CLI's.

They also call `skewguard.install`, for later sessions and for the time sources. botocore hides exceptions of a plugin,
and the AWS CLI ends with them, so nothing is raised: a warning is logged.
"""

from __future__ import annotations

from typing import Any

from skewguard import _api
from skewguard._fail_open import pass_signals
from skewguard._reach import adopt
from skewguard.events import logger


def guard(target: Any) -> None:
    """Install, and guard a session or client that was created earlier."""
    try:
        _api.install()
        adopt(target)
    except Exception as error:
        pass_signals(error)
        logger.warning("%r is not guarded: %s", target, error)


def initialize_client_plugin(client: Any) -> None:
    """Install, and guard a client. botocore calls this for ``BOTOCORE_EXPERIMENTAL__PLUGINS=skewguard=skewguard``.

    Args:
        client: A botocore client that has just been created.
    """
    guard(client)
