"""A certificate authority for one test, and AWS's names redirected to loopback: https to AWS within the machine."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trustme

AWS_SUFFIXES = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".on.aws", ".signin.aws.amazon.com")
_MAX_NAMES = 1000


class Authority:
    """A certificate authority that lives as long as its server, and issues certificates for every AWS name."""

    def __init__(self) -> None:
        """Make the authority. ImportError if trustme is not installed."""
        try:
            import trustme
        except ImportError as error:
            raise ImportError("TLS needs trustme: pip install 'skewguard[testing]'") from error
        self._ca: trustme.CA = trustme.CA()
        self._directory = tempfile.mkdtemp(prefix="skewguard-")
        self.bundle = os.path.join(self._directory, "ca.pem")
        """Path of the authority's certificate, for ``verify=`` and ``AWS_CA_BUNDLE``."""
        self._ca.cert_pem.write_to_path(self.bundle)
        self._lock = threading.Lock()
        self._by_name: dict[str, ssl.SSLContext] = {}
        self.context = self._issue("localhost", "127.0.0.1", "::1", "*.amazonaws.com")
        self.context.sni_callback = self._choose

    def _issue(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        # AWS names have any number of labels and a wildcard matches only one: issue a certificate for this very name.
        if name is None or not name.endswith((*AWS_SUFFIXES, ".localhost")):
            return
        with self._lock:
            context = self._by_name.get(name)
            if context is None:
                if len(self._by_name) >= _MAX_NAMES:
                    return
                try:
                    context = self._by_name[name] = self._issue(name)
                except ValueError:  # not a name a certificate can carry
                    return
        connection.context = context

    def close(self) -> None:
        """Remove the bundle."""
        shutil.rmtree(self._directory, ignore_errors=True)


def is_loopback(host: object) -> bool:
    """Return whether a host, as given to `socket`, is this machine."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return host is None
    name = host.rstrip(".").lower()
    if name in ("", "localhost", "localhost.localdomain") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


_resolver_lock = threading.RLock()
_GUARDED = ("connect", "connect_ex", "sendto")


@contextmanager
def redirected(route: Callable[[str, int], int | None], environment: Mapping[str, str]) -> Iterator[None]:
    """Redirect names to loopback ports and refuse every other address, in this process, until the block ends.

    Blocks nest: names that an inner one does not redirect are left to the outer.

    `route` returns the loopback port for a lower-case name and a port, or None. The environment is set meanwhile.
    """
    with _resolver_lock:
        before = socket.getaddrinfo
        real = getattr(before, "_skewguard", before)
        outer = None if real is before else before

        def getaddrinfo(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            if isinstance(name, str):
                number = {"https": 443, "http": 80}.get(port, port) if isinstance(port, str) else port
                number = int(number) if isinstance(number, str) and number.isdigit() else number
                target = route(name.rstrip(".").lower(), number) if isinstance(number, int) else None
                if target is not None:
                    kind = socket.SOCK_STREAM if type == 0 else type
                    if family not in (socket.AF_UNSPEC, socket.AF_INET):
                        raise socket.gaierror(socket.EAI_FAMILY, "this name has an IPv4 address only")
                    return [(socket.AF_INET, kind, socket.IPPROTO_TCP, "", ("127.0.0.1", target))]
            if is_loopback(name):
                return real(host, port, family, type, proto, flags)
            if outer is not None:
                return outer(host, port, family, type, proto, flags)
            raise socket.gaierror(socket.EAI_NONAME, f"{name!r} is not reachable inside StrictEndpoint.as_aws()")

        getaddrinfo._skewguard = real  # type: ignore[attr-defined]
        socket.getaddrinfo = getaddrinfo
        own: dict[str, Any] = {}
        if outer is None:
            own = {method: socket.socket.__dict__.get(method) for method in _GUARDED}
            for method in _GUARDED:
                setattr(socket.socket, method, _guard(getattr(socket.socket, method)))
        saved = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
    try:
        yield
    finally:
        with _resolver_lock:
            socket.getaddrinfo = before
            for method, was in own.items():
                if was is None:  # inherited from the native class, where it still is
                    delattr(socket.socket, method)
                else:
                    setattr(socket.socket, method, was)
            for name, value in saved.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _guard(method: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(self: socket.socket, *args: Any) -> Any:
        address = args[-1] if args else None
        if (
            self.family in (socket.AF_INET, socket.AF_INET6)
            and isinstance(address, tuple)
            and address
            and not is_loopback(address[0])
        ):
            raise OSError(f"{address[0]!r} is not reachable inside StrictEndpoint.as_aws()")
        return method(self, *args)

    return guarded
