"""Scripted scenarios: worlds in which a test decides what happens next."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property
from typing import Any

from skewguard.config import Settings
from skewguard.interval import SECOND
from tests.simulation.callers import Program
from tests.simulation.guarded import GuardedCall
from tests.simulation.servers import Server
from tests.simulation.sources import SimulatedSource
from tests.simulation.threads import end_idle_threads, simulated
from tests.simulation.world import Host, World

AWS = "https://sts.us-east-1.amazonaws.com"


class Script:
    """A world in which a test makes things happen; every invariant is checked at every step.

    Attributes:
        program: The process that calls: the one that was started last.
    """

    def __init__(self, wall_error: float = 0, drift: int = 0, source: str = "") -> None:
        self.world = World(Host(round(wall_error * SECOND), drift))
        self.rng = random.Random(1)
        self.servers: list[Server] = []
        self.program = self._program(source)
        self._context = simulated(self.world)

    def __enter__(self) -> Script:
        self._context.__enter__()
        self.program.start()
        return self

    def __exit__(self, *trouble: object) -> None:
        self._context.__exit__(*trouble)
        end_idle_threads()
        assert not self.world.violation, self.world.story()

    def _program(self, source: str) -> Program:
        sources = []
        if source:
            name = f"{source} source {len(self.world.programs)}"
            sources.append(SimulatedSource(self.world, name, "lying" if source == "lying" else "honest", self.rng))
            sources[0].instant = source != "honest"
            sources[0].error = 3_600 * SECOND
        return Program(self.world, self.rng, self.servers, sources, Settings(sources=tuple(sources)))

    def start_process(self, source: str = "") -> None:
        """Start another process, which makes the calls from now on; earlier ones keep running."""
        self.program = self._program(source)
        self.program.start()

    @property
    def host(self) -> Host:
        return self.world.host

    @cached_property
    def aws(self) -> Server:
        return self.server()

    def server(self, url: str = AWS, **options: Any) -> Server:
        server = Server(url, **{"tolerance": 300} | options)
        self.servers.append(server)
        for program in self.world.programs:
            program._by_key[server.key] = server
        return server

    def call(self, server: Server, **options: Any) -> GuardedCall:
        call = self.program.call(server, **options)
        self.world.run(lambda: bool(call.outcome))
        return call

    def succeeds(self, server: Server, requests: int = 1, **options: Any) -> GuardedCall:
        """Make a call that must succeed with that many requests."""
        call = self.call(server, **options)
        assert (call.outcome, len(call.stamps)) == ("ok", requests), self.world.story()
        return call

    def set_clock(self, server: Server, offset: int) -> None:
        """Set a store's clock so far ahead of true time, ns."""
        server.offset, server.moved = offset, self.world.truth
        for program in self.world.programs:
            program.oracle.moved(server.key)

    def wait(self, length: int) -> None:
        self.world.sleep(length)

    def sleep(self, how: str, length: int, wake: Callable[[], None] = lambda: None) -> None:
        """Suspend or freeze the host, and wait until it is awake."""
        self.world.fall_asleep(how, length, wake)
        self.world.run(lambda: not self.host.asleep)

    def repair(self) -> None:
        """Step the wall clock to true time, as a hypervisor's tools do."""
        self.host.step(self.world.truth - self.host.wall)

    def emitted(self, kind: type) -> list[Any]:
        return self.program.emitted.of(kind)
