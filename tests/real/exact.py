"""The host's clocks, read closer together than the product needs: for tests that know the truth to microseconds."""

from __future__ import annotations

import time

from skewguard.clocks import Reading

_BRACKET = 5_000  # ns
APART = 3 * _BRACKET // 2
"""The two clocks of such a reading are no further apart than this, ns, as in `skewguard.clocks`."""


def exact() -> Reading:
    """Return both clocks, read within `_BRACKET`.

    `Clocks.read` pairs them within 150 µs at worst, which is more than some intervals here are wide on one side.
    """
    get = time.clock_gettime_ns
    while True:
        before = get(time.CLOCK_MONOTONIC)
        raw, boot, wall = get(time.CLOCK_MONOTONIC_RAW), get(time.CLOCK_BOOTTIME), get(time.CLOCK_REALTIME)
        after = get(time.CLOCK_MONOTONIC)
        if after - before <= _BRACKET:
            return Reading(raw + boot - (before + after) // 2, wall)
