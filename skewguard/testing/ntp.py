"""`TimeServer`: an NTP server on loopback, whose time is any clock (RFC 5905, §7.3; client and server mode only)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

_EPOCH_1900 = 2_208_988_800
_REPLY = struct.Struct("!BBbbII4sQ8sQQ")  # up to four timestamps: reference, origin, receive, transmit
_SYNCHRONIZED, _STRATUM, _POLL, _PRECISION = 0o44, 2, 6, -20  # leap 0, version 4, mode 4; about a microsecond
_DISPERSION = 66  # 1 ms, 16.16 seconds
_REFERENCE_AGE = 60  # s


class TimeServer:
    """An NTP server on 127.0.0.1, and the thread that serves it."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Listen on a free port and serve at once; `clock` returns ns since the Unix epoch."""
        self._clock = clock
        self._ended = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.uri = f"ntp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="TimeServer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close the socket."""
        self._ended.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):  # a client may have gone when its answer came
                request, client = self._socket.recvfrom(2048)
                if (answer := reply(request, self._clock())) is not None:
                    self._socket.sendto(answer, client)


def reply(request: bytes, now: int) -> bytes | None:
    """Return the reply to a client's request at a time, ns since the Unix epoch; None if it is no such request."""
    if len(request) < 48 or request[0] & 7 != 3:
        return None
    stamp = _stamp(now)
    levels = (_STRATUM, _POLL, _PRECISION, 0, _DISPERSION, bytes((127, 0, 0, 1)))
    return _REPLY.pack(_SYNCHRONIZED, *levels, _stamp(now - _REFERENCE_AGE * 10**9), request[40:48], stamp, stamp)


def _stamp(now: int) -> int:
    """Format a time as 32.32 seconds since 1900, without its era."""
    seconds, ns = divmod(now, 10**9)
    return ((seconds + _EPOCH_1900) % 2**32 << 32) | (ns << 32) // 10**9
