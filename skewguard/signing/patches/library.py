"""The botocore that is present: which of the names that skewguard leans on it has.

Only this module asks. Importing it loads nothing but botocore's top module, because botocore's signers take 0.2 s.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import botocore

from skewguard._late_imports import WhenImported

VERSION: str = botocore.__version__

TIMELESS_VERSIONS: frozenset[object] = frozenset({botocore.UNSIGNED, "bearer"})
"""The signature versions without a timestamp."""

_CHUNKED_BODIES = frozenset({"AwsChunkedWrapper", "AioAwsChunkedWrapper"})


@functools.cache
def clock_name() -> str:
    """Return the name by which botocore's modules read the wall clock, each through a global of its own.

    Before 1.40.2, that is the module ``datetime``, whose use shows in their code. Later modules import it, too.
    """
    import inspect

    import botocore.auth

    code = getattr(inspect.unwrap(botocore.auth.SigV4Auth.add_auth), "__code__", None)
    return "datetime" if code is not None and "utcnow" in code.co_names else "get_current_datetime"


def older_clocks() -> dict[str, object]:
    """Return the names by which `botocore.auth` reads the wall clock for the older signatures, with their values."""
    import time
    from email.utils import formatdate

    return {"formatdate": formatdate, "time": time}


def crt_auth() -> ModuleType | None:
    """Return the module of the signers that use awscrt; None where botocore does not use it.

    ImportError if awscrt is there, but not as this botocore expects it.
    """
    compat = importlib.import_module("botocore.compat")
    # The AWS CLI's own botocore always uses it, and asks nothing.
    uses = getattr(compat, "HAS_CRT", "botocore.crt.auth" in sys.modules)
    return importlib.import_module("botocore.crt.auth") if uses else None


def loaded(module: str, name: str) -> Any:
    """Return an attribute of a module that is imported already; None where either is missing."""
    return getattr(sys.modules.get(module), name, None)


@functools.cache
def handed_out_versions() -> frozenset[str]:
    """Return the signature versions whose signatures are handed out, in URLs and forms."""
    import botocore.auth

    return frozenset(name for name in botocore.auth.AUTH_TYPE_MAPS if name.endswith(("-query", "-presign-post")))


def signer_classes() -> list[type]:
    """Return botocore's classes that sign with a timestamp."""
    import botocore.auth

    found = []
    pending: list[type] = [botocore.auth.BaseSigner]
    while pending:
        signer = pending.pop()
        pending.extend(signer.__subclasses__())
        timeless = signer is botocore.auth.BaseSigner or getattr(signer, "REQUIRES_TOKEN", False)
        if not timeless and signer.__module__.startswith("botocore."):
            found.append(signer)
    return found


@functools.cache
def handed_out_signers() -> tuple[type, ...]:
    """Return the classes whose signatures are handed out, for callers that name no signature version."""
    return tuple(signer for signer in signer_classes() if signer.__name__.endswith(("QueryAuth", "PostAuth")))


def stream_of(body: Any) -> Any:
    """Return the caller's stream in a body that botocore may have wrapped for aws-chunked encoding."""
    return getattr(body, "_raw", body) if type(body).__name__ in _CHUNKED_BODIES else body


def emitter_of(request_signer: Any) -> Any:
    """Return the event emitter of the client for which a `RequestSigner` signs."""
    return request_signer._event_emitter


def credentials_of(signs_or_session: Any) -> Any:
    """Return the credentials that a `RequestSigner` signs with, or a session has found; None if there are none."""
    return getattr(signs_or_session, "_credentials", None)


def awaits_handlers(emitter: Any) -> bool:
    """Return whether an emitter awaits its event handlers, as aiobotocore's does."""
    import inspect

    return inspect.iscoroutinefunction(getattr(getattr(emitter, "_emitter", emitter), "_emit", None))


def proof_modules() -> list[ModuleType]:
    """Return the modules that date proofs of possession for `aws login`, by their global ``time``."""
    import botocore.credentials
    import botocore.utils

    if hasattr(botocore.utils, "build_dpop_header"):  # as in version 2 of the AWS CLI
        return [botocore.credentials, botocore.utils]
    return [botocore.credentials]


def classic_transfers(factory: Any) -> Callable[..., Any]:
    """Return what makes the transfer manager that botocore signs for, from one of the CLI's factories."""
    made: Callable[..., Any] | None = getattr(factory, "_create_classic_transfer_manager", None)
    return made or factory._create_default_transfer_manager  # as 2.9 calls it


def total_attempts(context: Any) -> int | None:
    """Return how many attempts a call may take in all; None where this botocore does not tell."""
    retries = getattr(context.get("client_config"), "retries", None) or {}
    # The AWS CLI's own botocore has the total under a name that elsewhere means the number of retries.
    total = retries.get("total_max_attempts" if _HAS_INITIALIZERS else "max_attempts")
    total = total or context.get("retries", {}).get("max")
    return None if total is None else int(total)


_HAS_INITIALIZERS = hasattr(botocore, "register_initializer")
_initializers: list[Callable[[Any], None]] = []


def register_initializer(callback: Callable[[Any], None]) -> None:
    """Call `callback` with every botocore session made from now on."""
    if _HAS_INITIALIZERS:
        botocore.register_initializer(callback)
    else:
        _initializers.append(callback)
        WhenImported("botocore.session", _call_initializers)


def unregister_initializer(callback: Callable[[Any], None]) -> None:
    """Stop calling it, if it is registered."""
    with contextlib.suppress(ValueError):
        if _HAS_INITIALIZERS:
            botocore.unregister_initializer(callback)
        else:
            _initializers.remove(callback)


def _call_initializers() -> None:
    """Make new sessions call initializers where botocore does not: in version 2 of the AWS CLI."""
    session = sys.modules["botocore.session"].Session
    original = session.__init__
    if hasattr(original, "_skewguard"):
        return

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it wraps one
        original(self, *args, **kwargs)
        for callback in tuple(_initializers):
            callback(self)

    __init__._skewguard = True  # type: ignore[attr-defined]
    session.__init__ = __init__
