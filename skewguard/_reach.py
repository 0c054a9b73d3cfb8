"""Which sessions, clients and signers a guard reaches."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

from skewguard import _aws_profile, _late_imports
from skewguard._fail_open import fail_open
from skewguard._late_imports import WhenImported
from skewguard._process import process
from skewguard.config import OFF_SWITCH_PROFILE_KEY, OTHER_SIGNERS, Settings, Switch
from skewguard.errors import ConfigError
from skewguard.events import logger
from skewguard.signing.patches import library
from skewguard.timekeeping.timekeeper import Timekeeper


class Client(Protocol):
    """A client or resource, of botocore, boto3 or aiobotocore."""

    @property
    def meta(self) -> Any:
        """Its metadata, with the event emitter."""


class BotocoreSession(Protocol):
    """A session of botocore or aiobotocore."""

    def get_component(self, name: str, /) -> Any:
        """Return a component, such as the event emitter."""


class Boto3Session(Protocol):
    """A session of boto3."""

    @property
    def events(self) -> Any:
        """The event emitter."""


Target: TypeAlias = Client | BotocoreSession | Boto3Session
"""What can be guarded. As protocols, because botocore and boto3 are untyped where their stubs are not installed."""


def initialize(session: Any) -> None:
    """Guard a session that botocore has just made."""
    try:
        hook(process.everywhere, session.get_component("event_emitter"), session)
    except Exception as error:
        fail_open(error, "a session is not guarded")


def hook(switch: Switch, emitter: Any, session: Any, *, unless_guarded: bool = False) -> None:
    """Register the event handlers of a new guard with an emitter, and apply the patches they need.

    With `unless_guarded`, any event handlers of ours that the emitter has are left alone.
    """
    if not prepare():
        return  # nothing may be retried or announced that cannot be signed
    # Imported here, because botocore's signers take some hundred milliseconds to load, and a program that imports
    # skewguard need not make an AWS call.
    with _late_imports.importing:
        from skewguard.signing.guard import Guard
        from skewguard.signing.hooks import Hooks
        from skewguard.signing.patches import signers

    keeper = process.keeper()
    if library.awaits_handlers(emitter):
        with _late_imports.importing:
            from skewguard.signing.aio import AioGuard, AioHooks

        _prepare_aio()
        hooks: Hooks = AioHooks(AioGuard(switch, keeper, session))
    else:
        hooks = Hooks(Guard(switch, keeper, session))
    with process.registering:
        if not (unless_guarded and signers.is_guarded(emitter)):
            hooks.register(emitter)


def prepare() -> bool:
    """Apply the patches that a guarded client needs; return whether requests can be signed as of true time."""
    with _late_imports.importing:
        from skewguard.signing.patches import expiry, login, metadata, msk, sessions, transfers

    keeper = process.keeper()
    if not apply_patches():
        return False
    expiry_clock = expiry.ExpiryClock(keeper, _settings_anywhere)
    expiry.judge_expiry_by(expiry_clock)
    login.repeat_refused_renewals(expiry_clock.behind)
    sessions.adopt_sessions(_adopt_session)
    metadata.hear_metadata_services(metadata.MetadataListener(keeper, _settings_anywhere))
    msk.MSK.apply()
    transfers.guard_crt_transfers(lambda: _settings_anywhere() is not None)
    if "kombu.asynchronous.aws.connection" in sys.modules:
        _prepare_kombu()
    if keeper.settings.true_time_tls:
        _prepare_tls(keeper)
    return True


def _prepare_tls(keeper: Timekeeper) -> None:
    with _late_imports.importing:
        from skewguard.signing.patches import tls
    try:
        tls.judge_on_true_time(keeper)
    except Exception as error:
        fail_open(error, "certificates are judged by the wall clock")


def end_install(keeper: Timekeeper) -> None:
    """Forget the requests that were remembered, and let OpenSSL judge certificates, but for what is attached."""
    remembered = sys.modules.get("skewguard.signing.remembered")
    if remembered is not None:
        remembered.forget()
    tls = sys.modules.get("skewguard.signing.patches.tls")
    if tls is not None:
        try:
            tls.stop()
        except Exception as error:
            fail_open(error, "some certificates may still be judged by true time")
        if process.attached is not None and keeper.settings.true_time_tls:
            _prepare_tls(keeper)


def _prepare_aio() -> None:
    from skewguard.signing.patches import expiry, metadata, signers

    if "aiobotocore.signers" in sys.modules:
        signers.AIO_POST_FORMS.apply()
    if "aiobotocore.credentials" in sys.modules:
        expiry.AIO_EXPIRY.apply()
    if "aiobotocore.utils" in sys.modules:
        metadata.AIO_METADATA.apply()


def _prepare_kombu() -> None:
    with _late_imports.importing:
        from skewguard.signing.kombu_answers import hear
        from skewguard.signing.patches import kombu
    kombu.hear_kombu(hear)


def apply_patches() -> bool:
    """Apply the patches that every guarded client needs; return whether requests can be signed as of true time."""
    with _late_imports.importing:
        from skewguard.signing.patches import errors, signers

    if not signers.CLOCKS.apply():
        return False
    signers.POST_FORMS.apply()
    errors.ERRORS.apply()
    return True


def signs_by_true_time() -> bool:
    """Return whether requests can be signed as of true time, as far as that has been tried."""
    signers = sys.modules.get("skewguard.signing.patches.signers")
    return signers is None or signers.CLOCKS.complete


def undo_patches() -> None:
    """Undo every patch on botocore. For tests: in a program, a guard that is off leaves them inert."""
    with _late_imports.importing:
        from skewguard.signing import remembered
        from skewguard.signing.patches import patching, signers

    signers.leave_unrecorded()
    remembered.forget()
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


def adopt(target: Any) -> None:
    """Guard a session or client that was made before `install`, unless it is guarded already."""
    emitter, session = reach(target)
    if session is None:
        client = getattr(target.meta, "client", target)
        session = _Maker(library.credentials_of(getattr(client, "_request_signer", None)))
    hook(process.everywhere, emitter, session, unless_guarded=True)


def release(target: Any, *, for_good: bool) -> None:
    """Remove any event handlers of ours from a target; `for_good`, so that `install` does not guard it, either."""
    from skewguard.signing.hooks import Hooks

    emitter, _ = reach(target)
    with process.registering:
        Hooks.unregister(emitter)
        if for_good:
            Hooks.exempt(emitter)


def reach_what_exists(keeper: Timekeeper) -> WhenImported:
    """Guard the clients and sessions that exist, and signers that are used without a client once they are imported.

    Clients are adopted when they next sign. What they need before that is patched now.
    """
    try:
        if process.everywhere.settings is not None:
            if library.loaded("botocore.session", "Session") is not None:
                prepare()
            if library.loaded("aiobotocore.session", "AioSession") is not None:
                _prepare_aio()
    except Exception as error:
        fail_open(error, "the clients that exist are guarded from their first signing only")
    with _late_imports.importing:
        return WhenImported("botocore.auth", functools.partial(_guard_unrecorded, keeper))


def reach_other_signers(keeper: Timekeeper, names: tuple[str, ...]) -> tuple[WhenImported, ...]:
    """Patch the signers of other libraries, once they are imported."""
    if not names:
        return ()
    with _late_imports.importing:
        from skewguard.signing.patches import other_signers

        guard = _guard_without_session(keeper)
    modules = [OTHER_SIGNERS[name] for name in names]
    return tuple(
        WhenImported(module, functools.partial(other_signers.patch_signer, module, guard)) for module in modules
    )


_foreign: tuple[Settings, Any] | None = None


def foreign_guard() -> Any:
    """Return the guard of calls that other code signs and sends; None while `install` is not in force."""
    global _foreign
    settings = process.everywhere.settings
    if settings is None:
        return None
    found = _foreign
    if found is None or found[0] is not settings:
        with _late_imports.importing:
            found = _foreign = settings, _guard_without_session(process.keeper())
    return found[1]


def _adopt_session(session: Any) -> None:
    """Guard a session that was made before `install`."""
    from skewguard.signing.patches import signers

    if process.everywhere.settings is not None:
        emitter = session.get_component("event_emitter")
        if not signers.is_guarded(emitter):
            hook(process.everywhere, emitter, session, unless_guarded=True)


def _adopt_client_of(request_signer: Any) -> None:
    """Guard the client of a `RequestSigner`, which was made before `install`."""
    if process.everywhere.settings is not None:
        maker = _Maker(library.credentials_of(request_signer))
        hook(process.everywhere, library.emitter_of(request_signer), maker, unless_guarded=True)


class _Maker:
    """Replaces the session that made a client, which the client does not know."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def get_scoped_config(self) -> dict[str, Any]:
        """Return the one key of the session's profile that a guard reads."""
        if not _aws_profile.mentions(OFF_SWITCH_PROFILE_KEY):
            return {}
        for session in _living_sessions():
            if self._credentials is not None and library.credentials_of(session) is self._credentials:
                return dict(session.get_scoped_config())
        logger.debug("a client is left alone, because some profile switches correction off, and its own is not known")
        return {OFF_SWITCH_PROFILE_KEY: True}


def _living_sessions() -> Iterator[Any]:
    """List botocore's sessions that exist; not those in a frozen heap, boto3's default session excepted."""
    import gc

    yield getattr(library.loaded("boto3", "DEFAULT_SESSION"), "_session", None)
    kind = library.loaded("botocore.session", "Session")
    for found in gc.get_objects():
        if issubclass(type(found), kind):  # `isinstance` would ask proxies, which may be of any code
            yield found


class _NoSession:
    """Replaces the session that signers without a client do not have."""

    @staticmethod
    def get_scoped_config() -> dict[str, Any]:
        """Return the one key of the environment's profile that a guard reads."""
        return {OFF_SWITCH_PROFILE_KEY: _aws_profile.read(OFF_SWITCH_PROFILE_KEY) or False}


def _guard_unrecorded(keeper: Timekeeper) -> None:
    # Runs while botocore.auth is being imported, so it must take no lock under which another thread imports that.
    from skewguard.signing.unrecorded import guard_unrecorded

    guard_unrecorded(_guard_without_session(keeper), _adopt_client_of)


def _guard_without_session(keeper: Timekeeper) -> Any:
    from skewguard.signing.guard import Guard

    return Guard(process.everywhere, keeper, _NoSession())
