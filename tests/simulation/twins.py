"""Compares each guarded call with its twin: the same call by botocore alone, in the same world, at the same instants.

The first promise is that no call, URL or credential that botocore alone would get accepted is refused because of
skewguard, and that no other error than botocore's is shown. All that is excused is in `excuse`, with the reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skewguard.interval import SECOND
from tests.simulation.calls import URL
from tests.simulation.servers import EDGE, PROXIES

if TYPE_CHECKING:
    from tests.simulation.callers import Program
    from tests.simulation.guarded import GuardedCall

LOST_IN_A_ROW = 3
"""So many calls may be lost one after another at a name behind which two clocks answer."""


class Twins:
    """Compares one program's calls.

    Attributes:
        compared: How many calls were compared.
    """

    def __init__(self, program: Program) -> None:
        self.compared = 0
        self._program = program
        self._row: dict[str, int] = {}  # calls lost one after another, by URL

    def compare(self, call: GuardedCall) -> None:
        """Compare a call with its twin, once both have ended; a URL's, when it is used."""
        server, plan, world = call.server, call.plan, self._program.world
        self.compared += 1
        if plan.kind == URL:
            stamps = (call.stamps[0], False), (call.twin.stamps[0], True)
            guarded, plain = (
                server.accepts_url(world, stamp, plan.lifetime, plan.fate(0), twin) for stamp, twin in stamps
            )
            found = "a presigned URL" if plain and not guarded else ""
        else:
            found = _worse(call)
        if server.two_faced:
            if call.irrevocable or call.stamps == call.twin.stamps:
                return  # nothing shows that the clock is another now; or it met another machine than its twin
            lost = self._row[server.url] = self._row.get(server.url, 0) + 1 if found else 0
            if lost > LOST_IN_A_ROW:
                world.fail(f"WORSE than botocore alone: {lost} calls in a row at two clocks behind one name")
        elif found and not excuse(call):
            self._tell(call, found)

    def _tell(self, call: GuardedCall, found: str) -> None:
        server, offs = call.server, tuple(round(one.off / SECOND, 3) for one in (call, call.twin))
        self._program.world.note("signed %s s off, the twin %s s off, %s", *offs, call.plan)
        self._program.world.fail(f"WORSE than botocore alone: {found}: {server.kind}, {server.date}, {server.dialect}")


def _worse(call: GuardedCall) -> str:
    """Return in what respect a call was worse than its twin; empty if it was not."""
    plain, guarded = call.twin, call
    if guarded.outcome == "ok":
        return ""
    if plain.outcome == "ok":
        return "credentials" if guarded.outcome in ("no credentials", "expired") else call.plan.kind
    if plain.outcome in ("time", "unreachable", "mock", "expired", "no credentials") or guarded.error == plain.error:
        return ""
    return f"the error shown ({guarded.outcome} for {plain.outcome})"


def excuse(call: GuardedCall) -> str:
    """Return why a call may be worse than its twin; empty if it may not."""
    program, plan, twin = call.program, call.plan, call.twin
    if call.diverged and program.world.changed >= call.diverged:
        return "a clock was set, or a connection lost, between its requests"
    if call.unlucky and call.outcome in ("expired", "no credentials"):
        return "chance decides how long its credentials live: their provider is down, or the host's clocks mislead"
    nearer = abs(call.off) <= abs(twin.off) and call.outcome in ("time", "handed out")
    if nearer or abs(twin.off) > call.server.tolerance * SECOND:
        return "the wall clock was further off; how long its request was under way has made up for that"
    if plan.linger > call.server.tolerance * SECOND and call.outcome == "time":
        return "its answers were read so late that skew cannot be told from lateness"
    if call.server.utc and call.server.date in PROXIES:
        return "what answers with AWS's certificate contradicts AWS"
    if not call.irrevocable:
        return ""
    if plan.kind == URL and plan.delay + abs(call.off) >= (plan.lifetime - EDGE) * SECOND:
        return "used at its end; it was dated by the near end of what was known"
    return call.risk


def risk(call: GuardedCall, stamp: int) -> str:
    """Return why what is signed now by another clock than the wall clock, and cannot be signed again, may be worse."""
    oracle, server = call.program.oracle, call.server
    if server.tenant:
        return "a server that contradicts in words what it checks harms what cannot be signed again there"
    if oracle.hidden(server, call.program.world.host.wall - stamp):
        return "the host was frozen, of which no clock can tell"
    if server.aws and oracle.misled():
        return "a source, or what answers with AWS's certificate, lies on a right host"
    if server.date in PROXIES and oracle.firm(server):
        return "the wall clock was refused there in words, beside another machine's Date"
    moved = server.moved or (server.local and call.program.world.host.touched)
    return "its clock was set since it was proved" if moved and oracle.firm(server) else ""
