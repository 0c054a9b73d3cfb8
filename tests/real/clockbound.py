"""The real ClockBound daemons, each in its own namespaces, beside a chronyd; their sources compared with the truth.

The chronyd that the daemons ask does not touch the host's clock. Where its server serves the host's own time, the
host's wall clock is right, and the daemons must report so; where it serves another, they must not.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.clocks import system
from skewguard.errors import SourceError
from skewguard.interval import Interval
from skewguard.sources import Source
from skewguard.sources.clockbound import ClockBoundSource
from tests.patience import PATIENCE, eventually
from tests.real.chronyd import INSTALL_CHRONYD, environment, faketime_library
from tests.real.exact import exact
from tests.real.faketime import INSTALL
from tests.real.need import need

SECOND = 1_000_000_000
CLOCKS = system()
THREE = "3.0.0-rc.0"

_SCRIPT = Path(__file__).with_name("clockbound.sh")
_DAEMONS = Path(os.environ.get("CLOCKBOUND_DAEMONS", "~/.cache/skewguard-clockbound")).expanduser()


def built(what: str) -> Path:
    """Return what the script built; skip the test if there is none."""
    path = _DAEMONS / what
    need(path.exists(), f"ClockBound's {what}", f"{_SCRIPT} build {_DAEMONS}")
    return path


@contextlib.contextmanager
def clockbound(offset_seconds: float = 0) -> Iterator[Path]:
    """Run 2.x and 0.1.x beside a chronyd whose server is so far ahead of the host's clock; yield their own /run."""
    built("2.0.3/ready")
    built("0.1.4/ready")
    with _run("run", offset_seconds) as run:
        yield run


@contextlib.contextmanager
def clockbound3(offset_seconds: float = 0) -> Iterator[Path]:
    """Run 3.x beside a chronyd whose clock is so far ahead of the host's; yield their own /run.

    None of them can set the host's clock.
    """
    built(f"{THREE}/ready")
    need(shutil.which("setpriv") is not None, "setpriv", "apt-get install -y util-linux")
    with _run("run3", offset_seconds) as run:
        yield run


@contextlib.contextmanager
def _run(what: str, offset_seconds: float) -> Iterator[Path]:
    need(shutil.which("unshare") is not None, "unshare", "apt-get install -y util-linux")
    need(shutil.which("ip") is not None, "ip", "apt-get install -y iproute2")
    need(shutil.which("chronyd") is not None, "chronyd in the path", INSTALL_CHRONYD)
    if offset_seconds:
        need(faketime_library() is not None, "libfaketime", INSTALL)
    apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        apart.append("--map-root-user")
    with tempfile.TemporaryDirectory() as directory:
        variables = [f"{name}={value}" for name, value in environment(Path(directory), offset_seconds).items()]
        command = [*apart, str(_SCRIPT), what, str(_DAEMONS), *variables]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                yield Path(f"/proc/{process.pid}/root/run")
            finally:
                process.kill()
                process.communicate()  # until the last of them is gone


def answer_of(source: Source) -> Interval:
    """Measure again and again until there is an interval."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
        except SourceError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def refusal(source: Source) -> str:
    """Measure, and return the error."""
    with pytest.raises(SourceError) as caught:
        source.measure(CLOCKS, CLOCKS.read().steady + SECOND)
    return str(caught.value)


def left_behind(run: contextlib.AbstractContextManager[Path], wait: float) -> tuple[Interval, Interval]:
    """Read a segment whose daemon has just ended, and again `wait` s later; both intervals hold the time."""
    with run as place:
        kept = place / "clockbound/shm0"
        answer_of(ClockBoundSource(str(kept)))
        fd = os.open(kept, os.O_RDONLY)
    try:
        source = ClockBoundSource(f"/proc/self/fd/{fd}")
        first = answer_of(source)
        time.sleep(wait)
        second = answer_of(source)
    finally:
        os.close(fd)
    assert holds_true_time(first)
    assert holds_true_time(second)
    return first, second


def holds_true_time(interval: Interval) -> bool:
    """Return whether the interval holds the host's wall clock, which is right here."""
    now = exact()
    later = interval.aged(now.steady)
    return later.earliest <= now.wall <= later.latest


def vouched_for(source: Source) -> None:
    """Measure many times; every interval must hold the time."""
    answer_of(source)
    widths = []
    for _ in range(100):
        interval = answer_of(source)
        assert holds_true_time(interval)
        widths.append(interval.width)
        time.sleep(0.02)
    print(f"{source.name}: width {min(widths) / 1e3:.0f} to {max(widths) / 1e3:.0f} µs")
    assert min(widths) < SECOND // 10


def not_vouched_for(source: Source, reason: str) -> None:
    """Wait for an error with this reason (a pattern); then fail if the source answers within 8 s."""
    eventually(lambda: re.search(reason, refusal(source)))
    end = time.monotonic() + 8
    while time.monotonic() < end:
        refusal(source)
        time.sleep(0.1)
