"""A terminal in which a program runs; a terminal emulator shows what users see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping

import pyte

from tests.patience import PATIENCE

_OWN_IT = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)  # under nohup it is ignored
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    def __init__(self, child: subprocess.Popen[bytes], end: int, width: int, height: int) -> None:
        self.child = child
        self.written = b""
        self._end = end
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def until(self, shown: Callable[[list[str]], bool]) -> list[str]:
        """Let the program run until the screen is as wanted; return it. Fail if it never is."""
        limit = time.monotonic() + PATIENCE
        while not shown(self.lines):
            if time.monotonic() > limit or not self._read():
                raise AssertionError("the screen never was as wanted:\n" + "\n".join(self.lines))
        return self.lines

    def wait(self) -> int:
        """Let the program end; return its exit code."""
        limit = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < limit, "the program did not end"
        return self.child.wait(PATIENCE)

    def type(self, keys: bytes) -> None:
        """Press keys; Ctrl-C is 3."""
        os.write(self._end, keys)

    def _read(self) -> bool:
        """Wait a moment for output; return False when there will be no more."""
        ready, _, _ = select.select([self._end], [], [], PATIENCE)
        try:
            data = os.read(self._end, 65536) if ready else b""
        except OSError:  # how Linux reports that the program has closed the terminal
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)


@contextlib.contextmanager
def terminal(
    *command: str, env: Mapping[str, str] = os.environ, width: int = 100, height: int = 30
) -> Iterator[Terminal]:
    """Run a command in its own terminal, whose kernel handles Ctrl-C; end it after the block."""
    end, theirs = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    clean = {name: value for name, value in env.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    environment = {**clean, "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    options = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    child = subprocess.Popen([sys.executable, "-c", _OWN_IT, *command], env=environment, **options)
    os.close(theirs)
    try:
        yield Terminal(child, end, width, height)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        os.close(end)
