"""The host's report on its own clock, against the C compiler's struct, the system call itself and a real daemon."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skewguard.host_clock import TIMEX, Host, HostClock, ask_kernel, inspect, parse_timex
from tests.real.chronyd import chronyd
from tests.real.need import need
from tests.support import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")

FILLED = """
#include <string.h>
#include <unistd.h>
#include <%s>
int main(void) {
    struct timex t;
    memset(&t, 0xee, sizeof t);
    t.modes = 1; t.maxerror = 1500; t.esterror = 20; t.status = 0x11; t.tai = 37;
    return write(1, &t, sizeof t) != sizeof t;
}
"""
SYSTEM_CALLS = {"x86_64": 159, "aarch64": 171, "riscv64": 171}
"""The number of adjtimex."""


@pytest.mark.parametrize("header", ["linux/timex.h", "sys/timex.h"])
def test_layout(header: str, tmp_path: Path) -> None:
    """The fields of the kernel's and the library's struct are read where a compiler puts them."""
    compiler = shutil.which("cc")
    need(compiler is not None, "a C compiler", "apt-get install -y gcc libc6-dev")
    if header.startswith("linux"):
        need(Path("/usr/include/linux/timex.h").exists(), "the kernel's headers", "apt-get install -y linux-libc-dev")
    source = tmp_path / "fill.c"
    source.write_text(FILLED % header)
    subprocess.run([compiler or "cc", "-o", tmp_path / "fill", source], check=True)
    data = subprocess.run([tmp_path / "fill"], check=True, capture_output=True).stdout
    assert len(data) == TIMEX.size
    assert TIMEX.unpack(data)[0] == 1
    assert parse_timex(1, data) == HostClock(True, 1_500_000, 20_000, 1, 37)


def test_library_and_system_call_say_the_same() -> None:
    """The C library returns what the kernel does, apart from the time and the errors, which grow meanwhile."""
    number = SYSTEM_CALLS.get(platform.machine())
    if number is None or sys.maxsize < 2**32:
        pytest.skip("the number of the system call is not known here")
    buffer = ctypes.create_string_buffer(TIMEX.size)
    state = ctypes.CDLL(None).syscall(number, buffer)
    answer = ask_kernel()
    direct, library = parse_timex(state, buffer.raw), parse_timex(*answer)
    assert library._replace(max_error=None) == direct._replace(max_error=None)
    assert (library.max_error is None) == (direct.max_error is None)
    if library.max_error is not None and direct.max_error is not None:
        assert 0 <= library.max_error - direct.max_error <= 10_000_000


def test_real_daemon() -> None:
    """A chronyd is seen while it runs."""
    with chronyd():
        daemons = Host().inspect().daemons
        assert "chronyd" in daemons


def test_container() -> None:
    """In another PID namespace the host's daemons cannot be seen; the kernel reports all the same."""
    need(shutil.which("unshare") is not None, "unshare", "apt-get install -y util-linux")
    apart = ["unshare", "--pid", "--fork", "--mount-proc", *(["--map-root-user"] if os.geteuid() else [])]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this host allows no PID namespaces")
    code = "from skewguard.host_clock import inspect; seen = inspect(); print(seen.daemons, seen.synchronized)"
    with chronyd():
        printed = run_python(code, prefix=(*apart,))
    assert printed.split() == ["None", str(inspect().synchronized)]
