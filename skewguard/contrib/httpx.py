"""For httpx: sign a request once more if it is refused for its time.

Usage::

    import httpx
    import skewguard
    from skewguard.contrib.httpx import SkewAuth

    skewguard.install()
    client = httpx.Client(auth=SkewAuth(signer))

The signer is an `httpx.Auth` that signs for AWS, or a function that signs a request and returns it. Without a signer,
requests are to be signed by botocore's signers before httpx has them; what is refused is signed again by the same
signer. Clients may be synchronous or asynchronous. `skewguard.install` must be in force; otherwise the signer is used
as it is.
"""

from __future__ import annotations

import httpx

from skewguard.contrib._httpx_flow import Replay, SkewFlow


class _Stream(Replay, httpx.ByteStream):
    """A body that has been read, for httpx."""


class SkewAuth(SkewFlow, httpx.Auth):
    """Sign by another authenticator, and once more if the server refuses the request for its time.

    The answer teaches the time, as those to botocore's calls do. The refusal is in the response's ``history``. A body
    that cannot be sent again is not.
    """

    _stream = _Stream
