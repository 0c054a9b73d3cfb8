"""What is switched on, and where: the process's one timekeeper, the global guard, and attached ones."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import botocore

from skewguard import aws_profile, health
from skewguard import clocks as _clocks
from skewguard.clocks import APART_NS, Clocks
from skewguard.config import (
    ATTACH_OPTIONS,
    OFF_SWITCH_PROFILE_KEY,
    Settings,
    nanoseconds,
    parse_keyword,
    resolve,
)
from skewguard.errors import ConfigError
from skewguard.events import logger, reset_lock
from skewguard.health import HostClock
from skewguard.interval import SECOND
from skewguard.knowledge import Domain
from skewguard.late import WhenImported
from skewguard.polling import Result
from skewguard.timekeeper import Timekeeper

if TYPE_CHECKING:
    import boto3


_LONGEST_IMPORT = 2  # s; a fork waits no longer for one
_WITHIN = 10 * SECOND  # how well time must be known for waiting to end, unless somebody asks for better


class TrueTime(NamedTuple):
    """True time lies in [`earliest`, `latest`], integer nanoseconds since the Unix epoch."""

    earliest: int
    latest: int

    @property
    def midpoint(self) -> int:
        """The best single guess, ns since the Unix epoch."""
        return (self.earliest + self.latest) // 2


class Offset(NamedTuple):
    """How far the wall clock is off.

    Attributes:
        seconds: True time minus wall clock; positive when the host is behind.
        error_bound: The truth lies within this of `seconds`, s.
        source: Who says so.
    """

    seconds: float
    error_bound: float
    source: str


class Status(NamedTuple):
    """What skewguard knows and does at the moment.

    Attributes:
        installed: Whether `install` is in force, be it switched off by the environment.
        state: ``"unknown"``; ``"synchronized"``; ``"doubtful"`` after a jump that nobody has explained yet; or
            ``"faked"`` while a test library fakes the wall clock.
        now: True time, if known.
        offset: The wall clock's offset, if known.
        correcting: Whether requests to AWS are signed away from the wall clock.
        sources: How each source answered when last asked.
        domains: The offset of every time domain that has answered, by key: ``"utc"``, or an endpoint's origin.
        inherited: Those of them that have answered another process only.
        host: What the host says of its own clock: a hint for people, which corrects nothing.
    """

    installed: bool
    state: str
    now: TrueTime | None
    offset: Offset | None
    correcting: bool
    sources: tuple[Result, ...]
    domains: dict[str, Offset]
    inherited: tuple[str, ...]
    host: HostClock


class _Guard:
    """The settings in force for some set of hooks; None while it is switched off."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings


class _Process:
    """The state of this process. Locked for changes; signing only reads."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        # Held while what signs is imported, and during forks: for what another thread is importing, a child would wait
        # for ever.
        self.importing = threading.RLock()
        self.everywhere = _Guard()
        self.attached: Settings | None = None  # those of whatever was attached last, if it is switched on
        self.installation: Installation | None = None
        self.watch: WhenImported | None = None
        self._keeper: Timekeeper | None = None

    def keeper(self) -> Timekeeper:
        """Answer the one timekeeper of this process; it is made when first needed, and stays."""
        with self.lock:
            if self._keeper is None:
                self._keeper = Timekeeper(resolve({}, profile=aws_profile.options()))
            return self._keeper

    def before_fork(self) -> None:
        """Wait for another thread's import; not for long, as that may be waiting for this thread."""
        self.importing.acquire(timeout=_LONGEST_IMPORT)

    def after_fork_in_parent(self) -> None:
        """Let others import again."""
        with contextlib.suppress(RuntimeError):  # it was not to be had
            self.importing.release()

    def after_fork_in_child(self) -> None:
        """Replace the locks that another thread may have held, and drop what it was doing."""
        self.lock = threading.RLock()
        self.importing = threading.RLock()
        reset_lock()
        if "skewguard.signing.names" in sys.modules:
            sys.modules["skewguard.signing.names"].reset_lock()
        if self._keeper is not None:
            self._keeper.reset_after_fork()

    def initialize(self, session: Any) -> None:
        """Guard a session that botocore has just made."""
        try:
            _hook(self.everywhere, session.get_component("event_emitter"), session)
        except Exception:
            logger.debug("a session stays unguarded", exc_info=True)


_process = _Process()
if hasattr(os, "register_at_fork"):  # now, for the fork may come while another thread is in the very first install()
    os.register_at_fork(
        before=_process.before_fork,
        after_in_parent=_process.after_fork_in_parent,
        after_in_child=_process.after_fork_in_child,
    )


