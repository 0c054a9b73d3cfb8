"""NTP servers as time sources: a client for hostile networks, one server per object.

A reply is believed only if it repeats the 64 random bits of the request and reaches the port that the request left
from, which an attacker who cannot read the traffic cannot do. (One who can may delay or forge replies; several servers
on different paths, which must agree, are the remedy.) Round trips are measured on the steady clock, so a step of the
wall clock meanwhile changes nothing. Public servers and those of the clouds may smear leap seconds: for a day around
one they are up to half a second from UTC, which no signature notices.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import selectors
import socket
import threading
from collections import deque
from typing import NamedTuple
from urllib.parse import unquote

from skewguard import _late_imports
from skewguard.clocks import Clocks, Reading, stepped
from skewguard.errors import ConfigError, SourceError
from skewguard.interval import SECOND, Interval, narrowed
from skewguard.sources.limits import LONGEST_WAIT, check_max_distance
from skewguard.sources.ntp_packet import NtpPacket, decode, request, to_interval
from skewguard.sources.uri import Named, server_uri, split_server

PORT = 123
FORM = "ntp://host[:port], with or without ?allow_local=1"
MIN_POLL = 15 * SECOND
"""RFC 4330, §10: never ask a server more often."""

_RESENT_AFTER = SECOND // 2
"""A request or its reply may be lost. Silence is asked again so soon, at first."""
_RESENT = 3
"""How often, before `min_poll` counts again: four packets are what ntpdate sends."""

_LONGEST_BACKOFF = 2**17 * SECOND
"""RFC 5905, MAXPOLL: 36 hours."""
_STAGGER = 250_000_000
"""How long one address of a name has to reply before the next is asked as well, ns (after RFC 8305)."""
_MOST_ADDRESSES = 4
"""A pool's name has many addresses; asking all of them would burden its operators."""
_SAMPLES = 8
"""How many measurements are kept: the clock filter's NSTAGE (RFC 5905, §10)."""
_LARGEST = 65_535
"""Room for any datagram: on some platforms one that does not fit is an error."""

_Address = tuple[int, "tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]"]  # family, and its address


class _Request(NamedTuple):
    """A request under way: its random bits, and the steady instant just before it was sent."""

    nonce: bytes
    sent: int


class _SilenceError(SourceError):
    """No reply came in time."""


