"""What the processes of one user tell each other of true time, through one small file.

Steady clocks can be compared between processes of one boot and one time namespace, and only there, so the file names
both, and whoever finds another boot, another namespace or anything else amiss ignores it. It lies in memory, in a
directory that nobody else can enter; it is replaced whole, and never locked: of two writers the last one wins.

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
from skewguard.interval import SECOND, Interval, Trust
from skewguard.timekeeping.domain import UTC

MOST_BYTES = 65_536
"""The longest file."""

MOST_ENTRIES = 64
"""The most domains in a file; UTC and the latest heard are kept."""

_TITLE = "skewguard-estimates 1"
_FILE = "estimates"
_LONGEST_WORD = 255
_LARGEST = 2**63 - 1
_BLUR = 1_000_000  # two looks at the clocks at one moment may differ by this, ns
_LEFTOVER = 60  # a file being written is older than this, s, only if its writer was killed
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
# Without NONBLOCK, opening a FIFO would wait for its other end.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_private = False


class Memory(NamedTuple):
    """What a file holds.

    Attributes:
        look: The writer's look at both clocks.
        said: What is known of each time domain, by its key.
    """

    look: Reading
    said: Mapping[str, Interval]


def keep_private(private: bool = True) -> None:
    """Read and write no file from now on: this process plays AWS to itself, and what it learns is true nowhere else.

    Args:
        private: False ends that.
    """
    global _private
    _private = private


# -- the format -------------------------------------------------------------------------------------------------


def render(memory: Memory, tag: str) -> bytes:
    """Write a file's text. What could not be read again is left out, and the oldest endpoints if there are too many.

    Raises:
        StoreError: The look at the clocks cannot be written: the wall clock is before 1970.
    """
    if not all(0 <= value <= _LARGEST for value in memory.look):
        raise StoreError("these clocks are out of range")
    lines = [_TITLE, f"on {tag}", f"look {memory.look.steady} {memory.look.wall}"]
    for key, said in sorted(memory.said.items(), key=lambda item: (item[0] != UTC, -item[1].at))[:MOST_ENTRIES]:
        numbers = (said.at, said.earliest, said.latest, said.drift_ppb)
        words = _is_word(key) and _is_word(said.source)
        if words and said.drift_ppb and all(0 <= value <= _LARGEST for value in numbers):
            lines.append(f"said {key} {said.source} {' '.join(map(str, numbers))}")
    body = "".join(f"{line}\n" for line in lines).encode("ascii")
    return body + b"end %08x\n" % binascii.crc32(body)


def parse(data: bytes) -> tuple[str, Memory]:
    """Read a file's text.

    Returns:
        The tag of the writer's boot and time namespace, and what was known.

    Raises:
        StoreError: It is torn, too long, of another version, or not what `render` writes.
    """
    if len(data) > MOST_BYTES:
        raise StoreError("the file is too long")
    body, end = data[:-13], data[-13:]
    if end != b"end %08x\n" % binascii.crc32(body):
        raise StoreError("the file is torn, or no file of ours")
    try:
        lines = body.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise StoreError("the file is not in ASCII") from error
    if lines.pop() or len(lines) < 3 or lines[0] != _TITLE:
        raise StoreError("the file is of another version")
    title, tag = lines[1].partition(" ")[::2]
    look = lines[2].split(" ")
    if title != "on" or not tag or len(look) != 3 or look[0] != "look" or len(lines) > 3 + MOST_ENTRIES:
        raise StoreError("the file's head is malformed")
    said = {}
    for line in lines[3:]:
        key, interval = _entry(line)
        if key in said:
            raise StoreError(f"two entries for {key}")
        said[key] = interval
    return tag, Memory(Reading(_number(look[1]), _number(look[2])), said)


def _entry(line: str) -> tuple[str, Interval]:
    words = line.split(" ")
    if len(words) != 7 or words[0] != "said" or not _is_word(words[1]) or not _is_word(words[2]):
        raise StoreError(f"{line[:80]!r} is no entry")
    key, source = words[1:3]
    at, earliest, latest, drift = map(_number, words[3:])
    if earliest > latest or not drift:
        raise StoreError(f"the entry of {key} ends before it begins, or does not age")
    trust = Trust.AUTHENTICATED if key == UTC else Trust.WITNESS
    return key, Interval(at, earliest, latest, trust, source, drift)


def _number(text: str) -> int:
    if text.isdigit() and len(text) <= 19 and (text[0] != "0" or text == "0") and int(text) <= _LARGEST:
        return int(text)
    raise StoreError(f"{text[:40]!r} is no number of nanoseconds")


def _is_word(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_WORD and text.isascii() and text.isprintable() and " " not in text


# -- where and when ---------------------------------------------------------------------------------------------


def tag() -> str:
    """Name this boot and this process's time namespace: who shares both can compare steady clocks.

    Raises:
        StoreError: That cannot be told; or this process is shown other clocks than the kernel's.
    """
    if sys.platform != "linux":
        raise StoreError("nothing here proves that two processes' clocks count from the same moment")
    try:
        boot = _text("/proc/sys/kernel/random/boot_id").strip()
        try:
            # A namespace's number is given away again when it is gone, so it does not suffice: hence the offsets.
            namespace = [os.readlink("/proc/self/ns/time"), *_text("/proc/self/timens_offsets").split()]
        except FileNotFoundError:
            namespace = []  # this kernel has no time namespaces
        # A preloaded library such as libfaketime may move the steady clock of one process. It cannot move this file.
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        uptime = int(_text("/proc/uptime").split()[0].replace(".", "")) * (SECOND // 100)
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError) as error:
        raise StoreError(f"this boot cannot be told from another: {error}") from error
    if not before - SECOND <= uptime <= after + SECOND:
        raise StoreError("this process is shown other clocks than the kernel's")
    words = [boot, *namespace]
    if not all(map(_is_word, words)):
        raise StoreError("this boot has no name")
    return " ".join(words)


def bases() -> Iterator[str]:
    """List where the directory may lie: always in memory, as it is worthless after a boot and must not wait for disks.

    The user's own runtime directory is not always there, nor its name in every process's environment: cron's and
    daemons' have none. ``/dev/shm`` is nearly everywhere, and one for all; ``/tmp`` is neither.
    """
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if named.startswith("/"):
        yield named
    yield f"/run/user/{os.geteuid()}"
    yield "/dev/shm"


class Store:
    """The file of this user on this boot. Holds nothing open."""

    @staticmethod
    def read(clocks: Clocks) -> Memory:
        """Read what was written last.

        Args:
            clocks: The host's.

        Raises:
            StoreError: There is nothing, or nothing that can be believed.
        """
        if _private:
            raise StoreError("this process keeps to itself")
        problem = StoreError("there is no file")
        for directory in _directories(create=False):
            try:
                return _checked(_contents(directory), clocks)
            except StoreError as error:
                problem = error
        raise problem

    @staticmethod
    def write(memory: Memory) -> None:
        """Replace the file.

        Raises:
            StoreError: It could not be; the old one, if there was one, still stands.
        """
        if _private:
            raise StoreError("this process keeps to itself")
        data = render(memory, tag())
        for directory in _directories(create=True):
            _replace(directory, data)
            return
        raise StoreError("there is no safe place for a file")


def _checked(data: bytes, clocks: Clocks) -> Memory:
    now = clocks.read()  # not before the file was read: it may have been written just now
    where, memory = parse(data)
    if where != tag():
        raise StoreError("the file is of another boot or time namespace")
    latest = max((said.at for said in memory.said.values()), default=0)
    if memory.look.steady > now.steady + _BLUR or latest > memory.look.steady + _BLUR:
        raise StoreError("the file is from the future")
    return memory


def _directories(create: bool) -> Iterator[int]:
    """Open this user's directory wherever it is safe, one after the other; each is closed upon the next."""
    if sys.platform != "linux":
        return
    name = f"skewguard-{os.geteuid()}"
    for base in bases():
        with contextlib.suppress(OSError), _opened(base) as outer:
            if not _sheltered(os.fstat(outer)):
                continue
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=outer)
            with _opened(name, outer) as inner:
                found = os.fstat(inner)
                if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
                    yield inner


