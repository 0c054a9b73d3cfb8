"""What is there once in a process: the timekeeper, and the global guard; whom guards reach, and what a fork does."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from skewguard import aws_profile, late
from skewguard.config import OFF_SWITCH_PROFILE_KEY, Settings, resolve
from skewguard.errors import ConfigError
from skewguard.events import logger, reset_lock
from skewguard.late import WhenImported
from skewguard.timekeeper import Timekeeper

if TYPE_CHECKING:
    from skewguard._guard import Installation

_LONGEST_IMPORT = 2  # s; a fork waits no longer for one


class Guard:
    """The settings in force for some set of hooks; None while it is switched off."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings


class _Process:
    """The state of this process. Locked for changes; neither making a session nor signing waits for that.

    So whatever is logged with the lock held, a log handler may make sessions, in any thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.everywhere = Guard()
        self.attached: Settings | None = None  # those of whatever was attached last, if it is switched on
        self.installation: Installation | None = None
        self.watch: WhenImported | None = None
        self._keeper: Timekeeper | None = None

    def keeper(self) -> Timekeeper:
        """Answer the one timekeeper of this process; it is made when first needed, and stays."""
        if self._keeper is None:
            settings = resolve({}, profile=aws_profile.options())
            with self.lock:
                self._keeper = self._keeper or Timekeeper(settings)
        return self._keeper

    def before_fork(self) -> None:
        """Wait for another thread's import; not for long, as that may be waiting for this thread."""
        late.importing.acquire(timeout=_LONGEST_IMPORT)

    def after_fork_in_parent(self) -> None:
        """Let others import again."""
        with contextlib.suppress(RuntimeError):  # it was not to be had
            late.importing.release()

    def after_fork_in_child(self) -> None:
        """Replace the locks that another thread may have held, and drop what it was doing."""
        self.lock = threading.RLock()
        late.importing = threading.RLock()
        reset_lock()
        if "skewguard.signing.names" in sys.modules:
            sys.modules["skewguard.signing.names"].reset_lock()
        if self._keeper is not None:
            self._keeper.reset_after_fork()

    def initialize(self, session: Any) -> None:
        """Guard a session that botocore has just made."""
        try:
            hook(self.everywhere, session.get_component("event_emitter"), session)
        except Exception:
            logger.debug("a session stays unguarded", exc_info=True)


def hook(guard: Guard, emitter: Any, session: Any) -> None:
    """Put a guard's hooks on an emitter, and open the seam they need."""
    # Imported here, because botocore's signers take some hundred milliseconds to load, and a program that imports
    # skewguard need not make an AWS call.
    with late.importing:
        from skewguard.signing.expiry import Judge, open_expiry
        from skewguard.signing.hooks import Hooks
        from skewguard.signing.seam import asynchronous, open_aio_seam, open_seam, watch_crt_transfers

    open_seam()
    open_expiry(Judge(process.keeper(), lambda: process.everywhere.settings or process.attached))
    watch_crt_transfers(lambda: guard.settings is not None)
    kind = Hooks
    if asynchronous(emitter):
        with late.importing:
            from skewguard.signing.aio import AioHooks, open_aio_expiry

        open_aio_seam()
        open_aio_expiry()
        kind = AioHooks
    kind(guard, process.keeper(), session).register(emitter)


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
    with late.importing:
        from skewguard.signing.seam import is_guarded, open_seam

    open_seam()
    emitter, inner = reach(target)
    if not is_guarded(emitter):  # somebody has attached it, or it was reached before
        hook(process.everywhere, emitter, inner)


def reach_direct_users(keeper: Timekeeper) -> WhenImported:
    """Have the global guard reach signers that are used without a client, once they are imported."""
    with late.importing:
        return WhenImported("botocore.auth", functools.partial(_guard_direct_use, keeper))


class _NoSession:
    """Stands in for the session that a direct user of botocore's signers does not have."""

    @staticmethod
    def get_scoped_config() -> dict[str, Any]:
        """Answer the profile that the environment names, as far as it is asked for."""
        return {OFF_SWITCH_PROFILE_KEY: aws_profile.read(OFF_SWITCH_PROFILE_KEY) or ""}


def _guard_direct_use(keeper: Timekeeper) -> None:
    # Runs while botocore.auth is being imported, so it must take no lock under which somebody else imports that.
    from skewguard.signing import direct
    from skewguard.signing.hooks import Hooks

    direct.guard(Hooks(process.everywhere, keeper, _NoSession()))


process = _Process()
if hasattr(os, "register_at_fork"):  # now, for the fork may come while another thread is in the very first install()
    os.register_at_fork(
        before=process.before_fork,
        after_in_parent=process.after_fork_in_parent,
        after_in_child=process.after_fork_in_child,
    )
