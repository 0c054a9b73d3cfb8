"""Where this runs, and what sets its clock right there: the exact command, for people to type. Runs none of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from skewguard.sources.auto import HostSources

_TOOLS = ("apk", "apt-get", "chronyc", "curl", "dnf", "systemctl", "timedatectl", "yum")
_INSTALLERS = (
    ("apt-get", "sudo apt-get install -y chrony"),
    ("dnf", "sudo dnf install -y chrony"),
    ("yum", "sudo yum install -y chrony"),
    ("apk", "sudo apk add chrony"),
)
_SERVED_BY_HTTPS = (
    "now=$(curl -sI https://aws.amazon.com | sed -n 's/^[Dd]ate: //p' | tr -d '\\r')",
    'sudo date -u -s "${now:?curl has heard nothing}"',  # an empty string would be midnight
)


class Place(NamedTuple):
    """Where this runs.

    Attributes:
        system: ``linux``, ``darwin`` or ``win32``, as `sys.platform` has it.
        kind: What is special about it: ``wsl``, ``docker-desktop``, ``container``, ``lambda``, ``raspberry-pi``, or
            nothing.
        ec2: Whether it is an EC2 instance.
        systemd: Whether systemd runs it.
        tools: Which programs of interest there are.
    """

    system: str
    kind: str = ""
    ec2: bool = False
    systemd: bool = False
    tools: frozenset[str] = frozenset()


class Fix(NamedTuple):
    """What to do.

    Attributes:
        where: Where to type it, and what it does.
        commands: What to type.
        then: How to keep it from happening again; may be empty.
    """

    where: str
    commands: tuple[str, ...]
    then: str = ""


def look(
    environ: Mapping[str, str],
    root: str | Path = "/",
    system: str = sys.platform,
    which: Callable[[str], str | None] = shutil.which,
) -> Place:
    """See where this runs, by a few files and variables."""
    top = Path(root)
    kernel = _text(top / "proc/sys/kernel/osrelease").lower()
    kind = ""
    if "AWS_LAMBDA_FUNCTION_NAME" in environ:
        kind = "lambda"
    elif "linuxkit" in kernel or "docker-desktop" in kernel:
        kind = "docker-desktop"
    elif _in_container(top, environ):
        kind = "container"
    elif "microsoft" in kernel:
        kind = "wsl"
    elif "raspberry pi" in _text(top / "proc/device-tree/model").lower():
        kind = "raspberry-pi"
    return Place(
        "linux" if system.startswith("linux") else system,
        kind,
        ec2=HostSources(top).on_ec2(),
        systemd=_is(top / "run/systemd/system"),
        tools=frozenset(tool for tool in _TOOLS if which(tool)),
    )


def _in_container(top: Path, environ: Mapping[str, str]) -> bool:
    return "KUBERNETES_SERVICE_HOST" in environ or _is(top / ".dockerenv") or _is(top / "run/.containerenv")


def _is(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def fix(place: Place, daemons: tuple[str, ...] | None, *, blocked: bool = False) -> Fix:
    """Say what sets the clock right here.

    Args:
        place: Where this is.
        daemons: Which daemons keep the clock, as `skewguard.host_clock` names them; None if that cannot be seen.
        blocked: Whether NTP seems to be blocked, so that a daemon could not help.
    """
    if place.system == "win32":
        return Fix(
            "In a console opened as administrator:",
            ("net start w32time", "w32tm /resync /force"),
            "To have it kept right: sc config w32time start= auto",
        )
    if place.system == "darwin":
        return Fix(
            "In a terminal:",
            ("sudo sntp -sS time.apple.com",),
            "To have it kept right: sudo systemsetup -setusingnetworktime on",
        )
    if place.kind:
        return _special(place, daemons, blocked)
    return _linux(place, daemons, blocked)


def _special(place: Place, daemons: tuple[str, ...] | None, blocked: bool) -> Fix:
    match place.kind:
        case "lambda":
            return Fix(
                "Nobody can set the clock of a Lambda function. In the function's code:", ("skewguard.install()",)
            )
        case "docker-desktop":
            return Fix(
                "The clock is that of Docker Desktop's virtual machine, which stood still while the computer slept. "
                "Restart Docker Desktop, or in a terminal of the computer:",
                ("docker run --rm --privileged alpine hwclock -s",),
            )
        case "container":
            return Fix(
                "A container has its host's clock. On the host (not here), if that is Linux with chrony:",
                ("sudo chronyc makestep",),
                "Run `skewguard doctor` on the host for the command that is right there.",
            )
        case "wsl":
            return Fix(
                "The virtual machine of WSL stood still while Windows slept. Here:",
                ("sudo hwclock -s",),
                "If that does not help, in a Windows console: wsl.exe --shutdown. If Windows' own clock is wrong: "
                "w32tm /resync /force, as administrator.",
            )
    usual = _linux(place, daemons, blocked)
    return usual._replace(
        then="Most Raspberry Pis have no clock that runs while they are off. Have what needs the time start after it "
        "is known: sudo systemctl enable systemd-time-wait-sync, and After=time-sync.target in its unit; or "
        "skewguard.install(wait=30).",
    )


def _linux(place: Place, daemons: tuple[str, ...] | None, blocked: bool) -> Fix:
    running = daemons or ()
    if blocked and not place.ec2 and "curl" in place.tools:
        return Fix(
            "NTP does not get through here, so the time must come another way. By HTTPS, to a second or so:",
            _SERVED_BY_HTTPS,
            "To have it kept right: open UDP port 123 outwards, or name your network's own NTP server to the daemon.",
        )
    if "chronyd" in running:
        then = "Look at its servers with: chronyc -n sources"
        if place.ec2:
            then = "It should have the line `server 169.254.169.123 prefer iburst` in its configuration."
        return Fix("chronyd runs. Have it set the clock at once:", ("sudo chronyc makestep",), then)
    if "systemd-timesyncd" in running:
        return Fix(
            "systemd-timesyncd runs. Have it ask again, and set the clock:",
            ("sudo systemctl restart systemd-timesyncd",),
            "Look at it with: timedatectl timesync-status",
        )
    if "ntpd-rs" in running:
        return Fix(
            "ntpd-rs runs. It sets a clock that is far off only as it starts:", ("sudo systemctl restart ntpd-rs",)
        )
    if "ntpd" in running:
        return Fix(
            "ntpd runs. It does not set a clock that is more than 1000 s off unless it is told to:",
            ("sudo service ntp stop", "sudo ntpd -gq", "sudo service ntp start"),
            "The service may be called ntpd or ntpsec. Look at its servers with: ntpq -pn",
        )
    if "phc2sys" in running:
        return Fix("phc2sys runs. It sets the clock as it starts:", ("sudo systemctl restart phc2sys",))
    if place.systemd and "timedatectl" in place.tools:
        then = "If it answers that NTP is not supported, install a daemon"
        installer = _installer(place)
        return Fix(
            "No daemon that keeps the clock was seen. Switch one on:",
            ("sudo timedatectl set-ntp true",),
            f"{then}: {installer}" if installer else f"{then}, such as chrony.",
        )
    install = _installer(place)
    commands = ("sudo chronyd -q 'pool pool.ntp.org iburst'",)
    return Fix(
        "No daemon that keeps the clock was seen. Set it once, with chrony:",
        (install, *commands) if install and "chronyc" not in place.tools else commands,
        "To have it kept right, have chronyd run.",
    )


def _installer(place: Place) -> str | None:
    return next((command for tool, command in _INSTALLERS if tool in place.tools), None)
