"""Sockets and threads: accepts connections, reads requests, writes responses. Knows nothing of AWS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from skewguard.testing import wire

_BACKLOG = 1024
_IDLE = 120.0
"""Seconds after which a silent connection is closed."""
_LINGER = 2.0


class Response(NamedTuple):
    """Bytes to send. Without any, the connection is closed."""

    data: bytes
    keep_alive: bool


Handler = Callable[[wire.Request, Callable[[], None]], Response]
"""Called with a request's head and a function that reads its body into it, which need not be called."""


class Listener:
    """A listening socket on 127.0.0.1, one thread that accepts and one for each connection."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None) -> None:
        """Listen at once; without a context, plain http. The handler is called from many threads."""
        self._handler = handler
        self._context = context
        self.stopping = threading.Event()
        """Set when the server is being stopped; handlers wait on it instead of sleeping."""
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"StrictEndpoint:{self.port}", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Stop listening, close the connections and join the threads."""
        self.stopping.set()
        # A connection of our own wakes accept() on every platform; closing the socket under it does not.
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM) as knock:
            knock.settimeout(1)
            knock.connect(("127.0.0.1", self.port))
        self._acceptor.join(5)
        self._socket.close()
        with self._lock:
            connections = list(self._open.items())
        for _, connection in connections:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which takes the TLS state away from under the thread that reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread, _ in connections:
            if thread is not threading.current_thread():
                thread.join(5)

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:  # most likely out of file descriptors; some may be closed soon
                self.stopping.wait(0.01)
                continue
            if self.stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name="StrictEndpoint", daemon=True)
            with self._lock:
                self._open[thread] = connection
            try:
                thread.start()
            except RuntimeError:  # out of threads
                self._forget(thread, connection)

    def _forget(self, thread: threading.Thread, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(thread, None)
        connection.close()

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        # Whatever ends a connection (resets, TLS alerts, half requests, stop()) ends it quietly.
        try:
            connection.settimeout(_IDLE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open[thread] = connection
                if not self.stopping.is_set():
                    assert isinstance(connection, ssl.SSLSocket)
                    connection.do_handshake()
            with connection.makefile("rb") as stream:
                while not self.stopping.is_set() and self._exchange(connection, stream):
                    pass
        except (OSError, ValueError, wire.Hangup):
            pass
        finally:
            self._forget(thread, connection)

    def _exchange(self, connection: socket.socket, stream: BinaryIO) -> bool:
        """Read one request and respond; return whether another may follow."""
        try:
            request = wire.read_head(stream)
            headers = request.headers
            received = False

            def receive() -> None:
                nonlocal received
                if headers.get("expect", "").lower() == "100-continue":
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.body = wire.read_body(stream, headers)
                received = True

            response = self._handler(request, receive)
        except wire.Malformed as why:
            body = f"Bad Request: {why}".encode()
            top = [("Content-Type", "text/plain")]
            connection.sendall(wire.render(400, top, body, head=False, keep_alive=False))
            self._linger(connection)
            return False
        if not response.data:
            return False
        connection.sendall(response.data)
        if response.keep_alive and received:
            return True
        self._linger(connection)
        return False

    def _linger(self, connection: socket.socket) -> None:
        """Let the client read the response: closing while it sends would reset the connection and lose the response."""
        socket.socket.shutdown(connection, socket.SHUT_WR)
        until = time.perf_counter() + _LINGER
        while not self.stopping.is_set() and (left := until - time.perf_counter()) > 0:
            connection.settimeout(left)
            if not socket.socket.recv(connection, 64 * 1024):
                break
