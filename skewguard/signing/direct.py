"""Signers used without a client, as opensearch-py and scripts use them: no event is heard, so no record is made.

A request without a record may also be that of a client which is not guarded. What is in its context cannot tell, since
that of a client's database token is as empty as a direct user's; the stack can: such a client has a `RequestSigner`,
which is signing this very request.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from skewguard.signing.hooks import Hooks
from skewguard.signing.patches import signers


def lasting_signers() -> tuple[type, ...]:
    """List the classes that sign what is handed out; a direct user names no signature version."""
    return tuple(signer for signer in signers.signer_classes() if signer.__name__.endswith(("QueryAuth", "PostAuth")))


def guard(hooks: Hooks) -> None:
    """Have all direct use signed as these hooks say, for as long as their guard is on."""
    lasting = lasting_signers()

    def time_of(signer: Any, request: Any) -> int | None:
        auth_path = getattr(request, "auth_path", None)
        at = hooks.direct_time(request.url, auth_path, lasting=isinstance(signer, lasting))
        return None if at is None or by_a_client(request) else at  # a clock that is right needs no look at the stack

    signers.guard_direct_use(time_of)


def by_a_client(request: Any) -> bool:
    """Tell whether some `RequestSigner` is signing this request, further up the stack."""
    signers = sys.modules.get("botocore.signers")
    if signers is None:
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "sign":
            names = frame.f_locals
            if names.get("request") is request and isinstance(names.get("self"), signers.RequestSigner):
                return True
        frame = frame.f_back
    return False
