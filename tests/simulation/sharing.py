"""The file that the processes of the simulated host share, and how it may be damaged.

`shared_file` is real, apart from the file system and the boot's name, and decides what to believe. The oracle knows
more: the file is sound if a process of this boot wrote all of it and nothing has changed it since. Then each entry goes
back to what its writer had learned.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from skewguard.clocks import Clocks, Reading
from skewguard.errors import StoreError
from skewguard.interval import SECOND, Interval, Trust
from skewguard.timekeeping.domain import UTC
from skewguard.timekeeping.shared_file import Contents, Disk, Store, render

if TYPE_CHECKING:
    from tests.simulation.callers import Program
    from tests.simulation.oracle import Shared

SPOILED = ("torn", "altered", "empty", "another host's", "gone")
"""How the file may be damaged; "altered" changes one digit."""


class SharedFile(Disk):
    """The shared file on the simulated host's disk.

    Attributes:
        boot: The number of the host's boots.
        data: What is in the file; None if there is none.
        known: Where its entries come from, if it is sound.
        full: Whether the disk is full.
    """

    def __init__(self) -> None:
        self.boot = 0
        self.data: bytes | None = None
        self.known: Shared = {}
        self.full = False

    def tag(self) -> str:
        return f"boot-{self.boot} time:[4026531834]"

    def directories(self, create: bool) -> Iterator[int]:
        return iter((0,))

    def read(self, directory: int) -> bytes:
        if self.data is None:
            raise StoreError("there is no file")
        return self.data

    def replace(self, directory: int, data: bytes) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.data = data

    def reboot(self) -> None:
        """Start another boot; the file is still there."""
        self.boot += 1
        self.known = {}

    def spoil(self, how: str, clocks: Clocks, rng: random.Random) -> None:
        """Damage the file in one of the ways of `SPOILED`."""
        data = self.data or b""
        self.known = {}
        match how:
            case "torn":
                self.data = data[: rng.randrange(max(len(data), 1))]
            case "altered":
                digits = [place for place in range(len(data)) if 48 <= data[place] < 58]
                if digits:
                    place = rng.choice(digits)
                    changed = 48 + (data[place] - 48 + rng.randrange(1, 10)) % 10
                    self.data = data[:place] + bytes((changed,)) + data[place + 1 :]
            case "empty":
                self.data = b""
            case "another host's":
                self.data = render(_elsewhere(clocks.read(), rng), "boot-0 of another host")
            case "gone":
                self.data = None


def _elsewhere(now: Reading, rng: random.Random) -> Contents:
    """Make what another host would write, which was booted at another time."""
    at = rng.randrange(now.steady)
    true = now.wall + rng.choice((-1, 1)) * rng.randrange(400 * SECOND, 10**15)
    look = Reading(rng.randrange(at, now.steady), now.wall)
    return Contents(look, {UTC: Interval(at, true, true + SECOND, Trust.AUTHENTICATED, "elsewhere")})


class ObservedStore(Store):
    """A program's `skewguard.timekeeping.shared_file.Store` that shows the oracle what is read and written."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._file = program.world.file
        super().__init__(self._file)

    def read(self, clocks: Clocks) -> Contents:
        self._program.oracle.read_file(self._file.known)
        return super().read(clocks)

    def write(self, contents: Contents) -> None:
        program, before = self._program, self._file.known
        known: dict[str, Any] = {}
        for key, said in contents.estimates.items():
            if key in before and before[key][0][:3] == said[:3]:
                known[key] = before[key]
            else:
                known[key] = (said, program.oracle.answer(key))
                program.check_shared(key, said)
        program.oracle.read_file(known)
        super().write(contents)
        program.world.note("%s writes the shared file: %s", program.name, ", ".join(known))
        self._file.known = known
