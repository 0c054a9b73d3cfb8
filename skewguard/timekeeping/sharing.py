"""What this process takes from the shared file, and when it writes there.

Only what answers taught goes in: authenticated UTC, and each endpoint's own clock. Never what time sources said: one
process's bad NTP server must not become another's truth.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from skewguard.clocks import Clocks, Reading, stepped
from skewguard.errors import StoreError
from skewguard.events import logger
from skewguard.interval import SECOND, Interval
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.shared_file import Memory, Store

RENEW = 300 * SECOND
"""A process that signs away from the wall clock refreshes an entry older than this."""

OWN_CLOCK_FOR = 3_600 * SECOND
"""How long an endpoint's own clock is taken from a neighbour. Such a clock may be put right at any time; UTC stays."""


class Neighbours:
    """The other processes of this user on this boot. Fails open: without the file, there are none."""

    def __init__(self, store: Store | None) -> None:
        """Prepare.

        Args:
            store: The file; None if this process's clocks are not the host's.
        """
        self._store = store
        self._there: Mapping[str, Interval] | None = None  # as last seen; None before the first look
        self._lock = threading.Lock()

    def look(self, clocks: Clocks) -> Reading | None:
        """Read the file, the first time.

        Args:
            clocks: The host's.

        Returns:
            The look at the clocks which the file's last writer took; None if there is none, and every later time.
        """
        if self._there is not None:
            return None
        memory = self._read(clocks)
        self._there = {} if memory is None else memory.said
        return None if memory is None else memory.look

    def said(self, key: str, steady: int) -> Interval | None:
        """Answer what a neighbour knew of a time domain, if at this steady instant it is worth beginning with."""
        found = (self._there or {}).get(key)
        return found if found is None or key == UTC or steady - found.at <= OWN_CLOCK_FOR else None

    def tell(self, key: str, said: Interval, clocks: Clocks, wrong: bool, matters: int) -> None:
        """Write down what was learned, if a neighbour would sign differently for it. Costs little otherwise.

        Where the wall clock is right, as on most hosts always, nobody needs the file, and nobody writes one: what
        does not exist cannot mislead after the machine stood still. What contradicts the file is written all the same.

        Args:
            key: The time domain's.
            said: What is known of it.
            clocks: The host's.
            wrong: Whether the wall clock needs correcting in this domain.
            matters: A smaller difference than this, ns, is none.
        """
        old = (self._there or {}).get(key)
        if old is None:
            if not wrong:
                return
        elif abs(old.aged(said.at).midpoint - said.midpoint) <= matters and not (wrong and said.at - old.at >= RENEW):
            return
        if self._store is None or not self._lock.acquire(blocking=False):
            return
        try:
            memory = self._read(clocks)
            now = clocks.read()
            others = {} if memory is None or stepped(memory.look, now) else memory.said
            self._there = {**others, key: said}  # also if it cannot be written: then not every answer tries
            self._store.write(Memory(now, self._there))
        except Exception as error:
            logger.debug("nothing was shared: %s", error, exc_info=not isinstance(error, StoreError))
        finally:
            self._lock.release()

    def reset_after_fork(self) -> None:
        """Replace, in a forked child, the lock that another thread of the parent may have held."""
        self._lock = threading.Lock()

    def _read(self, clocks: Clocks) -> Memory | None:
        try:
            return None if self._store is None else self._store.read(clocks)
        except Exception as error:
            logger.debug("nothing is known from neighbours: %s", error, exc_info=not isinstance(error, StoreError))
            return None
