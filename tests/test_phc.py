"""The PTP hardware clock source, with stand-ins for the device: none of this has met a real one.

The device is ``/dev/null``, which any host has and whose numbers are known; what the kernel would tell about it lies
in a directory of the test's; the clock itself answers in `time.clock_gettime_ns`'s place.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.errors import SourceError
from skewguard.interval import EARLIEST, LATEST, SECOND, Interval, Trust
from skewguard.sources.phc import PhcSource
from skewguard.testing.clocks import FakeClocks
from tests.support import nothing_left_open

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux has such clocks")

NULL = "/dev/null"
NOW = EARLIEST + 30 * 86_400 * SECOND
LONG = 1000 * SECOND
SLACK = 2 * 60_000  # what the steady clock's own readings may add at both ends

Tell = Callable[[int], int]


class Device:
    """A stand-in: what the kernel says of it, and its clock, which shows true time unless told otherwise.

    True time is `NOW` when the test begins. Each reading takes 10 µs, and reads the clock after 3 of them.
    """

    def __init__(self, sysfs: Path) -> None:
        self.sysfs = sysfs
        self.clocks = FakeClocks()
        self.zero = NOW - self.clocks.steady
        info = os.stat(NULL)  # noqa: PTH116
        self.about = sysfs / "dev" / "char" / f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
        (self.about / "device").mkdir(parents=True)
        self.call("ena-ptp-05")
        self.bound("20000")
        self.asked: list[int] = []
        self.show: Tell = lambda truth: truth
        self.delays = [(3e-6, 7e-6)]

    def call(self, name: str) -> None:
        (self.about / "clock_name").write_text(name + "\n")

    def bound(self, text: str) -> None:
        (self.about / "device" / "phc_error_bound").write_text(text + "\n")

    def gettime(self, which: int) -> int:
        assert os.readlink(f"/proc/self/fd/{~(which >> 3)}") == NULL  # noqa: PTH115
        assert which & 7 == 3  # CLOCKFD
        before, after = self.delays[len(self.asked) % len(self.delays)]
        self.asked.append(which)
        self.clocks.advance(before)
        shown = self.show(self.zero + self.clocks.steady)
        self.clocks.advance(after)
        return shown

    def source(self, **options: bool) -> PhcSource:
        return PhcSource(NULL, sysfs=self.sysfs, **options)

    def ask(self, **options: bool) -> Interval:
        return self.source(**options).measure(self.clocks, self.clocks.steady + LONG)

    def check(self, said: Interval) -> None:
        """Fail unless true time lay in the interval."""
        assert said.earliest <= self.zero + said.at <= said.latest


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The stand-in, in force; and no file is left open."""
    made = Device(tmp_path)
    with nothing_left_open(), monkeypatch.context() as patch:
        patch.setattr(time, "clock_gettime_ns", made.gettime)
        yield made


# ----------------------------------------------------------------------------------------------------------- reading


def test_measures(device: Device) -> None:
    """True time just after the fastest of five readings, within the card's own bound and the time it took."""
    device.delays = [(3e-6, 40e-6), (1e-3, 1e-3), (2e-6, 3e-6), (0.2, 0.2), (3e-6, 40e-6)]
    said = device.ask()
    device.check(said)
    assert len(device.asked) == 5
    assert said.width <= 2 * 20_000 + 5_000 + SLACK
    assert said.trust is Trust.WITNESS
    assert said.source == "phc:/dev/null"


@given(st.floats(0, 0.4), st.floats(0, 0.4), st.floats(-1, 1), st.integers(0, 10**9))
def test_interval_contains_the_truth(before: float, after: float, error: float, bound: int) -> None:
    """However long it takes, whenever in between the clock is read, and however wrong within its bound it is."""
    with pytest.MonkeyPatch.context() as patch:
        said_by = _bare()
        patch.setattr(time, "clock_gettime_ns", said_by.gettime)
        patch.setattr(PhcSource, "_check_timescale", lambda *_: None)
        patch.setattr(PhcSource, "_error_bound", lambda *_: bound)
        said_by.delays = [(before, after)]
        said_by.show = lambda truth: truth + int(error * bound)
        said_by.check(said_by.ask())


def _bare() -> Device:
    made = Device.__new__(Device)
    made.sysfs = Path("/nowhere")
    made.clocks = FakeClocks()
    made.zero = NOW - made.clocks.steady
    made.asked = []
    return made


def test_wrong_wall_clock_changes_nothing(device: Device) -> None:
    """Only the steady clock is read beside it."""
    device.clocks.step(-86_400)
    first = device.ask()
    device.clocks.step(5 * 86_400)
    second = device.ask()
    assert second.earliest - first.earliest == second.at - first.at
    device.check(second)


def test_clock_without_a_bound(device: Device) -> None:
    """An older driver states none: 10 ms are assumed, and said."""
    (device.about / "device" / "phc_error_bound").unlink()
    said = device.ask()
    device.check(said)
    assert 20_000_000 <= said.width < 20_200_000


