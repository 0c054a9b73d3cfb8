"""The ClockBound daemon 0.1.x as a time source: asked over a Unix socket, which later daemons do not have.

Its protocol is a datagram each way, big-endian, and nothing ties a reply to its request. To make up for that, each
request leaves from a socket of its own, with a name that cannot be guessed, connected to the daemon's: so the kernel
drops datagrams of other senders, and no old reply can arrive.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import struct

from skewguard.clocks import BRACKET_NS, Clocks
from skewguard.errors import SourceError
from skewguard.interval import SECOND, Interval, Trust, drift_over
from skewguard.sources.limits import LONGEST_WAIT, MAX_DELAY, MAX_DISTANCE
from skewguard.sources.unix_socket import bind_in_directory, open_socket
from skewguard.sources.uri import Named, path_uri, split_uri

FORM = "clockboundd or clockboundd:/path/of/the/socket"
PATH = "/run/clockboundd/clockboundd.sock"
"""Where the daemon listens."""

REQUEST = struct.pack("!BB2x", 1, 1)
"""Version 1, command 1: the time now."""

_HEADER = struct.Struct("!BBBx")  # version, command (0 is an error), whether chronyd is unsynchronized
_NOW = struct.Struct("!BBBxQQ")  # and the earliest and the latest that true time can be, ns since the Unix epoch
_PATIENCE = 100_000_000
"""A daemon that has not replied by then counts as too old for abstract names, ns."""
_MOST_JUNK = 64
"""Datagrams ignored before giving up: a daemon that sends so many is broken, whatever the deadline."""


def parse(datagram: bytes) -> tuple[int, int] | None:
    """Parse the daemon's reply to `REQUEST`.

    Returns:
        The earliest and the latest that true time can be, ns since the Unix epoch; None if it is no reply at all.

    Raises:
        SourceError: The daemon does not know the time, or contradicts itself. The reason alone, to follow a name.
    """
    if len(datagram) not in (_HEADER.size, _NOW.size):
        return None
    version, command, unsynchronized = _HEADER.unpack_from(datagram)
    if version != 1 or unsynchronized > 1:
        return None
    # An error reply may have the body of a normal one, depending on the error.
    if command == 0:
        raise SourceError("reports an error of its own, such as no answer from chronyd")
    if command != 1 or len(datagram) != _NOW.size:
        return None
    if unsynchronized:
        raise SourceError("reports that the clock is not synchronized")
    _, _, _, earliest, latest = _NOW.unpack(datagram)
    if earliest > latest:
        raise SourceError("states an interval that ends before it begins")
    if latest - earliest >= 2 * MAX_DISTANCE:
        raise SourceError(
            f"vouches for the clock within {(latest - earliest) / 2 / SECOND:.1f} s only; 16 s is too much"
        )
    return earliest, latest


class ClockBounddSource(Named):
    """Asks a daemon of ClockBound 0.1.x, which bounds how far the wall clock is from true time.

    The daemon replies to an abstract name (Linux); on other systems, and from daemons before 0.1.2, to a file in a
    temporary directory.
    """

    instant = True

    def __init__(self, path: str | None = None) -> None:
        """Check the path of the daemon's socket, by default `PATH`; nothing is opened yet. ConfigError if unusable."""
        self._path = path or PATH
        self._name = "clockboundd" if path is None else path_uri("clockboundd", path, "socket")
        self._file_first = False  # this daemon has replied to a file

    @classmethod
    def from_uri(cls, uri: str) -> ClockBounddSource:
        """Make a source from ``clockboundd``, or ``clockboundd:/path/of/socket``."""
        return cls(split_uri(uri, "clockboundd", FORM).path)

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._path,)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask the daemon, as `skewguard.sources.Source.measure` describes."""
        began = clocks.read().steady
        if began >= deadline:
            raise SourceError(f"{self._name} was given no time to answer")
        try:
            return self._ask(clocks, began, deadline)
        except OSError as error:
            raise SourceError(f"{self._name} cannot be asked: {error.strerror or error}") from None
        except SourceError as error:
            raise SourceError(f"{self._name} {error}") from None

    def _ask(self, clocks: Clocks, began: int, deadline: int) -> Interval:
        """Ask, and if necessary ask again in the other way, until a reply comes. Errors are the reason alone."""
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
                    events = selector.select(min((until - now) / SECOND, LONGEST_WAIT))
                    if not events:
                        break  # the system waited: true even where the clocks of a test stand still
                    for key, _ in events:
                        said = self._receive(clocks, key)
                        if said is not None:
                            return said
                        junk += 1
                    if junk >= _MOST_JUNK:
                        raise SourceError("sends datagrams that are no reply")
                    now = clocks.read().steady
        ignored = f" (datagrams ignored: {junk})" if junk else ""
        raise SourceError(f"did not answer within {(deadline - began) / SECOND:.1f} s{ignored}")

    def _connect(self, closing: contextlib.ExitStack, *, as_file: bool) -> socket.socket:
        """Open a socket to which the daemon can reply, and no other program."""
        sock = open_socket(closing)
        if as_file:
            bind_in_directory(sock, closing)
        else:  # not a name of the kernel's choice: the kernel uses those again, and old replies would arrive
            sock.bind(f"\0skewguard-{secrets.token_hex(16)}")
        sock.connect(self._path)
        return sock

    def _receive(self, clocks: Clocks, key: selectors.SelectorKey) -> Interval | None:
        """Read a datagram and convert it; None if it is no reply."""
        sock, (sent, as_file) = key.fileobj, key.data
        assert isinstance(sock, socket.socket)
        try:
            datagram = sock.recv(64)  # more than any reply has: a longer one is cut, and still too long
        except (BlockingIOError, InterruptedError):
            return None
        received = clocks.read().steady
        answer = parse(datagram)
        if answer is None:
            return None
        elapsed = received - sent
        if not 0 <= elapsed <= MAX_DELAY:
            raise SourceError(f"took {elapsed / SECOND:.1f} s to answer, too long to give the time")
        self._file_first = as_file
        # The daemon read its clock at some moment between these two readings of the steady clock.
        grain = BRACKET_NS // 2
        latest = answer[1] + elapsed + drift_over(elapsed) + grain
        return Interval(received, answer[0] - grain, latest, Trust.WITNESS, self._name)
