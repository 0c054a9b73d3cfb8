"""Whom guards reach: sessions, clients and signers."""

from __future__ import annotations

import functools
import sys
from typing import Any

from skewguard import _aws_profile, _late_imports
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
    except Exception:
        logger.debug("a session stays unguarded", exc_info=True)


def hook(guard: Switch, emitter: Any, session: Any) -> None:
    """Put a guard's hooks on an emitter, and open the seam they need."""
    # Imported here, because botocore's signers take some hundred milliseconds to load, and a program that imports
    # skewguard need not make an AWS call.
    with _late_imports.importing:
        from skewguard.signing.hooks import Hooks
        from skewguard.signing.patches.expiry import Judge, open_expiry
        from skewguard.signing.patches.metadata import Ear, open_metadata
        from skewguard.signing.patches.signers import asynchronous, open_aio_seam, open_seam
        from skewguard.signing.patches.transfers import watch_crt_transfers

    open_seam()
    open_expiry(Judge(process.keeper(), _settings_anywhere))
    open_metadata(Ear(process.keeper(), _settings_anywhere))
    watch_crt_transfers(lambda: guard.settings is not None)
    kind = Hooks
    if asynchronous(emitter):
        with _late_imports.importing:
            from skewguard.signing.aio import AioHooks, open_aio_expiry

        open_aio_seam()
        open_aio_expiry()
        kind = AioHooks
    kind(guard, process.keeper(), session).register(emitter)


def _settings_anywhere() -> Settings | None:
    return process.everywhere.settings or process.attached


def reach(target: Any) -> tuple[Any, Any]:
    """Find the event emitter of whatever boto3 or botocore object this is, and its botocore session if it has one."""
    meta = getattr(target, "meta", None)  # first, for some clients have an operation called get_component
    if meta is not None:
        return getattr(meta, "client", target).meta.events, None
    if hasattr(target, "get_component"):
        return target.get_component("event_emitter"), target
    events = getattr(target, "events", None)
    if events is not None and hasattr(events, "register_first"):
        return events, getattr(target, "_session", None)
    raise ConfigError(f"{target!r} is no boto3 or botocore session, client or resource")


def reach_default_session() -> None:
    """Have the global guard reach the session that boto3 has made for its own functions, if it has."""
    boto3 = sys.modules.get("boto3")
    made = getattr(boto3, "DEFAULT_SESSION", None)
    if made is not None:
        try:
            adopt(made)
        except ConfigError as error:  # somebody has put something of his own there
            logger.warning("boto3's default session stays unguarded: %s", error)


def adopt(target: Any) -> None:
    """Have what `install` switches on reach a session or client that was made before, unless somebody guards it."""
    with _late_imports.importing:
        from skewguard.signing.patches.signers import is_guarded, open_seam

    open_seam()
    emitter, inner = reach(target)
    if not is_guarded(emitter):  # somebody has attached it, or it was reached before
        hook(process.everywhere, emitter, inner)


def reach_direct_users(keeper: Timekeeper) -> WhenImported:
    """Have the global guard reach signers that are used without a client, once they are imported."""
    with _late_imports.importing:
        return WhenImported("botocore.auth", functools.partial(_guard_direct_use, keeper))


class _NoSession:
    """Stands in for the session that a direct user of botocore's signers does not have."""

    @staticmethod
    def get_scoped_config() -> dict[str, Any]:
        """Answer the profile that the environment names, as far as it is asked for."""
        return {OFF_SWITCH_PROFILE_KEY: _aws_profile.read(OFF_SWITCH_PROFILE_KEY) or ""}


def _guard_direct_use(keeper: Timekeeper) -> None:
    # Runs while botocore.auth is being imported, so it must take no lock under which somebody else imports that.
    from skewguard.signing import direct
    from skewguard.signing.hooks import Hooks

    direct.guard(Hooks(process.everywhere, keeper, _NoSession()))
