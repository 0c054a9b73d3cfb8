"""The time sources of the simulated world: honest, lying, slow, dead, broken, instant."""

from __future__ import annotations

import random
from typing import Any

from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust
from tests.simulation.world import World

KINDS = ("honest", "lying", "near", "slow", "dead", "broken", "absurd")
"""The kinds of source; "near" lies, but overlaps the truth of others; "slow" is often late."""

TRUTHFUL = ("honest", "slow")


class SimulatedSource:
    """A `skewguard.sources.Source`.

    Attributes:
        kind: One of `KINDS`; it may change.
        error: How far a liar is from true time, ns.
        half: Half the width of its interval, apart from the round trip, ns.
        instant: Whether it answers at once.
    """

    def __init__(self, world: World, name: str, kind: str, rng: random.Random) -> None:
        self.name = name
        self.kind = kind
        self.half = int(10 ** rng.uniform(5, 8.7))
        self.error = rng.choice((-1, 1)) * int(10 ** rng.uniform(9.5, 14))
        self.instant = kind != "slow" and rng.random() < 0.3
        self.lost = 0  # the host's `lost` when this was last asked
        self.width = 0  # of its last interval, ns
        self._began: tuple[int, int] | None = None
        self._world = world
        self._rng = rng
        self._told = 0
        self._late = False

    def begin(self, limit: int) -> int:
        """Send the request; return the time until the answer comes or is given up, ns."""
        world = self._world
        self._began, self.lost = (world.host.steady, world.host.wall), world.host.lost
        travel = int(10 ** self._rng.uniform(5, 8)) if self.kind != "slow" else int(10 ** self._rng.uniform(8, 9.6))
        there = int(travel * self._rng.random())
        self._told = world.truth + there
        self._late = self.kind == "dead" or travel > limit
        return max(limit, 0) if self._late else travel

    def measure(self, clocks: Clocks, deadline: int) -> Any:
        host = self._world.host
        if self._began is None or self.instant:
            self._began, self._told, self.lost = (host.steady, host.wall), self._world.truth, host.lost
            self._late = False
        steady, wall = self._began
        self._began = None
        now = clocks.read()
        elapsed = max(now.steady - steady, now.wall - wall, 0)
        if self._late or self.kind == "dead" or now.steady > deadline:
            raise SourceError("no answer in time")
        if self.kind == "broken":
            return self._rng.choice((None, "noon", 12))
        if self.kind == "absurd":
            return Interval(now.steady, 0, SECOND, Trust.WITNESS, self.name)
        told = self._told + {"lying": self.error, "near": self._rng.choice((-1, 1)) * self.half}.get(self.kind, 0)
        half = self.half // 4 if self.kind == "near" else self.half
        # A round trip as a careful client bounds it: the answer was made between sending and receipt.
        slack = elapsed // 5_000 + 1
        self.width = 2 * half + elapsed + slack
        return Interval(now.steady, told - half, told + half + elapsed + slack, Trust.WITNESS, self.name)
