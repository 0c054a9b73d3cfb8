"""Findings about what keeps this host's clock: time daemons, kernel, systemd, hardware clock. Pure."""

from __future__ import annotations

from skewguard.cli.doctor.examination import Examination
from skewguard.cli.doctor.finding import MINUTE, Finding, Level, whole_hours
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.interval import SECOND
from skewguard.sources.chrony_packet import Tracking
from skewguard.wording import length, off


def daemons(examination: Examination) -> list[Finding]:
    """Return which daemons run, and what they, the kernel and systemd report of the clock."""
    host = examination.host
    found = []
    if host.daemons is None:
        if examination.machine.system == "linux":
            found.append(Finding(Level.NOTE, "Time daemons cannot be seen from here."))
    elif host.daemons:
        found.append(Finding(Level.OK, f"Time daemons running: {', '.join(host.daemons)}."))
    else:
        found.append(Finding(Level.NOTE, "No time daemon is running (such as chronyd, ntpd or systemd-timesyncd)."))
    wall = examination.survey.wall + (examination.kernel_ahead or 0)
    if (chrony := examination.chrony) is not None:
        server, ago = f"{chrony.ref_id:08X}", wall - chrony.ref_time
        found.append(_state("chronyd", chrony, "chronyc -n sources", server, chrony.correction, ago))
    if (ntpd := examination.ntpd) is not None:
        found.append(_state("ntpd", ntpd, "ntpq -pn", ntpd.refid, ntpd.offset, wall - ntpd.reftime))
    if host.synchronized is not None:
        within = f", within {length(host.max_error)} according to the program that set it" if host.max_error else ""
        found.append(
            Finding(Level.OK, f"The kernel reports the clock as synchronized{within}.")
            if host.synchronized
            else Finding(Level.NOTE, "The kernel reports the clock as not synchronized.")
        )
    if host.timesyncd_synchronized_at is not None:
        ago = examination.survey.wall - host.timesyncd_synchronized_at
        found.append(Finding(Level.OK, f"systemd-timesyncd last heard from its server {length(ago)} ago."))
    if host.timesyncd_saved_at is not None and host.timesyncd_saved_at - examination.survey.wall > MINUTE:
        later = length(host.timesyncd_saved_at - examination.survey.wall)
        found.append(Finding(Level.WARN, f"The clock was set back: systemd has saved a time that is {later} later."))
    return found


def _state(daemon: str, reported: Tracking | Ntpd, command: str, server: str, offset: int, ago: int) -> Finding:
    """Format what a daemon reports of itself: the server as its own command prints it; offset and age in ns."""
    if not reported.synchronized:
        return Finding(Level.NOTE, f"{daemon} is not synchronized. List its servers with: {command}")
    if reported.local:
        return Finding(Level.NOTE, f"{daemon} follows its own clock, which nothing corrects.")
    clock = f"{length(offset)} {'slow' if offset > 0 else 'fast'} of NTP time, last corrected {length(ago)} ago"
    return Finding(Level.OK, f"{daemon} follows {server} (stratum {reported.stratum}): the clock is {clock}.")


def hardware(examination: Examination) -> list[Finding]:
    """Return whether the hardware clock is right."""
    rtc, known = examination.rtc, examination.known
    if rtc is None:
        return []
    name = "Hardware clock" + {True: " (configured as local time)", False: " (configured as UTC)", None: ""}[rtc.local]
    if known is None:
        return [Finding(Level.NOTE, f"{name}: {length(rtc.ahead)} from the wall clock.")]
    wrong = known.offset - rtc.ahead
    if rtc.local:
        wrong = min((wrong + zone for zone in examination.utc_offsets), key=abs)
    if abs(wrong) <= MINUTE + known.bound:
        return [Finding(Level.OK, f"{name}: right.")]
    hours = whole_hours(wrong, known.bound + SECOND, examination.utc_offsets)
    mixed_up = f"; that is {hours}, so it seems to hold {'UTC' if rtc.local else 'local time'}" if hours else ""
    remedy = "timedatectl set-local-rtc 0" if hours else "sudo hwclock --systohc, once the wall clock is right"
    return [Finding(Level.WARN, f"{name}: {off(wrong)}{mixed_up}. Remedy: {remedy}")]
