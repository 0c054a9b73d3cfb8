"""Scripts: worlds with a rule, drawn from a seed. Pure.

The server is a rule, not a list of answers, because the two sides send different requests: what it answers depends on
the call and on the timestamp, so that calls can be compared one by one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Endpoint(NamedTuple):
    """A server. Clocks are in seconds ahead of true time.

    Attributes:
        name: Its kind, one of `HOSTS`.
        clock: Its clock.
        words: How it refuses a timestamp: "explicit", as AWS does, or another of `WORDS`.
        lax: Whether it accepts every timestamp.
        date: The clock of a proxy that writes its Date; None for its own.
        other: A second clock behind the same name; None for none.
        by_call: Whether the two clocks take turns by call, rather than by request.
        neighbour: Its clock as another process tells it; None if none does.
    """

    name: str = "127.0.0.1"
    clock: int = 0
    words: str = "explicit"
    lax: bool = False
    date: int | None = None
    other: int | None = None
    by_call: bool = False
    neighbour: int | None = None


class Call(NamedTuple):
    """One call, and what happens before and during it; in seconds.

    Attributes:
        op: One of `OPERATIONS`.
        at: Its endpoint's number.
        gap: How much time passes before it.
        steps: By how much its endpoint's clock is stepped before it.
        sets: By how much the host's wall clock is stepped before it.
        denial: How it is refused although its time is right: one of `WORDS`, or "stated" or "quoted"; "" if it is not.
        lead: How far ahead of the request's timestamp the clock is that such words state.
        dated: The clock that dates a denial; None for the endpoint's.
        fault: An answer that is not the server's: its status, its Date's clock, and to which request of the call.
        replayed: How old the recording is that a mock answers with; 0 for no mock.
    """

    op: str = "get"
    at: int = 0
    gap: int = 0
    steps: int = 0
    sets: int = 0
    denial: str = ""
    lead: int = 0
    dated: int | None = None
    fault: tuple[int, int, int] = (0, 0, 0)
    replayed: int = 0


class Script(NamedTuple):
    """One world.

    Attributes:
        kind: What it is about: one of `KINDS`.
        host: The host's wall clock, s ahead of true time.
        endpoints: The servers.
        calls: The calls, in order.
        mode: botocore's retry mode.
        attempts: The attempts that the caller allows; 0 for botocore's default.
        sources: The clocks of the time sources, s ahead of true time.
        stamps: Which clock stamps the credentials' expiry, "host" or "truth"; "" if they do not expire.
        lasts: How long they live, s.
    """

    kind: str = ""
    host: int = 0
    endpoints: tuple[Endpoint, ...] = (Endpoint(),)
    calls: tuple[Call, ...] = ()
    mode: str = "standard"
    attempts: int = 0
    sources: tuple[int, ...] = ()
    stamps: str = ""
    lasts: int = 3600

    def line(self) -> str:
        """Format as one line of JSON, without what is as by default."""
        parts = {"endpoints": list(map(_changed, self.endpoints)), "calls": list(map(_changed, self.calls))}
        return json.dumps(_changed(self) | parts)

    @classmethod
    def parse(cls, line: str) -> Script:
        """Parse what `line` has formatted."""
        fields = {name: tuple(it) if isinstance(it, list) else it for name, it in json.loads(line).items()}
        calls = (Call(**one)._replace(fault=tuple(one.get("fault", Call().fault))) for one in fields["calls"])
        return cls(
            **fields | {"endpoints": tuple(Endpoint(**one) for one in fields["endpoints"]), "calls": tuple(calls)}
        )


def _changed(part: Any) -> dict[str, Any]:
    return {name: value for name, value in part._asdict().items() if value != part._field_defaults[name]}


OPERATIONS = ("get", "table", "put", "put from 10", "head", "url", "unsigned")

AWS = "aws"
CUSTOMERS = {
    "execute-api": "https://abc.execute-api.us-east-1.amazonaws.com",
    "lambda-url": "https://abc.lambda-url.us-east-1.on.aws",
    "s3-object-lambda": "https://abc.s3-object-lambda.us-east-1.amazonaws.com",
    "plain http": "http://sts.eu-west-1.amazonaws.com:{http}",
}
"""Names of AWS's under which it checks the signature, but others may word the answer."""
PRIVATE = {
    "127.0.0.1": "http://127.0.0.1:{http}",
    "localhost.": "http://localhost.:{http}",
    "TLS": "https://localhost:{https}",
    "minio": "http://minio:{http}",
    "mapped": "http://[::ffff:127.0.0.1]:{http}",
    "elb": "https://my.us-east-1.elb.amazonaws.com",
}
HOSTS = {AWS: "", **CUSTOMERS, **PRIVATE}

DENIALS = ("denied", "invalid", "silent")
WORDS = ("explicit", "no clock", *DENIALS)
_OFFSETS = (200, 290, 400, 700, 890, 1200, 3600, 7200)
_YEAR = 365 * 86_400


