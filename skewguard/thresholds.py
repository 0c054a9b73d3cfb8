"""How far off a clock may be before a person should act: one rule for the command and the framework checks. Pure."""

from __future__ import annotations

from skewguard.interval import SECOND

WARN_FROM, FAIL_FROM = 60 * SECOND, 240 * SECOND
"""The offsets beyond which a check warns, and fails, ns. The first AWS services refuse from 300 s on."""

OK, WARNING, CRITICAL = range(3)


def severity(offset: int, warning: int = WARN_FROM, critical: int = FAIL_FROM) -> int:
    """Return OK, WARNING or CRITICAL for an offset in ns, either way. A threshold itself is still inside."""
    return CRITICAL if abs(offset) > critical else WARNING if abs(offset) > warning else OK
