"""ClockBound's own clients, called from Python: the C library of 2.x and 3.x, and a program around that of 0.1.x."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.patience import eventually
from tests.real.clockbound import SECOND, built


class Said(NamedTuple):
    """True time now, as a client bounds it, ns since the Unix epoch; and its status, trustworthy if 1 or 2."""

    earliest: int
    latest: int
    status: int


Ask = Callable[[], Said]


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Now(ctypes.Structure):
    _fields_ = (("earliest", _Timespec), ("latest", _Timespec), ("status", ctypes.c_int))


class _Error(ctypes.Structure):
    """Of 3.x; that of 2.x has a pointer for its third field."""

    _fields_ = (("kind", ctypes.c_int), ("errno", ctypes.c_int), ("detail", ctypes.c_char * 128))


def library(version: str, segment: Path) -> Ask:
    """Open a segment with the C library of a version; it stays open until the process ends."""
    c = ctypes.CDLL(str(built(f"{version}/libclockbound.so")))
    three = version.startswith("3")
    error, now = _Error(), _Now()
    # VMClock is read only if the daemon asks for it.
    if three:
        c.clockbound_open_with.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        c.clockbound_open_with.restype = ctypes.c_void_p
        arguments = (os.fsencode(segment), b"/dev/vmclock0", ctypes.addressof(error))
        c.clockbound_now.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Now), ctypes.c_void_p)
    else:
        c.clockbound_open.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
        c.clockbound_open.restype = ctypes.c_void_p
        arguments = (os.fsencode(segment), ctypes.addressof(error))
        c.clockbound_now.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Now))
    c.clockbound_now.restype = ctypes.c_void_p
    begin, opened = c.clockbound_open_with if three else c.clockbound_open, []
    eventually(lambda: opened.append(begin(*arguments)) or opened[-1])  # one segment is initialized after the other
    context = opened[-1]

    def ask() -> Said:
        failed = c.clockbound_now(context, now, ctypes.addressof(error)) if three else c.clockbound_now(context, now)
        assert not failed
        return Said(
            now.earliest.sec * SECOND + now.earliest.nsec, now.latest.sec * SECOND + now.latest.nsec, now.status
        )

    return ask


@contextlib.contextmanager
def program(daemon: Path, directory: Path) -> Iterator[Ask]:
    """Run the client of 0.1.x, which leaves its socket in `directory`."""
    command = [built("0.1.4/client"), daemon]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(directory)}
    ) as process:
        to, answers = process.stdin, process.stdout

        def ask() -> Said:
            to.write("\n")
            to.flush()
            earliest, latest, unsynchronized = map(int, answers.readline().split())
            return Said(earliest, latest, 1 - unsynchronized)

        try:
            yield ask
        finally:
            process.kill()
