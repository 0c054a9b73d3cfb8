"""What the host says of its own clock: the kernel's answer decoded, and files and processes as they may be found."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import skewguard
from skewguard import host_clock
from skewguard.host_clock import TIMEX, Host, HostClock, ask_kernel, known_daemons, parse_timex
from skewguard.interval import SECOND
from tests.fakes import raising

UNSYNCHRONIZED, CLOCK_ERROR = 0x40, 0x1000
OK, INSERTING, DELETING, IN_PROGRESS, OVER, ERROR = range(6)
NEVER_SET = (ERROR, 16_000_000, 16_000_000, UNSYNCHRONIZED, 0)
"""What the kernel answers where no daemon runs: state, maximum and estimated error in µs, flags, TAI offset."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")


def timex(maxerror: int, esterror: int, status: int, tai: int) -> bytes:
    """The kernel's struct, with something in every field that does not matter."""
    return TIMEX.pack(0, -7, 8, maxerror, esterror, status, *range(100, 108), 9, *range(200, 205), tai)


def host(root: Path, *answer: int, now: list[int] | None = None) -> Host:
    """A host with its files in `root`, whose kernel answers so."""
    state, *fields = answer or NEVER_SET
    instant = [0] if now is None else now
    return Host(str(root), lambda: (state, timex(*fields)), lambda: instant[0])


def processes(root: Path, *names: str | None) -> Path:
    """Make /proc with these, the first process first; None is one that has just ended."""
    for number, name in enumerate(names, 1):
        (root / f"proc/{number}").mkdir(parents=True, exist_ok=True)
        comm = root / f"proc/{number}/comm"
        if name is None:
            comm.unlink(missing_ok=True)
        else:
            comm.write_text(f"{name}\n")
    (root / "proc/self/ns").mkdir(parents=True, exist_ok=True)
    (root / "proc/self/ns/pid").touch()
    (root / "proc/uptime").touch()
    return root


@pytest.fixture
def first_namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host that is no container."""
    processes(tmp_path, "init", "sh")
    monkeypatch.setattr(host_clock, "_FIRST_PID_NAMESPACE", (tmp_path / "proc/self/ns/pid").stat().st_ino)
    return tmp_path


# --------------------------------------------------------------------------------------------------------- the kernel


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (NEVER_SET, HostClock(False, None, None, 0, None)),
        ((OK, 1500, 20, 1, 37), HostClock(True, 1_500_000, 20_000, 0, 37)),
        ((OK, 0, 0, 1, 0), HostClock(True, 0, 0, 0, None)),  # systemd-timesyncd, just now
        ((OK, 15_999_999, 1, 1, 0), HostClock(True, 15_999_999_000, 1000, 0, None)),
        ((ERROR, 1500, 20, UNSYNCHRONIZED, 37), HostClock(True, 1_500_000, 20_000, 0, 37)),  # chronyd without rtcsync
        ((ERROR, 1500, 20, CLOCK_ERROR, 37), HostClock(False, 1_500_000, 20_000, 0, 37)),
        ((OK, -1, -1, 1, 37), HostClock(None, None, None, 0, 37)),
        ((INSERTING, 1, 1, 0x11, 37), HostClock(True, 1000, 1000, 1, 37)),
        ((IN_PROGRESS, 1, 1, 0x11, 37), HostClock(True, 1000, 1000, 1, 37)),
        ((OVER, 1, 1, 0x11, 38), HostClock(True, 1000, 1000, 0, 38)),
        ((DELETING, 1, 1, 0x21, 37), HostClock(True, 1000, 1000, -1, 37)),
        ((OK, 1, 1, 0x31, 37), HostClock(True, 1000, 1000, 1, 37)),  # both: the kernel inserts
    ],
)
def test_what_the_kernel_tells(answer: tuple[int, int, int, int, int], told: HostClock) -> None:
    """Microseconds become ns; its largest error is none at all."""
    state, *fields = answer
    assert parse_timex(state, timex(*fields)) == told


@given(st.integers(-1, 2**31), st.binary(min_size=TIMEX.size, max_size=TIMEX.size))
@example(0, bytes(TIMEX.size))
@example(5, b"\xff" * TIMEX.size)
def test_any_answer(state: int, data: bytes) -> None:
    """Whatever the kernel writes, an error that is told is one that can be."""
    told = parse_timex(state, data)
    for error in (told.max_error, told.estimated_error):
        assert error is None or 0 <= error < 16 * SECOND
    assert told.synchronized is not True or told.max_error is not None
    assert told.leap_second in (-1, 0, 1)
    assert told.tai_offset != 0


@given(st.binary(max_size=2 * TIMEX.size).filter(lambda data: len(data) != TIMEX.size))
def test_another_size(data: bytes) -> None:
    with pytest.raises(ValueError, match="struct timex has"):
        parse_timex(0, data)


def test_nothing_is_ever_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is handed zeros: no mode, no value. Its refusal is no answer."""
    asked: list[bytes] = []

    def adjtimex(buffer: Any) -> int:
        asked.append(buffer.raw)
        buffer[0] = b"\x7f"
        return len(asked) - 2

    monkeypatch.setattr(host_clock, "_adjtimex", lambda: adjtimex)
    assert ask_kernel() is None  # -1, as where a container's rules forbid it
    answer = ask_kernel()
    assert answer == (0, b"\x7f" + bytes(TIMEX.size - 1))
    assert asked == [bytes(TIMEX.size)] * 2


