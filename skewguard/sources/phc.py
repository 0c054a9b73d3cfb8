"""A PTP hardware clock as a time source: on EC2, the clock of the network card, which AWS keeps on UTC.

Such a clock does not depend on the host's wall clock, so it is right when that is wrong. This was built from the
kernel's and the ENA driver's documents and tried only with stand-ins for the device, never on one.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from skewguard import _files
from skewguard.clocks import Clocks
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust, drift_over
from skewguard.sources.limits import GRANULARITY, check_date
from skewguard.sources.uri import Named, path_uri, split_uri

DEVICE = "/dev/ptp0"
FORM = "phc or phc:/dev/ptp0, each with or without ?utc=1"

UTC_CLOCKS = ("ena-ptp-", "KVM virtual PTP", "hyperv")
"""Beginnings of the names of clocks that show UTC: AWS's network card; KVM's and Hyper-V's host.

On most other cards PTP sets the clock, and it shows TAI, which is 37 s ahead now: only by its name can it be
distinguished from a UTC clock beside a wall clock that is 37 s slow.
"""

_UNSTATED = 10_000_000
"""The error bound of a clock that states none, ns: far more than any that a hypervisor or daemon keeps."""
_MAX_BOUND = 1_500_000_000
"""A hardware clock must not be worse than NTP may be; the ENA driver's largest number, 4.3 s, means unknown."""
_MAX_READ = SECOND
"""A reading that took longer shows that the host slept."""
_TRIES = 5


class PhcSource(Named):
    """Reads a PTP hardware clock between two readings of the steady clock, and computes true time from that.

    Each measurement opens the device, reads it a few times, keeps the fastest reading, and checks that the others
    agree. A reading takes microseconds on EC2, but nothing limits how long a driver may take: the deadline is checked
    only between readings.

    The system's permissions decide which users may read the device; often it is root alone.
    """

    instant = True

    def __init__(self, path: str = DEVICE, *, utc: bool = False, sysfs: str | Path = "/sys") -> None:
        """Check the path; nothing is opened yet.

        Args:
            path: The device. ``/dev/ptp_ena``, where it exists, is EC2's, whatever its number is.
            utc: Whether to believe that the clock shows UTC although its name is not among `UTC_CLOCKS`.
            sysfs: Where the kernel describes devices; for tests.

        Raises:
            ConfigError: The path is not absolute, or unusable.
        """
        self._name = path_uri("phc", path, "device")
        self._path = path
        self._utc = utc
        self._sysfs = Path(sysfs)

    @classmethod
    def from_uri(cls, uri: str) -> PhcSource:
        """Make a source from ``phc`` or ``phc:/dev/ptp0``, ``?utc=1`` or not. ConfigError for any other form."""
        parts = split_uri(uri, "phc", FORM, switches=("utc",))
        return cls(parts.path or DEVICE, utc=parts.switches["utc"])

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._path, self._utc, self._sysfs)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Read the clock, as `skewguard.sources.Source.measure` describes. After the deadline, no reading is begun."""
        if clocks.read().steady >= deadline:
            raise SourceError(f"{self._name} was given no time to be read")
        if not hasattr(time, "clock_gettime_ns"):
            raise SourceError(f"{self._name} cannot be read: this platform has no such clocks")
        try:
            # NONBLOCK, because it may be something else than a clock.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SourceError(f"{self._name} cannot be opened: {error.strerror}") from None
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISCHR(info.st_mode):
                raise SourceError(f"{self._name} is not a device")
            # By number, because the device may have another name in a container.
            about = self._sysfs / "dev" / "char" / f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
            self._check_timescale(about)
            readings = self._read(clocks, descriptor, deadline)
            bound = self._error_bound(about)  # after reading: the driver keeps the bound of its last reading
        finally:
            os.close(descriptor)
        readings.sort(key=lambda reading: reading[2] - reading[0])
        best = self._to_interval(readings[0], bound)  # if the fastest is too slow, so are all
        quick = [reading for reading in readings[1:] if reading[2] - reading[0] <= _MAX_READ]
        if not all(self._to_interval(reading, bound).aged(best.at).meets(best) for reading in quick):
            raise SourceError(f"{self._name} contradicts itself: it is being set, or broken")
        return best

    def _check_timescale(self, about: Path) -> None:
        """Refuse a clock that may show TAI."""
        called = _files.text(about / "clock_name").strip()[:40]
        if not self._utc and not called.startswith(UTC_CLOCKS):
            name = repr(called) if called else "without a name"
            raise SourceError(
                f"{self._name} ({name}) is not known to show UTC, most PTP clocks show TAI;"
                " add ?utc=1 to its URI if it does"
            )

    def _read(self, clocks: Clocks, descriptor: int, deadline: int) -> list[tuple[int, int, int]]:
        """Read several times: steady before, the clock, steady after."""
        which = ~descriptor << 3 | 3  # the kernel's FD_TO_CLOCKID
        readings: list[tuple[int, int, int]] = []
        failure: OSError | None = None
        for _ in range(_TRIES):
            before = clocks.read().steady
            if before >= deadline:
                break
            try:
                shown = time.clock_gettime_ns(which)
            except OSError as error:  # a driver may be busy, or refuse to be asked again so soon
                failure = error
                continue
            readings.append((before, shown, clocks.read().steady))
        if not readings:
            reason = failure.strerror if failure is not None else "there was no time left"
            raise SourceError(f"{self._name} cannot be read: {reason}")
        return readings

    def _error_bound(self, about: Path) -> int:
        """Read the card's bound on its clock's error, ns (ENA, ``phc_error_bound``); a wide guess if there is none."""
        try:
            text = (about / "device" / "phc_error_bound").read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return _UNSTATED
        except OSError as error:
            raise SourceError(f"{self._name} does not state its error bound: {error.strerror}") from None
        if not text.isdecimal() or len(text) > 20:
            raise SourceError(f"{self._name} states the error bound {text[:20]!r}, which is no number of ns")
        if int(text) > _MAX_BOUND:
            raise SourceError(f"{self._name} vouches for its time within {int(text) / SECOND:.1f} s only")
        return int(text)

    def _to_interval(self, reading: tuple[int, int, int], bound: int) -> Interval:
        """Convert a reading: the clock was read at some moment between the two steady instants."""
        before, shown, after = reading
        elapsed = after - before
        if not 0 <= elapsed <= _MAX_READ:
            raise SourceError(f"{self._name} took {elapsed / SECOND:.1f} s to be read, too long to give the time")
        drift = drift_over(elapsed)
        earliest = shown - bound - GRANULARITY
        latest = shown + elapsed + bound + GRANULARITY + drift
        return check_date(Interval(after, earliest, latest, Trust.WITNESS, self._name))
