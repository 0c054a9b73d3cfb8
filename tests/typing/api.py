"""The public API as users' type checkers see it. Checked by mypy and pyright, never run."""

from __future__ import annotations

import skewguard
from skewguard.clocks import Clocks
from skewguard.testing import StrictEndpoint


class Sundial:
    """A source written by a user."""

    name = "sundial"

    def measure(self, clocks: Clocks, deadline: int) -> skewguard.Interval:
        """Read the shadow."""
        steady, wall = clocks.read()
        if steady > deadline:
            raise skewguard.SourceError("night")
        return skewguard.Interval(steady, wall - 10**12, wall + 10**12, skewguard.Trust.WITNESS, self.name)


def use() -> None:
    handle: skewguard.Installation = skewguard.install(sources=["ntp://192.0.2.1", Sundial()], wait=1.0, deadband=5)
    with skewguard.install() as again:
        again.uninstall()
    handle.uninstall()
    skewguard.uninstall()
    skewguard.attach(skewguard.session(), learn_from_responses=False)
    skewguard.detach(skewguard.session())
    skewguard.initialize_client_plugin(skewguard.session().client("sts"))
    skewguard.session(region_name="us-east-1").client("s3")
    now: skewguard.TrueTime | None = skewguard.now()
    if now is not None:
        nanoseconds: int = now.earliest + now.latest + now.midpoint
        print(nanoseconds)
    offset: skewguard.Offset | None = skewguard.offset()
    if offset is not None:
        seconds: float = offset.seconds + offset.error_bound
        print(seconds, offset.source)
    status: skewguard.Status = skewguard.measure(timeout=1.0)
    print(status == skewguard.status(), status.state, status.sources, status.domains, status.inherited)
    host: skewguard.HostClock = status.host
    print(host.synchronized, host.max_error, host.daemons)
    reached: bool = skewguard.wait_until_synchronized(timeout=1.0, within=0.5)
    print(reached, skewguard.SkewguardError, skewguard.ConfigError)
    call = skewguard.SignedCall("bedrock", repeatable=False)
    with call.signing("https://bedrock-runtime.us-east-1.amazonaws.com/"):
        year: int = call.timestamp().year
    repeat: bool = call.answered("https://example.com/", 403, {"date": ""}, b"", verified=True)
    print(year, repeat, call.note, call.service, call.repeatable)
    with StrictEndpoint(offset=1200) as endpoint:
        url: str = endpoint.url
        print(url, endpoint.count)
