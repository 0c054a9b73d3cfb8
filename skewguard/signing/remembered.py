"""The latest requests that botocore's signers signed without a client, so that they can be signed again.

Programs such as AnthropicBedrock sign by botocore and send by another library. What that library sends is found here
by its signature. Nothing is remembered until something asks for it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple

from skewguard.interval import SECOND
from skewguard.signing.guard import Guard
from skewguard.timekeeping.timekeeper import Signing

_KEPT = 64  # with their bodies; each is answered soon, and forgotten then
_KEPT_FOR = 15 * 60 * SECOND  # servers accept no older signatures


class SignedRequest(NamedTuple):
    """A request, as its signer met it.

    Attributes:
        signer: What signed it.
        request: botocore's request, which is signed by now.
        url: Its URL before it was signed.
        headers: Its headers before it was signed.
        signing: When it was signed, and as of what time.
    """

    signer: Any
    request: Any
    url: str
    headers: list[tuple[str, str]]
    signing: Signing

    def sign_again(self) -> dict[str, str]:
        """Sign the same request again; return its headers."""
        signed = self.request
        again = type(signed)(
            method=signed.method,
            url=self.url,
            headers=dict(self.headers),
            data=signed.data,
            params=signed.params,
            auth_path=signed.auth_path,
        )
        again.context.update(signed.context)
        self.signer.add_auth(again)
        return dict(again.headers.items())


_wanted = False
_latest: deque[SignedRequest] = deque(maxlen=_KEPT)
_lock = threading.RLock()  # a signal's handler may sign, too


def remember_from_now_on() -> None:
    """Remember what is signed from now on."""
    global _wanted
    _wanted = True


def forget() -> None:
    """Forget all so far: nothing is signed again once the guard is off."""
    with _lock:
        _latest.clear()


def remember(signer: Any, request: Any, at: int | None, guard: Guard) -> None:
    """Remember a request that is about to be signed as of a time (ns; None: the wall clock's), if anything asks."""
    if _wanted:
        steady, wall = guard.keeper.clocks.read()
        signing = (wall if at is None else at, wall, steady)
        signed = SignedRequest(signer, request, request.url, list(request.headers.items()), signing)
        with _lock:
            while _latest and steady - _latest[0].signing[2] > _KEPT_FOR:
                _latest.popleft()
            _latest.append(signed)


def take(authorization: str) -> SignedRequest | None:
    """Return the request that bears a signature, and forget it; None if it is not remembered."""
    with _lock:
        for index, signed in enumerate(_latest):
            if signed.request.headers.get("Authorization") == authorization:
                del _latest[index]
                return signed
    return None


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.RLock()
