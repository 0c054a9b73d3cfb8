"""Choose the commands that set this machine's clock, for people to type. Runs none of them. Pure."""

from __future__ import annotations

from typing import NamedTuple

from skewguard.assessment import WARN_FROM
from skewguard.cli.doctor import diagnosis
from skewguard.cli.doctor.daemons import misled
from skewguard.cli.doctor.examination import Examination
from skewguard.cli.doctor.finding import DAY
from skewguard.cli.doctor.machine import Machine

_INSTALLERS = (
    ("apt-get", "sudo apt-get install -y chrony"),
    ("dnf", "sudo dnf install -y chrony"),
    ("yum", "sudo yum install -y chrony"),
    ("apk", "sudo apk add chrony"),
)
_SET_BY_HTTPS = (
    "now=$(curl -sI https://aws.amazon.com | sed -n 's/^[Dd]ate: //p' | tr -d '\\r')",
    'sudo date -u -s "${now:?curl received no Date}"',  # an empty string would be midnight
)


class Remedy(NamedTuple):
    """How to set a clock.

    Attributes:
        where: Where to type the commands, and what they do.
        then: How to prevent it from happening again; may be empty.
    """

    where: str
    commands: tuple[str, ...]
    then: str = ""


_MISLED = {
    "chronyd": Remedy(
        "chronyd follows a server whose time is wrong, and would set the clock wrong again. Find the server:",
        ("chronyc -n sources",),
        "Remove it from chrony.conf, restart chronyd, and set the clock with: sudo chronyc makestep",
    ),
    "ntpd": Remedy(
        "ntpd follows a server whose time is wrong, and would set the clock wrong again. Find the server:",
        ("ntpq -pn",),
        "Remove it from ntp.conf, and restart ntpd.",
    ),
}


def advise(examination: Examination) -> list[str]:
    """Return lines that say what to do; none if this host's clock is right."""
    known = examination.known
    if examination.faked:
        return ["", f"Call AWS outside the block in which {examination.faked} freezes the clock."]
    if known is not None and known.most <= WARN_FROM:
        return []
    if diagnosis.faked_only(examination):
        advice = "This host's clock is right. Run the program without the library that fakes its clock"
        if not (name := examination.preloaded):
            return ["", f"{advice}."]
        return [
            "",
            f"{advice}:",
            f"    env {' '.join(f'-u {one}' for one in dict.fromkeys((name, 'LD_PRELOAD')))} COMMAND",
        ]
    if known is None:
        return _find_out(examination)
    remedy = _remedy(examination)
    lines = ["", "What to do:", remedy.where, *(f"    {command}" for command in remedy.commands)]
    if remedy.then:
        lines.append(remedy.then)
    if examination.machine.kind != "lambda":
        unless = ", unless TLS fails first" if known.least >= DAY else ""
        way = "skewguard.install() or `skewguard exec -- COMMAND`"
        lines.append(f"Until then, {way} makes AWS calls from Python succeed{unless}.")
    return lines


def _find_out(examination: Examination) -> list[str]:
    """Return how to learn whether the clock is wrong: one that was not found wrong must not be set."""
    named = "another time source" if examination.survey.results else "a time source"
    return [
        "",
        "Nothing shows that the clock is wrong, so leave it as it is. To find out:",
        f"Name {named} that this host reaches, or an AWS endpoint:",
        "    skewguard doctor --source ntp://time.aws.com",
        "    skewguard doctor --endpoint sts.amazonaws.com",
        "Or compare with a clock that you trust:",
        "    date -u",
    ]


def commands(examination: Examination) -> list[str]:
    """Return the commands that set the clock; none if it was not found wrong, or is only faked in this process."""
    if examination.known is None or not advise(examination) or examination.faked or diagnosis.faked_only(examination):
        return []
    return list(_remedy(examination).commands)


def _remedy(examination: Examination) -> Remedy:
    if daemon := misled(examination):
        return _MISLED[daemon]
    return choose(examination.machine, examination.host.daemons, blocked=diagnosis.blocked(examination))


