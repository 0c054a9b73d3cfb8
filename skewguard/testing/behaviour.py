"""What may be changed of a server while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from skewguard.testing.clocks import host_wall


@dataclass(eq=False, repr=False)
class Behaviour:
    """How a server behaves; `StrictEndpoint` describes each of these."""

    offset: float = 0.0
    clock: Callable[[], int] = host_wall
    date_mode: str | Callable[[int], str | None] = "honest"
    explain: bool = True
    delay: float = 0.0
    inbound_delay: float = 0.0
    close_on_error: bool = False

    def now(self) -> int:
        """Read the server's clock, ns since the Unix epoch."""
        return self.clock() + round(self.offset * 1_000_000_000)
