"""Credentials that expire: who stamps them, who judges them, and what a process holds of them."""

from __future__ import annotations

import random
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from botocore.credentials import RefreshableCredentials

from skewguard.interval import SECOND
from skewguard.signing.patches import expiry

if TYPE_CHECKING:
    from tests.simulation.callers import Program

KINDS = ("aws", "command", "store")
"""Whose clock stamps an expiry and whose judges it: true time both; the host's, and true time; the host's both."""


class GuardedCredentials(RefreshableCredentials):
    """Credentials with skewguard's patches, which are for all processes otherwise."""

    _seconds_remaining = expiry._judged_by_either(RefreshableCredentials._seconds_remaining)
    _is_expired = expiry._judged_after_refresh(RefreshableCredentials._is_expired)
    _protected_refresh = expiry._optional(expiry._credentials_live)(RefreshableCredentials._protected_refresh)


class SimulatedCredentials:
    """What a program signs with, guarded, and by botocore alone.

    Attributes:
        down: Whether their provider fails.
        refreshes: How often they were refreshed, guarded and by botocore alone.
    """

    def __init__(self, program: Program, kind: str, rng: random.Random) -> None:
        self.kind = kind
        self.down = False
        self.refreshes = {False: 0, True: 0}
        self._program = program
        self._lifetime = rng.choice((900, 3_600, 3_600, 10_800, 43_200)) * SECOND
        self._dies: dict[str, int] = {}
        self._lost: dict[str, int] = {}  # the host's `lost` when it was fetched
        self._held: dict[bool, RefreshableCredentials] = {}
        settings = lambda: program.settings
        self._clock = expiry.ExpiryClock(program.keeper, settings)
        self._now = expiry._corrected(self._wall)

    def token(self, plain: bool) -> str:
        """Return the session token to sign with; empty if there is none."""
        before, expiry._clock = expiry._clock, None if plain else self._clock
        try:
            if plain not in self._held:
                data = self._fetch(plain)
                kind = RefreshableCredentials if plain else GuardedCredentials
                self._held[plain] = kind(
                    *(data[name] for name in ("access_key", "secret_key", "token")),
                    datetime.fromisoformat(data["expiry_time"]),
                    lambda: self._fetch(plain),
                    "simulated",
                    time_fetcher=self._wall if plain else self._now,
                )
            return str(self._held[plain].get_frozen_credentials().token)
        except (RuntimeError, ConnectionError):
            return ""
        finally:
            expiry._clock = before

    def doubtful(self, token: str) -> bool:
        """Return whether chance decides how long a token lives.

        So it is if a refresh fails, if a clock that was set has stamped the expiry, or if the host stood still since.
        """
        host = self._program.world.host
        if abs(host.wall - self._program.world.truth) > 300 * SECOND and self._judges() >= self._dies.get(token, 0):
            return True  # nothing shows that they are dead
        return self.down or (self.kind != "aws" and host.touched) or self._lost.get(token) != host.lost

    def lives(self, token: str) -> bool:
        """Return whether a server accepts a token now."""
        return self._judges() < self._dies[token]

    def _fetch(self, plain: bool) -> dict[str, str]:
        if self.down:
            raise ConnectionError("the provider is down")
        self.refreshes[plain] += 1
        token = f"{plain} {self.refreshes[plain]}"
        self._dies[token] = self._judges() + self._lifetime
        host, truth = self._program.world.host, self._program.world.truth
        self._lost[token] = host.lost
        stamps = (truth if self.kind == "aws" else host.wall) + self._lifetime
        when = datetime.fromtimestamp(stamps // SECOND, timezone.utc).isoformat()
        return {"access_key": "AKID", "secret_key": "secret", "token": token, "expiry_time": when}

    def _judges(self) -> int:
        world = self._program.world
        return world.host.wall if self.kind == "store" else world.truth

    def _wall(self) -> datetime:
        return datetime.fromtimestamp(self._program.world.host.wall / SECOND, timezone.utc)
