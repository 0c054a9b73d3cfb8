"""The sources that this host has, used where the settings name none.

Finding them sends nothing, and needs no root: a daemon shows by its files under ``/run``, a clock by the kernel's list
of devices, and an EC2 instance by what its firmware states.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from skewguard import _aws_profile, _files, _late_imports
from skewguard.sources import Source, from_uri

LINK_LOCAL = ("ntp://169.254.169.123", "ntp://[fd00:ec2::123]")
"""Amazon Time Sync, as an EC2 instance reaches it."""

PUBLIC = "ntp://time.aws.com"
"""Amazon Time Sync, as any other host reaches it."""

_REGION = r"[a-z]{2,4}(-[a-z]+){1,3}-\d{1,2}"
_SECRET = ("us-iso", "eu-iso")  # regions that other networks cannot reach
_SUFFIXES = {"cn": "amazonaws.com.cn", "eusc": "amazonaws.eu"}  # by the beginning of a region's name

_DAEMONS = (("clockbound", "var/run/clockbound"), ("clockboundd", "run/clockboundd/clockboundd.sock"))
_CHRONYD = ("run/chrony", "var/run/chrony")
_FIRMWARE = (  # and its content on EC2
    ("sys/devices/virtual/dmi/id/sys_vendor", "amazon ec2"),  # Nitro, and bare metal
    ("sys/devices/virtual/dmi/id/bios_version", "*amazon"),  # Xen: 4.11.amazon
    ("sys/hypervisor/uuid", "ec2*"),  # Xen, older
)


class HostSources:
    """Finds this host's sources, cheapest first. Sources once made are kept, with what they remember of servers."""

    def __init__(self, root: str | Path = "/") -> None:
        """Find nothing yet. `root` is the directory of the host's files, for tests."""
        self._root = Path(root)
        self._made: dict[str, Source] = {}
        self._endpoint: str | None = None

    def tiers(self) -> list[tuple[Source, ...]]:
        """List the sources that there are now, each to be asked only if those before it gave no time."""
        return [(self._source(uri),) for uri in self.uris()]

    def uris(self) -> Iterator[str]:
        """List their URIs."""
        for uri, path in _DAEMONS:
            if _files.exists(self._root / path):
                yield uri
        clock = self._hardware_clock()
        if clock:
            yield f"phc:{clock}"
        if any(_files.exists(self._root / path) for path in _CHRONYD):
            yield "chrony"
        if self.on_ec2():
            yield from LINK_LOCAL
        yield PUBLIC
        if self._endpoint is None:  # once, because the profile may have to be parsed
            self._endpoint = regional_endpoint(os.environ) or ""
        if self._endpoint:
            yield self._endpoint

    def on_ec2(self) -> bool:
        """Return whether the host is an EC2 instance, as far as its firmware shows."""
        return any(fnmatchcase(_files.text(self._root / path).strip().lower(), pattern) for path, pattern in _FIRMWARE)

    def _source(self, uri: str) -> Source:
        if uri not in self._made:
            self._made[uri] = from_uri(uri)
        return self._made[uri]

    def _hardware_clock(self) -> str | None:
        """Find the device of a PTP hardware clock that is known to show UTC."""
        try:
            found = sorted((self._root / "sys/class/ptp").iterdir())
        except OSError:
            return None
        if _files.exists(self._root / "dev/ptp_ena"):
            return "/dev/ptp_ena"
        with _late_imports.importing:
            from skewguard.sources.phc import UTC_CLOCKS

        for device in found:
            named = _files.text(device / "clock_name").strip()
            if named.startswith(UTC_CLOCKS) and _files.exists(self._root / "dev" / device.name):
                return f"/dev/{device.name}"
        return None


def regional_endpoint(environ: Mapping[str, str]) -> str | None:
    """Return the URI of STS in the process's region, as environment or profile name it; None if it is a secret one.

    It is asked last, because it costs a TLS handshake. Its region is the caller's, so that networks which let nothing
    but a VPC endpoint through have it.
    """
    named = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or _aws_profile.read("region", environ)
    region = named if isinstance(named, str) and re.fullmatch(_REGION, named) else "us-east-1"
    if region.startswith(_SECRET):
        return None
    return f"https://sts.{region}.{_SUFFIXES.get(region.partition('-')[0], 'amazonaws.com')}"
