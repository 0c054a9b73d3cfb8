"""Unix datagram sockets that a daemon of another user can answer."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable


def open_socket(closing: contextlib.ExitStack) -> socket.socket:
    """Open a non-blocking socket, which `closing` will close; OSError if the platform has none."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this platform has no Unix sockets")
    sock = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    sock.setblocking(False)
    return sock


def bind_in_directory(sock: socket.socket, closing: contextlib.ExitStack, parent: str | None = None) -> None:
    """Bind a socket to a path in a new directory, which the daemon can reach; `closing` removes both.

    `parent` may belong to the daemon's user, who could replace the directory by a link. So modes are changed by the
    directory's descriptor, never by path; and others may enter the directory only when nothing more is put into it.
    By default it is made among the temporary files. After OSError nothing is left behind.
    """
    with contextlib.ExitStack() as undo:
        directory = tempfile.mkdtemp(prefix="skewguard-", dir=parent)
        undo.callback(_quietly, os.rmdir, directory)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        undo.callback(os.close, descriptor)
        undo.callback(_quietly, os.unlink, "s", dir_fd=descriptor)
        try:
            sock.bind(f"{directory}/s")  # as short as possible: an address has room for 108 bytes
        except UnicodeError as error:
            raise OSError(str(error)) from None
        os.chmod("s", 0o666, dir_fd=descriptor)  # noqa: S103 - the daemon, another user, is to write to it
        os.fchmod(descriptor, 0o711)
        closing.push(undo.pop_all())


def _quietly(remove: Callable[..., object], *args: object, **options: object) -> None:
    with contextlib.suppress(OSError):
        remove(*args, **options)
