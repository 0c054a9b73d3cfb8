"""The machine that `doctor` runs on: platform, virtualization, and the programs that could set its clock."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from skewguard import _files
from skewguard.sources.auto import HostSources

_TOOLS = ("apk", "apt-get", "chronyc", "curl", "dnf", "systemctl", "timedatectl", "yum")


class Machine(NamedTuple):
    """The machine.

    Attributes:
        system: ``linux``, ``darwin`` or ``win32``, as in `sys.platform`.
        kind: ``wsl``, ``docker-desktop``, ``container``, ``lambda`` or ``raspberry-pi``; empty for any other.
        ec2: Whether it is an EC2 instance.
        systemd: Whether systemd manages its services.
        tools: The programs of interest that are installed.
    """

    system: str
    kind: str = ""
    ec2: bool = False
    systemd: bool = False
    tools: frozenset[str] = frozenset()

    @classmethod
    def detect(
        cls,
        environ: Mapping[str, str],
        root: str | Path = "/",
        system: str = sys.platform,
        which: Callable[[str], str | None] = shutil.which,
    ) -> Machine:
        """Detect the machine from a few files and variables."""
        top = Path(root)
        kernel = _files.text(top / "proc/sys/kernel/osrelease").lower()
        kind = ""
        if "AWS_LAMBDA_FUNCTION_NAME" in environ:
            kind = "lambda"
        elif "linuxkit" in kernel or "docker-desktop" in kernel:
            kind = "docker-desktop"
        elif _in_container(top, environ):
            kind = "container"
        elif "microsoft" in kernel:
            kind = "wsl"
        elif "raspberry pi" in _files.text(top / "proc/device-tree/model").lower():
            kind = "raspberry-pi"
        return cls(
            "linux" if system.startswith("linux") else system,
            kind,
            ec2=HostSources(top).on_ec2(),
            systemd=_files.exists(top / "run/systemd/system"),
            tools=frozenset(tool for tool in _TOOLS if which(tool)),
        )


def _in_container(top: Path, environ: Mapping[str, str]) -> bool:
    marks = (top / ".dockerenv", top / "run/.containerenv")
    return "KUBERNETES_SERVICE_HOST" in environ or any(map(_files.exists, marks))