@pytest.mark.parametrize("lacking", ["darwin", "win32", "ctypes"])
def test_no_such_call(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems are not asked; nor is any by a Python that was built without ctypes."""
    if lacking == "ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        monkeypatch.setattr(sys, "platform", lacking)
    host_clock._adjtimex.cache_clear()
    try:
        assert ask_kernel() is None
    finally:
        host_clock._adjtimex.cache_clear()


@linux
def test_this_kernel() -> None:
    answer = ask_kernel()
    state, data = answer
    fields = TIMEX.unpack(data)
    assert 0 <= state <= 5
    assert fields[0] == 0
    unit = SECOND if fields[5] & 0x2000 else 1_000_000  # STA_NANO
    time_there = fields[9] + fields[10] / unit
    assert abs(time_there - time.clock_gettime(time.CLOCK_REALTIME)) < 1
    assert 9_000 <= fields[11] <= 11_000  # microseconds a tick: 10,000, give or take a tenth


# ---------------------------------------------------------------------------------------------------------- the files


def test_timesyncds_files(tmp_path: Path) -> None:
    for path, instant in (("run/systemd/timesync/synchronized", 5), ("var/lib/systemd/timesync/clock", 7)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
        os.utime(tmp_path / path, ns=(0, instant * SECOND + 1000))
    seen = host(tmp_path).inspect()
    assert seen.timesyncd_synchronized_at == 5 * SECOND + 1000
    assert seen.timesyncd_saved_at == 7 * SECOND + 1000


def test_nothing_there(tmp_path: Path) -> None:
    """Each field is by itself: the kernel is heard where no file is, and the other way round."""
    assert host(tmp_path).inspect() == HostClock(synchronized=False, leap_second=0)
    assert Host(str(tmp_path / "nowhere"), lambda: None).inspect() == HostClock()
    (tmp_path / "run").touch()  # not even a directory
    assert host(tmp_path, OK, 5, 6, 1, 37).inspect() == HostClock(True, 5000, 6000, 0, 37)


# ------------------------------------------------------------------------------------------------------ the processes


@pytest.mark.parametrize(
    ("names", "daemons"),
    [
        ((), ()),
        (("systemd", "chronyd", "chronyd"), ("chronyd",)),
        (("init", "ntpd"), ("ntpd",)),
        (("systemd", "systemd-timesyn"), ("systemd-timesyncd",)),
        (("systemd", "phc2sys", "ptp4l", "chronyd"), ("chronyd", "phc2sys")),
        (("init", "ntp-daemon"), ("ntpd-rs",)),
        (("init", "xchronyd", "chronyd2", "ntpdate", "\xe9"), ()),
        (("init", None, "ntpd"), ("ntpd",)),  # a process that ended after its directory was listed
        ((None, "sh"), None),  # where the first process cannot be seen, neither can a daemon
    ],
)
def test_daemons(first_namespace: Path, names: tuple[str | None, ...], daemons: tuple[str, ...] | None) -> None:
    assert host(processes(first_namespace, *names)).inspect().daemons == daemons


@given(st.lists(st.text(max_size=20)))
def test_any_name(names: list[str]) -> None:
    assert known_daemons(names) <= set(host_clock.DAEMONS.values())


def test_container(tmp_path: Path) -> None:
    """One's own daemon can be seen there; that there is none in sight says nothing of the host's."""
    assert host(processes(tmp_path, "sh")).inspect().daemons is None
    assert host(processes(tmp_path, "sh", "chronyd")).inspect().daemons == ("chronyd",)


def test_processes_are_listed_once_a_minute(first_namespace: Path) -> None:
    """And again at once if the clock for that went back; the kernel's answer is fresh every time."""
    now = [100 * SECOND]
    seen = host(first_namespace, now=now)
    assert seen.inspect().daemons == ()
    processes(first_namespace, "init", "chronyd")
    now[0] += 60 * SECOND - 1
    assert seen.inspect().daemons == ()
    now[0] += 1
    assert seen.inspect().daemons == ("chronyd",)
    processes(first_namespace, "init", "ntpd")
    now[0] -= 1
    assert seen.inspect().daemons == ("ntpd",)


# ------------------------------------------------------------------------------------------------- what status tells


def test_status_says_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host_clock, "_host", host(tmp_path, OK, 1500, 20, 1, 37))
    assert skewguard.status().host == HostClock(True, 1_500_000, 20_000, 0, 37)
    assert skewguard.measure(timeout=0.1).host == skewguard.status().host


def test_status_never_fails_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for kernel in (raising(RuntimeError("unforeseen")), lambda: (0, b"short")):
        monkeypatch.setattr(host_clock, "_host", Host(str(tmp_path), kernel))
        assert skewguard.status().host == HostClock()


@linux
def test_looking_is_cheap() -> None:
    """It takes well under a millisecond once the processes are listed."""
    host_clock.inspect()
    took = []
    for _ in range(50):
        began = time.perf_counter_ns()
        host_clock.inspect()
        took.append(time.perf_counter_ns() - began)
    assert min(took) < 1_000_000