def generate(seed: int) -> Script:
    """Return the script of a seed."""
    rng = _Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    script: Script = KINDS[kind](rng)
    if rng.random() < 0.4 and kind != "two clocks":
        script = script._replace(calls=tuple(map(rng.troubled, script.calls)))
    return script._replace(kind=kind, mode=rng.choice(("legacy", "standard")), attempts=rng.choice((0, 1, 2, 3)))


class _Random(random.Random):
    """Draws the parts of scripts."""

    def off(self, *more: int) -> int:
        return self.choice((*more, *_OFFSETS, self.randrange(7200))) * self.choice((1, -1))

    def private(self, clock: int = 0, **more: Any) -> Endpoint:
        return Endpoint(self.choice(list(PRIVATE)), clock, self.choice(WORDS), **more)

    def fault(self, date: int) -> tuple[int, int, int]:
        return self.choice((301, 302, 307, 407, 500, 502, 503)), date, self.choice((1, 1, 2))

    def troubled(self, call: Call) -> Call:
        """Give a call a fault or a denial, now and then."""
        if self.random() < 0.2:
            return call._replace(fault=self.fault(self.choice((0, self.off(), -86_000))))
        return call._replace(denial=self.choice(DENIALS)) if not call.denial and self.random() < 0.2 else call

    def calls(self, endpoints: int = 1) -> tuple[Call, ...]:
        gaps = (0, 0, 1, 10, 61, 400, 2000)
        usual = self.choice(OPERATIONS)  # callers repeat themselves
        operations = (usual, *OPERATIONS) if self.random() < 0.7 else (usual,)
        count = self.randrange(3, 7)
        return tuple(Call(self.choice(operations), self.randrange(endpoints), self.choice(gaps)) for _ in range(count))

    def denied(self, calls: tuple[Call, ...], denials: tuple[str, ...] = DENIALS, lead: int = 0) -> tuple[Call, ...]:
        """Deny the first call, the first two, or all, at the first endpoint."""
        style, until = self.choice(denials), self.choice((1, 2, 9))
        return tuple(
            call._replace(denial=style, lead=lead) if call.at == 0 and number < until else call
            for number, call in enumerate(calls)
        )

    # -- the kinds ----------------------------------------------------------------------------------------------

    def customers_code(self) -> Script:
        """Customers' code under AWS's names says what it likes; AWS is called beside it."""
        there = Endpoint(self.choice(list(CUSTOMERS)), 0, self.choice(WORDS), date=self.choice((None, self.off())))
        calls = self.denied(self.calls(2), ("stated", "stated", "denied"), self.choice((_YEAR, -_YEAR, self.off())))
        return Script("", 0, (there, Endpoint(AWS)), calls, stamps=self.choice(("", "host", "truth")))

    def own_clock(self) -> Script:
        """A store shares the host's wrong clock, which stamps the credentials too, while UTC is known."""
        host = self.off()
        there, stamps, lasts = self.private(host), self.choice(("", "host")), self.choice((3600, 10_800))
        return Script("", host, (there, Endpoint(AWS)), self.calls(2), sources=(0,), stamps=stamps, lasts=lasts)

    def lying_source(self) -> Script:
        """The only time source of a right host lies."""
        endpoints = (Endpoint(self.choice((AWS, *CUSTOMERS))), self.private())
        stamps, lasts = self.choice(("", "host", "truth")), self.choice((3600, 10_800))
        return Script("", 0, endpoints, self.calls(2), sources=(self.off(10_500),), stamps=stamps, lasts=lasts)

    def wrong_host(self) -> Script:
        """AWS is called from a wrong host, which stamps the credentials itself."""
        aws, stamps = Endpoint(AWS, 0, self.choice(("explicit", "denied", "silent"))), self.choice(("host", "truth"))
        return Script("", self.off(), (aws,), self.calls(), sources=self.choice(((), (0,))), stamps=stamps)

    def proxy(self) -> Script:
        """A proxy writes a Date of its own, by a clock that is minutes off."""
        there = Endpoint(self.choice((*PRIVATE, *CUSTOMERS)), 0, self.choice(WORDS))
        there = there._replace(date=self.choice((1, -1)) * self.randrange(250, 1000))
        calls = self.calls() if self.random() < 0.5 else self.denied(self.calls())
        return Script("", self.choice((0, 0, 0, 30, -30, self.off())), (there,), calls)

    def portal(self) -> Script:
        """Gateways, proxies and captive portals answer in the server's stead, dated by clocks of their own."""
        date = self.choice((-86_000, self.off()))
        calls = (one._replace(fault=self.fault(date)) if self.random() < 0.5 else one for one in self.calls())
        return Script("", self.choice((0, 0, self.off())), (Endpoint(self.choice(list(HOSTS))),), tuple(calls))

    def set_right(self) -> Script:
        """Another process has told the clock of a store that was set right since; or of one that was not."""
        clock = self.choice((0, 0, self.off()))
        there = self.private(clock, neighbour=self.choice((clock, self.off())))
        return Script("", self.choice((0, clock, self.off())), (there,), self.calls(), sources=self.choice(((), (0,))))

    def replay(self) -> Script:
        """A mock answers for AWS with a recording of some minutes ago."""
        calls = (one._replace(op="put", replayed=360) if self.random() < 0.5 else one for one in self.calls())
        return Script("", self.choice((0, 30)), (Endpoint(AWS),), tuple(calls))

    def skew(self) -> Script:
        """Servers refuse a wrong host in words of their own, or without any."""
        there, aws = self.private(self.choice((0, 0, self.off()))), Endpoint(AWS, 0, self.choice(WORDS))
        sources = self.choice(((), (0,), (0, 0)))
        return Script("", self.choice((0, self.off())), (there, aws), self.calls(2), sources=sources)

    def denial(self) -> Script:
        """Denials are genuine, on a right or a wrong host."""
        there = Endpoint(self.choice(list(HOSTS)), 0, self.choice(WORDS), date=self.choice((None, None, self.off())))
        there = there if there.name != AWS else there._replace(date=None)
        return Script("", self.choice((0, self.off())), (there,), self.denied(self.calls()))

    def lax(self) -> Script:
        """A store ignores dates; its own may be anything. A strict server is called beside it."""
        there = self.private(self.off(0), lax=True, date=self.choice((None, self.off())))
        sources = self.choice(((), (0,), (self.off(),)))
        strict = AWS if not any(sources) else "elb" if there.name != "elb" else "minio"
        return Script("", self.choice((0, self.off())), (there, Endpoint(strict)), self.calls(2), sources=sources)

    def words(self) -> Script:
        """Refusals quote another request's timestamp, or state a clock that contradicts their Date."""
        name, date = self.choice(list(HOSTS)), self.choice((None, self.off(), -86_000))
        there = Endpoint(name, self.choice((0, 0, self.off())) if name in PRIVATE else 0, date=date)
        styles = ("quoted",) if name == AWS and date is None else ("quoted", "stated")
        calls = self.denied(self.calls(), styles, self.off())
        if name == AWS:  # its successes are not contradicted
            there, calls = there._replace(date=None), tuple(one._replace(dated=date) for one in calls)
        return Script("", self.choice((0, 0, self.off())), (there,), calls)

    def two_clocks(self) -> Script:
        """Two clocks behind one private name take turns."""
        there = self.private(other=self.off(), by_call=self.random() < 0.5)
        op = self.choice(("get", "put", "head"))
        calls = tuple(Call(op, 0, self.choice((0, 1))) for _ in range(24))
        return Script("", self.choice((0, 0, there.other or 0, self.off())), (there,), calls)

    def stepped(self) -> Script:
        """A clock is stepped between calls: the host's, or the store's."""
        clock = self.choice((0, self.off()))
        host, calls = self.choice((0, clock, self.off())), list(self.calls(2))
        number = self.randrange(1, len(calls))
        host_steps = {"sets": self.choice((-host, self.off()))}
        change = self.choice((host_steps, {"at": 0, "steps": self.choice((-clock, self.off()))}))
        calls[number] = calls[number]._replace(**change)
        endpoints, sources = (self.private(clock), Endpoint(AWS)), self.choice(((), (0,)))
        return Script("", host, endpoints, tuple(calls), sources=sources)


