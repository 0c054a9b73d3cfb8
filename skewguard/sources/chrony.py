"""chronyd as a time source: this host's daemon reports how far it knows the wall clock to be off.

That is useful where chronyd may not or cannot set the clock at once: in a container, with ``-x``, or while it slews a
large error away. The source asks as chronyc does, by default over UDP on loopback, where every user may read. The Unix
socket needs root or chronyd's own user and is a full control channel; there, too, the source only asks for the tracking
report. If another program sets the wall clock, chronyd notices a jump of 10 s or more at once, a smaller one at its
next measurement; until then its report is off by as much.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
from urllib.parse import urlsplit

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval
from skewguard.sources.chrony_packet import (
    PairedReading,
    Tracking,
    check_header,
    clock_was_set,
    decode,
    read_pair,
    request,
    to_interval,
)
from skewguard.sources.limits import LONGEST_WAIT, check_max_distance
from skewguard.sources.unix_socket import bind_in_directory, open_socket
from skewguard.sources.uri import Named, path_uri, server_uri, split_uri

PORT = 323
FORMS = "chrony, chrony:/path/of/the/socket or chrony://127.0.0.1[:port], each with or without ?allow_local=1"

_TRIES = 3
"""Exchanges until one falls between two settings of the wall clock."""
_LARGEST = 2048
"""More than any reply has: a longer datagram is cut, and is none."""

_Peer = tuple[str, int]


class ChronySource(Named):
    """Asks this host's chronyd for its tracking report, and computes true time from that.

    Each measurement is one packet to and from the daemon, on a socket of its own, and takes some tenths of a
    millisecond. A reply is believed if it repeats the 32 random bits of the request and comes from the address that was
    asked.

    Over a Unix socket chronyd replies only to a path. The source's socket is therefore bound in a new directory beside
    the daemon's own socket (or, if that is not writable, among the temporary files) and removed after each measurement.
    That costs some milliseconds where the directory is on a disk; ``/run`` is in memory almost everywhere.
    """

    instant = True

    def __init__(
        self, address: str | None = None, *, allow_local: bool = False, max_distance: int = 1_500_000_000
    ) -> None:
        """Check the address; nothing is opened yet.

        Args:
            address: Where chronyd listens for commands: the absolute path of its Unix socket, or a loopback address
                with or without a port, such as ``"127.0.0.1:323"`` or ``"[::1]"``. None is port 323 of both 127.0.0.1
                and ::1, asked in this order. Other hosts are refused: chronyd reports on its own host's clock.
            allow_local: Whether to believe a chronyd that follows its own clock, which nothing corrects.
            max_distance: The largest error bound to accept, ns: chronyd's own bound on its distance from true time.

        Raises:
            ConfigError: A value is unusable.
        """
        self._allow_local = allow_local
        self._max_distance = check_max_distance(max_distance)
        self._path: str | None = None
        self._peers: tuple[_Peer, ...] = ()
        if address is None:
            self._name = "chrony"
            self._peers = (("127.0.0.1", PORT), ("::1", PORT))
        elif address.startswith("/"):
            self._path = address
            self._name = path_uri("chrony", address, "socket")
        else:
            host, port = _loopback(address)
            self._peers = ((host, port),)
            self._name = server_uri("chrony", host, port, PORT)

    @classmethod
    def from_uri(cls, uri: str) -> ChronySource:
        """Make a source from ``chrony``, ``chrony:/path`` or ``chrony://address[:port]``, ``?allow_local=1`` or not."""
        parts = split_uri(uri, "chrony", FORMS, host=True, switches=("allow_local",))
        return cls(parts.authority or parts.path, allow_local=parts.switches["allow_local"])

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._path, self._peers, self._allow_local, self._max_distance)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask chronyd once, as `skewguard.sources.Source.measure` describes.

        The clocks' wall clock must be the host's, as chronyd sees it. It is also an error if it is being set now.
        """
        tracking, before, after = self._exchange(clocks, deadline)
        return to_interval(
            tracking, before, after, self._name, max_distance=self._max_distance, allow_local=self._allow_local
        )

    def tracking(self, clocks: Clocks, deadline: int) -> Tracking:
        """Ask chronyd for its tracking report, and return it unchecked; SourceError if none can be decoded."""
        return self._exchange(clocks, deadline)[0]

    def _exchange(self, clocks: Clocks, deadline: int) -> tuple[Tracking, PairedReading, PairedReading]:
        """Ask at one address after another; return the report, and the clocks before and after it."""
        began = clocks.read().steady
        if began >= deadline:
            raise SourceError(f"{self._name} was given no time to answer")
        targets: list[str | _Peer] = [self._path] if self._path is not None else list(self._peers)
        failure = ""
        now = began
        for index, target in enumerate(targets):
            limit = now + (deadline - now) // (len(targets) - index)
            try:
                return self._ask(clocks, target, limit)
            except TimeoutError as error:
                detail = f" (a datagram was ignored: {error})" if str(error) else ""
                failure = failure or f"{self._name} did not answer within {(limit - now) / SECOND:.1f} s{detail}"
            except OSError as error:
                failure = failure or f"{self._name} cannot be reached: {error.strerror or error}"
            now = clocks.read().steady
            if now >= deadline:
                break
        raise SourceError(failure)

    def _ask(self, clocks: Clocks, target: str | _Peer, limit: int) -> tuple[Tracking, PairedReading, PairedReading]:
        """Ask at one address; after OSError, or TimeoutError if it is silent, another may be tried."""
        with contextlib.ExitStack() as closing:
            sock = _connected(target, closing)
            for _ in range(_TRIES):
                sequence = secrets.randbits(32)
                before = read_pair(clocks)
                sock.settimeout(0)  # sending must not wait for a daemon that does not read
                sock.send(request(sequence))
                datagram = _receive(clocks, sock, sequence, limit)
                after = read_pair(clocks)
                if clock_was_set(before, after):
                    continue
                try:
                    return decode(datagram), before, after
                except SourceError as error:
                    raise SourceError(f"{self._name} gives no time: {error}") from None
        raise SourceError(f"{self._name} reports on the wall clock, which is being set at this moment")


def _receive(clocks: Clocks, sock: socket.socket, sequence: int, limit: int) -> bytes:
    """Wait for the reply; TimeoutError, with the reason why the last datagram was ignored, if none comes in time."""
    ignored = ""
    while True:
        left = limit - clocks.read().steady
        if left <= 0:
            raise TimeoutError(ignored)
        sock.settimeout(min(max(left / SECOND, 1e-6), LONGEST_WAIT))
        try:
            datagram = sock.recv(_LARGEST)
        except TimeoutError:
            raise TimeoutError(ignored) from None
        try:
            check_header(datagram, sequence)
        except SourceError as error:
            ignored = str(error)  # not chronyd's reply to this request: wait on, and no longer than before
        else:
            return datagram


def _connected(target: str | _Peer, closing: contextlib.ExitStack) -> socket.socket:
    """Open a socket that is connected to `target`: the kernel drops datagrams of other senders."""
    if not isinstance(target, str):
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = closing.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sock.connect(target)
        return sock
    sock = open_socket(closing)
    sock.connect(target)
    try:
        bind_in_directory(sock, closing, os.path.dirname(target))  # noqa: PTH120 - a path from a URI stays text
    except OSError:
        bind_in_directory(sock, closing)
    return sock


def _loopback(address: str) -> _Peer:
    """Parse ``address[:port]``; only numeric loopback addresses are accepted."""
    problem = f"{address!r} is not a loopback address, such as 127.0.0.1:323 or [::1]:323"
    try:
        parts = urlsplit(f"//{address}")
        port = PORT if parts.port is None else parts.port
        host = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        raise ConfigError(problem) from None
    if not host.is_loopback or parts.netloc != address or "@" in address or "%" in address or not port:
        raise ConfigError(problem)
    return str(host), port
