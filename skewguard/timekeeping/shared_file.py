"""The estimates that the processes of one user share, in one small file.

Steady clocks can be compared between processes of one boot and one time namespace, and only there; and containers that
share ``/dev/shm`` and a user id are not one user. So the file names the boot and the time and PID namespaces, and a
reader that finds others, or anything else wrong, ignores it. It lies in memory, in a directory that only its user can
enter; it is replaced whole, and never locked: of two writers the last one wins.

Linux only: elsewhere nothing proves that two processes' clocks count from the same moment.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from skewguard.clocks import Clocks, Reading
from skewguard.errors import StoreError
from skewguard.events import Degraded, emit_once
from skewguard.interval import SECOND, Interval, Trust
from skewguard.timekeeping.domain import UTC

MOST_BYTES = 65_536
"""The longest file."""

MOST_ENTRIES = 64
"""The most domains in a file; UTC and the most recent ones are kept."""

_TITLE = "skewguard-estimates 2"
_FILE = "estimates"
_LONGEST_WORD = 255
_LARGEST = 2**63 - 1
_BLUR = 1_000_000  # two readings of the clocks at one moment may differ by this, ns
_LEFTOVER = 60  # a temporary file that is older than this, s, was left by a killed writer
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Without NONBLOCK, opening a FIFO would wait for its other end.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_private = False


class Contents(NamedTuple):
    """The contents of a file.

    Attributes:
        reading: The writer's reading of both clocks.
        estimates: The estimate of each time domain, by its key.
    """

    reading: Reading
    estimates: Mapping[str, Interval]


def keep_private(private: bool = True) -> None:
    """Stop reading and writing files: this process plays AWS to itself, and what it learns is true nowhere else.

    Args:
        private: False ends that.
    """
    global _private
    _private = private


# -- the format -------------------------------------------------------------------------------------------------


def render(contents: Contents, where: str) -> bytes:
    """Format a file. Entries that could not be read again are left out, and the oldest endpoints if there are too many.

    StoreError if the clocks' reading cannot be written: the wall clock is before 1970.
    """
    if not all(0 <= value <= _LARGEST for value in contents.reading):
        raise StoreError("the clocks are out of range")
    lines = [_TITLE, f"on {where}", f"read {contents.reading.steady} {contents.reading.wall}"]
    newest_first = sorted(contents.estimates.items(), key=lambda item: (item[0] != UTC, -item[1].at))
    for key, estimate in newest_first[:MOST_ENTRIES]:
        numbers = (estimate.at, estimate.earliest, estimate.latest, estimate.drift_ppb)
        words = _is_word(key) and _is_word(estimate.source)
        if words and estimate.drift_ppb and all(0 <= value <= _LARGEST for value in numbers):
            lines.append(f"estimate {key} {estimate.source} {' '.join(map(str, numbers))}")
    body = "".join(f"{line}\n" for line in lines).encode("ascii")
    return body + b"end %08x\n" % binascii.crc32(body)


def parse(data: bytes) -> tuple[str, Contents]:
    """Parse a file; return the tag of the writer's boot and namespaces, and the contents.

    Raises:
        StoreError: It is torn, too long, of another version, or not what `render` writes.
    """
    if len(data) > MOST_BYTES:
        raise StoreError("the file is too long")
    body, end = data[:-13], data[-13:]
    if end != b"end %08x\n" % binascii.crc32(body):
        raise StoreError("the file is torn, or not one of skewguard's")
    try:
        lines = body.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise StoreError("the file is not in ASCII") from error
    if lines.pop() or len(lines) < 3 or lines[0] != _TITLE:
        raise StoreError("the file is of another version")
    title, where = lines[1].partition(" ")[::2]
    reading = lines[2].split(" ")
    if title != "on" or not where or len(reading) != 3 or reading[0] != "read" or len(lines) > 3 + MOST_ENTRIES:
        raise StoreError("the file's head is malformed")
    estimates = {}
    for line in lines[3:]:
        key, interval = _entry(line)
        if key in estimates:
            raise StoreError(f"two entries for {key}")
        estimates[key] = interval
    return where, Contents(Reading(_number(reading[1]), _number(reading[2])), estimates)


def _entry(line: str) -> tuple[str, Interval]:
    words = line.split(" ")
    if len(words) != 7 or words[0] != "estimate" or not _is_word(words[1]) or not _is_word(words[2]):
        raise StoreError(f"{line[:80]!r} is not an entry")
    key, source = words[1:3]
    at, earliest, latest, drift = map(_number, words[3:])
    if earliest > latest or not drift:
        raise StoreError(f"the entry of {key} ends before it begins, or does not age")
    trust = Trust.AUTHENTICATED if key == UTC else Trust.WITNESS
    return key, Interval(at, earliest, latest, trust, source, drift)


def _number(text: str) -> int:
    if text.isdigit() and len(text) <= 19 and (text[0] != "0" or text == "0") and int(text) <= _LARGEST:
        return int(text)
    raise StoreError(f"{text[:40]!r} is not a number of nanoseconds")


def _is_word(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_WORD and text.isascii() and text.isprintable() and " " not in text


# -- where and when ---------------------------------------------------------------------------------------------


def tag() -> str:
    """Name this boot and this process's time and PID namespaces. Processes share estimates if all three are the same.

    Raises:
        StoreError: They are unknown, or this process sees other clocks than the kernel's.
    """
    if sys.platform != "linux":
        raise StoreError("nothing here proves that two processes' clocks count from the same moment")
    try:
        words = [_text("/proc/sys/kernel/random/boot_id").strip(), *_namespaces()]
        # A preloaded library such as libfaketime may move the steady clock of one process. It cannot move this file.
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        uptime = int(_text("/proc/uptime").split()[0].replace(".", "")) * (SECOND // 100)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"this boot cannot be identified: {error}") from error
    if not before - SECOND <= uptime <= after + SECOND:
        raise StoreError("this process sees other clocks than the kernel's")
    if not all(map(_is_word, words)):
        raise StoreError("this boot has no name")
    return " ".join(words)


def _namespaces() -> Iterator[str]:
    """Name the namespaces that this kernel has. The number of one that is gone is reused, so it does not suffice."""
    present = os.listdir("/proc/self/ns")
    if "time" in present:
        yield os.readlink("/proc/self/ns/time")
        yield from _text("/proc/self/timens_offsets").split()
    if "pid" in present:
        yield os.readlink("/proc/self/ns/pid")
        with contextlib.suppress(OSError):  # other users' processes may be hidden
            yield _text("/proc/1/stat").rpartition(")")[2].split()[19]  # when its first process started


def bases() -> Iterator[str]:
    """List where the directory may be: always in memory, as it is worthless after a boot and must not wait for a disk.

    The user's own runtime directory does not always exist, and cron jobs and daemons have no variable that names it.
    ``/dev/shm`` exists nearly everywhere, and is the same for all processes; ``/tmp`` is neither.
    """
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if named.startswith("/"):
        yield named
    yield f"/run/user/{os.geteuid()}"
    yield "/dev/shm"


class Disk:
    """The file system and this boot's name, as far as the file needs them; a simulation passes its own."""

    def tag(self) -> str:
        """Name this boot and this process's namespaces."""
        return tag()

    def directories(self, create: bool) -> Iterator[int]:
        """Open this user's directory wherever it is safe, one after the other; each is closed before the next.

        If its name is taken, and it can be nowhere else, that is reported once: another user may have made it.

        Raises:
            StoreError: This process keeps to itself.
        """
        if _private:
            raise StoreError("this process keeps to itself")
        if sys.platform != "linux":
            return
        name = f"skewguard-{os.geteuid()}"
        usable, squatted = False, ""
        for base in bases():
            with contextlib.suppress(OSError), _opened(base) as outer:
                if not _sheltered(os.fstat(outer)):
                    continue
                if create:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=outer)
                try:
                    private = _is_private(os.stat(name, dir_fd=outer, follow_symlinks=False))
                except FileNotFoundError:
                    usable = True  # once there is something to write
                    continue
                if not private:
                    squatted = squatted or f"{base}/{name}"
                    continue
                with _opened(name, outer) as inner:
                    if _is_private(os.fstat(inner)):
                        usable = True
                        yield inner
        if squatted and not usable:
            remedy = "remove it, or switch sharing off (share=False)"
            reason = f"{squatted} is not a directory that only this user can enter; {remedy}"
            emit_once(Degraded("sharing with other processes", reason))

    def read(self, directory: int) -> bytes:
        """Read the file in a directory."""
        try:
            with _opened(_FILE, directory, _READ) as descriptor:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                    raise StoreError("the file is not a regular one, or not this user's alone")
                if found.st_size > MOST_BYTES:
                    raise StoreError("the file is too long")
                return os.read(descriptor, MOST_BYTES + 1)
        except OSError as error:
            raise StoreError(f"the file cannot be read: {error}") from error

    def replace(self, directory: int, data: bytes) -> None:
        """Replace the file in a directory atomically. It is not synced to disk, because a crash makes it worthless."""
        new = f"{_FILE}.{os.getpid()}.{os.urandom(8).hex()}"
        try:
            try:
                with _opened(new, directory, _WRITE) as descriptor:
                    _write(descriptor, data)
                os.rename(new, _FILE, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(new, dir_fd=directory)
                raise
            _sweep(directory)
        except OSError as error:
            raise StoreError(f"the file cannot be written: {error}") from error


class Store:
    """The file of this user on this boot. Keeps nothing open."""

    def __init__(self, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()

    def read(self, clocks: Clocks) -> Contents:
        """Read the file. StoreError if there is none, or none that can be believed."""
        problem = StoreError("there is no file")
        for directory in self._disk.directories(create=False):
            try:
                return self._checked(self._disk.read(directory), clocks)
            except StoreError as error:
                problem = error
        raise problem

    def write(self, contents: Contents) -> None:
        """Replace the file. After StoreError, an old file is still there, unchanged."""
        data = render(contents, self._disk.tag())
        for directory in self._disk.directories(create=True):
            self._disk.replace(directory, data)
            return
        raise StoreError("there is no safe place for a file")

    def _checked(self, data: bytes, clocks: Clocks) -> Contents:
        now = clocks.read()  # after the file was read, because it may have been written just before
        tag, contents = parse(data)
        if tag != self._disk.tag():
            raise StoreError("the file is of another boot or namespace")
        latest = max((estimate.at for estimate in contents.estimates.values()), default=0)
        if contents.reading.steady > now.steady + _BLUR or latest > contents.reading.steady + _BLUR:
            raise StoreError("the file is from the future")
        return contents


@contextlib.contextmanager
def _opened(path: str, directory: int | None = None, flags: int = _DIRECTORY) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_private(found: os.stat_result) -> bool:
    """Return whether only this user can enter a directory."""
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _sheltered(found: os.stat_result) -> bool:
    """Return whether only root and this user can remove or replace this user's entries in a directory."""
    return found.st_uid in (0, os.geteuid()) and (not found.st_mode & 0o022 or bool(found.st_mode & stat.S_ISVTX))


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) != len(data):
        raise StoreError("the disk is full")


def _sweep(directory: int) -> None:
    """Remove the files of killed writers. After a jump of the wall clock, a writer at work may fail, without harm."""
    now = time.time()
    for name in os.listdir(directory):
        if name.startswith(f"{_FILE}."):
            with contextlib.suppress(FileNotFoundError):
                if abs(now - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime) > _LEFTOVER:
                    os.unlink(name, dir_fd=directory)


def _text(path: str) -> str:
    with _opened(path, flags=_READ) as descriptor:
        return os.read(descriptor, 4096).decode("ascii", "replace")
