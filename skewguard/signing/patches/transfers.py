"""awscrt's S3 client, which signs in native code, by the wall clock: it overwrites the date that it is given.

So where the wall clock is known to be wrong, boto3 and the AWS CLI make transfers by their classic client. Elsewhere,
what fails for its time is repeated by that one.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.events import Degraded, emit_once
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch, WhenImportedPatch
from skewguard.signing.patches.signers import guard_of
from skewguard.signing.repeated import RepeatingManager, wall_clock_is_wrong

_REASON = "it signs by the wall clock, whatever date it is given; preferred_transfer_client='classic' is guarded"
_CLI = "awscli.customizations.s3.factory"

_guarded: Callable[[], bool] = bool  # never
_repeatable: ContextVar[bool] = ContextVar("skewguard-repeatable", default=False)


def guard_crt_transfers(guarded: Callable[[], bool]) -> None:
    """Guard boto3's transfers by awscrt's S3 client, and warn once of others, where `guarded` returns that any is."""
    global _guarded
    _guarded = guarded
    TRANSFERS.apply()


def repeating(client: Any, make: Callable[[], Any], make_classic: Callable[[], Any]) -> Any:
    """Return a manager for a client's transfers: awscrt's, which the classic one helps; None if that is to serve alone.

    Args:
        client: The client that the classic manager uses. If it is not guarded, the result is awscrt's manager.
        make: Makes awscrt's manager; None if that cannot serve.
        make_classic: Makes the classic manager.
    """
    guard = None
    try:
        guard = guard_of(client._request_signer)
    except Exception as error:
        fail_open(error, "transfers by awscrt are not guarded")
    if guard is None:
        return make()
    url = client.meta.endpoint_url
    if wall_clock_is_wrong(guard, url):
        return None
    before = _repeatable.set(True)
    try:
        made = make()
    finally:
        _repeatable.reset(before)
    return made and RepeatingManager(made, made._crt_exception_translator, make_classic, guard, url)


def _repeating_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_crt_transfer_manager(client: Any, config: Any) -> Any:
        make_classic = sys.modules["boto3.s3.transfer"]._create_default_transfer_manager
        return repeating(
            client,
            functools.partial(original, client, config),
            functools.partial(make_classic, client, config, None),
        )

    return create_crt_transfer_manager


def _repeating_clis_factory(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _create_crt_transfer_manager(self: Any, params: Any, runtime_config: Any, *more: Any, **named: Any) -> Any:
        client = next(iter((*more, *named.values())), None) or self._botocore_client_factory.create_client(params)
        make = functools.partial(original, self, params, runtime_config, *more, **named)
        make_classic = functools.partial(library.classic_transfers(self), params, runtime_config, client)
        return repeating(client, make, make_classic) or make_classic()

    return _create_crt_transfer_manager


def _watched_init(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it wraps one
        if not _repeatable.get() and _guarded():
            emit_once(Degraded("guarding transfers inside awscrt's S3 client", _REASON))
        original(self, *args, **kwargs)

    return __init__


def _boto3s_factory() -> Iterable[Patch]:
    if library.loaded("boto3.s3.transfer", "create_crt_transfer_manager") is not None:  # it is where awscrt is
        module = sys.modules["boto3.s3.transfer"]
        yield NamePatch("guarding transfers by awscrt", module, "create_crt_transfer_manager", _repeating_factory)


def _clis_factory() -> Iterable[Patch]:
    factory = library.loaded(_CLI, "TransferManagerFactory")
    part = "guarding the AWS CLI's transfers by awscrt"
    yield NamePatch(part, factory, "_create_crt_transfer_manager", _repeating_clis_factory)


def _managers() -> Iterable[Patch]:
    manager = library.loaded("s3transfer.crt", "CRTTransferManager")
    yield NamePatch("noticing transfers by awscrt", manager, "__init__", _watched_init)


def _transfers() -> Iterable[Patch]:
    yield WhenImportedPatch("boto3.s3.transfer", _boto3s_factory)
    yield WhenImportedPatch(_CLI, _clis_factory)
    yield WhenImportedPatch("s3transfer.crt", _managers)


TRANSFERS = Group(_transfers)
