"""The host's clocks, read for real."""

from __future__ import annotations

import threading
import time

import freezegun
import pytest
import time_machine

from skewguard import clocks
from tests.patience import in_threads


def test_steady_never_goes_back_and_keeps_pace() -> None:
    """Consecutive looks advance, at the rate of the system's own monotonic clock."""
    system, now = clocks.system(), time.monotonic_ns
    began = now()
    first = last = system.read().steady
    begun = ending = now()
    for _ in range(10_000):
        ending = now()
        steady = system.read().steady
        assert steady >= last - clocks.BRACKET_NS
        last = steady
    # However long this thread was put aside before or after a reading.
    assert ending - begun - 10_000_000 < last - first < now() - began + 10_000_000


def test_two_hundred_threads_never_see_the_clocks_a_millisecond_apart() -> None:
    """A thread put aside between two readings must not pair an old one with a new one."""
    system = clocks.system()
    steady, wall = system.read()
    relation = wall - steady
    worst: list[int] = []
    start = threading.Barrier(200)

    def look() -> None:
        start.wait()
        seen = [system.read() for _ in range(200)]
        worst.append(max(abs(one.wall - one.steady - relation) for one in seen))

    in_threads(200, look)
    assert len(worst) == 200
    assert max(worst) < 1_000_000


def test_the_quick_clock_keeps_pace_with_the_steady_one() -> None:
    system = clocks.system()
    apart = []
    for _ in range(10):  # a busy machine may put this thread aside between two readings
        quick, steady = system.quick_ns(), system.read().steady
        time.sleep(0.01)
        quick_later, steady_later = system.quick_ns(), system.read().steady
        apart.append(abs((quick_later - quick) - (steady_later - steady)))
    assert min(apart) < 1_000_000


@pytest.mark.parametrize(
    ("platform", "missing", "asked"),
    [
        ("macOS", ["CLOCK_BOOTTIME"], "clock_gettime_ns"),  # its MONOTONIC_RAW counts sleep
        ("Windows", ["CLOCK_BOOTTIME", "CLOCK_MONOTONIC_RAW"], "monotonic_ns"),
    ],
)
def test_a_platform_with_one_plain_clock_is_read_in_a_bracket(
    monkeypatch: pytest.MonkeyPatch, platform: str, missing: list[str], asked: str
) -> None:
    """Where there is no BOOTTIME the plain clock stands in, and an interrupted look is taken again."""
    for name in missing:
        monkeypatch.delattr(time, name, raising=False)
    ticks = iter([0, 10_000_000, 20_000_000, 20_000_100])
    raw = getattr(time, "CLOCK_MONOTONIC_RAW", None)

    def tick(*clock: int) -> int:
        assert clock == (() if raw is None else (raw,))
        return next(ticks, 30_000_000)

    monkeypatch.setattr(time, asked, tick)
    assert clocks.system().read().steady == 20_000_050


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="this platform has no such clock")
def test_a_clock_that_the_kernel_does_not_know_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python was built for Linux, but emulated kernels and sandboxes do not have all that it has."""
    get = time.clock_gettime_ns

    def emulated(clock: int) -> int:
        if clock == time.CLOCK_BOOTTIME:
            raise OSError(22, "Invalid argument")
        return get(clock)

    monkeypatch.setattr(time, "clock_gettime_ns", emulated)
    assert clocks.system().read().steady > 0


def test_names_the_library_that_fakes_the_clock() -> None:
    """Frozen and travelling clocks are recognised, and nothing is seen once they end."""
    assert clocks.faked() is None
    with freezegun.freeze_time("2030-01-01"):
        assert clocks.faked() == "freezegun"
    with time_machine.travel(0, tick=True):
        assert clocks.faked() == "time-machine"
    assert clocks.faked() is None
