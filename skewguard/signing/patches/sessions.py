"""Sessions that were made before `install`: they are guarded when they next make a client."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch

_adopt: Callable[[Any], None] | None = None


def adopt_sessions(adopt: Callable[[Any], None]) -> None:
    """Call `adopt` with every session that is about to make a client, aiobotocore's included."""
    global _adopt
    _adopt = adopt
    SESSIONS.apply()
    if library.loaded("aiobotocore.session", "AioSession") is not None:
        AIO_SESSIONS.apply()


def _adopting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_client(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            if _adopt is not None:
                _adopt(self)
        except Exception as error:
            fail_open(error, "a session is not guarded")
        return original(self, *args, **kwargs)

    return create_client


def _patches(module: str, name: str) -> Iterable[Patch]:
    yield NamePatch("guarding sessions made before", library.loaded(module, name), "create_client", _adopting)


SESSIONS = Group(lambda: _patches("botocore.session", "Session"))
AIO_SESSIONS = Group(lambda: _patches("aiobotocore.session", "AioSession"))
