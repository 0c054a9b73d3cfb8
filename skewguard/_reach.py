"""Which sessions, clients and signers a guard reaches."""

from __future__ import annotations

import functools
import sys
from typing import Any

from skewguard import _aws_profile, _late_imports
from skewguard._fail_open import fail_open
from skewguard._late_imports import WhenImported
from skewguard._process import Switch, process
from skewguard.config import OFF_SWITCH_PROFILE_KEY, Settings
from skewguard.errors import ConfigError
from skewguard.events import logger
from skewguard.timekeeping.timekeeper import Timekeeper


def initialize(session: Any) -> None:
    """Guard a session that botocore has just made."""
    try:
        hook(process.everywhere, session.get_component("event_emitter"), session)
    except Exception as error:
        fail_open(error, "a session is not guarded")


def hook(switch: Switch, emitter: Any, session: Any) -> None:
    """Register the event handlers of a new guard with an emitter, and apply the patches they need."""
    # Imported here, because botocore's signers take some hundred milliseconds to load, and a program that imports
    # skewguard need not make an AWS call.
    with _late_imports.importing:
        from skewguard.signing.guard import Guard
        from skewguard.signing.hooks import Hooks
        from skewguard.signing.patches import expiry, library, metadata, signers, transfers

    keeper = process.keeper()
    if not apply_patches():
        return  # nothing may be retried or announced that cannot be signed
    expiry.judge_expiry_by(expiry.ExpiryClock(keeper, _settings_anywhere))
    metadata.hear_metadata_services(metadata.MetadataListener(keeper, _settings_anywhere))
    transfers.watch_crt_transfers(lambda: _settings_anywhere() is not None)
    if not library.awaits_handlers(emitter):
        Hooks(Guard(switch, keeper, session)).register(emitter)
        return
    with _late_imports.importing:
        from skewguard.signing.aio import AioGuard, AioHooks

    if "aiobotocore.signers" in sys.modules:
        signers.AIO_POST_FORMS.apply()
    if "aiobotocore.credentials" in sys.modules:
        expiry.AIO_EXPIRY.apply()
    if "aiobotocore.utils" in sys.modules:
        metadata.AIO_METADATA.apply()
    AioHooks(AioGuard(switch, keeper, session)).register(emitter)


def apply_patches() -> bool:
    """Apply the patches that every guarded client needs; return whether requests can be signed as of true time."""
    with _late_imports.importing:
        from skewguard.signing.patches import errors, signers

    if signers.CLOCKS.apply():
        for group in (signers.POST_FORMS, errors.ERRORS):
            group.apply()
        return True
    return False


def signs_by_true_time() -> bool:
    """Return whether requests can be signed as of true time, as far as that has been tried."""
    signers = sys.modules.get("skewguard.signing.patches.signers")
    return signers is None or signers.CLOCKS.complete


def undo_patches() -> None:
    """Undo every patch on botocore. For tests: in a program, a guard that is off leaves them inert."""
    with _late_imports.importing:
        from skewguard.signing.patches import patching, signers

    signers.leave_direct_use()
    patching.undo_all()


def _settings_anywhere() -> Settings | None:
    return process.everywhere.settings or process.attached


def reach(target: Any) -> tuple[Any, Any]:
    """Return the event emitter of a boto3 or botocore object, and its botocore session if it has one."""
    meta = getattr(target, "meta", None)  # first, because some clients have an operation called get_component
    if meta is not None:
        return getattr(meta, "client", target).meta.events, None
    if hasattr(target, "get_component"):
        return target.get_component("event_emitter"), target
    events = getattr(target, "events", None)
    if events is not None and hasattr(events, "register_first"):
        return events, getattr(target, "_session", None)
    raise ConfigError(f"{target!r} is not a boto3 or botocore session, client or resource")


def reach_default_session() -> None:
    """Guard the session that boto3 has made for its own functions, if it has made one."""
    boto3 = sys.modules.get("boto3")
    made = getattr(boto3, "DEFAULT_SESSION", None)
    if made is not None:
        try:
            adopt(made)
        except ConfigError as error:  # a program has replaced it by an object of its own
            logger.warning("boto3's default session is not guarded: %s", error)


def adopt(target: Any) -> None:
    """Guard a session or client that was made before `install`, unless it is guarded already."""
    with _late_imports.importing:
        from skewguard.signing.patches import signers

    emitter, inner = reach(target)
    if not signers.is_guarded(emitter):
        hook(process.everywhere, emitter, inner)


def reach_direct_users(keeper: Timekeeper) -> WhenImported:
    """Guard signers that are used without a client, once they are imported."""
    with _late_imports.importing:
        return WhenImported("botocore.auth", functools.partial(_guard_direct_use, keeper))


class _NoSession:
    """Replaces the session that signers without a client do not have."""

    @staticmethod
    def get_scoped_config() -> dict[str, Any]:
        """Return the one key of the environment's profile that a guard reads."""
        return {OFF_SWITCH_PROFILE_KEY: _aws_profile.read(OFF_SWITCH_PROFILE_KEY) or False}


def _guard_direct_use(keeper: Timekeeper) -> None:
    # Runs while botocore.auth is being imported, so it must take no lock under which another thread imports that.
    from skewguard.signing.direct import guard_direct_use
    from skewguard.signing.guard import Guard

    guard_direct_use(Guard(process.everywhere, keeper, _NoSession()))
