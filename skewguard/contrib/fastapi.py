"""For FastAPI, Starlette and other frameworks with the same ``lifespan``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import skewguard
from skewguard.config import ProcessOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    inner: Lifespan | None = None, *, wait: float = 0.0, **options: Unpack[ProcessOptions]
) -> Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]:
    """Install now, so that clients created at import are guarded too, and return a lifespan for the app.

    Args:
        inner: The app's own lifespan. It begins once the time is known, or after `wait`.
        wait: How long the app waits for the true time to be known before it starts, s. The event loop stays free.
        **options: Those of `skewguard.install`.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    skewguard.install(**options)

    @asynccontextmanager
    async def whole(app: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        # Again, because an app may be started a second time in a process that has uninstalled, as in tests.
        await asyncio.to_thread(skewguard.install, wait=wait, **options)
        if inner is None:
            yield None
        else:
            async with inner(app) as state:
                yield state

    return whole
