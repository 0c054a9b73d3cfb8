"""For Celery: ``init_app(app)`` where the app is made."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import beat_init, worker_init

import skewguard


def init_app(app: Celery, *, wait: float = 0.0, **options: Any) -> None:
    """Install, in whatever imports the app: worker, beat and those who send tasks.

    A worker's pool is forked from it, and inherits what it knows.

    Args:
        app: The Celery app.
        wait: Hold back the start of a worker or of beat, not of others, up to this many seconds until true time is
            known.
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
