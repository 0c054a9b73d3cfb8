"""The ClockBound daemon 0.1.x as a time source: it is asked over a Unix socket, as no later one can be.

Its protocol is a datagram each way, big-endian, without anything that ties a reply to its request. That is made up
for: each question goes out from a socket of its own, with a name that nobody can guess, connected to the daemon's, so
that the kernel turns away what others send and nothing old can arrive.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import struct
import tempfile

from skewguard.clocks import BRACKET_NS, Clocks
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust, drift_over
from skewguard.sources.uri import Named, path_uri, split_uri

FORM = "clockboundd or clockboundd:/path/of/the/socket"
PATH = "/run/clockboundd/clockboundd.sock"
"""Where the daemon listens."""

MAX_WIDTH = 32 * SECOND
"""A clock further than 16 s from true time is not synchronized (RFC 5905, MAXDISP), to either side."""

MAX_DELAY = 5 * SECOND
"""An answer that took longer tells of a sleeping host, not of the time."""

REQUEST = struct.pack("!BB2x", 1, 1)
"""Version 1, command 1: what time is it now?"""

_HEADER = struct.Struct("!BBBx")  # version, command (0 is an error), whether chronyd is unsynchronized
_NOW = struct.Struct("!BBBxQQ")  # and the earliest and the latest that it can be now, ns since the Unix epoch
_PATIENCE = 100_000_000
"""How long the daemon has for its reply before it is taken to be too old for abstract names, ns."""
_MOST_JUNK = 64
"""Datagrams ignored before giving up: a daemon that floods us is broken, whatever the deadline."""
_LONGEST_WAIT = 3600.0


def parse(datagram: bytes) -> tuple[int, int] | None:
    """Read the daemon's answer to `REQUEST`.

    Returns:
        The earliest and the latest that true time can be, ns since the Unix epoch; None if it is no answer at all.

    Raises:
        SourceError: The daemon has no time to tell, or contradicts itself. The reason alone, to stand after a name.
    """
    if len(datagram) not in (_HEADER.size, _NOW.size):
        return None
    version, command, unsynchronized = _HEADER.unpack_from(datagram)
    if version != 1 or unsynchronized > 1:
        return None
    # An error has the body of an answer all the same, or none, depending on its cause.
    if command == 0:
        raise SourceError("reports an error of its own, such as no answer from chronyd")
    if command != 1 or len(datagram) != _NOW.size:
        return None
    if unsynchronized:
        raise SourceError("says that the clock is not synchronized")
    _, _, _, earliest, latest = _NOW.unpack(datagram)
    if earliest > latest:
        raise SourceError("states an interval that ends before it begins")
    if latest - earliest >= MAX_WIDTH:
        raise SourceError(
            f"vouches for the clock within {(latest - earliest) / 2 / SECOND:.1f} s only; 16 s is too much"
        )
    return earliest, latest


class ClockBounddSource(Named):
    """Asks a daemon of ClockBound 0.1.x, which bounds how far the wall clock is from true time.

    The reply's address is a name that is no file where the system has such (Linux), and a file in a temporary
    directory elsewhere, and for a daemon so old (before 0.1.2) that it answers files alone. An object has no thread,
    lock or open socket; it may be shared by threads and used on both sides of a fork.
    """

    instant = True

    def __init__(self, path: str | None = None) -> None:
        """Prepare to ask; nothing is opened yet.

        Args:
            path: The daemon's socket; where the daemon puts it, unless told.

        Raises:
            ConfigError: The path is unusable.
        """
        self._path = path or PATH
        self._name = "clockboundd" if path is None else path_uri("clockboundd", path, "socket")
        self._file_first = False  # this daemon has been found to answer files alone

    @classmethod
    def from_uri(cls, uri: str) -> ClockBounddSource:
        """Make a source from ``clockboundd``, or ``clockboundd:/path/of/socket``.

        Raises:
            ConfigError: The URI is not of that form.
        """
        return cls(split_uri(uri, "clockboundd", FORM).path)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._path,)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask the daemon.

        Args:
            clocks: The clocks to measure with.
            deadline: The steady instant, ns, by which to answer or give up.

        Returns:
            True time at the instant of the reply's receipt.

        Raises:
            SourceError: Nobody answered in time, or the answer must not be believed. One sentence with the source's
                name.
        """
        began = clocks.read().steady
        if began >= deadline:
            raise SourceError(f"{self._name} was given no time to answer")
        if not hasattr(socket, "AF_UNIX"):
            raise SourceError(f"{self._name} cannot be asked: this system has no Unix sockets")
        try:
            return self._ask(clocks, began, deadline)
        except OSError as error:
            raise SourceError(f"{self._name} cannot be asked: {error.strerror or error}") from None
        except SourceError as error:
            raise SourceError(f"{self._name} {error}") from None

    def _ask(self, clocks: Clocks, began: int, deadline: int) -> Interval:
        """Ask, and if need be ask again in the other way, until an answer comes. Errors are the reason alone."""
        ways = [True] if self._file_first else [False, True]
        junk = 0
        with contextlib.ExitStack() as closing:
            selector = closing.enter_context(selectors.DefaultSelector())
            while ways:
                as_file = ways.pop(0)
                try:
                    sock = self._connect(closing, as_file=as_file)
                    sent = clocks.read().steady
                    sock.send(REQUEST)
                except OSError:
                    if not ways and not selector.get_map():
                        raise
                else:
                    selector.register(sock, selectors.EVENT_READ, (sent, as_file))
                now = clocks.read().steady
                until = min(now + _PATIENCE, now + (deadline - now) // 2) if ways else deadline
                while selector.get_map() and now < until:
                    events = selector.select(min((until - now) / SECOND, _LONGEST_WAIT))
                    if not events:
                        break  # the wait was the system's: believe it even where the clocks of a test stand still
                    for key, _ in events:
                        said = self._receive(clocks, key)
                        if said is not None:
                            return said
                        junk += 1
                    if junk >= _MOST_JUNK:
                        raise SourceError("sends what is no answer")
                    now = clocks.read().steady
        ignored = f" (what was no answer was ignored: {junk})" if junk else ""
        raise SourceError(f"did not answer within {(deadline - began) / SECOND:.1f} s{ignored}")

    def _connect(self, closing: contextlib.ExitStack, *, as_file: bool) -> socket.socket:
        """Make a socket that can be answered, by the daemon alone."""
        sock = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sock.setblocking(False)
        name = f"clockboundc-{secrets.token_hex(16)}"
        if not as_file:
            sock.bind(f"\0{name}")  # not a name of the kernel's choice: those are used again, and old replies arrive
        else:
            directory = closing.enter_context(tempfile.TemporaryDirectory(prefix="clockboundc-"))
            file = os.path.join(directory, f"{name[:24]}.sock")  # noqa: PTH118  # as short as may be: 108 bytes in all
            try:
                sock.bind(file)
            except UnicodeError as error:
                raise OSError(str(error)) from None
            # The daemon is another user; it must reach this one file, and need not see what else is there.
            os.chmod(directory, 0o711)  # noqa: PTH101, S103
            os.chmod(file, 0o722)  # noqa: PTH101, S103
        sock.connect(self._path)
        return sock

    def _receive(self, clocks: Clocks, key: selectors.SelectorKey) -> Interval | None:
        """Read a datagram and judge it; None if it is no answer."""
        sock, (sent, as_file) = key.fileobj, key.data
        assert isinstance(sock, socket.socket)
        try:
            datagram = sock.recv(64)  # more than any answer has: what is cut off is seen to be too long
        except (BlockingIOError, InterruptedError):
            return None
        received = clocks.read().steady
        answer = parse(datagram)
        if answer is None:
            return None
        elapsed = received - sent
        if not 0 <= elapsed <= MAX_DELAY:
            raise SourceError(f"took {elapsed / SECOND:.1f} s to answer, too long to tell the time by")
        self._file_first = as_file
        # The daemon looked at its clock at some moment between the two of ours, and only ours can tell how long ago.
        grain = BRACKET_NS // 2
        latest = answer[1] + elapsed + drift_over(elapsed) + grain
        return Interval(received, answer[0] - grain, latest, Trust.WITNESS, self._name)
