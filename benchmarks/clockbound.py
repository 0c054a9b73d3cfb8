"""What reading ClockBound costs in Python, against ClockBound's own C library called by ctypes, in turn.

    python benchmarks/clockbound.py [LIBRARY]

LIBRARY is the libclockbound.so of ClockBound 2.x, by default where `tests/real/clockbound.sh build` puts it. Both read
one segment, which is written anew before each round, as the daemon does ten times a second; the first look at it is not
counted. In each round all are called in turn, for less time than a scheduler gives away at once, so that whatever else
the machine does hits them alike; the ratios are of one round, and their median is the result.

The C library writes 24 bytes and a status somewhere. A Python program wants numbers, so "read" is the call with its
error looked at and its result read as two integers, ns, and a status: what a source's measurement holds, which also
ties them to the steady clock. "bare" is the call alone.
"""

from __future__ import annotations

import ctypes
import functools
import os
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from skewguard.clocks import system
from skewguard.sources.clockbound import ClockBoundSource

SECOND = 1_000_000_000
ROUNDS = 2000
CALLS = 50
LIBRARY = (
    Path(os.environ.get("CLOCKBOUND_DAEMONS", "~/.cache/skewguard-clockbound")).expanduser() / "2.0.3/libclockbound.so"
)


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Now(ctypes.Structure):
    _fields_ = (("earliest", _Timespec), ("latest", _Timespec), ("status", ctypes.c_int))


class _Error(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("errno", ctypes.c_int), ("detail", ctypes.c_char_p))


def theirs(library: Path, path: Path) -> tuple[Callable[[], object], Callable[[], tuple[int, int, int]]]:
    """Open the segment with the C library; gives the bare call, and the call with its result read."""
    c = ctypes.CDLL(str(library))
    c.clockbound_open.argtypes = (ctypes.c_char_p, ctypes.POINTER(_Error))
    c.clockbound_open.restype = ctypes.c_void_p
    call = c.clockbound_now
    call.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Now))
    call.restype = ctypes.c_void_p
    error, now = _Error(), _Now()
    context = c.clockbound_open(bytes(path), error)
    if not context:
        raise SystemExit(f"the library cannot read the segment: error {error.kind}")
    result, earliest, latest = ctypes.byref(now), now.earliest, now.latest
    bare = functools.partial(call, context, result)

    def read() -> tuple[int, int, int]:
        if call(context, result):
            raise SystemExit("the library failed")
        return earliest.sec * SECOND + earliest.nsec, latest.sec * SECOND + latest.nsec, now.status

    return bare, read


def write(file: int, generation: int) -> None:
    """Say as of now that the clock is right to 1 ms, in layout 2, as a 2.x daemon does."""
    seconds, nanos = divmod(time.clock_gettime_ns(6), SECOND)  # CLOCK_MONOTONIC_COARSE
    body = struct.pack("=qqqqqQIiB7x", seconds, nanos, seconds + 1000, 0, 1_000_000, 0, 50_000, 1, 0)
    for number in (generation - 1, generation):  # odd while at work
        os.pwrite(file, struct.pack("=IIIHH", 0x414D_5A4E, 0x4342_0200, 80, 2, number), 0)
        if number % 2:
            os.pwrite(file, body, 16)


def time_of(function: Callable[[], object]) -> float:
    """Mean cost of a call, ns."""
    function()
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        function()
    return (time.perf_counter_ns() - began) / CALLS


def main() -> None:
    """Run the rounds and print the ratios."""
    library = Path(sys.argv[1]) if len(sys.argv) > 1 else LIBRARY
    if not library.exists():
        raise SystemExit(f"there is no {library}: tests/real/clockbound.sh build {LIBRARY.parent.parent}")
    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "shm0"
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        write(file, 2)
        bare, read = theirs(library, path)
        ours = functools.partial(ClockBoundSource(str(path)).measure, system(), 2**62)
        contestants: dict[str, Callable[[], object]] = {"bare": bare, "read": read, "skewguard": ours}
        costs: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(ROUNDS):
            write(file, 4 + number * 2)
            for name in list(contestants)[:: 1 if number % 2 else -1]:
                costs[name].append(time_of(contestants[name]))
        os.close(file)
    for name, values in costs.items():
        print(f"{name:10} {statistics.median(values) / 1000:6.2f} µs")
    for name in ("read", "bare"):
        ratios = [our / their for our, their in zip(costs["skewguard"], costs[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios)
        print(f"skewguard / {name}: {middle:.2f}  (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
