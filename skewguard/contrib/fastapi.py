"""For FastAPI, Starlette and whatever else takes their ``lifespan``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

import skewguard

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    inner: Lifespan | None = None, *, wait: float = 0.0, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]:
    """Install at once, so that clients made at import are guarded too, and make a lifespan for the app.

    Args:
        inner: The app's own lifespan, which begins when the time is known, or `wait` has passed.
        wait: Hold back the app's start up to this many seconds until true time is known. The event loop stays free.
        **options: Those of `skewguard.install`.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    skewguard.install(**options)

    @asynccontextmanager
    async def whole(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        # Again, for an app that is started a second time in a process that has uninstalled, as in tests.
        await asyncio.to_thread(skewguard.install, wait=wait, **options)
        if inner is None:
            yield None
        else:
            async with inner(app) as state:
                yield state

    return whole
