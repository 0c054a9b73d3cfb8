"""Findings about what keeps this host's clock: time daemons, kernel, systemd, hardware clock. Pure."""

from __future__ import annotations

from skewguard.cli.doctor.examination import Examination
from skewguard.cli.doctor.finding import MINUTE, Finding, Level, whole_hours
from skewguard.cli.doctor.ntpd import Ntpd
from skewguard.cli.survey import ClockOffset
from skewguard.interval import SECOND
from skewguard.sources.chrony_packet import Tracking
from skewguard.wording import length, off


def daemons(examination: Examination) -> list[Finding]:
    """Return which daemons run, and what they, the kernel and systemd report of the clock."""
    host = examination.host
    found = []
    if host.daemons is None:
        if examination.machine.system == "linux":
            found.append(Finding(Level.NOTE, "Time daemons cannot be seen from here.", "daemons-hidden"))
    elif host.daemons:
        found.append(Finding(Level.OK, f"Time daemons running: {', '.join(host.daemons)}.", "daemons-running"))
    else:
        text = "No time daemon is running (such as chronyd, ntpd or systemd-timesyncd)."
        found.append(Finding(Level.NOTE, text, "daemons-none"))
    wall = examination.survey.wall + (examination.kernel_ahead or 0)
    if (chrony := examination.chrony) is not None:
        server, ago = f"{chrony.ref_id:08X}", wall - chrony.ref_time
        found.append(_state(examination, "chronyd", chrony, "chronyc -n sources", server, chrony.correction, ago))
    if (ntpd := examination.ntpd) is not None:
        found.append(_state(examination, "ntpd", ntpd, "ntpq -pn", ntpd.refid, ntpd.offset, wall - ntpd.reftime))
    if host.synchronized is not None:
        within = f", within {length(host.max_error)} according to the program that set it" if host.max_error else ""
        found.append(
            Finding(Level.OK, f"The kernel reports the clock as synchronized{within}.", "kernel-synchronized")
            if host.synchronized
            else Finding(Level.NOTE, "The kernel reports the clock as not synchronized.", "kernel-unsynchronized")
        )
    if host.timesyncd_synchronized_at is not None:
        ago = examination.survey.wall - host.timesyncd_synchronized_at
        text = f"systemd-timesyncd last heard from its server {length(ago)} ago."
        found.append(Finding(Level.OK, text, "timesyncd-heard"))
    if host.timesyncd_saved_at is not None and host.timesyncd_saved_at - examination.survey.wall > MINUTE:
        later = length(host.timesyncd_saved_at - examination.survey.wall)
        text = f"The clock was set back: systemd has saved a time that is {later} later."
        found.append(Finding(Level.WARN, text, "clock-set-back"))
    return found


def _contradicts(measured: ClockOffset | None, offset: int) -> bool:
    """Return whether a measurement contradicts a daemon by which the clock is `offset` ns slow."""
    return measured is not None and abs(measured.offset - offset) > measured.bound + SECOND


def misled(examination: Examination) -> str:
    """Return the daemon that follows a server whose time is wrong; empty if none is known to."""
    chrony, ntpd, known = examination.chrony, examination.ntpd, examination.survey.estimate
    if chrony is not None and chrony.synchronized and _contradicts(known, chrony.correction):
        return "chronyd"
    if ntpd is not None and ntpd.synchronized and _contradicts(known, ntpd.offset):
        return "ntpd"
    return ""


def _state(
    examination: Examination, daemon: str, reported: Tracking | Ntpd, command: str, server: str, offset: int, ago: int
) -> Finding:
    """Format what a daemon reports of itself: the server as its own command prints it; offset and age in ns."""
    if not reported.synchronized:
        text = f"{daemon} is not synchronized. List its servers with: {command}"
        return Finding(Level.NOTE, text, "daemon-unsynchronized")
    if reported.local:
        return Finding(Level.NOTE, f"{daemon} follows its own clock, which nothing corrects.", "daemon-local")
    clock = f"{length(offset)} {'slow' if offset > 0 else 'fast'} of NTP time, last corrected {length(ago)} ago"
    text = f"{daemon} follows {server} (stratum {reported.stratum}): the clock is {clock}."
    survey = examination.survey
    if _contradicts(survey.estimate, offset):
        text += f" The time sources contradict it: that server's time is wrong. List its servers with: {command}"
        return Finding(Level.WARN, text, "daemon-misled")
    # Not chronyd itself, which is one of the sources.
    others = [
        one.name for one in survey.results if not one.name.startswith("chrony") and _contradicts(one.measured, offset)
    ]
    if survey.estimate is None and others:
        text += f" {', '.join(others)} contradicts it, and which is right is not known: name more sources."
        return Finding(Level.WARN, text, "daemon-doubtful")
    return Finding(Level.OK, text, "daemon-follows")


def hardware(examination: Examination) -> list[Finding]:
    """Return whether the hardware clock is right."""
    rtc, known = examination.rtc, examination.known
    if rtc is None:
        return []
    name = "Hardware clock" + {True: " (configured as local time)", False: " (configured as UTC)", None: ""}[rtc.local]
    if known is None:
        return [Finding(Level.NOTE, f"{name}: {length(rtc.ahead)} from the wall clock.", "rtc-unknown")]
    wrong = known.offset - rtc.ahead
    if rtc.local:
        wrong = min((wrong + zone for zone in examination.utc_offsets), key=abs)
    if abs(wrong) <= MINUTE + known.bound:
        return [Finding(Level.OK, f"{name}: right.", "rtc-right")]
    hours = whole_hours(wrong, known.bound + SECOND, examination.utc_offsets)
    mixed_up = f"; that is {hours}, so it seems to hold {'UTC' if rtc.local else 'local time'}" if hours else ""
    remedy = "timedatectl set-local-rtc 0" if hours else "sudo hwclock --systohc"
    text = f"{name}: {off(wrong)}{mixed_up}. Remedy, once the wall clock is right: {remedy}"
    return [Finding(Level.WARN, text, "rtc-wrong")]
