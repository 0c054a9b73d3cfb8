"""An HTTP proxy on loopback, which leads a client's CONNECT to a server, or refuses it."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
from collections.abc import Iterator

from tests.support import running


class Tunnel(socketserver.StreamRequestHandler):
    """Responds to one CONNECT."""

    server: Proxy

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        if not line:
            return
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(line)
        if self.server.refusal:
            self.wfile.write(f"HTTP/1.1 {self.server.refusal}\r\nConnection: close\r\n\r\n".encode())
            return
        host, _, port = line.split()[1].rpartition(":")
        target = ("127.0.0.1", self.server.upstream) if self.server.upstream else (host, int(port))
        with socket.create_connection(target) as upstream:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            with contextlib.suppress(OSError):
                relay(self.connection, upstream)


def relay(client: socket.socket, upstream: socket.socket) -> None:
    """Copy bytes both ways until one side ends. In one thread, because two must not use one TLS connection at once."""
    while True:
        decrypted = client.pending() if isinstance(client, ssl.SSLSocket) else 0
        for source in [client] if decrypted else select.select([client, upstream], [], [])[0]:
            some = source.recv(65_536)
            if not some:
                return
            (upstream if source is client else client).sendall(some)


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy.

    Attributes:
        upstream: The port of this machine to which every connection leads; 0 for where the client wants to go.
        refusal: The status with which it refuses; "" to refuse nothing.
        asked: The first line of each request so far.
        url: Its address.
    """

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.upstream, self.refusal = upstream, ""
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def proxy(upstream: int = 0) -> Iterator[Proxy]:
    with running(made := Proxy(upstream)):
        yield made
