"""Limits that several sources share: which dates and distances can be true. Pure; integer nanoseconds."""

from __future__ import annotations

import math
import time

from skewguard.clocks import BRACKET_NS
from skewguard.interval import SECOND

PIVOT = 1_793_491_200 * SECOND
"""2026-11-01T00:00Z, about when this was built, ns since the Unix epoch: no true time is earlier."""

LATEST = PIVOT + 40 * 31_556_952 * SECOND
"""The end of the dates believed: what lies decades ahead is a broken server."""

MAX_DISTANCE = 16 * SECOND
"""RFC 5905, MAXDISP: whatever is further from its reference than this is not synchronized at all."""

MAX_ROOT_DELAY = SECOND
"""The way to a reference clock and back takes less, even by satellite."""

GRANULARITY = BRACKET_NS // 2 + math.ceil(time.get_clock_info("monotonic").resolution * SECOND)
"""How far one reading of the steady clock may be off, ns: half its bracket, and the tick (15.6 ms on old Windows)."""
