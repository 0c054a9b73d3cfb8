"""Signers that are used without a client, as opensearch-py and scripts use them.

No event is emitted for them, so no call is recorded. But a request without a call may also be that of a client which is
not guarded. Its context cannot tell the two apart, because that of a client's database token is as empty. The stack
can: such a client has a `RequestSigner`, which is signing this very request.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from skewguard.signing.guard import Guard
from skewguard.signing.patches import library, signers


def guard_direct_use(guard: Guard) -> None:
    """Guard signers that are used without a client, for as long as the guard is on."""
    handed_out = library.handed_out_signers()

    def time_of(signer: Any, request: Any) -> int | None:
        auth_path = getattr(request, "auth_path", None)
        at = guard.time_without_call(request.url, auth_path, handed_out=isinstance(signer, handed_out))
        return None if at is None or by_a_client(request) else at  # a right clock needs no search of the stack

    signers.guard_direct_use(time_of)


def by_a_client(request: Any) -> bool:
    """Return whether a `RequestSigner` is signing this request, further up the stack."""
    request_signer = library.loaded("botocore.signers", "RequestSigner")
    if request_signer is None:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "sign":
            names = frame.f_locals
            if names.get("request") is request and isinstance(names.get("self"), request_signer):
                return True
        frame = frame.f_back
    return False
