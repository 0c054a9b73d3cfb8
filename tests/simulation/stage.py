"""A stage for what has a name: worlds in which a test decides what happens next."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from skewguard.config import Settings
from skewguard.interval import SECOND
from tests.simulation.callers import Attempts, Program
from tests.simulation.servers import Server
from tests.simulation.sources import SimulatedSource
from tests.simulation.strands import dismiss, inhabited
from tests.simulation.world import Host, World

AWS = "https://sts.us-east-1.amazonaws.com"


class Play:
    """A world in which one thing happens after another; every invariant is checked at every step.

    Attributes:
        program: The process that calls; each later one takes its place.
    """

    def __init__(self, wall_error: float = 0, drift: int = 0, source: str = "") -> None:
        self.world = World(Host(round(wall_error * SECOND), drift))
        self.rng = random.Random(1)
        self.servers: list[Server] = []
        self.program = self._program(source)
        self._stage = inhabited(self.world)

    def __enter__(self) -> Play:
        self._stage.__enter__()
        self.program.start()
        return self

    def __exit__(self, *trouble: object) -> None:
        self._stage.__exit__(*trouble)
        dismiss()
        assert not self.world.violation, self.world.story()

    def _program(self, source: str) -> Program:
        sources = []
        if source:
            name = f"{source} source {len(self.world.programs)}"
            sources.append(SimulatedSource(self.world, name, "lying" if source == "lying" else "honest", self.rng))
            sources[0].instant = source != "honest"
            sources[0].error = 3_600 * SECOND
        return Program(self.world, self.rng, self.servers, sources, Settings(sources=tuple(sources)))

    def next_process(self, source: str = "") -> None:
        """Begin another process, which makes the calls from now on; those before it live on."""
        self.program = self._program(source)
        self.program.start()

    @property
    def host(self) -> Host:
        """The machine, as it was last booted."""
        return self.world.host

    def server(self, url: str = AWS, **options: Any) -> Server:
        """Put up a server."""
        server = Server(url, **{"tolerance": 300} | options)
        self.servers.append(server)
        for program in self.world.programs:
            program._by_key[server.key] = server
        return server

    def call(self, server: Server, **options: Any) -> Attempts:
        """Make a call and wait for its end."""
        call = self.program.call(server, **options)
        self.world.run(lambda: bool(call.outcome))
        return call

    def succeeds(self, server: Server, requests: int = 1, **options: Any) -> Attempts:
        """Make a call that must succeed with so many requests."""
        call = self.call(server, **options)
        assert (call.outcome, len(call.stamps)) == ("ok", requests), self.world.story()
        return call

    def passes(self, length: int) -> None:
        """Let time pass."""
        self.world.sleep(length)

    def sleeps(self, how: str, length: int, wake: Callable[[], None] = lambda: None) -> None:
        """Suspend or freeze the host, and wait until it is awake."""
        self.world.fall_asleep(how, length, wake)
        self.world.run(lambda: not self.host.asleep)

    def repair(self) -> None:
        """Step the wall clock to true time, as a hypervisor's tools do."""
        self.host.step(self.world.truth - self.host.wall)

    def told(self, kind: type) -> list[Any]:
        """List the events of a kind."""
        return [event for event in self.program.told if isinstance(event, kind)]
