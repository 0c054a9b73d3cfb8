"""A scenario for each seed: a host, its processes, their sources and servers, and what happens in minutes or days."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from skewguard.config import Settings
from skewguard.interval import SECOND
from tests.simulation.callers import Program
from tests.simulation.calls import DIRECT, REQUEST, URL
from tests.simulation.credentials import KINDS as CREDENTIALS
from tests.simulation.oracle import outdated
from tests.simulation.servers import DATES, DIALECTS, FAULTS, PROXIES, Server
from tests.simulation.sharing import SPOILED
from tests.simulation.sources import KINDS, SimulatedSource
from tests.simulation.threads import simulated
from tests.simulation.world import START, Host, World

MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND

_ERRORS = (0, 0, 0, 0, 3, -3, 15, 290, -320, 1_200, -1_200, 7_200, -7_200, 86_400 * 40)  # of a wall clock, s
_SERVERS = (
    *("aws",) * 6,
    *("unverified", "plain", "store", "store", "store", "local", "shares the host's clock", "lax", "tenant", "tenant"),
    *("steps", "two clocks"),
)
_TENANTS = ("execute-api.us-east-1.amazonaws.com", "lambda-url.us-east-1.on.aws", "new.amazonaws.com")
_STEPS = (1, -1, 8, 60, -60, 400, -400, 1_200, -1_200, 7_200, -7_200)  # s


class Scenario:
    """Everything that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        rng = self._rng = random.Random(seed)
        # Without answers for long, 100 ppm of drift matter; near that figure ageing shows.
        drift = rng.choice((0, rng.randrange(-50_000, 50_000), 99_900, -99_900))
        self.world = World(Host(rng.choice(_ERRORS) * SECOND + rng.randrange(SECOND), drift))
        self._honest = rng.random() < 0.7
        self.servers = [self._server(number) for number in range(rng.randrange(1, 4))]
        self.programs: list[Program] = []
        self._initial = [self._program() for _ in range(rng.choice((1, 1, 2, 3)))]
        self._span = rng.choice((10 * MINUTE, 3 * HOUR, 3 * DAY))

    def run(self) -> str:
        """Run it; return the invariant that was broken, or ""."""
        rng, world = self._rng, self.world
        for _ in range(rng.randrange(6, 24)):
            world.after(rng.randrange(self._span), self._happening(), on_host=True)
        with simulated(world):
            for program in self._initial:
                program.start()
            world.run()
        return world.violation

    # -- what there is -----------------------------------------------------------------------------------------

    def _program(self) -> Program:
        """Make a process. One in a few is misled: its one source lies."""
        rng, name = self._rng, f"process {len(self.programs)}"
        if rng.random() < 0.15:
            sources = [SimulatedSource(self.world, f"{name}'s source", "lying", rng)]
        else:
            sources = [self._source(f"{name}'s source {number}") for number in range(rng.choice((0, 0, 1, 2, 3, 4)))]
        credentials = rng.choice(("", "", *CREDENTIALS))
        program = Program(self.world, rng, self.servers, sources, self._settings(sources), name, credentials)
        self.programs.append(program)
        return program

    def _settings(self, sources: list[SimulatedSource]) -> Settings:
        rng = self._rng
        return Settings(
            sources=tuple(sources),
            min_sources=rng.choice((1, 1, 1, 2)),
            max_offset=rng.choice((None,) * 9 + (HOUR,)),
            learn_from_responses=rng.random() < 0.95,
            max_age=rng.choice((DAY, DAY, HOUR)),
            share=rng.random() < 0.9,
        )

    def _server(self, number: int) -> Server:
        rng = self._rng
        kind = rng.choice(_SERVERS)
        far = rng.choice((-1, 1)) * int(10 ** rng.uniform(1.3, 6)) * SECOND
        server = Server(
            f"https://s{number}.us-east-1.amazonaws.com",
            kind,
            tolerance=rng.choice((300, 900)),
            dialect=rng.choice(DIALECTS),
            time_first=rng.random() < 0.7,
            travel=rng.choice(((-2.5, 0.3), (-2.5, 0.3), (0, 2.3))),
            proxy_error=far,
        )
        private = kind not in ("aws", "unverified", "tenant")
        server.date = rng.choice(DATES + PROXIES * 3 if private or not self._honest else DATES)
        if kind == "unverified":
            server.verified = False
        elif kind == "plain":
            server.url, server.utc = server.url.replace("https", "http"), False
        elif kind == "tenant":
            server.url, server.utc, server.tenant = f"https://t{number}.{rng.choice(_TENANTS)}", False, True
            server.prefix = "s3"
            server.dialect = rng.choice(DIALECTS[:3])
            server.lax = rng.random() < 0.2  # it needs no signature at all
        elif private:
            server.url, server.utc = f"https://store{number}.example", False
            server.ahead = rng.choice((0, 900))
            if kind == "local":
                server.url = "http://localhost"
            if kind in ("local", "shares the host's clock"):
                server.local = True
            else:
                server.offset = rng.choice((0, 0, 40, 180, 1_300, -1_300, 10_000)) * SECOND
            server.lax = kind == "lax" or rng.random() < 0.05
            if kind == "steps":
                server.period = int(10 ** rng.uniform(-0.5, 3.5) * SECOND)
            elif kind == "two clocks":
                server.nodes, server.alternating = (0, rng.choice((-1_300, 1_300, 8_000)) * SECOND), rng.random() < 0.5
        return server

    def _source(self, name: str) -> SimulatedSource:
        kinds = [kind for kind in KINDS if not self._honest or kind not in ("lying", "near")]
        kind = "honest" if self._rng.random() < 0.6 else self._rng.choice(kinds)
        return SimulatedSource(self.world, name, kind, self._rng)

    # -- what happens -------------------------------------------------------------------------------------------

    def _happening(self) -> Any:
        rng = self._rng
        return rng.choices(
            (
                *(self._call, self._burst, self._step, self._repair, self._slew, self._suspend, self._freeze),
                *(self._change, self._one_call, self._begin, self._reboot, self._spoil),
                *(self._call_and_step, self._provide),
            ),
            (60, 8, 8, 4, 4, 4, 6, 3, 6, 3, 1, 3, 3, 3),
        )[0]

    def _call(self, program: Program | None = None, server: Server | None = None) -> None:
        """Make a call, often one of several of a process at one server."""
        rng, running = self._rng, self.world.programs
        if program is None and not running:
            return  # it has only just booted
        program, server = program or rng.choice(running), server or rng.choice(self.servers)
        if rng.random() < 0.4:
            self.world.after(rng.randrange(2 * MINUTE), partial(self._call_again, program, server), on_host=True)
        lifetime = rng.choice((60, 120, 900, 3_600))
        fault = rng.choice(("",) * 12 + (*FAULTS, "reset"))
        if server.tenant and rng.random() < 0.4:
            fault = "customer"
        program.call(
            server,
            kind=rng.choice((REQUEST,) * 12 + (DIRECT, URL, URL)),
            fault=fault,
            wait=rng.choice((0,) * 8 + (20 * SECOND, 6 * MINUTE, 16 * MINUTE, 2 * HOUR)),
            linger=rng.choice((0,) * 30 + (10 * MINUTE, 2 * HOUR)),
            version=rng.choice(("v4",) * 12 + ("bearer",)),
            rewindable=rng.random() < 0.9,
            attempts=rng.choice((1, 2, 3, 3, 3, 5)),
            mock=rng.random() < 0.04,
            redirected=rng.random() < 0.03,
            lifetime=lifetime,
            delay=int(lifetime * rng.choice((0, 0.01, 0.5, 0.9)) * SECOND),
        )

    def _call_again(self, program: Program, server: Server) -> None:
        if not program.ended:
            self._call(program, server)

    def _call_and_step(self) -> None:
        """Step the wall clock while a call is under way."""
        self._call()
        self.world.after(self._rng.randrange(3 * SECOND), self._step, on_host=True)

    def _provide(self) -> None:
        """Stop the providers of credentials, or let them work again."""
        for program in self.world.programs:
            if program.credentials is not None:
                program.credentials.down = self._rng.random() < 0.5
                self.world.note("%s's provider %s", program.name, "fails" if program.credentials.down else "works")

    def _burst(self) -> None:
        for _ in range(self._rng.randrange(2, 6)):
            self.world.after(self._rng.randrange(2 * SECOND), self._call, on_host=True)

    def _step(self) -> None:
        self._set(self._rng.choice(_STEPS) * SECOND)

    def _set(self, by: int) -> None:
        self.world.host.step(by)
        self.world.changed = self.world.truth
        self.world.note("the wall clock is stepped by %.3f s", by / SECOND)

    def _repair(self) -> None:
        self._set(self.world.truth - self.world.host.wall)

    def _slew(self) -> None:
        ppb = self._rng.choice((-1, 1)) * self._rng.choice((500_000, 500_000, 83_333_000))
        self.world.note("the wall clock is slewed by %d ppm", ppb // 1000)
        self.world.changed = self.world.truth
        self.world.host.slew(ppb, self._rng.randrange(HOUR))

    def _suspend(self) -> None:
        self.world.fall_asleep("suspended", int(10 ** self._rng.uniform(0, 4.8) * SECOND), lambda: None)

    def _freeze(self) -> None:
        """Freeze the machine, seconds as a hypervisor does, or days as a snapshot does; tools may set the clock."""
        rng, world = self._rng, self.world
        tools = rng.choice(("none", "at once", "soon"))
        restored = rng.random() < 0.3

        def wake() -> None:
            if restored:
                world.note("it was restored from a snapshot: every connection is lost")
                for program in world.programs:
                    program.disconnect()
            if tools == "at once":
                self._repair()
            elif tools == "soon":
                world.after(rng.randrange(3 * SECOND), self._repair, on_host=True)

        world.fall_asleep("frozen", int(10 ** rng.uniform(-1, 5.5 if restored else 4) * SECOND), wake)

    def _change(self) -> None:
        """Change a source's kind, or set a store's clock."""
        rng = self._rng
        stores = [server for server in self.servers if server.kind in ("plain", "store", "lax")]
        sources = [source for program in self.world.programs for source in program.sources.values()]
        if sources and (not stores or rng.random() < 0.5):
            source = rng.choice(sources)
            if source.kind not in ("lying", "near"):
                source.kind = rng.choice(("honest", "dead", "broken", "slow"))
                source.instant = source.instant and source.kind != "slow"
                self.world.note("%s is %s from now on", source.name, source.kind)
        elif stores:
            store = rng.choice(stores)
            store.offset = rng.choice((0, 1_300, -1_300)) * SECOND
            store.moved = self.world.changed = self.world.truth
            self.world.file.known = outdated(self.world.file.known, store.key)
            for program in self.world.programs:
                program.oracle.moved(store.key)
            self.world.note("the clock of %s is %.0f s ahead from now on", store.url, store.offset / SECOND)

    def _start(self) -> Program:
        program = self._program()
        self.world.note("%s begins", program.name)
        program.start()
        return program

    def _begin(self) -> None:
        """Start another process; if there are many, kill one."""
        if len(self.world.programs) > 3:
            self._rng.choice(self.world.programs).end()
        self._start()

    def _one_call(self) -> None:
        """Start a process for one call, as cron does, and kill it whether or not the call has ended."""
        program = self._start()
        self._call(program)
        self.world.after(self._rng.randrange(MINUTE), program.end)

    def _reboot(self) -> None:
        """Reboot: the hardware's clock went on, right or wrong, and new processes start."""
        rng, world, before = self._rng, self.world, self.world.host
        off = rng.choice((before.wall - world.truth, rng.choice(_ERRORS) * SECOND))
        world.reboot(Host(off + world.truth - START, before.drift))
        for _ in range(rng.randrange(1, 4)):
            world.after(rng.randrange(MINUTE), self._start, on_host=True)

    def _spoil(self) -> None:
        rng, world = self._rng, self.world
        if rng.random() < 0.2:
            world.file.full = not world.file.full
            world.note("the disk is full" if world.file.full else "the disk has room")
        else:
            how = rng.choice(SPOILED)
            world.note("the shared file is %s", how)
            world.file.spoil(how, world.host, rng)


def run(seed: int) -> Scenario:
    scenario = Scenario(seed)
    scenario.run()
    return scenario
