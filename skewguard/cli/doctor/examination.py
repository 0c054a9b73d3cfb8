"""Examine this machine for `doctor`: everything that it reads, in one plain value. `diagnosis` interprets it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from skewguard import _files, host_clock
from skewguard import clocks as _clocks
from skewguard.cli import survey as _survey
from skewguard.cli.doctor import endpoint as _endpoint
from skewguard.cli.doctor import ntpd as _ntpd
from skewguard.cli.doctor.endpoint import EndpointClock
from skewguard.cli.doctor.machine import Machine
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.cli.survey import ClockOffset, Survey
from skewguard.clocks import Clocks
from skewguard.config import Settings
from skewguard.errors import SourceError
from skewguard.host_clock import HostClock
from skewguard.interval import SECOND
from skewguard.sources.chrony import ChronySource
from skewguard.sources.chrony_packet import Tracking

_TIMEOUT = SECOND // 2
_NANO = 0x2000  # STA_NANO: the fraction counts ns, not µs


class Rtc(NamedTuple):
    """The hardware clock, which runs while the machine is off.

    Attributes:
        ahead: The hardware clock, read as UTC, minus the wall clock, to a second, ns.
        local: Whether it is configured to hold local time; None if that is not recorded.
    """

    ahead: int
    local: bool | None = None


class Examination(NamedTuple):
    """Everything that was read. Only `survey` was checked against other sources; the rest may be wrong.

    Attributes:
        rtc: The hardware clock; None if it cannot be read.
        utc_offsets: Local time minus UTC, ns, now and in half a year.
        kernel_ahead: The kernel's clock minus this process's, ns; None if it cannot be read.
        preloaded: The variable that loads or configures libfaketime; empty if none.
        faked: The test library that fakes the clock in this process; empty if none.
        endpoint: An endpoint's clock, if one was read.
        chrony: What chronyd reports of itself; None if it does not run, or does not answer.
        ntpd: What ntpd reports of itself, likewise.
    """

    survey: Survey
    host: HostClock = HostClock()
    machine: Machine = Machine("linux")
    rtc: Rtc | None = None
    utc_offsets: tuple[int, ...] = (0,)
    kernel_ahead: int | None = None
    preloaded: str = ""
    faked: str = ""
    endpoint: EndpointClock | None = None
    chrony: Tracking | None = None
    ntpd: Ntpd | None = None

    @property
    def known(self) -> ClockOffset | None:
        """How far the wall clock is off: by the sources, else by an AWS endpoint."""
        other = self.endpoint
        if self.survey.estimate is None and other is not None and other.utc and other.offset is not None:
            return ClockOffset(other.offset, other.bound, other.url, authenticated=True)
        return self.survey.estimate


def examine(settings: Settings, url: str | None) -> Examination:
    """Read everything. Sends NTP packets to the sources that are NTP servers, and a HEAD to `url`, if given."""
    clocks = _clocks.system()
    survey = _survey.ask(settings, all_sources=True, clocks=clocks)
    host = host_clock.inspect()
    daemons = host.daemons or ()
    return Examination(
        survey=survey,
        host=host,
        machine=Machine.detect(os.environ),
        rtc=hardware_clock("/", time.time_ns()),
        utc_offsets=utc_offsets(time.time()),
        kernel_ahead=_kernel_ahead(),
        preloaded=preloaded(os.environ),
        faked=_clocks.faked() or "",
        endpoint=None if url is None else _endpoint.read_clock(url, clocks),
        chrony=_chrony(settings, clocks) if "chronyd" in daemons else None,
        ntpd=_ntpd.ask() if "ntpd" in daemons else None,
    )


def _chrony(settings: Settings, clocks: Clocks) -> Tracking | None:
    """Ask chronyd for its state: the one that is a source, else the one at the usual address."""
    named = [source for source in _survey.sources(settings) if isinstance(source, ChronySource)]
    try:
        return (named or [ChronySource()])[0].tracking(clocks, clocks.read().steady + _TIMEOUT)
    except SourceError:
        return None


def hardware_clock(root: str | Path, wall: int) -> Rtc | None:
    """Read Linux's first hardware clock, from the files that need no privileges; the wall clock in ns."""
    try:
        shown = int(_files.text(Path(root) / "sys/class/rtc/rtc0/since_epoch"))
    except ValueError:
        return None
    mode = (*_files.text(Path(root) / "etc/adjtime").splitlines(), "", "", "")[2].strip()
    ahead = shown * SECOND + SECOND // 2 - wall
    return Rtc(ahead, {"LOCAL": True, "UTC": False}.get(mode))


def utc_offsets(now: float) -> tuple[int, ...]:
    """Return local time minus UTC, ns, now and in half a year (daylight saving time)."""
    try:
        return tuple({(time.localtime(at).tm_gmtoff or 0) * SECOND for at in (now, now + 182 * 86_400)})
    except (OSError, OverflowError, ValueError):
        return (0,)


def kernel_time(data: bytes) -> int:
    """Parse the time that ``adjtimex`` returned, ns since the Unix epoch. ValueError if the data has the wrong size."""
    if len(data) != host_clock.TIMEX.size:
        raise ValueError(f"struct timex has {host_clock.TIMEX.size} bytes, not {len(data)}")
    fields = host_clock.TIMEX.unpack(data)
    return int(fields[9]) * SECOND + int(fields[10]) * (1 if fields[5] & _NANO else 1000)


def _kernel_ahead() -> int | None:
    """Compare the kernel's clock with this process's: libfaketime does not intercept ``adjtimex``."""
    try:
        answer = host_clock.ask_kernel()
        return None if answer is None else kernel_time(answer[1]) - time.time_ns()
    except Exception:
        return None


def preloaded(environ: Mapping[str, str]) -> str:
    """Return the variable that makes programs run on a faked clock; empty if none."""
    for name in ("LD_PRELOAD", "DYLD_INSERT_LIBRARIES"):
        if "faketime" in environ.get(name, "").lower():
            return name
    return "FAKETIME" if environ.get("FAKETIME") else ""
