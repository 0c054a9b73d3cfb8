"""What `doctor` says of those that keep this host's clock: daemons, kernel, systemd, hardware. Pure."""

from __future__ import annotations

from skewguard.cli.doctor.examination import Report
from skewguard.cli.doctor.finding import MINUTE, Finding, Level, truth, whole_hours
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.interval import SECOND
from skewguard.sources.chrony_packet import Tracking
from skewguard.wording import length, off


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
    if (chrony := report.chrony) is not None:
        whom, corrected = f"{chrony.ref_id:08X}", wall - chrony.ref_time
        found.append(_follows("chronyd", chrony, "chronyc -n sources", whom, chrony.correction, corrected))
    if (ntpd := report.ntpd) is not None:
        found.append(_follows("ntpd", ntpd, "ntpq -pn", ntpd.refid, ntpd.offset, wall - ntpd.reftime))
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


def _follows(daemon: str, said: Tracking | Ntpd, look: str, whom: str, offset: int, corrected: int) -> Finding:
    """Put what a daemon reports of itself in a sentence, as its own command does in a table.

    Args:
        daemon: Its name.
        said: Its report.
        look: The command that shows its servers.
        whom: Whom it follows, as that prints it.
        offset: True time minus the clock, as it last found, ns.
        corrected: How long ago it last corrected the clock, ns.
    """
    if not said.synchronized:
        return Finding(Level.NOTE, f"{daemon} is not synchronized. Look at its servers with: {look}")
    if said.local:
        return Finding(Level.NOTE, f"{daemon} follows its own clock, which nothing corrects.")
    by = f"{length(offset)} {'slow' if offset > 0 else 'fast'} of NTP time, last corrected {length(corrected)} ago"
    return Finding(Level.OK, f"{daemon} follows {whom} (stratum {said.stratum}): the clock is {by}.")


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
