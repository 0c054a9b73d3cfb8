"""For Celery: ``init_app(app)`` where the app is created."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Celery
from celery.signals import beat_init, worker_init

import skewguard
from skewguard.config import ProcessOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


def init_app(app: Celery, *, wait: float = 0.0, **options: Unpack[ProcessOptions]) -> None:
    """Install in every process that imports the app: workers, beat, and senders of tasks.

    A worker's pool is forked from it, and inherits its estimate of the time.

    Args:
        app: The Celery app.
        wait: How long workers and beat, but not senders, wait for the true time to be known before they start, s.
        **options: Those of `skewguard.install`.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    skewguard.install(**options)
    if not wait:
        return

    def hold_back(sender: Any = None, **_: Any) -> None:
        if getattr(sender, "app", app) is app:
            skewguard.wait_until_synchronized(wait)

    for signal in (worker_init, beat_init):
        signal.connect(hold_back, weak=False)