class Installation:
    """What `install` returns: a handle, and a context manager that uninstalls if it was what installed."""

    def __init__(self, settings: Settings, began: Installation | None = None) -> None:
        self.settings = settings
        self._began = began or self  # the one that installed; another found it installed

    @property
    def in_force(self) -> bool:
        """Whether this installation has not been ended."""
        return _process.installation is self._began

    def uninstall(self) -> None:
        """Do what `skewguard.uninstall` does, if this installation is still in force."""
        if self.in_force:
            uninstall()

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._began is self:
            self.uninstall()

    def __repr__(self) -> str:
        return f"<skewguard.Installation {'in force' if self.in_force else 'ended'}>"


def install(*, wait: float = 0.0, clocks: Clocks | None = None, **options: Any) -> Installation:
    """Guard every botocore session of this process made from now on, and boto3's default session.

    Sessions, clients and resources that exist already are reached by `attach`. A second call while installed changes
    nothing: the handle it returns can end the installation, but does not at the end of a ``with``.

    Args:
        wait: Block up to this many seconds until true time is known; 0 never blocks.
        clocks: Other clocks than the system's, for tests.
        **options: See `skewguard.config.Settings`; times in seconds. ``sources=["ntp://host:port"]`` names time
            sources in place of those that the host has, ``sources=["response"]`` has nobody asked,
            ``learn_from_responses=False`` stops answers from teaching the time, ``correct_presigned=False`` leaves
            presigned URLs alone, ``enabled=True`` overrides AWS's off switches.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    settings = resolve(options, profile=aws_profile.options())
    limit = parse_keyword("wait", wait, nanoseconds)
    with _process.lock:
        found = _process.installation
        if found is None:
            keeper = _process.keeper()
            keeper.configure(settings, clocks)
            _process.everywhere.settings = _in_force(settings)
            botocore.register_initializer(_process.initialize)
            handle = _process.installation = Installation(settings)
            _reach_default_session()
            with _process.importing:
                _process.watch = WhenImported("botocore.auth", functools.partial(_reach_direct_users, keeper))
            if _process.everywhere.settings is not None:
                keeper.start()
        else:
            handle = Installation(found.settings, found)
            if options and settings != found.settings:
                logger.warning("install() again with other options changes nothing; uninstall() first")
    if limit and _in_force(handle.settings):
        _process.keeper().wait_until(_WITHIN, limit)
    return handle


def uninstall() -> None:
    """End `install`: its hooks go inert wherever they are, and everything learned is forgotten. Idempotent."""
    with _process.lock:
        if _process.installation is None:
            return
        _process.installation = None
        _process.everywhere.settings = None
        botocore.unregister_initializer(_process.initialize)
        if _process.watch is not None:
            _process.watch.stop()
        _process.keeper().reset(resolve({}, profile=aws_profile.options()))


def forget() -> None:
    """Drop what is known of the time, as after a snapshot's restore; what is installed stays, and sources are asked."""
    with _process.lock:
        keeper = _process.keeper()
        keeper.reset(keeper.settings, keeper.clocks)  # so without what neighbours know: that is as old
        if _process.everywhere.settings is not None:
            keeper.start()


def attach(target: Any, **options: Any) -> None:
    """Guard one boto3 or botocore session (and the clients made from it later), client or resource.

    Args:
        target: What to guard.
        **options: ``enabled``, ``learn_from_responses``, ``correct_presigned`` and ``sources``; sources belong to
            the process and join those it has.

    Raises:
        ConfigError: `target` is none of these, or an option is unknown or unusable.
    """
    settings = resolve(options, profile=aws_profile.options(), allowed=ATTACH_OPTIONS)
    emitter, session = _reach(target)
    in_force = _in_force(settings)
    _process.attached = in_force or _process.attached
    _hook(_Guard(in_force), emitter, session)
    if "sources" in options:
        keeper = _process.keeper()
        keeper.add_sources(settings.sources or ())
        keeper.start()


def detach(target: Any) -> None:
    """Stop guarding what was attached, or what `install` guards. Clients made from a session before keep their guard.

    Raises:
        ConfigError: `target` is nothing that can be guarded.
    """
    from skewguard.signing.hooks import Hooks

    Hooks.unregister(_reach(target)[0])


def session(**boto3_session_kwargs: Any) -> boto3.Session:
    """Make a plain `boto3.Session` that is guarded, whether or not `install` is in force.

    Args:
        **boto3_session_kwargs: Handed to `boto3.Session`.
    """
    import boto3

    made = boto3.Session(**boto3_session_kwargs)
    attach(made)
    return made


def now() -> TrueTime | None:
    """Say what is known of true time (UTC); None while nothing is known."""
    known = _process.keeper().now()
    return None if known is None else TrueTime(known.earliest, known.latest)


