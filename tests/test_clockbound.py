"""The ClockBound source: its URI, where it looks, and what it does about steps of the wall clock and VMClock."""

from __future__ import annotations

from pathlib import Path

import pytest

from skewguard.clocks import Reading
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import DRIFT_PPB, Interval, Trust
from skewguard.sources import clockbound
from skewguard.sources.clockbound import ClockBoundSource
from skewguard.sources.clockbound_segment import SECOND
from tests.clockbound_host import FOREVER, MS, Host, Segment, vmclock


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_bad_vmclock_path() -> None:
    with pytest.raises(ConfigError):
        ClockBoundSource(vmclock="vmclock0")


# ------------------------------------------------------------------------------------------------------- on the host


def test_measure(host: Host) -> None:
    """The interval is of the clocks' steady instant, although the daemon counts by another clock."""
    host.write(age=2)
    error = MS + 2 * 50_000
    assert host.measure() == Interval(
        host.clocks.steady,
        host.clocks.wall - error,
        host.clocks.wall + error,
        Trust.WITNESS,
        host.source.name,
        DRIFT_PPB,
    )


def test_no_time(host: Host) -> None:
    with pytest.raises(SourceError, match="no time to answer"):
        host.source.measure(host.clocks, host.clocks.steady)


def test_default_paths(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """2.x is preferred to 1.x, what is no good there does not hide what is good here, and 3.x alone is explained."""
    paths = tmp_path / "2", tmp_path / "1", tmp_path / "3"
    monkeypatch.setattr(clockbound, "PATHS", tuple(map(str, paths)))
    source = ClockBoundSource(monotonic=host.monotonic)
    with pytest.raises(SourceError, match=r"^clockbound gives no time: there is no .*/2 and no .*/1 and no .*/3$"):
        source.measure(host.clocks, FOREVER)
    paths[2].write_bytes(bytes(Segment(version=3)))
    with pytest.raises(SourceError, match=r"^clockbound gives no time: .*/3 vouches, within 1\.000 ms, for a clock"):
        source.measure(host.clocks, FOREVER)
    paths[1].write_bytes(bytes(Segment(version=1, bound=5)))
    assert source.measure(host.clocks, FOREVER).width == 10
    paths[0].write_bytes(bytes(Segment(bound=3)))
    assert source.measure(host.clocks, FOREVER).width == 6
    paths[0].write_bytes(bytes(Segment(status=0)))
    assert source.measure(host.clocks, FOREVER).width == 10
    paths[1].write_bytes(b"")
    with pytest.raises(SourceError, match=r"/2 says that .*, and .*/1 is 0 bytes long.*, and .*/3 vouches"):
        source.measure(host.clocks, FOREVER)


def test_newest_path_means_its_neighbour(host: Host) -> None:
    """For the URI of 3.x's own segment, the file beside it is read, where 3.x describes the wall clock."""
    own = host.path.with_name("shm1")
    own.write_bytes(bytes(Segment(version=3, bound=5)))
    source = ClockBoundSource.from_uri(f"clockbound:{own}")
    source._monotonic = host.monotonic
    said = source.measure(host.clocks, FOREVER)
    assert (said.source, said.width) == (f"clockbound:{own}", 2 * MS)
    host.path.unlink()
    host.clocks.advance(0.01)
    with pytest.raises(SourceError, match=r"^clockbound:.*/shm1 gives no time: .*/shm1 vouches, within 0\.000 ms"):
        source.measure(host.clocks, FOREVER)
    own.unlink()
    with pytest.raises(SourceError, match=r"there is no .*/shm0 and no .*/shm1$"):
        source.measure(host.clocks, FOREVER)


# ----------------------------------------------------------------------------------------- steps of the wall clock


def refuses(host: Host, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        host.measure()


def said_again(host: Host, seconds: float, **changes: int) -> None:
    """Let some time pass, and the daemon speak."""
    host.clocks.advance(seconds)
    host.write(**changes)


@pytest.mark.parametrize("seconds", [3600, -3600, 0.001, -0.001])
def test_step_after_the_statement(host: Host, seconds: float) -> None:
    """Once the wall clock is set, what was said before is refused until the daemon speaks anew."""
    host.write(bound=4 * SECOND)
    host.measure()
    host.clocks.advance(0.5)
    host.clocks.step(seconds)
    for _ in range(2):
        refuses(host, "before the wall clock was set")
    said_again(host, 0.5, bound=4 * SECOND)
    if abs(seconds) < 1:
        assert host.measure().width == 8 * SECOND
    else:
        refuses(host, "does not know yet")


def stepped(host: Host, seconds: float) -> None:
    """Step the wall clock, and let the source notice."""
    host.clocks.step(seconds)
    refuses(host, "before the wall clock was set")


def test_step_by_another_program(host: Host) -> None:
    """A daemon that still vouches for a clock that was put wrong is not believed, until it has had its chance."""
    host.measure()
    stepped(host, 20)
    for _ in range(9):
        said_again(host, 100)
        refuses(host, "does not know yet")
    said_again(host, 101)
    assert host.measure()


def test_step_undone(host: Host) -> None:
    """When the clock is set right again, the daemon is believed again."""
    host.measure()
    stepped(host, 20)
    said_again(host, 1)
    refuses(host, "does not know yet")
    stepped(host, -20)
    said_again(host, 1)
    assert host.measure()


def test_step_by_the_daemon(host: Host) -> None:
    """A clock that the daemon's own side corrects, by what it had admitted to be wrong, is believed at once."""
    host.write(bound=10 * SECOND)
    host.measure()
    stepped(host, 9)
    said_again(host, 1, bound=MS)
    assert host.measure().width == 2 * MS


def test_sleep_counts_as_a_step(host: Host) -> None:
    """What was said before the machine slept is refused: CLOCK_MONOTONIC does not tell how long ago it was."""
    host.measure()
    host.clocks.advance(3600)
    host.suspended = 3600 * SECOND
    refuses(host, "before the wall clock was set")
    said_again(host, 1)
    assert host.measure()


def test_slew_is_no_step(host: Host) -> None:
    """CLOCK_MONOTONIC is slewed with the wall clock, so slewing does not raise an alarm."""
    host.measure()
    host.clocks.advance(100)
    host.clocks.step(0.05)
    host.suspended -= 50 * MS
    host.write()
    assert host.measure()


def test_interrupted_reading_is_no_step(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread put aside between two clocks makes the interval wider, and neither wrong nor a step."""
    host.measure()
    calm = host.monotonic

    def disturbed() -> int:
        host.clocks.advance(0.01)
        return calm()

    monkeypatch.setattr(host.source, "_monotonic", disturbed)
    said = host.measure()
    assert 2 * (MS + 10 * MS) <= said.width < 2 * (MS + 30 * MS)
    later = said.aged(host.clocks.steady)
    assert later.earliest <= host.clocks.wall <= later.latest


# ------------------------------------------------------------------------------------------------------------ VMClock


def test_same_marker(host: Host) -> None:
    """An undisrupted machine is believed."""
    host.write(vmclock=1, marker=7)
    host.vmclock.write_bytes(vmclock(7))
    assert host.measure()


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (vmclock(8), "paused, moved or restored"),
        (None, "No such file"),
        (b"", "too short"),
        (vmclock()[:23], "too short"),
        (vmclock(magic=1), "magic"),
        (vmclock(version=2), "version 2"),
        (vmclock(size=23), "claims 23"),
        (vmclock(seq=3), "being written"),
    ],
)
def test_disrupted(host: Host, page: bytes | None, reason: str) -> None:
    """A machine that was paused or moved, or of which that cannot be told, is not believed."""
    host.write(vmclock=1, marker=7)
    if page is not None:
        host.vmclock.write_bytes(page)
    with pytest.raises(SourceError, match=reason):
        host.measure()


def test_flag_unset(host: Host) -> None:
    """A daemon that does not use VMClock is believed whatever that says."""
    host.write(vmclock=0, marker=7)
    host.vmclock.write_bytes(vmclock(8))
    assert host.measure()


def test_marker_is_read_after_the_clocks(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine restored between the segment and the clocks is noticed."""
    host.write(vmclock=1, marker=7)
    host.vmclock.write_bytes(vmclock(7))
    look = host.clocks.read

    def restored() -> Reading:
        host.vmclock.write_bytes(vmclock(8))
        return look()

    monkeypatch.setattr(host.clocks, "read", restored)
    with pytest.raises(SourceError, match="paused, moved or restored"):
        host.measure()
