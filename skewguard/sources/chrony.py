"""chronyd as a time source: a running daemon of this host is asked how far it knows the wall clock to be off.

That is worth asking where chronyd may not or cannot set the clock at once: in a container, with ``-x``, or while it
slews a large error away. It is asked as chronyc asks it, by default over UDP on loopback, where anyone may read. Its
Unix socket needs root or chronyd's own user and is a full control channel; of it, too, only the tracking report is
asked. If somebody else sets the wall clock, chronyd notices at once when that is a jump of 10 s or more, otherwise at
its next measurement; until then what it says is off by as much.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
import socket
import tempfile
from collections.abc import Callable
from urllib.parse import urlsplit

from skewguard.clocks import Clocks
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval
from skewguard.sources.chrony_packet import Look, Tracking, check_header, decode, judge, look, moved, request
from skewguard.sources.limits import MAX_DISTANCE
from skewguard.sources.uri import Named, path_uri, split_uri

PORT = 323
FORMS = "chrony, chrony:/path/of/the/socket or chrony://127.0.0.1[:port], each with or without ?allow_local=1"

_TRIES = 3
"""Exchanges until one falls between two settings of the wall clock."""
_LONGEST_WAIT = 3600.0
"""Seconds after which silence is final, whatever the deadline; the system's call overflows at some."""
_LARGEST = 2048
"""More than any reply has: what is longer is cut, and is none."""

_Peer = tuple[str, int]


