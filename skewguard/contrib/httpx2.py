"""For httpx2, with which Anthropic's client sends: sign a request once more if it is refused for its time.

Usage::

    import httpx2
    import skewguard
    from skewguard.contrib.httpx2 import SkewAuth

    skewguard.install()
    client = httpx2.Client(auth=SkewAuth(signer))

The signer is an `httpx2.Auth` that signs for AWS, a function, or none: all is as in `skewguard.contrib.httpx`.
"""

from __future__ import annotations

import httpx2

from skewguard.contrib._httpx_flow import Replay, SkewFlow


class _Stream(Replay, httpx2.ByteStream):
    """A body that has been read, for httpx2."""


class SkewAuth(SkewFlow, httpx2.Auth):
    """Sign by another authenticator, and once more if the server refuses the request for its time."""

    _stream = _Stream
