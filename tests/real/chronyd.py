"""A real chronyd on loopback, honest or with a wrong clock of its own, that cannot touch the host's.

It is always started with ``-x`` (no control of the clock) and, by root, as another user who could not set it anyway.
A wrong clock is libfaketime's doing, in that one process.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE
from tests.real import faketime
from tests.real.need import need
from tests.real.starting import NotReadyError, free_ports, persistently

CHRONYD = shutil.which("chronyd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
INSTALL_CHRONYD = "apt-get install -y chrony"


@dataclass(frozen=True)
class Chronyd:
    """A running daemon.

    Attributes:
        host: Where it listens, a numeric address.
        port: Its NTP port (UDP).
        cmdport: Its monitoring port (UDP), read-only.
        socket: Its command socket; only the daemon's user and root may speak to it.
        pid: Its process id.
        offset_seconds: The lead of its clock over the host's.
        directory: Its own directory, owned by its user; gone when it has ended.
    """

    host: str
    port: int
    cmdport: int
    socket: Path
    pid: int
    offset_seconds: float
    directory: Path


def faketime_library() -> Path | None:
    """Return a library that gives one process a clock of its own, Debian's if need be; None if there is none."""
    return faketime.library() or next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@contextlib.contextmanager
def chronyd(
    offset_seconds: float = 0,
    upstream: Chronyd | None = None,
    *,
    host: str = "127.0.0.1",
    stratum: int = 1,
    synchronized: bool = True,
    config: tuple[str, ...] = (),
) -> Iterator[Chronyd]:
    """Run a chronyd during the block; skip the test if there is none.

    Args:
        offset_seconds: The lead of its clock over the host's; it takes that clock for true time.
        upstream: Follow this one instead of its own clock.
        host: The loopback address to listen on, ``"127.0.0.1"`` or ``"::1"``.
        stratum: Its stratum, without an upstream.
        synchronized: Without an upstream: whether it serves its own clock as if that were right.
        config: More lines of configuration.

    Yields:
        The daemon, once it serves (or, unsynchronized, listens).
    """
    need(CHRONYD is not None, "chronyd", INSTALL_CHRONYD)
    if offset_seconds:
        need(faketime_library() is not None, "libfaketime", faketime.INSTALL)
    start = functools.partial(_run, offset_seconds, upstream, host, stratum, synchronized, config)
    with persistently(start) as running:
        yield running


@contextlib.contextmanager
def _run(
    offset: float, upstream: Chronyd | None, host: str, stratum: int, synchronized: bool, config: tuple[str, ...]
) -> Iterator[Chronyd]:
    # Short, and apart from pytest's own: a Unix socket's path has 108 bytes, and the user must be able to enter.
    with tempfile.TemporaryDirectory(prefix="chronyd-") as made:
        directory = Path(made)
        user = pwd.getpwuid(65534) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        os.chown(directory, user.pw_uid, user.pw_gid)  # chronyd insists on its own user and group, and on the mode
        directory.chmod(0o770)
        port, cmdport = free_ports(2, host, socket.SOCK_DGRAM)
        lines = [
            f"port {port}",
            f"bindaddress {host}",
            f"allow {host}",
            f"cmdport {cmdport}",
            f"bindcmdaddress {host}",
            f"bindcmdaddress {directory}/s",
            f"pidfile {directory}/pid",
            *config,
        ]
        if upstream is not None:
            lines.append(f"server {upstream.host} port {upstream.port} iburst minpoll -4 maxpoll -2")
        elif synchronized:
            lines.append(f"local stratum {stratum}")
        # `-t` ends it even if this process is killed before it can.
        command = [CHRONYD or "chronyd", "-x", "-d", "-U", "-u", user.pw_name, "-t", "600", *lines]
        with (directory / "log").open("wb") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
            process = subprocess.Popen(command, cwd=directory, env=environment(directory, offset), **streams, **other)
        daemon = Chronyd(host, port, cmdport, directory / "s", process.pid, offset, directory)
        try:
            truth = offset if upstream is None else upstream.offset_seconds
            _wait_until_it_serves(process, daemon, truth, want_time=synchronized or upstream is not None)
            yield daemon
        finally:
            _end(process)


def environment(directory: Path, offset: float) -> dict[str, str]:
    """Return the environment of a chronyd whose clock is `offset` s ahead of the host's, with the library for that."""
    variables = {"PATH": os.environ.get("PATH", ""), "LANG": "C"}
    library = faketime_library()
    if offset and library is not None:
        # A copy, because the user may not be allowed where packages are installed; the loader would only warn.
        copy = directory / "libfaketime.so.1"
        shutil.copy(library, copy)
        copy.chmod(0o755)
        variables |= {
            "LD_PRELOAD": str(copy),
            "FAKETIME": f"{offset:+f}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # the older spelling
            "FAKETIME_DISABLE_SHM": "1",
        }
    return variables


def _wait_until_it_serves(process: subprocess.Popen[bytes], daemon: Chronyd, truth: float, want_time: bool) -> None:
    """Return when the daemon answers with the time it should; raise NotReadyError, with its log, if it does not."""
    limit = time.monotonic() + PATIENCE
    seen = "it did not answer"
    while process.poll() is None and time.monotonic() < limit:
        answer = _ask(daemon)
        if answer is not None:
            stratum, dispersion, served = answer
            if not want_time:
                return
            off = served - time.time() - truth
            # A daemon that has only just found its upstream is unsure by some seconds.
            if 0 < stratum < 16 and abs(off) < 1 and dispersion < 0.25:
                return
            seen = (
                f"it answered with stratum {stratum}, {off:+.3f} s from what was wanted, give or take {dispersion:.3f}"
            )
        time.sleep(0.05)
    log = (daemon.directory / "log").read_text(errors="replace")
    raise NotReadyError(f"chronyd was not ready ({seen}; exit code {process.poll()}):\n{log}")


def _ask(daemon: Chronyd) -> tuple[int, float, float] | None:
    """Return stratum, root dispersion and Unix time, without the code under test; None if there is no answer."""
    family = socket.AF_INET6 if ":" in daemon.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.2)
        try:
            sock.connect((daemon.host, daemon.port))
            sock.send(b"\x23" + bytes(47))
            reply = sock.recv(512)
        except OSError:
            return None
    (dispersion,) = struct.unpack_from("!I", reply, 8)
    seconds, fraction = struct.unpack_from("!II", reply, 40)
    return reply[1], dispersion / 2**16, seconds - 2_208_988_800 + fraction / 2**32


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