@contextlib.contextmanager
def _opened(path: str, directory: int | None = None, flags: int = _DIRECTORY) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _sheltered(found: os.stat_result) -> bool:
    """Tell whether nobody but root and this user can take away or replace this user's things in a directory."""
    return found.st_uid in (0, os.geteuid()) and (not found.st_mode & 0o022 or bool(found.st_mode & stat.S_ISVTX))


def _contents(directory: int) -> bytes:
    try:
        with _opened(_FILE, directory, _READ) as descriptor:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise StoreError("the file is none, or not this user's alone")
            if found.st_size > MOST_BYTES:
                raise StoreError("the file is too long")
            return os.read(descriptor, MOST_BYTES + 1)
    except OSError as error:
        raise StoreError(f"the file cannot be read: {error}") from error


def _replace(directory: int, data: bytes) -> None:
    """Put a file in the old one's place at once. Not synced to any disk: it is worthless after a crash."""
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


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) != len(data):
        raise StoreError("the disk is full")


def _sweep(directory: int) -> None:
    """Remove what killed writers have left. One who still writes, should the wall clock have jumped, just fails."""
    now = time.time()
    for name in os.listdir(directory):
        if name.startswith(f"{_FILE}."):
            with contextlib.suppress(FileNotFoundError):
                if abs(now - os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime) > _LEFTOVER:
                    os.unlink(name, dir_fd=directory)


def _text(path: str) -> str:
    with _opened(path, flags=_READ) as descriptor:
        return os.read(descriptor, 4096).decode("ascii")