class NtpSource(Named):
    """Asks one NTP server for the time (SNTP version 4, RFC 4330 and RFC 5905, §14).

    One packet is sent for each measurement, from a new port (RFC 9109), to each of the name's addresses in turn
    until one replies. The last eight measurements are kept: one with a short round trip narrows those after it, and one
    that contradicts the newest is forgotten.

    An object sends no more often than `min_poll`; only silence is asked again sooner, up to three times in a row,
    because packets get lost. If asked too soon, it returns its last measurement again, which stays true because `at`
    dates it, unless the wall clock has jumped forward since; or it repeats its last error. It obeys servers that ask it
    to slow down (RATE) or to go away (DENY, RSTR), the latter for good. Threads that share it take turns. All
    measurements must be made with clocks that count from one zero.

    The time until the deadline counts from the first packet: a slow lookup of the name, which cannot be cut short,
    takes none of the server's. So `measure` may return after its deadline.
    """

    def __init__(
        self,
        host: str,
        port: int = PORT,
        *,
        allow_local: bool = False,
        max_distance: int = 1_500_000_000,
        min_poll: int = MIN_POLL,
    ) -> None:
        """Check the arguments; nothing is sent or looked up yet.

        Args:
            host: A name or a numeric address, IPv4 or IPv6.
            port: Its UDP port.
            allow_local: Whether to believe a server that serves its own clock, which nothing corrects (reference
                127.127.1.x or LOCL), as the only server of an isolated site may.
            max_distance: The largest root distance to accept, ns: the server's own bound on its distance from true
                time. ntpd's limit is the default.
            min_poll: The shortest time between two requests, ns. Lower it only for a server of your own.

        Raises:
            ConfigError: A value is unusable.
        """
        if not host or any(char.isspace() or not char.isprintable() or char in "/[]?#@" for char in host):
            raise ConfigError(f"{host!r} is not a host name or address of an NTP server")
        self._name = server_uri("ntp", host, port, PORT)
        if min_poll < 0:
            raise ConfigError(f"min_poll is {min_poll} ns, but must not be negative")
        self._host = host
        self._port = port
        self._allow_local = allow_local
        self._max_distance = check_max_distance(max_distance)
        self._min_poll = min_poll

        # One lock for each process: in a forked child, one that another thread held would stay locked.
        self._locks: dict[int, threading.Lock] = {}
        self._asked: Reading | None = None  # when a request last left
        self._last: Interval | None = None  # its result
        self._samples: deque[Interval] = deque(maxlen=_SAMPLES)  # the measurement of each reply alone, oldest first
        self._failure = ""  # or the reason why there is none
        self._silent = 0  # how often in a row there was no reply at all
        self._backoff = 0  # ns to wait since the server sent RATE
        self._barred: str | None = None  # the kiss code by which the server refused this host

    @classmethod
    def from_uri(cls, uri: str) -> NtpSource:
        """Make a source from ``ntp://host[:port][?allow_local=1]``; an IPv6 address stands in brackets."""
        host, port, parts = split_server(uri, "ntp", FORM, switches=("allow_local",))
        name, percent, zone = unquote(host).partition("%")  # the zone is an interface's name, whose case counts
        address = f"{name.lower()}{percent}{zone}"
        return cls(address, PORT if port is None else port, allow_local=parts.switches["allow_local"])

    @property
    def _key(self) -> tuple[object, ...]:
        return (self._host.lower(), self._port, self._allow_local, self._max_distance, self._min_poll)

    def measure(self, clocks: Clocks, deadline: int) -> Interval:
        """Ask the server, as `skewguard.sources.Source.measure` describes, unless it was asked within `min_poll`.

        If it was, return the previous measurement, unchanged, or raise its error again.
        """
        began = clocks.read().steady
        lock = self._locks.setdefault(os.getpid(), threading.Lock())
        if not lock.acquire(timeout=min(max(deadline - began, 0) / SECOND, threading.TIMEOUT_MAX)):
            raise SourceError(f"{self._name} is still being asked by another thread")
        try:
            said = self._recall(clocks.read())
            if said is None:
                self._last, self._failure = None, ""
                silent, self._silent = self._silent, 0
                try:
                    said = self._last = self._filtered(self._ask(clocks, deadline - began))
                except _SilenceError as error:
                    self._failure, self._silent = str(error), silent + 1
                    raise
                except SourceError as error:
                    self._failure = str(error)
                    raise
            return said
        finally:
            lock.release()

    def _filtered(self, newest: Interval) -> Interval:
        """Narrow a measurement by the earlier ones that agree with it; keep it and those."""
        joined, agreeing = narrowed([*self._samples, newest])
        self._samples = deque(agreeing, maxlen=_SAMPLES)
        return joined

    def _recall(self, now: Reading) -> Interval | None:
        """Return the last measurement, or repeat the last error, if the server must not be asked; None if it may."""
        if self._barred is not None:
            raise SourceError(self._refusal())
        if self._asked is None:
            return None
        age = now.steady - self._asked.steady
        if age < 0:  # the steady clock went back: restored from a snapshot, so the memory is void
            return None
        reason = self._failure or f"{self._name} was just asked"
        if age < self._min_poll and self._last is not None:
            # The machine may have been frozen, the steady clock with it, and its wall clock then set right.
            if stepped(self._asked, now) <= 0:
                return self._last
            reason = f"{self._name} was asked before the wall clock was set"
        resent = 0 < self._silent <= _RESENT
        wait = max(min(self._min_poll, _RESENT_AFTER) if resent else self._min_poll, self._backoff) - age
        if wait <= 0:
            return None
        raise SourceError(f"{reason}; it is asked again in {wait / SECOND:.0f} s")

    def _ask(self, clocks: Clocks, patience: int) -> Interval:
        """Ask one address after another, none of them twice, until one gives the time, or `patience` ns are over.

        They count from the first packet: a slow look-up takes none of the server's time.
        """
        if patience <= 0:
            raise SourceError(f"{self._name} was given no time to answer")
        waiting = deque(self._addresses())
        began = clocks.read().steady
        deadline = began + patience
        failures: list[SourceError] = []
        ignored = ""
        with contextlib.ExitStack() as closing:
            selector = closing.enter_context(selectors.DefaultSelector())
            due = began
            while True:
                now = clocks.read().steady
                if now >= deadline:
                    break
                while waiting and (now >= due or not selector.get_map()):
                    try:
                        sock, asked = self._send(clocks, waiting.popleft(), closing)
                    except OSError as error:
                        failures.append(SourceError(f"{self._name} cannot be reached: {_reason(error)}"))
                    else:
                        selector.register(sock, selectors.EVENT_READ, asked)
                        due = now + min(_STAGGER, patience // 2)
                if not selector.get_map():
                    raise failures[-1]
                until = min(due, deadline) if waiting else deadline
                events = selector.select(min(max(until - now, 0) / SECOND, LONGEST_WAIT))
                if not events:
                    # The system waited: true even where the clocks of a test stand still.
                    if not waiting:
                        break
                    due = now
                for key, _ in events:
                    try:
                        reply, received = self._receive(clocks, key)
                    except SourceError as error:
                        ignored = str(error)  # not the server's: wait on, and no longer than before
                        continue
                    except (BlockingIOError, InterruptedError):
                        continue  # the kernel dropped the datagram that it had announced
                    except OSError as error:
                        failures.append(SourceError(f"{self._name} cannot be reached: {_reason(error)}"))
                    else:
                        try:
                            return self._to_interval(reply, key.data.sent, received)
                        except SourceError as error:
                            if self._barred or self._backoff:
                                raise
                            failures.append(error)
                    # A bad reply ends the exchange: the nonce is used up, and a better reply to it would be a forgery.
                    selector.unregister(key.fileobj)
        if failures:
            raise failures[-1]
        silence = f"{self._name} did not answer within {patience / SECOND:.1f} s"
        raise _SilenceError(f"{silence} (a datagram was ignored: {ignored})" if ignored else silence)

    def _addresses(self) -> list[_Address]:
        """Look up the host's first few addresses, IPv6 and IPv4 in turn, so that a dead family costs one step."""
        with _late_imports.importing:
            codecs.lookup("idna")  # else the lookup imports it, and a child forked meanwhile could never look up a name
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise SourceError(f"{self._name} cannot be looked up: {_reason(error)}") from None
        unique: list[_Address] = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        first = unique[0][0]
        preferred = [address for address in unique if address[0] == first]
        others = [address for address in unique if address[0] != first]
        for index, address in enumerate(others):
            preferred.insert(2 * index + 1, address)
        return preferred[:_MOST_ADDRESSES]

    def _send(self, clocks: Clocks, address: _Address, closing: contextlib.ExitStack) -> tuple[socket.socket, _Request]:
        """Send one request from a socket of its own, which `closing` will close."""
        family, peer = address
        sock = closing.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sock.setblocking(False)
        sock.connect(peer)  # from now on the kernel drops datagrams of other senders, and reports ICMP errors
        nonce = secrets.token_bytes(8)
        now = clocks.read()
        sock.send(request(nonce))
        self._asked = now
        return sock, _Request(nonce, now.steady)

    def _receive(self, clocks: Clocks, key: selectors.SelectorKey) -> tuple[NtpPacket, int]:
        """Read one datagram; also return the steady instant after."""
        sock = key.fileobj
        assert isinstance(sock, socket.socket)
        datagram = sock.recv(_LARGEST)
        received = clocks.read().steady
        return decode(datagram, key.data.nonce), received

    def _to_interval(self, reply: NtpPacket, sent: int, received: int) -> Interval:
        """Obey a kiss of death (RFC 5905, §7.4), else convert the reply."""
        if reply.kiss in ("DENY", "RSTR"):
            self._barred = reply.kiss
            raise SourceError(self._refusal())
        if reply.kiss == "RATE":
            self._backoff = min(max(2 * self._backoff, 2 * self._min_poll, MIN_POLL), _LONGEST_BACKOFF)
            raise SourceError(f"{self._name} asks this host to slow down (kiss code RATE)")
        self._backoff = 0
        return to_interval(
            reply, sent, received, self._name, max_distance=self._max_distance, allow_local=self._allow_local
        )

    def _refusal(self) -> str:
        return f"{self._name} refuses to serve this host (kiss code {self._barred}) and is not asked again"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
