"""Calls as botocore alone makes them, and what is decided of each, guarded or not."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from skewguard.interval import SECOND
from skewguard.signing.patches import library
from tests.simulation.servers import Answer, Server, mocked, reply

if TYPE_CHECKING:
    from tests.simulation.callers import Program
    from tests.simulation.guarded import GuardedCall

REQUEST, DIRECT, URL = "request", "direct", "URL"


@dataclass(frozen=True)
class Plan:
    """What is called, and what becomes of each attempt, by whichever clock it is signed.

    Attributes:
        kind: A `REQUEST` of a client; one signed without a client (`DIRECT`); or a presigned `URL`.
        fault: Why it is refused whatever its time, if it is.
        wait: How long it waits in a connection pool before it is sent, ns.
        linger: How long its answer waits in a buffer before it is read, ns.
        version: How it is signed.
        rewindable: Whether its body can be sent again.
        attempts: How many the caller allows.
        mock: Whether a mock answers.
        redirected: Whether another server answers.
        lifetime: For how long a URL is valid, s.
        delay: How long after it was made it is used, ns.
        seed: Decides its fate.
    """

    kind: str = REQUEST
    fault: str = ""
    wait: int = 0
    linger: int = 0
    version: str = "v4"
    rewindable: bool = True
    attempts: int = 3
    mock: bool = False
    redirected: bool = False
    lifetime: int = 900
    delay: int = 0
    seed: int = 0

    @property
    def irrevocable(self) -> bool:
        """Whether it cannot be signed again."""
        return self.kind != REQUEST or not self.rewindable or self.attempts < 2

    def fate(self, attempt: int) -> random.Random:
        """Return what decides the fate of one attempt."""
        return random.Random(self.seed * 16 + attempt)

    @property
    def signed_as(self) -> str:
        """The signature version, by botocore's name."""
        return {URL: "v4-query", DIRECT: "v4"}.get(self.kind, self.version)


class PlainCall:
    """A call as botocore alone makes it: signed by the wall clock, and made again only if the server was busy or lost.

    Attributes:
        outcome: "" while it is under way, then "ok", the cause of its failure, or "handed out".
        error: The status and the error code that its caller sees.
        stamps: The timestamp of each attempt, ns.
        off: How far from the server's clock its best attempt was dated, ns.
        dropped: Whether its connection is lost.
        unlucky: Whether it depends on luck which credentials it has.
        guarded: The guarded call whose twin this is.
    """

    plain = True
    unlucky = False
    guarded: GuardedCall | None = None

    def __init__(self, program: Program, server: Server, plan: Plan) -> None:
        self.program, self.server, self.plan = program, server, plan
        self.outcome = ""
        self.error = (0, "")
        self.stamps: list[int] = []
        self.off = 10**20
        self._wait, self._fault, self._count = plan.wait, plan.fault, 1
        self._timeless = plan.signed_as in library.TIMELESS_VERSIONS
        self._sign()

    def _sign(self) -> None:
        self._draw()
        if self._load_credentials():
            self._send(None if self._timeless else self.program.world.host.wall)

    def _draw(self) -> None:
        """Draw the fate of the next attempt, which is its twin's as well."""
        fate = self._fate = self.plan.fate(self._count)
        self.dropped = False
        self._there, self._back = (int(10 ** fate.uniform(*self.server.travel) * SECOND) for _ in range(2))
        self._late = fate.randrange(3 * SECOND) if fate.random() < 0.02 else 0

    def _load_credentials(self) -> bool:
        """Load the credentials, as a client does first; return whether there are any."""
        credentials = self.program.credentials
        if credentials is not None and self.plan.kind == REQUEST:
            self._token = credentials.token(self.plain)
            self.unlucky = credentials.doubtful(self._token)
            if not self._token:
                self._end("no credentials", None)
        return not self.outcome

    def _send(self, stamp: int | None) -> None:
        world = self.program.world
        if stamp is not None:
            self.stamps.append(stamp)
            self.off = min(self.off, stamp - self.server.clock(world), key=abs)
        if self.plan.kind == URL:
            self.outcome = "handed out"
            return
        wait, self._wait = self._wait, 0
        world.after(wait + self._there, lambda: self._arrive(stamp), on_host=bool(wait), quiet=self.plain)

    def _arrive(self, stamp: int | None) -> None:
        program, plan = self.program, self.plan
        if program.ended:
            return
        answer = None
        if self.dropped or self._fault == "reset":
            self._fault = ""
        elif plan.mock:
            answer = mocked(self.server, program.world, self._fate)
        else:
            fault = self._fault
            if plan.kind == REQUEST and program.credentials is not None and not program.credentials.lives(self._token):
                fault = fault or "expired"
            answer = reply(self.server, program.world, stamp, fault, self._fate, plain=self.plain)
            if plan.redirected:
                answer.url = "https://elsewhere.example/x"
            if fault == "busy" or (fault == "customer" and plan.seed % 2):
                self._fault = ""  # it is over by the next attempt
        read = lambda: self._read(answer, stamp)
        program.world.after(self._back + plan.linger, read, on_host=True, quiet=self.plain)

    def _read(self, answer: Answer | None, stamp: int | None) -> None:
        """Handle the answer, or its absence, as botocore does."""
        if not self.program.ended:
            self._proceed(answer, again=False)

    def _proceed(self, answer: Answer | None, *, again: bool) -> None:
        """Make the next attempt, or end."""
        lost = answer is None or answer.status >= 500
        if again or (lost and self.plan.kind == REQUEST and self._count < self.plan.attempts):
            self._count += 1
            self._sign()
        else:
            self._end("unreachable" if answer is None else answer.outcome, answer)

    def _end(self, outcome: str, answer: Answer | None) -> None:
        self.outcome = outcome
        if answer is not None:
            self.error = answer.error
        self.program.world.note("%s%s: %s", self.program.name, "'s twin" if self.plain else "", outcome)
        self._compare()

    def _compare(self) -> None:
        call = self.guarded
        if call is not None and call.outcome and call.twin.outcome:
            self.program.twins.compare(call)
