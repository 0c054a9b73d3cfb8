"""A child process whose wall clock a test moves while it runs; its steady clocks and the host's clocks stay true.

The library is the one inside PyPI's libfaketime: with Debian's, a real monotonic clock makes `time.sleep` raise.
Go programs and other static ones are not reached by it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from tests.real.need import need

INSTALL = "pip install libfaketime==3.0.1 (for Linux on x86-64)"


def library() -> Path | None:
    """Return the library to preload; None if it is not installed or cannot be loaded (the wheel has x86-64 code)."""
    spec = importlib.util.find_spec("libfaketime") if sys.platform == "linux" else None
    if spec is None or spec.origin is None or platform.machine() != "x86_64":
        return None
    found = Path(spec.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return found if found.exists() else None


class FakeTime:
    """A wall clock for one or more children. Closing it ends those still running; skips where it cannot work.

    Args:
        directory: Where the clock's setting is kept, in a file.
        shift: Where the clock starts, as in `shift`.
    """

    def __init__(self, directory: Path, shift: str = "+0") -> None:
        found = library()
        need(found is not None, "libfaketime", INSTALL)
        self._library = found
        self._setting = directory / "faketime"
        self._children: list[subprocess.Popen[str]] = []
        self.shift(shift)  # an empty or missing file would end the child at its start

    def __enter__(self) -> FakeTime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def shift(self, amount: str) -> None:
        """Move the wall clock; the child's next reading shows the change.

        Args:
            amount: From the host's clock, as ``+20m``, ``-90``, ``+1.5d`` or ``+0``; or ``@2030-01-01 00:00:00``.
        """
        if not amount.startswith(("+", "-", "@")):  # a bare date would stop the clock
            raise ValueError(f"not a shift: {amount!r}")
        written = self._setting.with_suffix(".new")
        written.write_text(amount + "\n")
        written.replace(self._setting)  # atomic: the child never reads half of it

    def env(self, **more: str) -> dict[str, str]:
        """Make a child's environment: this process's, with that clock, and `more`. For any child, not only Python."""
        clean = {name: value for name, value in os.environ.items() if "FAKETIME" not in name}
        return clean | {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._setting),
            "FAKETIME_NO_CACHE": "1",  # else a step is seen up to 10 s late
            "DONT_FAKE_MONOTONIC": "1",  # else time.sleep and every timeout hang
            # Else a timed wait, such as each thread's for the GIL, ends late: threads are slow, and sometimes hang.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            **more,
        }

    def run(
        self,
        program: str | Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = 60,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python on this clock to its end, and return what it printed.

        Args:
            program: Code (a string) or a script (a path).
            *arguments: Its ``sys.argv[1:]``.
            env: Variables on top of `env()`.
            stdin: What it reads.
            timeout: Seconds after which it is killed and the test fails.
            check: Fail the test, showing stderr, unless it exits with 0.
        """
        child = self.popen(program, *arguments, env=env)
        try:
            out, err = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            end(child)
            out, err = child.communicate()
            pytest.fail(f"the child hung for {timeout} s; it wrote:\n{out}{err}", pytrace=False)
        if check and child.returncode:
            pytest.fail(f"the child exited with {child.returncode}:\n{out}{err}", pytrace=False)
        return subprocess.CompletedProcess(child.args, child.returncode, out, err)

    def popen(
        self, program: str | Path, *arguments: str, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start Python on this clock, with text pipes for all three streams unless `options` differ."""
        what = [str(program)] if isinstance(program, Path) else ["-c", textwrap.dedent(program)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-u", *what, *arguments]
        child = subprocess.Popen(command, env=self.env(**(env or {})), text=True, **(pipes | options))
        self._children.append(child)
        return child

    def close(self) -> None:
        for child in self._children:
            end(child)
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):  # the rest is discarded
                        stream.close()


def end(child: subprocess.Popen[Any]) -> None:
    """Kill a child, if it still runs, and remove what libfaketime leaves behind of a killed one."""
    if child.poll() is None:
        child.kill()
        child.wait()
    for name in (f"faketime_shm_{child.pid}", f"sem.faketime_sem_{child.pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)
