"""Being loaded by somebody who hands over a client or a session: botocore's plugins, and the AWS CLI's.

`skewguard.install` is part of it, so that later sessions, and the time sources, are there as well. Whoever loads a
plugin either hides what it raises or ends for it, so nothing is raised: a warning is logged.
"""

from __future__ import annotations

from typing import Any

from skewguard import _api
from skewguard._reach import adopt
from skewguard.events import logger


def guard(target: Any) -> None:
    """Install, and guard a session or client that was made before anybody could install."""
    try:
        _api.install()
        adopt(target)
    except Exception as error:
        logger.warning("%r stays unguarded: %s", target, error)


def initialize_client_plugin(client: Any) -> None:
    """Install, and guard a client. botocore calls this for ``BOTOCORE_EXPERIMENTAL__PLUGINS=skewguard=skewguard``.

    Args:
        client: A botocore client that has just been made.
    """
    guard(client)
