"""What `doctor` looks at on this machine, gathered into one plain value. What it means is `findings`' business."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from skewguard import clocks as _clocks
from skewguard import host_clock
from skewguard.cli import survey as _survey
from skewguard.cli.doctor import endpoint, remedies
from skewguard.cli.doctor import ntpd as _ntpd
from skewguard.cli.doctor.endpoint import Answer
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.cli.doctor.remedies import Place
from skewguard.cli.survey import Survey
from skewguard.clocks import Clocks
from skewguard.config import Settings
from skewguard.errors import SourceError
from skewguard.host_clock import HostClock
from skewguard.interval import SECOND
from skewguard.sources.chrony import ChronySource
from skewguard.sources.chrony_packet import Tracking

_PATIENCE = SECOND // 2
_NANO = 0x2000  # STA_NANO: the fraction counts ns, not µs


class Rtc(NamedTuple):
    """The hardware clock, which runs while the machine is off.

    Attributes:
        ahead: What it shows more than the wall clock, read as UTC, to a second, ns.
        local: Whether it is said to hold local time; None if nobody says.
    """

    ahead: int
    local: bool | None = None


class Report(NamedTuple):
    """What was seen. All of it may be somebody's invention but `survey`, which was voted on.

    Attributes:
        survey: What the time sources say.
        host: What the host says of its clock.
        place: Where this is.
        rtc: The hardware clock; None if it cannot be read.
        zone: Local time minus UTC, ns, now and half a year away.
        kernel_ahead: What the kernel's clock shows more than this process's, ns; None if it cannot be asked.
        preloaded: The faketime library that this process was started with, or its setting; empty if none.
        faked: The test library that fakes the clock in this process; empty if none.
        endpoint: What an endpoint said, if one was asked.
        chrony: What chronyd reports of itself; None if it does not run, or does not answer.
        ntpd: What ntpd reports of itself, likewise.
    """

    survey: Survey
    host: HostClock = HostClock()
    place: Place = Place("linux")
    rtc: Rtc | None = None
    zone: tuple[int, ...] = (0,)
    kernel_ahead: int | None = None
    preloaded: str = ""
    faked: str = ""
    endpoint: Answer | None = None
    chrony: Tracking | None = None
    ntpd: Ntpd | None = None


def gather(wanted: Settings, url: str | None, environ: Mapping[str, str] = os.environ) -> Report:
    """Look at everything. Sends NTP packets to the sources that are NTP servers, and a HEAD to `url`, if given."""
    clocks = _clocks.system()
    found = _survey.ask(wanted, everybody=True, clocks=clocks)
    host = host_clock.look()
    daemons = host.daemons or ()
    return Report(
        survey=found,
        host=host,
        place=remedies.look(environ),
        rtc=hardware_clock("/", time.time_ns()),
        zone=zones(time.time()),
        kernel_ahead=_kernel_ahead(),
        preloaded=preloaded(environ),
        faked=_clocks.faked() or "",
        endpoint=None if url is None else endpoint.ask(url, clocks),
        chrony=_chrony(wanted, clocks) if "chronyd" in daemons else None,
        ntpd=_ntpd.ask() if "ntpd" in daemons else None,
    )


def _chrony(wanted: Settings, clocks: Clocks) -> Tracking | None:
    """Ask chronyd how it stands: the one that is a source, else where it usually is."""
    named = [source for source in _survey.everyone(wanted) if isinstance(source, ChronySource)]
    try:
        return (named or [ChronySource()])[0].tracking(clocks, clocks.read().steady + _PATIENCE)
    except SourceError:
        return None


def hardware_clock(root: str | Path, wall: int) -> Rtc | None:
    """Read Linux's first hardware clock, as far as everybody may.

    Args:
        root: Where the file system begins.
        wall: What the wall clock shows, ns since the Unix epoch.
    """
    try:
        shown = int((Path(root) / "sys/class/rtc/rtc0/since_epoch").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    try:
        mode = (Path(root) / "etc/adjtime").read_text(encoding="utf-8", errors="replace").splitlines()[2].strip()
    except (OSError, IndexError):
        mode = ""
    ahead = shown * SECOND + SECOND // 2 - wall
    return Rtc(ahead, {"LOCAL": True, "UTC": False}.get(mode))


def zones(now: float) -> tuple[int, ...]:
    """List by how much local time is ahead of UTC now and, for the sake of daylight saving time, in half a year, ns."""
    try:
        return tuple({(time.localtime(at).tm_gmtoff or 0) * SECOND for at in (now, now + 182 * 86_400)})
    except (OSError, OverflowError, ValueError):
        return (0,)


def kernel_time(data: bytes) -> int:
    """Read the time in what ``adjtimex`` filled in, ns since the Unix epoch.

    Raises:
        ValueError: `data` has the wrong size.
    """
    if len(data) != host_clock.TIMEX.size:
        raise ValueError(f"struct timex has {host_clock.TIMEX.size} bytes, not {len(data)}")
    fields = host_clock.TIMEX.unpack(data)
    return int(fields[9]) * SECOND + int(fields[10]) * (1 if fields[5] & _NANO else 1000)


def _kernel_ahead() -> int | None:
    """Compare the kernel's clock with what this process is shown: libfaketime does not reach the call."""
    try:
        answer = host_clock.ask_kernel()
        return None if answer is None else kernel_time(answer[1]) - time.time_ns()
    except Exception:
        return None


def preloaded(environ: Mapping[str, str]) -> str:
    """Name what in the environment has programs run on a clock of their own; empty if nothing."""
    for name in ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES"):
        if "faketime" in environ.get(name, "").lower():
            return name
    return "FAKETIME" if environ.get("FAKETIME") else ""