def offset() -> Offset | None:
    """Say how far the wall clock is off; None while nothing is known."""
    keeper = _process.keeper()
    return _offset_of(keeper, keeper.utc)


def status() -> Status:
    """Say what skewguard knows and does at the moment. Asks nobody."""
    keeper = _process.keeper()
    time_now = now()
    known_offset = offset()
    if _clocks.faked():
        state = "faked"
    elif time_now is None:
        state = "unknown"
    else:
        state = "doubtful" if keeper.doubtful else "synchronized"
    found = {domain.key: _offset_of(keeper, domain) for domain in keeper.heard()}
    return Status(
        installed=_process.installation is not None,
        state=state,
        now=time_now,
        offset=known_offset,
        correcting=keeper.correcting,
        sources=keeper.results,
        domains={key: value for key, value in found.items() if value is not None},
        inherited=tuple(domain.key for domain in keeper.inherited()),
        host=health.look(),
    )


def measure(timeout: float | None = None) -> Status:
    """Ask the sources now and wait for their answers. A source that cannot be reached is a result, not an error.

    Args:
        timeout: How long to wait at the most, s; by default the ``timeout`` option.

    Raises:
        ConfigError: That is no number of seconds.
    """
    _process.keeper().measure(None if timeout is None else parse_keyword("timeout", timeout, nanoseconds))
    return status()


def wait_until_synchronized(timeout: float, within: float = _WITHIN / SECOND) -> bool:
    """Block until true time is known to within +/- `within` seconds.

    Returns:
        False if `timeout` seconds have passed without it.

    Raises:
        ConfigError: One of these is no number of seconds.
    """
    limit = parse_keyword("timeout", timeout, nanoseconds)
    return _process.keeper().wait_until(parse_keyword("within", within, nanoseconds), limit)


def _offset_of(keeper: Timekeeper, domain: Domain) -> Offset | None:
    reading = keeper.clocks.read()
    known = keeper.known(domain, reading.steady)
    if known is None:
        return None
    # The wall clock was not read at quite the instant that `known` speaks of.
    return Offset((known.midpoint - reading.wall) / SECOND, (known.width / 2 + APART_NS) / SECOND, known.source)


def _in_force(settings: Settings) -> Settings | None:
    return None if settings.enabled is False else settings


def _hook(guard: _Guard, emitter: Any, session: Any) -> None:
    """Put a guard's hooks on an emitter, and open the seam they need."""
    # Imported here, because botocore's signers take some hundred milliseconds to load, and a program that imports
    # skewguard need not make an AWS call.
    with _process.importing:
        from skewguard.signing.expiry import Judge, open_expiry
        from skewguard.signing.hooks import Hooks
        from skewguard.signing.seam import asynchronous, open_aio_seam, open_seam, watch_crt_transfers

    open_seam()
    open_expiry(Judge(_process.keeper(), lambda: _process.everywhere.settings or _process.attached))
    watch_crt_transfers(lambda: guard.settings is not None)
    kind = Hooks
    if asynchronous(emitter):
        with _process.importing:
            from skewguard.signing.aio import AioHooks, open_aio_expiry

        open_aio_seam()
        open_aio_expiry()
        kind = AioHooks
    kind(guard, _process.keeper(), session).register(emitter)


def _reach(target: Any) -> tuple[Any, Any]:
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


def _reach_default_session() -> None:
    boto3 = sys.modules.get("boto3")
    made = getattr(boto3, "DEFAULT_SESSION", None)
    if made is not None:
        adopt(made)


def adopt(target: Any) -> None:
    """Have what `install` switches on reach a session or client that was made before, unless somebody guards it."""
    with _process.importing:
        from skewguard.signing.seam import WHO, open_seam

    open_seam()
    emitter, inner = _reach(target)
    if not emitter.emit(WHO):  # somebody has attached it, or it was reached before
        _hook(_process.everywhere, emitter, inner)


class _NoSession:
    """Stands in for the session that a direct user of botocore's signers does not have."""

    @staticmethod
    def get_scoped_config() -> dict[str, Any]:
        """Answer the profile that the environment names, as far as it is asked for."""
        return {OFF_SWITCH_PROFILE_KEY: aws_profile.read(OFF_SWITCH_PROFILE_KEY) or ""}


def _reach_direct_users(keeper: Timekeeper) -> None:
    # Runs while botocore.auth is being imported, so it must take no lock under which somebody else imports that.
    from skewguard.signing import direct
    from skewguard.signing.hooks import Hooks

    direct.guard(Hooks(_process.everywhere, keeper, _NoSession()))