@pytest.mark.parametrize("text", ["", "-5", "1.5", "many", "0x10", "9" * 30, "5000\n5000", "²"])
def test_bad_bound(device: Device, text: str) -> None:
    """What is no number of nanoseconds is not guessed at."""
    device.bound(text)
    with pytest.raises(SourceError, match=r"which is no number of ns$"):
        device.ask()


def test_hopeless_bound(device: Device) -> None:
    """The driver's largest number means that it does not know."""
    device.bound(str(2**32 - 1))
    with pytest.raises(SourceError, match=r"within 4\.3 s only"):
        device.ask()


def test_bound_that_cannot_be_read(device: Device) -> None:
    """A bound that exists and is not told is not the same as none."""
    path = device.about / "device" / "phc_error_bound"
    path.unlink()
    path.mkdir()
    with pytest.raises(SourceError, match="does not state its error bound: Is a directory"):
        device.ask()


@pytest.mark.parametrize("name", ["ena-ptp-05", "ena-ptp-1f", "KVM virtual PTP", "hyperv"])
def test_clocks_known_to_show_utc(device: Device, name: str) -> None:
    """AWS's card, and the clocks that hypervisors hand in."""
    device.call(name)
    device.check(device.ask())


@pytest.mark.parametrize("name", ["", "ice-0000:3b:00.0-clk", "mlx5_ptp", "not ena-ptp-05", "\xff" * 99, "a\nb"])
def test_clock_that_may_show_tai(device: Device, name: str) -> None:
    """37 s ahead looks just like a slow wall clock: only the user can know."""
    device.call(name)
    device.show = lambda truth: truth + 37 * SECOND
    with pytest.raises(SourceError, match=r"is not known to show UTC, most PTP clocks show TAI; add \?utc=1") as caught:
        device.ask()
    assert str(caught.value).isprintable()
    assert not device.asked
    device.show = lambda truth: truth
    device.check(device.ask(utc=True))


def test_clock_without_a_name(device: Device) -> None:
    """A kernel that tells nothing about the device, as in some containers, is no reason to believe it."""
    (device.about / "clock_name").unlink()
    with pytest.raises(SourceError, match=r"\(without a name\) is not known"):
        device.ask()


@pytest.mark.parametrize("shown", [0, -1, EARLIEST - 1, LATEST + 1, 2**63 - 1, -(2**63), 2**200])
def test_implausible_date(device: Device, shown: int) -> None:
    """A card whose clock was never set counts from 1970."""
    device.show = lambda _: shown
    with pytest.raises(SourceError, match="states an implausible date, "):
        device.ask()


def test_contradiction(device: Device) -> None:
    """A clock that is set between two readings is not believed."""
    device.show = lambda truth: truth + 37 * SECOND * (len(device.asked) > 3)
    with pytest.raises(SourceError, match="contradicts itself"):
        device.ask()


def test_slow_readings(device: Device) -> None:
    """One that took seconds is not counted; if all did, there is no time to be told."""
    device.delays = [(2.0, 1.0), (3e-6, 3e-6), (0.0, 9.0)]
    device.check(device.ask())
    device.delays = [(2.0, 1.0)]
    with pytest.raises(SourceError, match=r"took 3\.0 s to be read"):
        device.ask()


def test_busy_driver(device: Device) -> None:
    """A reading that fails is made up for by the next; if all fail, the last reason is told."""
    busy = 4

    def show(truth: int) -> int:
        if len(device.asked) <= busy:
            raise OSError(16, "Device or resource busy")
        return truth

    device.show = show
    device.check(device.ask())
    busy = 99
    with pytest.raises(SourceError, match=r"^phc:/dev/null cannot be read: Device or resource busy$"):
        device.ask()


def test_deadline(device: Device) -> None:
    """No reading is begun after it; one that was made in time counts."""
    device.delays = [(0.3, 0.3)]
    device.check(device.source().measure(device.clocks, device.clocks.steady + SECOND // 2))
    assert len(device.asked) == 1
    with pytest.raises(SourceError, match="was given no time to be read"):
        device.source().measure(device.clocks, device.clocks.steady)
    assert len(device.asked) == 1


def test_what_is_no_device(tmp_path: Path, device: Device) -> None:
    """A file, a pipe without a writer, or nothing: refused at once."""
    plain, pipe = tmp_path / "plain", tmp_path / "pipe"
    plain.touch()
    os.mkfifo(pipe)
    for path in (plain, pipe, tmp_path):
        with pytest.raises(SourceError, match=r"is not a device$"):
            PhcSource(str(path)).measure(device.clocks, device.clocks.steady + SECOND)
    with pytest.raises(SourceError, match="cannot be opened: No such file or directory"):
        PhcSource(str(tmp_path / "gone")).measure(device.clocks, device.clocks.steady + SECOND)


def test_device_that_is_no_clock(tmp_path: Path) -> None:
    """The kernel itself refuses to take /dev/null for one: nothing here stands in for it."""
    made = Device(tmp_path)
    with pytest.raises(SourceError, match=r"^phc:/dev/null cannot be read: "):
        made.ask()
