"""Wrong programs: type checkers find each mistake. Strict mypy and pyright also report an ignore that is not needed."""

# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnnecessaryComparison=true

from __future__ import annotations

from celery import Celery

import skewguard
from skewguard.contrib import celery, fastapi


def wrong(app: Celery) -> None:
    skewguard.install(sourcs=[])  # type: ignore[call-arg]
    skewguard.install(timeout="soon")  # type: ignore[arg-type]
    skewguard.install(sources=42)  # type: ignore[arg-type]
    skewguard.install(sources=[42])  # type: ignore[list-item]
    skewguard.install(enabled="yes")  # type: ignore[arg-type]
    skewguard.attach(42)  # type: ignore[arg-type]
    skewguard.attach("s3")  # type: ignore[arg-type]
    skewguard.attach(skewguard.session(), deadband=5)  # type: ignore[call-arg]
    skewguard.detach(None)  # type: ignore[arg-type]
    skewguard.initialize_client_plugin(object())  # type: ignore[arg-type]
    celery.init_app(app, wait=1, dead_band=5)  # type: ignore[call-arg]
    fastapi.lifespan(max_offset="much")  # type: ignore[arg-type]
    if skewguard.status().state == "synchronised":  # type: ignore[comparison-overlap]
        print("another spelling")
