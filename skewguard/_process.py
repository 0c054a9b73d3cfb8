"""What a process has once: the timekeeper, the global switch, what is installed; and what a fork does to them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref

from skewguard import _aws_profile, _late_imports
from skewguard._late_imports import WhenImported
from skewguard.config import Settings, Switch, resolve
from skewguard.timekeeping.timekeeper import Timekeeper

_LONGEST_IMPORT = 30  # s; a fork waits no longer for one. On a busy machine 200 ms of importing take some seconds.


class _Process:
    """The state of this process. Locked for changes; neither making a session nor signing waits for that.

    So whatever is logged with the lock held, a log handler may make sessions, in any thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.registering = threading.RLock()  # held while event handlers of ours are registered: briefly
        self.everywhere = Switch()
        self.attached: Settings | None = None  # those of whatever was attached last, if it is switched on
        self._switches: weakref.WeakSet[Switch] = weakref.WeakSet()  # one for each `attach`
        self.installed: Settings | None = None  # what `install` was given; handles know it by identity
        self.cut_short = False  # forked while another thread of the parent, perhaps in install(), held the lock
        self.watches: tuple[WhenImported, ...] = ()
        self._keeper: Timekeeper | None = None
        self._renew = False  # the timekeeper is to read its settings again before it is next used

    def keeper(self) -> Timekeeper:
        """Return the one timekeeper of this process; it is made when first needed, and stays."""
        if self._keeper is None or self._renew:
            settings = resolve({}, profile=_aws_profile.options())
            with self.lock:
                if self._keeper is None:
                    self._keeper = Timekeeper(settings)
                elif self._renew:
                    self._keeper.reset(settings)
                self._renew = False
        return self._keeper

    def attach(self, settings: Settings | None) -> Switch:
        """Return a switch for one set of event handlers, on if there are settings."""
        self.attached = settings or self.attached
        switch = Switch(settings)
        with self.lock:
            self._switches.add(switch)
        return switch

    def reset(self) -> None:
        """Switch off all that is attached, and forget what is known. Settings are read again when next needed."""
        with self.lock:
            self.attached = None
            for switch in list(self._switches):
                switch.settings = None
            if self._keeper is not None:
                self._keeper.remove_sources()
                self._keeper.reset(self._keeper.settings)
                self._renew = True

    def before_fork(self) -> None:
        """Wait for another thread's import, but not for ever: it may be waiting for this thread.

        A child that is forked meanwhile hangs when it imports the same module.
        """
        _late_imports.importing.acquire(timeout=_LONGEST_IMPORT)

    def after_fork_in_parent(self) -> None:
        """Let other threads import again."""
        with contextlib.suppress(RuntimeError):  # it could not be acquired
            _late_imports.importing.release()

    def after_fork_in_child(self) -> None:
        """Replace the locks that another thread may have held, and drop what it was doing."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
        else:
            self.lock = threading.RLock()
            self.cut_short = True
        self.registering = threading.RLock()
        _late_imports.importing = threading.RLock()
        for module in ("events", "signing.patches.patching", "signing.remembered", "tls.connection"):
            name = f"skewguard.{module}"
            if name in sys.modules:
                sys.modules[name].reset_lock()
        if self._keeper is not None:
            self._keeper.reset_after_fork()


process = _Process()
if hasattr(os, "register_at_fork"):  # now: a fork may come while another thread is in the first install()
    os.register_at_fork(
        before=process.before_fork,
        after_in_parent=process.after_fork_in_parent,
        after_in_child=process.after_fork_in_child,
    )
