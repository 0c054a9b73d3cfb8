"""For httpx2, with which Anthropic's client sends: sign a request once more if it is refused for its time.

Usage::

    import httpx2
    import skewguard
    from skewguard.contrib.httpx2 import SkewAuth

    skewguard.install()
    client = httpx2.Client(auth=SkewAuth(signer))

The signer is an `httpx2.Auth` that signs for AWS, or a function that signs a request and returns it. Without a signer,
requests are to be signed by botocore's signers before httpx2 has them; what is refused is signed again by the same
signer. Clients may be synchronous or asynchronous. `skewguard.install` must be in force; otherwise the signer is used
as it is.
"""

from __future__ import annotations

import httpx2

from skewguard.contrib._httpx_flow import Replay, SkewFlow


class _Stream(Replay, httpx2.ByteStream):
    """A body that has been read, for httpx2."""


class SkewAuth(SkewFlow, httpx2.Auth):
    """Sign by another authenticator, and once more if the server refuses the request for its time.

    The answer teaches the time, as those to botocore's calls do. The refusal is in the response's ``history``. A body
    that cannot be sent again is not.
    """

    _stream = _Stream
