"""Both ClockBound sources against the real daemons, 2.x and 0.1.x, beside a real chronyd that follows another.

The chronyd that the daemons ask does not touch the host's clock. Where its server serves the host's own time, the
host's wall clock is right, and the daemons must say so; where it serves another, they must not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.clocks import system
from skewguard.errors import SourceError
from skewguard.interval import Interval
from skewguard.sources import Source
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockboundd import ClockBounddSource
from tests.real.chronyd import INSTALL_CHRONYD, Chronyd, chronyd
from tests.real.exact import exact
from tests.real.need import need

SECOND = 1_000_000_000
CLOCKS = system()
SCRIPT = Path(__file__).with_name("clockbound.sh")
DAEMONS = Path(os.environ.get("CLOCKBOUND_DAEMONS", "~/.cache/skewguard-clockbound")).expanduser()
PATIENCE = 30.0


@contextlib.contextmanager
def clockbound(server: Chronyd) -> Iterator[Path]:
    """Run the daemons beside a chronyd that follows `server`; yields the /run that they have to themselves."""
    need((DAEMONS / "2.0.3/ready").exists(), "ClockBound", f"{SCRIPT} build {DAEMONS}")
    need((DAEMONS / "0.1.4/ready").exists(), "ClockBound 0.1.x", f"{SCRIPT} build {DAEMONS}")
    need(shutil.which("unshare") is not None, "unshare", "apt-get install -y util-linux")
    need(shutil.which("chronyd") is not None, "chronyd in the path", INSTALL_CHRONYD)
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        apart.append("--map-root-user")
    command = [*apart, str(SCRIPT), "run", str(DAEMONS), str(server.port)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield Path(f"/proc/{process.pid}/root/run")
        finally:
            process.kill()


def eventually(source: Source) -> Interval:
    """Measure, again and again until there is an answer."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
        except SourceError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def refusal(source: Source) -> str:
    """Measure, and say why there is no answer."""
    with pytest.raises(SourceError) as caught:
        source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
    return str(caught.value)


def holds_true_time(said: Interval) -> bool:
    """Tell whether the interval holds the host's wall clock, which is right here."""
    now = exact()
    later = said.aged(now.steady)
    return later.earliest <= now.wall <= later.latest


def vouched_for(source: Source) -> None:
    """Measure many times; every interval must hold the time."""
    eventually(source)
    widths = []
    for _ in range(100):
        said = eventually(source)
        assert holds_true_time(said)
        widths.append(said.width)
        time.sleep(0.02)
    print(f"{source.name}: width {min(widths) / 1e3:.0f} to {max(widths) / 1e3:.0f} µs")
    assert min(widths) < SECOND // 10


def not_vouched_for(source: Source) -> None:
    """See that the source refuses to speak, for longer than a right clock needs to be vouched for."""
    reasons = set()
    end = time.monotonic() + 8
    while time.monotonic() < end:
        reasons.add(refusal(source))
        time.sleep(0.1)
    print(*sorted(reasons), sep="\n")
    assert any("not synchronized" in reason or "reports an error" in reason for reason in reasons)


def test_right_clock() -> None:
    """The daemon vouches for a right clock within milliseconds, again and again, and every interval holds the time."""
    with chronyd() as server, clockbound(server) as run:
        vouched_for(ClockBoundSource(str(run / "clockbound/shm0")))


def test_wrong_clock() -> None:
    """A clock that chronyd knows to be 20 minutes slow, and may not set, is not vouched for."""
    with chronyd(1200) as server, clockbound(server) as run:
        not_vouched_for(ClockBoundSource(str(run / "clockbound/shm0")))


def test_old_daemon() -> None:
    """0.1.x vouches for a right clock as well, and not for a wrong one."""
    need(os.geteuid() == 0, "root", "ClockBound 0.1.x asks chronyd at a port that is root's")
    with chronyd() as server, clockbound(server) as run:
        vouched_for(ClockBounddSource(str(run / "clockboundd/clockboundd.sock")))
    with chronyd(1200) as server, clockbound(server) as run:
        not_vouched_for(ClockBounddSource(str(run / "clockboundd/clockboundd.sock")))


def test_daemon_gone() -> None:
    """A segment that its daemon has left behind is believed for a while, ever more loosely."""
    with chronyd() as server, clockbound(server) as run:
        kept = run / "clockbound/shm0"
        eventually(ClockBoundSource(str(kept)))
        fd = os.open(kept, os.O_RDONLY)
    try:
        source = ClockBoundSource(f"/proc/self/fd/{fd}")
        first = source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
        time.sleep(6)  # longer than the daemon's grace
        second = source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
    finally:
        os.close(fd)
    assert holds_true_time(first)
    assert holds_true_time(second)
    assert second.width - first.width >= 2 * 6 * 50_000 - 100_000