class ChronySource(Named):
    """Asks this host's chronyd for its tracking report, and states true time as it follows from that.

    Each measurement is one packet to and from the daemon, on a socket of its own, and takes some tenths of a
    millisecond. The object keeps nothing between two of them: it may be shared by threads and used on both sides of a
    fork. A reply is believed if it repeats the 32 random bits of our request and comes from where that went.

    Over a Unix socket chronyd answers only to a path. A socket is therefore put into a fresh directory beside the
    daemon's own (or, if that is not writable, where temporary files go) and removed after each measurement. That costs
    some milliseconds where the directory is on a disk; ``/run`` is in memory almost everywhere.
    """

    instant = True

    def __init__(
        self, address: str | None = None, *, allow_local: bool = False, max_distance: int = 1_500_000_000
    ) -> None:
        """Prepare to ask; nothing is opened yet.

        Args:
            address: Where chronyd listens for commands: the absolute path of its Unix socket, or a loopback address
                with or without a port, such as ``"127.0.0.1:323"`` or ``"[::1]"``. None is port 323 of both 127.0.0.1
                and ::1, asked in this order. Other hosts cannot be asked: chronyd speaks of its own host's clock.
            allow_local: Whether to believe a chronyd that follows its own clock, which nothing corrects.
            max_distance: The largest doubt to accept, ns: how far by its own account chronyd may be from true time.

        Raises:
            ConfigError: A value is unusable.
        """
        if not 0 < max_distance <= MAX_DISTANCE:
            raise ConfigError(f"max_distance is {max_distance} ns, but must be over 0 and at most 16 s")
        self._allow_local = allow_local
        self._max_distance = max_distance
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
            bracketed = f"[{host}]" if ":" in host else host
            self._name = f"chrony://{bracketed}" if port == PORT else f"chrony://{bracketed}:{port}"

    @classmethod
    def from_uri(cls, uri: str) -> ChronySource:
        """Make a source from ``chrony``, ``chrony:/path`` or ``chrony://address[:port]``, ``?allow_local=1`` or not.

        Raises:
            ConfigError: The URI is not of one of these forms.
        """
        parts = split_uri(uri, "chrony", FORMS, host=True, switches=("allow_local",))
        return cls(parts.authority or parts.path, allow_local=parts.switches["allow_local"])

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._path, self._peers, self._allow_local, self._max_distance)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask chronyd once.

        Args:
            clocks: The clocks to measure with; their wall clock must be the host's, as chronyd sees it.
            deadline: The steady instant, ns, by which to answer or give up.

        Returns:
            True time at the instant of the reply's receipt.

        Raises:
            SourceError: chronyd does not run or answer, is not synchronized, or must not be believed; or the wall
                clock is being set just now. One sentence with the source's name.
        """
        tracking, before, after = self._exchange(clocks, deadline)
        return judge(
            tracking, before, after, self._name, max_distance=self._max_distance, allow_local=self._allow_local
        )

    def tracking(self, clocks: Clocks, deadline: int) -> Tracking:
        """Ask chronyd for its tracking report, and hand it out whatever it says.

        Args:
            clocks: As for `measure`.
            deadline: As for `measure`.

        Raises:
            SourceError: chronyd does not run, or does not answer so that it can be understood.
        """
        return self._exchange(clocks, deadline)[0]

    def _exchange(self, clocks: Clocks, deadline: int) -> tuple[Tracking, Look, Look]:
        """Ask at one address after another: the report, and the clocks before and after it."""
        began = clocks.read().steady
        if began >= deadline:
            raise SourceError(f"{self._name} was given no time to answer")
        targets: list[str | _Peer] = [self._path] if self._path is not None else list(self._peers)
        failure = ""
        now = began
        for place, target in enumerate(targets):
            limit = now + (deadline - now) // (len(targets) - place)
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

    def _ask(self, clocks: Clocks, target: str | _Peer, limit: int) -> tuple[Tracking, Look, Look]:
        """Ask at one address; OSError, TimeoutError if it is silent, means that another may be tried."""
        with contextlib.ExitStack() as closing:
            sock = _connected(target, closing)
            for _ in range(_TRIES):
                sequence = secrets.randbits(32)
                before = look(clocks)
                sock.settimeout(0)  # a daemon that does not read must not make us wait to be heard
                sock.send(request(sequence))
                datagram = _receive(clocks, sock, sequence, limit)
                after = look(clocks)
                if moved(before, after):
                    continue
                try:
                    return decode(datagram), before, after
                except SourceError as error:
                    raise SourceError(f"{self._name} gives no time: {error}") from None
        raise SourceError(f"{self._name} speaks of the wall clock, which is being set at this moment")


def _receive(clocks: Clocks, sock: socket.socket, sequence: int, limit: int) -> bytes:
    """Wait for the reply; TimeoutError, with what was wrong with the last other datagram, if none comes in time."""
    ignored = ""
    while True:
        left = limit - clocks.read().steady
        if left <= 0:
            raise TimeoutError(ignored)
        sock.settimeout(min(max(left / SECOND, 1e-6), _LONGEST_WAIT))
        try:
            datagram = sock.recv(_LARGEST)
        except TimeoutError:
            raise TimeoutError(ignored) from None
        try:
            check_header(datagram, sequence)
        except SourceError as error:
            ignored = str(error)  # not chronyd's answer to us: wait on, and for no longer than before
        else:
            return datagram


def _connected(target: str | _Peer, closing: contextlib.ExitStack) -> socket.socket:
    """A socket that speaks to `target` alone: the kernel drops what others send."""
    if not isinstance(target, str):
        family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        sock = closing.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sock.connect(target)
        return sock
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this platform has no Unix sockets")
    sock = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.settimeout(0)
    sock.connect(target)
    beside = os.path.dirname(target)  # noqa: PTH120 - what comes from a URI stays text
    try:
        closing.push(_bound(sock, beside))
    except OSError:
        closing.push(_bound(sock, None))
    return sock


def _bound(sock: socket.socket, parent: str | None) -> contextlib.ExitStack:
    """Give the socket a path in a new directory within `parent`, which chronyd can reach; closing removes both.

    `parent` may belong to chronyd's user, who could put a link in the directory's place. So nothing's mode is changed
    by path, only by the directory's descriptor; it is opened to others when no more will be put into it.
    """
    with contextlib.ExitStack() as undo:
        directory = tempfile.mkdtemp(prefix="skewguard-", dir=parent)
        undo.callback(_quietly, os.rmdir, directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        undo.callback(os.close, descriptor)
        undo.callback(_quietly, os.unlink, "s", dir_fd=descriptor)
        sock.bind(f"{directory}/s")
        os.chmod("s", 0o666, dir_fd=descriptor)  # noqa: S103 - chronyd, another user, is to write to it
        os.fchmod(descriptor, 0o711)
        return undo.pop_all()


def _quietly(remove: Callable[..., object], *args: object, **options: object) -> None:
    with contextlib.suppress(OSError):
        remove(*args, **options)


def _loopback(address: str) -> _Peer:
    """Take ``address[:port]`` apart; only numeric loopback addresses will do."""
    problem = f"{address!r} is no loopback address of chronyd, such as 127.0.0.1:323 or [::1]:323"
    try:
        parts = urlsplit(f"//{address}")
        port = PORT if parts.port is None else parts.port
        host = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        raise ConfigError(problem) from None
    if not host.is_loopback or parts.netloc != address or "@" in address or "%" in address or not port:
        raise ConfigError(problem)
    return str(host), port
