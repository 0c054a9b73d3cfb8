"""The public functions: they switch the guard on and off, and return what is known."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any

from skewguard import _aws_profile, _reach, host_clock
from skewguard import clocks as _clocks
from skewguard._process import process
from skewguard._reach import Target
from skewguard._status import Offset, State, Status, TrueTime, why_unknown
from skewguard._warnings import warn_once
from skewguard.clocks import APART_NS, Clocks
from skewguard.config import (
    ATTACH_OPTIONS,
    AttachOptions,
    InstallOptions,
    Settings,
    nanoseconds,
    parse_keyword,
    resolve,
)
from skewguard.interval import SECOND
from skewguard.signing.patches import library
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.timekeeper import Timekeeper

if TYPE_CHECKING:
    import boto3
    from typing_extensions import Unpack  # no dependency: every type checker knows it


_WITHIN = 10 * SECOND  # waiting ends once time is known within this, by default


class Installation:
    """The handle that `install` returns. As a context manager it uninstalls, if its call was the one that installed."""

    def __init__(self, settings: Settings, *, found: bool = False) -> None:
        self.settings = settings
        self._found = found  # it was installed already

    @property
    def in_force(self) -> bool:
        """Whether this installation has not been ended."""
        return process.installed is self.settings

    def uninstall(self) -> None:
        """Uninstall, if this installation is still in force."""
        if self.in_force:
            uninstall()

    def __enter__(self) -> Installation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._found:
            self.uninstall()

    def __repr__(self) -> str:
        return f"<skewguard.Installation {'in force' if self.in_force else 'ended'}>"


def install(*, clocks: Clocks | None = None, **options: Unpack[InstallOptions]) -> Installation:
    """Guard every botocore session and client of this process, those that exist included.

    A client that exists is guarded from its next signing on. What was attached or detached stays as it is. A second
    call while installed changes nothing: the handle it returns can end the installation, but does not at the end of a
    ``with``.

    Args:
        clocks: Other clocks than the system's, for tests.
        **options: See `skewguard.config.Settings`; times in seconds. ``sources=["ntp://host:port"]`` names time
            sources instead of those that the host has, ``sources=["response"]`` asks none, ``wait=2`` blocks up to two
            seconds until true time is known, ``learn_from_responses=False`` stops answers from teaching the time,
            ``correct_presigned=False`` leaves presigned URLs alone, ``enabled=True`` overrides AWS's off switches.

    Raises:
        ConfigError: An option is unknown or its value unusable.
    """
    settings = resolve(options, profile=_aws_profile.options())
    keeper = process.keeper()
    with process.lock:
        if process.cut_short:
            uninstall()
            process.cut_short = False
        found = process.installed
        handle = Installation(settings) if found is None else Installation(found, found=True)
        if found is None:
            try:
                process.installed = settings  # first, so that `uninstall` undoes what an interrupt leaves
                keeper.configure(settings, clocks)
                process.everywhere.settings = _in_force(settings)
                library.register_initializer(_reach.initialize)
                process.watches = (_reach.reach_what_exists(keeper),)
                process.watches += _reach.reach_other_signers(keeper, settings.other_signers)
            except BaseException:
                uninstall()
                raise
    if found is None and process.everywhere.settings is not None:
        keeper.start()  # without the lock: a listener may install, as botocore's plugin does
    elif found is not None and options:
        ignored = [name for name in options if name != "wait" and getattr(settings, name) != getattr(found, name)]
        if ignored:
            again = f"install() was called again with different options ({', '.join(ignored)})"
            warn_once(f"{again}; they are ignored. Call uninstall() first.")
    if settings.wait and _in_force(handle.settings):
        keeper.wait_until(_WITHIN, settings.wait)
    return handle


def uninstall() -> None:
    """End `install`: its hooks become inert wherever they are, and all that was learned is forgotten. Idempotent."""
    with process.lock:
        if process.installed is None:
            return
        process.everywhere.settings = None
        library.unregister_initializer(_reach.initialize)
        for watch in process.watches:
            watch.stop()
        keeper = process.keeper()
        keeper.reset(resolve({}, profile=_aws_profile.options()))
        _reach.end_install(keeper)
        process.installed = None  # last, so that an interrupted call can be repeated


def forget() -> None:
    """Forget what is known of the time, as after the restore of a snapshot, and ask the sources again."""
    with process.lock:
        keeper = process.keeper()
        keeper.reset(keeper.settings, keeper.clocks)  # and without the shared file, which is as old
        if process.everywhere.settings is not None:
            keeper.start()


def attach(target: Target, **options: Unpack[AttachOptions]) -> None:
    """Guard one boto3 or botocore session (and the clients made from it later), client or resource.

    Args:
        target: What to guard.
        **options: ``enabled``, ``learn_from_responses``, ``correct_presigned`` and ``sources``; sources belong to
            the process and join those it has.

    Raises:
        ConfigError: `target` is none of these, or an option is unknown or unusable.
    """
    settings = resolve(options, profile=_aws_profile.options(), allowed=ATTACH_OPTIONS)
    emitter, session = _reach.reach(target)
    _reach.hook(process.attach(_in_force(settings)), emitter, session)
    if "sources" in options:
        keeper = process.keeper()
        keeper.add_sources(settings.sources or ())
        keeper.start()


def detach(target: Target) -> None:
    """Stop guarding a target, attached or installed, until it is attached again.

    Clients that were made from a session before keep their guard.

    Raises:
        ConfigError: `target` cannot be guarded.
    """
    _reach.release(target, for_good=True)


def session(**boto3_session_kwargs: Any) -> boto3.Session:
    """Return a plain `boto3.Session` that is guarded, whether or not `install` is in force.

    Args:
        **boto3_session_kwargs: The arguments of `boto3.Session`.
    """
    import boto3

    made = boto3.Session(**boto3_session_kwargs)
    attach(made)
    return made


def now() -> TrueTime | None:
    """Return what is known of true time (UTC); None while nothing is known."""
    known = process.keeper().now()
    return None if known is None else TrueTime(known.earliest, known.latest)


def offset() -> Offset | None:
    """Return how far the wall clock is off; None while nothing is known."""
    keeper = process.keeper()
    return _offset_of(keeper, keeper.utc)


def status() -> Status:
    """Return what skewguard knows and does at the moment. No source is asked."""
    keeper = process.keeper()
    time_now = now()
    known_offset = offset()
    state: State
    if _clocks.faked():
        state = "faked"
    elif time_now is None:
        state = "unknown"
    elif keeper.doubtful:
        state = "doubtful"
    else:
        state = "synchronized" if known_offset is not None and known_offset.proved else "unproved"
    found = {domain.key: _offset_of(keeper, domain) for domain in keeper.heard()}
    return Status(
        installed=process.installed is not None,
        state=state,
        now=time_now,
        offset=known_offset,
        correcting=keeper.correcting and _reach.signs_by_true_time(),
        sources=keeper.results,
        domains={key: value for key, value in found.items() if value is not None},
        inherited=tuple(domain.key for domain in keeper.inherited()),
        host=host_clock.inspect(),
        reason="" if known_offset is not None else why_unknown(keeper.results, keeper.settings),
    )


def measure(timeout: float | None = None) -> Status:
    """Ask the sources now and wait for their answers. An unreachable source is a result, not an error.

    Args:
        timeout: How long to wait at most, s; by default the ``timeout`` option.

    Raises:
        ConfigError: `timeout` is not a number of seconds.
    """
    process.keeper().measure(None if timeout is None else parse_keyword("timeout", timeout, nanoseconds))
    return status()


def wait_until_synchronized(timeout: float, within: float = _WITHIN / SECOND) -> bool:
    """Block until true time is known to within +/- `within` seconds.

    Returns:
        False if `timeout` seconds have passed without it.

    Raises:
        ConfigError: An argument is not a number of seconds.
    """
    limit = parse_keyword("timeout", timeout, nanoseconds)
    return process.keeper().wait_until(parse_keyword("within", within, nanoseconds), limit)


def _offset_of(keeper: Timekeeper, domain: Domain) -> Offset | None:
    reading = keeper.clocks.read()
    known = keeper.known(domain, reading.steady)
    if known is None:
        return None
    # The wall clock was not read at exactly the instant of `known`.
    said = known.estimate
    bound = (said.width / 2 + APART_NS) / SECOND
    return Offset((said.midpoint - reading.wall) / SECOND, bound, said.source, known.grade.label)


def _in_force(settings: Settings) -> Settings | None:
    return None if settings.enabled is False else settings
