"""A ClockBound segment as its daemon writes it, VMClock's page, and a host that has both and a clock to move."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skewguard.interval import SECOND, Interval
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.testing import FakeClocks

MS = 1_000_000
MONO_ZERO = 500 * SECOND
"""How far the fake CLOCK_MONOTONIC is behind the fake steady clock, so that mixing them shows."""
FOREVER = 2**62


@dataclass(frozen=True)
class Segment:
    """A segment as the daemon writes it, with anything that a test wants different."""

    magic: tuple[int, int] = (0x414D5A4E, 0x43420200)
    size: int | None = None
    version: int = 2
    oldest: int = 0
    generation: int = 2
    as_of: tuple[int, int] = (500, 0)
    void_after: tuple[int, int] = (1500, 0)
    bound: int = MS
    marker: int = 0
    drift: int = 50_000
    status: int = 1
    vmclock: int = 0

    def __bytes__(self) -> bytes:
        """Lay it out: 72 bytes in version 1, 80 in version 2, 104 in version 3."""
        times = (*self.as_of, *self.void_after)
        if self.version == 1:
            body = struct.pack("=qqqqqIIi4x", *times, self.bound, self.drift, 0, self.status)
        elif self.version == 3:
            rest = (self.bound, self.marker, self.drift, self.status, self.vmclock)
            body = struct.pack("=QqqqqQQqQIiBBB5x", 2**64 - 1, *times, 2**64 - 1, 2**64 - 1, *rest, 31, 10)
        else:
            body = struct.pack("=qqqqqQIiB7x", *times, self.bound, self.marker, self.drift, self.status, self.vmclock)
        size = 16 + len(body) if self.size is None else self.size
        word = (self.oldest or (self.version == 3) * 3) << 8 | self.version
        return struct.pack("=IIIHH", *self.magic, size, word, self.generation) + body


def vmclock(marker: int = 7, *, magic: int = 0x4B4C4356, size: int = 104, version: int = 1, seq: int = 2) -> bytes:
    return struct.pack("<IIHBBIQ", magic, size, version, 1, 0, seq, marker) + bytes(80)


class Host:
    """A host with a segment, clocks that move when told, and a VMClock if wanted."""

    def __init__(self, folder: Path) -> None:
        self.clocks = FakeClocks()
        self.path = folder / "shm0"
        self.vmclock = folder / "vmclock0"
        self.source = ClockBoundSource(str(self.path), vmclock=str(self.vmclock), monotonic=self.monotonic)
        self.suspended = 0
        self.write()

    def monotonic(self) -> int:
        return self.clocks.steady - MONO_ZERO - self.suspended

    def write(self, segment: Segment | None = None, *, age: float = 0, **changes: Any) -> None:
        """Let the daemon speak, of the present unless told, and as if it had never said anything else."""
        as_of = self.monotonic() - int(age * SECOND)
        stamps = {"as_of": divmod(as_of, SECOND), "void_after": (as_of // SECOND + 1000, 0)}
        self.path.write_bytes(bytes(replace(segment or Segment(), **{**stamps, **changes})))

    def measure(self) -> Interval:
        return self.source.measure(self.clocks, FOREVER)