def choose(machine: Machine, daemons: tuple[str, ...] | None, *, blocked: bool = False) -> Remedy:
    """Choose the remedy for a machine, and the time daemons that run, as `skewguard.host_clock` names them.

    If NTP seems to be blocked, a daemon cannot help.
    """
    if machine.system == "win32":
        return Remedy(
            "In a console opened as administrator:",
            ("net start w32time", "w32tm /resync /force"),
            "To keep it right: sc config w32time start= auto",
        )
    if machine.system == "darwin":
        return Remedy(
            "In a terminal:",
            ("sudo sntp -sS time.apple.com",),
            "To keep it right: sudo systemsetup -setusingnetworktime on",
        )
    if machine.kind:
        return _special(machine, daemons, blocked)
    return _linux(machine, daemons, blocked)


def _special(machine: Machine, daemons: tuple[str, ...] | None, blocked: bool) -> Remedy:
    match machine.kind:
        case "lambda":
            return Remedy(
                "The clock of a Lambda function cannot be set. In the function's code:", ("skewguard.install()",)
            )
        case "docker-desktop":
            return Remedy(
                "The clock is that of Docker Desktop's virtual machine, which stops while the computer sleeps. "
                "Restart Docker Desktop, or in a terminal of the computer:",
                ("docker run --rm --privileged alpine hwclock -s",),
            )
        case "container":
            return Remedy(
                "A container shares its host's clock. On the host (not here), if that is Linux with chrony:",
                ("sudo chronyc makestep",),
                "Run `skewguard doctor` on the host for the command that is right there.",
            )
        case "wsl":
            return Remedy(
                "WSL's virtual machine stops while Windows sleeps. Here:",
                ("sudo hwclock -s",),
                "If that does not help, in a Windows console: wsl.exe --shutdown. If Windows' own clock is wrong: "
                "w32tm /resync /force, as administrator.",
            )
    usual = _linux(machine, daemons, blocked)
    return usual._replace(
        then="Most Raspberry Pis have no clock that runs while they are off. Delay the services that need the time: "
        "sudo systemctl enable systemd-time-wait-sync, and After=time-sync.target in their units; or use "
        "skewguard.install(wait=30).",
    )


def _linux(machine: Machine, daemons: tuple[str, ...] | None, blocked: bool) -> Remedy:
    running = daemons or ()
    if blocked and not machine.ec2 and "curl" in machine.tools:
        return Remedy(
            "NTP does not get through here. To take the time from HTTPS instead, to about a second:",
            _SET_BY_HTTPS,
            "To keep it right: allow outgoing UDP port 123, or configure the daemon with your network's NTP server.",
        )
    if "chronyd" in running:
        then = "List its servers with: chronyc -n sources"
        if machine.ec2:
            then = "Its configuration should have the line `server 169.254.169.123 prefer iburst`."
        return Remedy("chronyd is running. To make it set the clock at once:", ("sudo chronyc makestep",), then)
    if "systemd-timesyncd" in running:
        return Remedy(
            "systemd-timesyncd is running. To make it ask its server again, and set the clock:",
            ("sudo systemctl restart systemd-timesyncd",),
            "Show its state with: timedatectl timesync-status",
        )
    if "ntpd-rs" in running:
        return Remedy(
            "ntpd-rs is running. It sets a clock that is far off only when it starts:",
            ("sudo systemctl restart ntpd-rs",),
        )
    if "ntpd" in running:
        return Remedy(
            "ntpd is running. It sets a clock that is more than 1000 s off only if started with -g:",
            ("sudo service ntp stop", "sudo ntpd -gq", "sudo service ntp start"),
            "The service may be called ntpd or ntpsec. List its servers with: ntpq -pn",
        )
    if "phc2sys" in running:
        return Remedy("phc2sys is running. It sets the clock when it starts:", ("sudo systemctl restart phc2sys",))
    installer = next((command for tool, command in _INSTALLERS if tool in machine.tools), None)
    if machine.systemd and "timedatectl" in machine.tools:
        then = "If it answers that NTP is not supported, install a time daemon"
        return Remedy(
            "No time daemon was found. To switch one on:",
            ("sudo timedatectl set-ntp true",),
            f"{then}: {installer}" if installer else f"{then}, such as chrony.",
        )
    set_once = ("sudo chronyd -q 'pool pool.ntp.org iburst'",)
    return Remedy(
        "No time daemon was found. To set the clock once, with chrony:",
        (installer, *set_once) if installer and "chronyc" not in machine.tools else set_once,
        "To keep it right, keep chronyd running.",
    )
