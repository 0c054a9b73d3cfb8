"""What `doctor` says of those that keep this host's clock: daemons, kernel, systemd, hardware. Pure."""

from __future__ import annotations

from skewguard.cli.finding import MINUTE, Finding, Level, truth, whole_hours
from skewguard.cli.ntpd import Ntpd
from skewguard.cli.report import Report
from skewguard.cli.words import length, off
from skewguard.interval import SECOND
from skewguard.sources.chrony_packet import Tracking


def daemons(report: Report) -> list[Finding]:
    """Say which daemons keep the clock, and what they, the kernel and systemd say of it."""
    host = report.host
    found = []
    if host.daemons is None:
        if report.place.system == "linux":
            found.append(Finding(Level.NOTE, "Daemons that keep the clock cannot be seen from here."))
    elif host.daemons:
        found.append(Finding(Level.OK, f"Keeping the clock: {', '.join(host.daemons)}."))
    else:
        found.append(Finding(Level.NOTE, "No daemon keeps this clock (no chronyd, ntpd or systemd-timesyncd runs)."))
    wall = report.survey.wall + (report.kernel_ahead or 0)
    if report.chrony is not None:
        found.append(_chrony(report.chrony, wall))
    if report.ntpd is not None:
        found.append(_ntpd(report.ntpd, wall))
    if host.synchronized is not None:
        error = f", within {length(host.max_error)} by its last setter's claim" if host.max_error else ""
        found.append(
            Finding(Level.OK, f"System clock synchronized: yes (says the kernel{error}).")
            if host.synchronized
            else Finding(Level.NOTE, "System clock synchronized: no (says the kernel).")
        )
    if host.timesyncd_synchronized_at is not None:
        ago = length(report.survey.wall - host.timesyncd_synchronized_at)
        found.append(Finding(Level.OK, f"systemd-timesyncd last heard from its server {ago} ago."))
    if host.timesyncd_saved_at is not None and host.timesyncd_saved_at - report.survey.wall > MINUTE:
        back = length(host.timesyncd_saved_at - report.survey.wall)
        found.append(Finding(Level.WARN, f"The clock was set back: systemd saved a time that is {back} later."))
    return found


def _chrony(said: Tracking, wall: int) -> Finding:
    """Put chronyd's tracking report as chronyc does, in a sentence."""
    if not said.synchronized:
        return Finding(Level.NOTE, "chronyd is not synchronized. Look at its servers with: chronyc -n sources")
    if said.local:
        return Finding(Level.NOTE, "chronyd follows its own clock, which nothing corrects.")
    return _follows("chronyd", f"{said.ref_id:08X}", said.stratum, said.correction, wall - said.ref_time)


def _ntpd(said: Ntpd, wall: int) -> Finding:
    """Put ntpd's system variables likewise."""
    if not said.synchronized:
        return Finding(Level.NOTE, "ntpd is not synchronized. Look at its servers with: ntpq -pn")
    if said.local:
        return Finding(Level.NOTE, "ntpd follows its own clock, which nothing corrects.")
    return _follows("ntpd", said.refid, said.stratum, said.offset, wall - said.reftime)


def _follows(daemon: str, whom: str, stratum: int, offset: int, ago: int) -> Finding:
    by = f"{length(offset)} {'slow' if offset > 0 else 'fast'} of NTP time, last corrected {length(ago)} ago"
    return Finding(Level.OK, f"{daemon} follows {whom} (stratum {stratum}): the clock is {by}.")


def hardware(report: Report) -> list[Finding]:
    """Say whether the hardware clock is right."""
    rtc, known = report.rtc, truth(report)
    if rtc is None:
        return []
    holds = {True: ", said to hold local time", False: ", said to hold UTC", None: ""}[rtc.local]
    if known is None:
        return [Finding(Level.NOTE, f"Hardware clock{holds}: {length(rtc.ahead)} from the wall clock.")]
    wrong = known.offset - rtc.ahead
    if rtc.local:
        wrong = min((wrong + zone for zone in report.zone), key=abs)
    if abs(wrong) <= MINUTE + known.bound:
        return [Finding(Level.OK, f"Hardware clock{holds}: right.")]
    what = whole_hours(wrong, known.bound + SECOND, report.zone)
    mixed = f"; that is {what}, so it seems to hold {'UTC' if rtc.local else 'local time'}" if what else ""
    remedy = "timedatectl set-local-rtc 0" if what else "sudo hwclock --systohc, once the wall clock is right"
    return [Finding(Level.WARN, f"Hardware clock{holds}: {off(wrong)}{mixed}. Remedy: {remedy}")]
