"""The servers of the simulated world: what they check, how they refuse, and what their Date is worth."""

from __future__ import annotations

import http.client
import random
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

from skewguard.interval import SECOND
from tests.simulation.world import World

DATES = ("honest", "rounded", "kept", "absent", "aged", "hit", "duplicated", "garbage", "proxy")
"""The kinds of Date: "kept" is a second old, "aged" and "hit" are a cache's, "proxy" another machine's."""


DIALECTS = ("coral", "s3", "terse", "silent", "head")
"""How a server refuses a timestamp: "terse" without naming its clock, "silent" without saying why."""

FAULTS = ("wrong secret", "denied", "invalid", "missing", "busy")
"""Reasons for a refusal that have nothing to do with time."""

_SOCKET = http.client.HTTPResponse.__new__(http.client.HTTPResponse)
_SOCKET.fp = None  # type: ignore[assignment]  # closed


@dataclass
class Server:
    """What answers at one URL.

    Attributes:
        url: Its URL.
        utc: Whether its clock is UTC, as AWS's names imply; else it is a time domain of its own.
        verified: Whether its certificate is checked.
        offset: How far its own domain's clock is from true time, ns; 0 for AWS.
        nodes: The clock errors of the machines behind its load balancer, ns.
        tolerance: How far off a timestamp it accepts, in seconds.
        local: Whether it runs on the host itself, by the host's wall clock.
        time_first: Whether it checks the timestamp before the signature.
    """

    url: str
    utc: bool = True
    verified: bool = True
    offset: int = 0
    nodes: tuple[int, ...] = (0,)
    tolerance: int = 900
    dialect: str = "coral"
    date: str = "honest"
    proxy_error: int = 0
    local: bool = False
    time_first: bool = True
    travel: tuple[float, float] = (-2.5, 0.3)  # log10 of seconds, either way
    moved: int = 0  # when its clock was last set, ns of true time

    @property
    def key(self) -> str:
        scheme, _, host = self.url.partition("://")
        return "utc" if self.utc else f"{scheme}://{host}:{443 if scheme == 'https' else 80}"

    @property
    def name(self) -> str:
        """The first label of its host's name: for AWS, the service's."""
        return self.url.partition("://")[2].partition(".")[0]

    @property
    def teaches(self) -> bool:
        """Whether skewguard may learn from its answers."""
        return self.verified or not self.utc

    def clock(self, world: World) -> int:
        return world.host.wall if self.local else world.truth + self.offset

    @property
    def endpoint(self) -> Any:
        return SimpleNamespace(http_session=SimpleNamespace(_verify=self.verified, _proxy_config=None))


@dataclass
class Answer:
    """A response, and what only the simulation knows of it.

    Attributes:
        cause: Why it is a refusal: "time", one of `FAULTS`, or "" for a success.
        explained: Whether it says so.
        honest: Whether it shows its domain's clock; None if it shows none that skewguard may learn from.
        shown: The time it shows, ns; None likewise.
    """

    status: int
    headers: dict[str, str]
    parsed: dict[str, Any]
    cause: str
    explained: bool
    honest: bool | None
    shown: int | None
    from_socket: bool = True
    url: str = ""
    quoted: bool = False
    raw: Any = field(init=False)

    def __post_init__(self) -> None:
        self.raw = SimpleNamespace(_original_response=_SOCKET if self.from_socket else None)

    @property
    def status_code(self) -> int:
        """The status, by botocore's name."""
        return self.status


