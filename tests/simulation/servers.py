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

DATES = ("honest", "rounded", "kept", "absent", "aged", "hit", "ambiguous", "repeated", "garbage")
PROXIES = ("proxy", "proxy on errors")
"""The kinds of Date: "kept" is a second old, "aged" and "hit" are a cache's, those of `PROXIES` another machine's."""

DIALECTS = ("coral", "s3", "terse", "silent", "head")
"""How a server refuses a timestamp: "terse" without naming its clock, "silent" without saying why."""

FAULTS = ("wrong secret", "denied", "invalid", "missing", "busy", "portal", "gateway")
"""Reasons for a refusal that have nothing to do with time; the last two are dated by the machine that redirects or asks
for a password.
"""

EDGE = 5
"""Where the unguarded twin is accepted by fewer seconds, chance decided."""

_SOCKET = http.client.HTTPResponse.__new__(http.client.HTTPResponse)
_SOCKET.fp = None  # type: ignore[assignment]  # closed


class _HttpSession:
    """botocore's HTTP session, as far as it is read; like that, it can be weakly referenced."""

    _proxy_config = None

    def __init__(self, verify: bool) -> None:
        self._verify = verify


@dataclass
class Server:
    """What answers at one URL.

    Attributes:
        url: Its URL.
        kind: What it is, for the story.
        utc: Whether its clock is UTC, as AWS's names imply; else it is a time domain of its own.
        verified: Whether its certificate is checked.
        offset: How far its own domain's clock is from true time, ns; 0 for AWS.
        nodes: The clock errors of the machines behind its load balancer, ns.
        alternating: Whether these machines take turns; else chance decides.
        period: For how long, ns, its clock is right each time before it is `proxy_error` off as long; 0 for ever.
        tolerance: How far off a timestamp it accepts, in seconds.
        ahead: How far in its future a presigned URL may be dated, in seconds.
        lax: Whether it checks the time of presigned URLs alone.
        local: Whether it goes by the host's wall clock.
        time_first: Whether it checks the timestamp before the signature.
        tenant: Whether AWS checks its signatures, but a customer's code answers what it likes.
        prefix: The endpoint prefix of the called service; by default its first label.
    """

    url: str
    kind: str = "aws"
    utc: bool = True
    verified: bool = True
    offset: int = 0
    nodes: tuple[int, ...] = (0,)
    alternating: bool = False
    period: int = 0
    tolerance: int = 900
    ahead: int = 900
    lax: bool = False
    dialect: str = "coral"
    date: str = "honest"
    proxy_error: int = 0
    local: bool = False
    time_first: bool = True
    travel: tuple[float, float] = (-2.5, 0.3)  # log10 of seconds, either way
    tenant: bool = False
    prefix: str = ""
    moved: int = 0  # when its clock was last set, ns of true time
    _turns: dict[bool, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        scheme, _, host = self.url.partition("://")
        return "utc" if self.utc else f"{scheme}://{host}:{443 if scheme == 'https' else 80}"

    @property
    def name(self) -> str:
        """The endpoint prefix of the called service."""
        return self.prefix or self.url.partition("://")[2].partition(".")[0]

    @property
    def aws(self) -> bool:
        """Whether its name promises that it keeps UTC, over TLS or not."""
        return self.utc or self.kind == "plain"

    @property
    def loopback(self) -> bool:
        """Whether its name says that it runs on the host itself."""
        return self.url == "http://localhost"

    @property
    def two_faced(self) -> bool:
        """Whether it has more than one clock."""
        return len(self.nodes) > 1 or bool(self.period)

    @property
    def teaches(self) -> bool:
        """Whether skewguard may learn from its answers."""
        return self.verified or not self.utc

    def clock(self, world: World) -> int:
        wrong = self.proxy_error if self.period and world.truth // self.period % 2 else self.offset
        return world.host.wall if self.local else world.truth + wrong

    def node(self, rng: random.Random, plain: bool) -> int:
        """Return the clock error of the machine that a request meets; the unguarded twin takes turns of its own."""
        if not self.alternating:
            return rng.choice(self.nodes)
        turn = self._turns[plain] = self._turns.get(plain, 0) + 1
        return self.nodes[turn % len(self.nodes)]

    def accepts_url(self, world: World, stamp: int, lifetime: int, rng: random.Random, plain: bool = False) -> bool:
        """Return whether a URL that was presigned as of `stamp` for `lifetime` seconds is accepted now."""
        now = (self.clock(world) + self.node(rng, plain)) // SECOND
        return stamp // SECOND - self.ahead <= now <= stamp // SECOND + lifetime - EDGE * plain

    @property
    def endpoint(self) -> Any:
        return SimpleNamespace(http_session=_HttpSession(self.verified))


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

    @status_code.setter
    def status_code(self, status: int) -> None:
        self.status = status

    @property
    def outcome(self) -> str:
        """Why the call fails, as its caller sees it, who may be shown an earlier answer; "ok" if it does not."""
        return "ok" if self.status < 300 else self.cause or "an earlier error"

    @property
    def error(self) -> tuple[int, str]:
        """What the caller sees: the status, and the error's code."""
        return self.status, self.parsed.get("Error", {}).get("Code", "")


def basic(second: int) -> str:
    """Format a second as SigV4 does."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def reply(
    server: Server, world: World, stamp: int | None, fault: str, rng: random.Random, *, plain: bool = False
) -> Answer:
    """Reply to a request that arrives now, signed as of `stamp` (ns; None for one without a timestamp)."""
    node = server.node(rng, plain)
    clock = server.clock(world) + node
    now = clock // SECOND
    late = stamp is not None and not server.lax and abs(stamp // SECOND - now) > server.tolerance - EDGE * plain
    first = ("portal", "gateway", "busy") if server.time_first else ("portal", "gateway", "busy", "wrong secret")
    cause = "time" if late and fault not in first else fault
    if cause == "customer":
        now += server.proxy_error // SECOND
    date, dated, true_date = _date(server, clock, cause, rng)
    status, error, explained, stated = _refusal(server, cause, (stamp or 0) // SECOND, now)
    headers = {"Date": date} if date is not None else {}
    if server.date == "aged":
        headers["Age"] = "17280"
    elif server.date == "hit":
        headers["X-Cache"] = "Hit from cloudfront"
    right = node == 0 and not server.period and cause != "customer"
    shown, honest = (clock, right) if stated else (dated, right and true_date if dated is not None else None)
    if stated and server.utc and dated is not None and abs(dated - clock) > 55 * SECOND:
        # Message and Date contradict each other; near a minute, either verdict is right.
        shown, honest = (None, None) if abs(dated - clock) > 65 * SECOND else (clock, False)
    world.note("%s answers %s (%s), Date %s", server.url, status, cause or "ok", date)
    return Answer(status, headers, error, cause, explained, honest, shown, url=f"{server.url}/x", quoted=stated)


def mocked(server: Server, world: World, rng: random.Random) -> Answer:
    """Reply instead of a server, as moto does, with an arbitrary time."""
    wrong = world.truth + rng.choice((-1, 1)) * rng.randrange(1_000, 100_000) * SECOND
    parsed = {"Error": {"Code": "RequestTimeTooSkewed", "Message": ""}}
    world.note("a mock answers")
    headers = {"Date": formatdate(wrong // SECOND, usegmt=True)}
    fails = rng.random() < 0.5
    status, error, cause = (403, parsed, "mock") if fails else (200, {}, "")
    return Answer(status, headers, error, cause, True, None, None, from_socket=False, url=f"{server.url}/x")


def _date(server: Server, clock: int, cause: str, rng: random.Random) -> tuple[str | None, int | None, bool]:
    """Make a Date: its text, the time that a client may learn from it (ns), and whether that is the server's."""
    second = clock // SECOND
    proxied = cause in ("portal", "gateway") or server.date == "proxy" or (server.date in PROXIES and cause)
    match "proxy" if proxied else server.date:
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
    if server.dialect == "head" and cause not in ("busy", "missing", "portal", "gateway"):
        return 403, _error("403", "Forbidden"), False, False
    if server.dialect == "silent" and cause in ("time", "wrong secret"):
        return 401, _error("AuthFailure", "AWS was not able to validate the provided access credentials"), False, False
    if cause not in ("time", "customer"):
        status, parsed = _FAULTS[cause]
        return status, dict(parsed), True, False
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
    "portal": (302, _error("302", "Found")),
    "gateway": (407, _error("407", "Proxy Authentication Required")),
    "expired": (403, _error("ExpiredToken", "The provided token has expired.")),
}
