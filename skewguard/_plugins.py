"""The entry points of plugins that receive a client or a session: botocore's, and the AWS CLI's.

They also call `skewguard.install`, for later sessions and for the time sources. botocore hides exceptions of a plugin,
and the AWS CLI ends with them, so nothing is raised.
"""

from __future__ import annotations

from skewguard import _api, events
from skewguard._fail_open import pass_signals
from skewguard._reach import BotocoreSession, Client, adopt, signs_by_true_time
from skewguard.events import Degraded, Event, logger


def guard(target: Client | BotocoreSession) -> str:
    """Install, and guard a session or client that was created earlier; return why it is not guarded, or nothing."""
    missing: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Degraded):
            missing.append(event.reason)

    unsubscribe = events.subscribe(listen)
    try:
        _api.install()
        adopt(target)
        return "" if signs_by_true_time() else "".join(missing[:1]) or "its requests cannot be signed as of true time"
    except Exception as error:
        pass_signals(error)
        return str(error) or type(error).__name__
    finally:
        unsubscribe()


def initialize_client_plugin(client: Client) -> None:
    """Install, and guard a client. botocore calls this for ``BOTOCORE_EXPERIMENTAL__PLUGINS=skewguard=skewguard``.

    Args:
        client: A botocore client that has just been created.
    """
    if reason := guard(client):
        logger.warning("%r is not guarded: %s", client, reason)