def basic(second: int) -> str:
    """Format a second as SigV4 does."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def reply(server: Server, world: World, stamp: int | None, fault: str, rng: random.Random) -> Answer:
    """Reply to a request that arrives now, signed as of `stamp` (ns; None for one without a timestamp)."""
    node = rng.choice(server.nodes)
    clock = server.clock(world) + node
    now = clock // SECOND
    late = stamp is not None and abs(stamp // SECOND - now) > server.tolerance
    cause = "time" if late and (server.time_first or fault != "wrong secret") else fault
    date, dated, true_date = _date(server, clock, rng)
    status, error, explained, stated = _refusal(server, cause, (stamp or 0) // SECOND, now)
    headers = {"Date": date} if date is not None else {}
    if server.date == "aged":
        headers["Age"] = "17280"
    elif server.date == "hit":
        headers["X-Cache"] = "Hit from cloudfront"
    shown, honest = (clock, node == 0) if stated else (dated, node == 0 and true_date if dated is not None else None)
    if stated and server.utc and dated is not None and abs(dated - clock) > 55 * SECOND:
        shown = honest = None  # message and Date contradict each other
    world.note("%s answers %s (%s), Date %s", server.url, status, cause or "ok", date)
    return Answer(status, headers, error, cause, explained, honest, shown, url=f"{server.url}/x", quoted=stated)


def mocked(world: World, rng: random.Random) -> Answer:
    """Reply instead of a server, as moto does, with an arbitrary time."""
    wrong = world.truth + rng.choice((-1, 1)) * rng.randrange(1_000, 100_000) * SECOND
    parsed = {"Error": {"Code": "RequestTimeTooSkewed", "Message": ""}}
    world.note("a mock answers")
    headers = {"Date": formatdate(wrong // SECOND, usegmt=True)}
    if rng.random() < 0.5:
        return Answer(200, headers, {}, "", True, None, None, from_socket=False)
    return Answer(403, headers, parsed, "mock", True, None, None, from_socket=False)


def _date(server: Server, clock: int, rng: random.Random) -> tuple[str | None, int | None, bool]:
    """Make a Date: its text, the time that a client may learn from it (ns), and whether that is the server's."""
    second = clock // SECOND
    match server.date:
        case "absent":
            return None, None, False
        case "garbage":
            return rng.choice(("yesterday", "", "Mon, 99 Jun 2026 00:00:00 GMT")), None, False
        case "ambiguous":
            return f"{formatdate(second, usegmt=True)}, {formatdate(second - 3600, usegmt=True)}", None, False
        case "repeated":
            text = formatdate(second, usegmt=True)
            return f"{text}, {text}", clock, True
        case "aged" | "hit":
            return formatdate(second - 17_280, usegmt=True), None, False
        case "proxy":
            return formatdate(second + server.proxy_error // SECOND, usegmt=True), clock + server.proxy_error, False
        case "rounded":
            second = (clock + SECOND // 2) // SECOND
        case "kept":
            second = (clock - rng.randrange(SECOND)) // SECOND
    return formatdate(second, usegmt=True), clock, True


def _refusal(server: Server, cause: str, then: int, now: int) -> tuple[int, dict[str, Any], bool, bool]:
    """Make the refusal: status, what botocore parses, whether it names its reason, and whether it states its clock."""
    if not cause:
        return 200, {}, True, False
    if server.dialect == "head" and cause not in ("busy", "missing"):
        return 403, _error("403", "Forbidden"), False, False
    if server.dialect == "silent" and cause in ("time", "wrong secret"):
        return 401, _error("AuthFailure", "AWS was not able to validate the provided access credentials"), False, False
    if cause != "time":
        return (*_FAULTS[cause], True, False)
    if server.dialect == "coral":
        kind, sign = ("expired", "-") if then < now else ("not yet current", "+")
        word = "now earlier" if then < now else "still later"
        bound = now - server.tolerance if then < now else now + server.tolerance
        text = f"Signature {kind}: {basic(then)} is {word} than {basic(bound)} ({basic(now)} {sign} "
        return 403, _error("SignatureDoesNotMatch", f"{text}{server.tolerance // 60} min.)"), True, True
    parsed = _error(
        "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
    )
    if server.dialect == "s3":
        parsed["Error"] |= {
            "RequestTime": basic(then),
            "ServerTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
            "MaxAllowedSkewMilliseconds": str(server.tolerance * 1000),
        }
    return 403, parsed, True, server.dialect == "s3"


def _error(code: str, message: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}}


_FAULTS: dict[str, tuple[int, dict[str, Any]]] = {
    "wrong secret": (
        403,
        _error(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key.",
        ),
    ),
    "denied": (403, _error("AccessDenied", "User is not authorized to perform this")),
    "invalid": (400, _error("ValidationException", "1 validation error detected")),
    "missing": (404, _error("404", "Not Found")),
    "busy": (503, _error("503", "Service Unavailable")),
}
