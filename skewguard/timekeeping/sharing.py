"""When this process reads the shared file, and when it writes there.

Only what answers taught goes in: authenticated UTC, and each endpoint's own clock. Never the statements of time
sources: one process's bad NTP server must not become another's truth.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from skewguard._fail_open import fail_open
from skewguard.clocks import Clocks, Reading, stepped
from skewguard.errors import StoreError
from skewguard.interval import SECOND, Interval
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.shared_file import Contents, Store

RENEW = 300 * SECOND
"""A process that corrects its wall clock refreshes an entry older than this."""

OWN_CLOCK_FOR = 3_600 * SECOND
"""How long an endpoint's own clock is taken from another process. Such a clock may be set right at any time."""


class SharedEstimates:
    """The estimates of this user's other processes on this boot. Fails open: without the file, there are none."""

    def __init__(self, store: Store | None, clocks: Clocks) -> None:
        """Read nothing yet. There is no file if this process's clocks are not the host's."""
        self._store = store
        self._clocks = clocks
        self._known: Mapping[str, Interval] | None = None  # as last read or written; None before that
        self._lock = threading.Lock()

    def load(self) -> Reading | None:
        """Read the file, the first time; return its last writer's reading of the clocks. None every later time."""
        if self._known is not None:
            return None
        contents = self._read()
        self._known = {} if contents is None else contents.estimates
        return None if contents is None else contents.reading

    def estimate(self, key: str, steady: int) -> Interval | None:
        """Return another process's estimate of a time domain, if it is still useful at this steady instant."""
        found = (self._known or {}).get(key)
        return found if found is None or key == UTC or steady - found.at <= OWN_CLOCK_FOR else None

    def publish(self, key: str, said: Interval, wrong: bool, matters: int) -> None:
        """Write an estimate, if another process would sign differently because of it. Costs little otherwise.

        While the wall clock is right, as it is on most hosts, no process needs the file and none writes one: a missing
        file cannot mislead after a freeze. An estimate that contradicts the file is written all the same.

        `wrong` is whether the wall clock needs correcting in this domain. Smaller differences than `matters`, ns, are
        ignored.
        """
        old = (self._known or {}).get(key)
        if old is None:
            if not wrong:
                return
        elif abs(old.aged(said.at).midpoint - said.midpoint) <= matters and not (wrong and said.at - old.at >= RENEW):
            return
        if self._store is None or not self._lock.acquire(blocking=False):
            return
        try:
            contents = self._read()
            now = self._clocks.read()
            others = {} if contents is None or stepped(contents.reading, now) else contents.estimates
            self._known = {**others, key: said}  # even if the write fails: then not every answer tries again
            self._store.write(Contents(now, self._known))
        except Exception as error:
            fail_open(error, "nothing was shared: %s", error, trace=not isinstance(error, StoreError))
        finally:
            self._lock.release()

    def reset_after_fork(self) -> None:
        """Replace, in a forked child, the lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def _read(self) -> Contents | None:
        try:
            return None if self._store is None else self._store.read(self._clocks)
        except Exception as error:
            fail_open(error, "the shared file is ignored: %s", error, trace=not isinstance(error, StoreError))
            return None
