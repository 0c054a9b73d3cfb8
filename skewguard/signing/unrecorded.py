"""Requests that reach a signer without a recorded call.

Either no client signs them, as with opensearch-py and scripts, so that no event is emitted. Or their client was made
before `skewguard.install`, so that it has no event handlers of ours: it is adopted now, and this very request is
recorded. A request's context cannot tell the two apart, because that of a client's database token is as empty. The
stack can: a client has a `RequestSigner`, which is signing this very request.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from skewguard.signing import remembered
from skewguard.signing.call import Call
from skewguard.signing.guard import Guard
from skewguard.signing.patches import git, library, signers
from skewguard.signing.patches.under_way import call_to


class ClientSigning(NamedTuple):
    """The signing of a request by a client.

    Attributes:
        request_signer: The client's `RequestSigner`.
        version: The signature version.
    """

    request_signer: Any
    version: Any


def guard_unrecorded(guard: Guard, adopt: Callable[[Any], None]) -> None:
    """Guard requests without a recorded call, for as long as the guard is on.

    `adopt` guards the client of a `RequestSigner`, which has no event handlers of ours.
    """
    handed_out = library.handed_out_signers()

    def time_of(signer: Any, request: Any) -> int | None:
        if guard.switch.settings is None:
            return None
        client = signing_of(request) if request.context else None
        if client is None:
            under_way = call_to(request.url)
            if under_way is not None:
                return under_way.begin()
            auth_path = getattr(request, "auth_path", None)
            is_handed_out = isinstance(signer, handed_out)
            at = guard.time_without_call(request.url, auth_path, handed_out=is_handed_out)
            # A right clock needs no search of the stack.
            client = None if at is None else signing_of(request)
            if client is None:
                if not is_handed_out:  # those have no header to find them by
                    remembered.remember(signer, request, at, guard)
                return at
        theirs = signers.guard_of(client.request_signer)
        if theirs is None:
            return None
        call = request.context[signers.KEY] = Call(theirs, client.version, request.data, request.context)
        return call.begin(request)

    signers.guard_unrecorded(time_of, adopt)
    git.date_passwords(lambda url: guard.handed_out_time(url, None))


def signing_of(request: Any) -> ClientSigning | None:
    """Return the signing of a request by a client, further up the stack; None if no client signs it."""
    request_signer = library.loaded("botocore.signers", "RequestSigner")
    if request_signer is None:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "sign":
            names = frame.f_locals
            if names.get("request") is request and isinstance(names.get("self"), request_signer):
                return ClientSigning(names["self"], names.get("signature_version"))
        frame = frame.f_back
    return None