KINDS: dict[str, Callable[[_Random], Script]] = {
    "code of customers": _Random.customers_code,
    "the clock of the host": _Random.own_clock,
    "a lying source": _Random.lying_source,
    "stamped by a wrong host": _Random.wrong_host,
    "a Date by a proxy": _Random.proxy,
    "a portal": _Random.portal,
    "set right": _Random.set_right,
    "a replay": _Random.replay,
    "skew": _Random.skew,
    "denial": _Random.denial,
    "a lax store": _Random.lax,
    "words": _Random.words,
    "two clocks": _Random.two_clocks,
    "stepped clocks": _Random.stepped,
}
"""The first eight are healthy calls that guarding once made fail. No apostrophes: shells quote these names."""


def simplest(script: Script, fails: Callable[[Script], bool]) -> Script:
    """Return a script that still fails, but would not if it were any simpler."""
    tried: set[Script] = set()
    again = True
    while again:
        again = False
        for simpler in _simpler(script):
            if simpler not in tried:
                tried.add(simpler)
                if fails(simpler):
                    script, again = simpler, True
                    break
    return script


def _simpler(script: Script) -> Iterator[Script]:
    calls = script.calls
    for number in range(len(calls)):
        yield script._replace(calls=calls[:number] + calls[number + 1 :])
    if len(script.endpoints) > 1 and all(call.at < len(script.endpoints) - 1 for call in calls):
        yield script._replace(endpoints=script.endpoints[:-1])
    yield from _with_a_default(script, ("kind", "endpoints", "calls"))
    for name in ("calls", "endpoints"):
        parts = getattr(script, name)
        for number, part in enumerate(parts):
            for simpler in _with_a_default(part, ("op", "at")):
                yield script._replace(**{name: (*parts[:number], simpler, *parts[number + 1 :])})


def _with_a_default(part: Any, but: tuple[str, ...]) -> Iterator[Any]:
    for name, value in part._field_defaults.items():
        if name not in but and getattr(part, name) != value:
            yield part._replace(**{name: value})
