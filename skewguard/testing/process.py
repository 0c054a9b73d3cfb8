"""Resetting this process to how it was when skewguard had just been imported."""

from __future__ import annotations

import contextlib
import sys

from skewguard import _api, _warnings, events
from skewguard._process import process
from skewguard.errors import ConfigError
from skewguard.timekeeping import shared_file


def reset() -> None:
    """Reset this process to how it was when skewguard had just been imported. Idempotent.

    It ends `skewguard.install`, what `skewguard.attach` and `skewguard.session` guard (boto3's default session is
    detached), the sources given to them, subscriptions to events, and the patches of botocore. It forgets what was
    learned of any clock. Log lines and warnings that come once per episode or process may come again. Settings are read
    from environment and AWS profile when they are next needed.

    The last answer of each time server stays known, so that a suite does not ask more often than they allow. What
    `skewguard.contrib` has registered with other libraries stays registered. A `StrictEndpoint` keeps running, and as
    long as one does, the process shares nothing with others. Call this between tests, while no AWS call is under way.
    """
    _api.uninstall()
    process.reset()
    events.reset()
    _warnings.reset()
    if "skewguard.signing.patches.signers" in sys.modules:  # else nothing is guarded, and importing it takes 200 ms
        from skewguard import _reach

        _reach.undo_patches()
        with contextlib.suppress(ConfigError):  # there is none, or it is of a kind that cannot be guarded
            _reach.release(getattr(sys.modules.get("boto3"), "DEFAULT_SESSION", None), for_good=False)
    endpoint = sys.modules.get("skewguard.testing.endpoint")
    if endpoint is None or not endpoint.any_running():
        shared_file.keep_private(False)
