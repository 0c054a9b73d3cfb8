"""What this host has: the sources that are asked where nobody has named any.

Nothing is sent to find out, and nobody but root need look: a daemon shows itself by what it puts under ``/run``, a
clock by the kernel's list of devices, and an EC2 instance by what its firmware says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from skewguard import _late_imports
from skewguard.sources import Source, from_uri

LINK_LOCAL = ("ntp://169.254.169.123", "ntp://[fd00:ec2::123]")
"""Amazon Time Sync, as an EC2 instance reaches it."""

PUBLIC = "ntp://time.aws.com"
"""Amazon Time Sync, as everybody else does."""

_DAEMONS = (
    ("clockbound", "var/run/clockbound"),
    ("clockboundd", "run/clockboundd/clockboundd.sock"),
)
_CHRONYD = ("run/chrony", "var/run/chrony")
_FIRMWARE = (  # and what stands there on EC2
    ("sys/devices/virtual/dmi/id/sys_vendor", "amazon ec2"),  # Nitro, and bare metal
    ("sys/devices/virtual/dmi/id/bios_version", "*amazon"),  # Xen: 4.11.amazon
    ("sys/hypervisor/uuid", "ec2*"),  # Xen, older
)


class HostSources:
    """Finds this host's sources, cheapest first. What it has made it keeps, with what it remembers of servers."""

    def __init__(self, root: str | Path = "/") -> None:
        """Prepare.

        Args:
            root: Where the host's files are; for tests.
        """
        self._root = Path(root)
        self._made: dict[str, Source] = {}

    def tiers(self) -> list[tuple[Source, ...]]:
        """List what there is now, each to be asked only where those before it have told nothing."""
        return [(self._source(uri),) for uri in self.uris()]

    def uris(self) -> Iterator[str]:
        """Name them."""
        for uri, path in _DAEMONS:
            if self._exists(path):
                yield uri
        clock = self._hardware_clock()
        if clock:
            yield f"phc:{clock}"
        if any(self._exists(path) for path in _CHRONYD):
            yield "chrony"
        if self.on_ec2():
            yield from LINK_LOCAL
        yield PUBLIC

    def on_ec2(self) -> bool:
        """Tell whether the host is an EC2 instance, as far as its firmware shows."""
        return any(fnmatchcase(self._text(path).lower(), pattern) for path, pattern in _FIRMWARE)

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
        if self._exists("dev/ptp_ena"):
            return "/dev/ptp_ena"
        with _late_imports.importing:
            from skewguard.sources.phc import UTC_CLOCKS

        for device in found:
            if self._text(device / "clock_name").startswith(UTC_CLOCKS) and self._exists(f"dev/{device.name}"):
                return f"/dev/{device.name}"
        return None

    def _exists(self, path: str) -> bool:
        try:
            return (self._root / path).exists()
        except OSError:
            return False

    def _text(self, path: str | Path) -> str:
        try:
            return (self._root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""
