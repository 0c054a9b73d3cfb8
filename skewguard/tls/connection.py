"""TLS connections whose certificates are judged on true time, while the wall clock is known to be wrong.

OpenSSL judges a certificate's dates by the wall clock. Its flag ``X509_V_FLAG_NO_CHECK_TIME`` leaves out the dates, and
nothing else of a verification. It is set while one connection is made, under a lock, and cleared again: OpenSSL copies
it into the connection. The dates of every certificate of the verified chain are then compared with true time, after the
handshake and before any byte of the application.

While the wall clock may be right, a connection is OpenSSL's alone. So it is if OpenSSL would check by dates what is not
checked here (certificate revocation lists), if a client certificate would be presented to a server before the check, if
a session is resumed, and if certificates are not required.
"""

from __future__ import annotations

import _ssl
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from skewguard._fail_open import fail_open, pass_signals
from skewguard.interval import SECOND, Interval
from skewguard.tls.dates import BY_TRUE_TIME, validity

NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name."""

NOT_YET_VALID, EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED."""

_REVOCATION = ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_CRL_CHECK_CHAIN
_NO_RENEGOTIATION = getattr(ssl, "OP_NO_RENEGOTIATION", 0)
_BASE: Any = _ssl._SSLContext  # the properties of `ssl.SSLContext` fail once a library has replaced that name

_lock = threading.RLock()  # a signal's handler may connect, too


class Judge:
    """What judges the certificates of one HTTP session's connections.

    Attributes:
        used: Whether it has judged a connection, so that what the session hears proves no time.
    """

    def __init__(self, true_time: Callable[[], Interval | None]) -> None:
        """Describe the judge. `true_time` returns None while the wall clock may be right, or nothing else is known."""
        self._true_time = true_time
        self.used = False

    def applies(self) -> bool:
        """Return whether a connection that is made now is to be judged on true time."""
        if self._true_time() is None:
            return False
        self.used = True
        return True

    def problem(self, chain: list[bytes]) -> Problem | None:
        """Return what is wrong with the dates of a verified chain, each certificate in DER; None if nothing is."""
        said = self._true_time()
        if said is None:  # the wall clock was set meanwhile
            now = time.time_ns()
            earliest = latest = now
        else:
            earliest, latest = said.earliest, said.latest
        if not chain or not earliest <= latest:
            return Problem(EXPIRED, "there is nothing to judge")
        for certificate in chain:
            not_before, not_after = validity(certificate)
            # Not the opposite comparisons: of what is no number, both would be false.
            if not latest < not_after * SECOND:
                return Problem(EXPIRED, "certificate has expired")
            if not not_before * SECOND <= earliest:
                return Problem(NOT_YET_VALID, "certificate is not yet valid")
        return None


class Problem(NamedTuple):
    """Why a certificate is refused: OpenSSL's code, and a few words."""

    code: int
    words: str


class TrueTimeContext(ssl.SSLContext):
    """The settings of connections that a `Judge` may judge. Made by `adopt`, from a plain `ssl.SSLContext`."""

    __slots__ = ()

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        """Load a client certificate. From now on OpenSSL alone judges."""
        vars(self)[_JUDGE] = None
        super().load_cert_chain(*args, **kwargs)

    def _wrap_socket(self, *args: Any, **kwargs: Any) -> Any:
        return _wrap(self, _BASE._wrap_socket, args, kwargs)

    def _wrap_bio(self, *args: Any, **kwargs: Any) -> Any:
        return _wrap(self, _BASE._wrap_bio, args, kwargs)


class _Judged:
    """A connection that refuses certificates that are not valid on true time, before anything is sent or received."""

    __slots__ = ()
    _pending: Judge | None = None  # who is to judge

    def do_handshake(self, *args: Any, **kwargs: Any) -> None:
        """Do the handshake, and judge the certificates."""
        super().do_handshake(*args, **kwargs)  # type: ignore[misc]
        if self._pending is not None:
            _check(self, self._pending)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read bytes, after the handshake."""
        if self._pending is not None:
            self.do_handshake()
        return super().read(*args, **kwargs)  # type: ignore[misc]

    def write(self, data: Any) -> Any:
        """Write bytes, after the handshake."""
        if self._pending is not None:
            self.do_handshake()
        return super().write(data)  # type: ignore[misc]


class TrueTimeSocket(_Judged, ssl.SSLSocket):
    """Such a socket."""

    def send(self, data: Any, flags: int = 0) -> int:
        """Send bytes, after the handshake."""
        if self._pending is not None:
            self.do_handshake()
        return super().send(data, flags)


class TrueTimeObject(_Judged, ssl.SSLObject):
    """The same for event loops, which do the input and output themselves."""


TrueTimeContext.sslsocket_class = TrueTimeSocket
TrueTimeContext.sslobject_class = TrueTimeObject

_ORIGINALS = (ssl.SSLContext, ssl.SSLSocket, ssl.SSLObject)
_UNCHANGED = all(kind.__module__ == "ssl" for kind in _ORIGINALS)  # else a library had replaced one before this import
_JUDGE = "_skewguard_judge"
_adopted: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()


def adopt(context: object, judge: Judge) -> bool:
    """Let a judge judge the connections of a context; return whether it does.

    Left alone are contexts of other classes (gevent's, truststore's, pyOpenSSL's), and those that make objects of other
    classes, or check no dates.
    """
    if not isinstance(context, _ORIGINALS[0]) or not _UNCHANGED or not _NO_RENEGOTIATION:
        return False
    if (type(context), context.sslsocket_class, context.sslobject_class) != _ORIGINALS:
        return False
    if _flags(context) & NO_CHECK_TIME or "_wrap_socket" in vars(context):
        return False
    vars(context)[_JUDGE] = judge
    context.__class__ = TrueTimeContext
    with _lock:
        _adopted.add(context)
    return True


def release_all() -> None:
    """Make plain contexts of all that were adopted. Connections keep their state."""
    with _lock:
        for context in list(_adopted):
            _BASE.verify_flags.__set__(context, _flags(context) & ~NO_CHECK_TIME)
            if type(context) is TrueTimeContext:
                context.__class__ = _ORIGINALS[0]  # type: ignore[assignment]  # as it was
        _adopted.clear()


def reset_lock() -> None:
    """Replace the lock in a forked child, where another thread may have held it."""
    global _lock
    _lock = threading.RLock()


def _flags(context: ssl.SSLContext) -> int:
    return int(_BASE.verify_flags.__get__(context))


def _wrap(context: TrueTimeContext, wrap: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Make OpenSSL's part of a connection, without a check of dates if they are to be judged here."""
    owner = kwargs.get("owner")
    try:
        judge = _judge(context, owner, server_side=bool(kwargs.get("server_side") or _server_side(wrap, args)))
        if kwargs.get("session") is not None or (judge is not None and not judge.applies()):
            judge = None
    except Exception as error:
        fail_open(error, "certificates are judged by the wall clock")
        judge = None
    with _lock:
        flags = _flags(context) & ~NO_CHECK_TIME
        if judge is None:
            if flags != _flags(context):  # another thread was cut short by a fork
                _BASE.verify_flags.__set__(context, flags)
            return wrap(context, *args, **kwargs)
        options = int(_BASE.options.__get__(context))
        owner._pending = judge  # type: ignore[union-attr]  # first: an interrupt must not come between
        try:
            _BASE.verify_flags.__set__(context, flags | NO_CHECK_TIME)
            _BASE.options.__set__(context, options | _NO_RENEGOTIATION)
            return wrap(context, *args, **kwargs)
        finally:
            _BASE.verify_flags.__set__(context, flags)
            _BASE.options.__set__(context, options)


def _server_side(wrap: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    at = 1 if wrap is _BASE._wrap_socket else 2
    return len(args) > at and bool(args[at])


def _judge(context: TrueTimeContext, owner: object, *, server_side: bool) -> Judge | None:
    """Return who may judge a new connection; None if OpenSSL alone does."""
    if type(owner) not in (TrueTimeSocket, TrueTimeObject) or server_side:
        return None
    if int(_BASE.verify_mode.__get__(context)) != ssl.CERT_REQUIRED or _flags(context) & _REVOCATION:
        return None
    judge: Judge | None = vars(context).get(_JUDGE)
    return judge


def _check(connection: Any, judge: Judge) -> None:
    """Judge the certificates of a connection, once. SSLCertVerificationError, as OpenSSL's, if one is not valid."""
    try:
        resumed = connection.session_reused
        problem = Problem(EXPIRED, "a resumed session shows none") if resumed else judge.problem(_chain(connection))
    except Exception as error:  # of any other class, an event loop would wait for ever
        pass_signals(error)
        fail_open(error, "a connection is refused")
        problem = Problem(EXPIRED, "its dates cannot be read")
    if problem is None:
        connection._pending = None
        return
    words = f"{problem.words} {BY_TRUE_TIME}"
    refusal = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {words}")
    refusal.library, refusal.reason = "SSL", "CERTIFICATE_VERIFY_FAILED"
    refusal.verify_code, refusal.verify_message = problem.code, words
    raise refusal


def _chain(connection: Any) -> list[bytes]:
    """Return the chain that OpenSSL has verified, from the server's certificate to the trusted one, in DER."""
    verified = connection._sslobj.get_verified_chain()  # public from Python 3.13 on
    return [bytes(certificate.public_bytes(_ssl.ENCODING_DER)) for certificate in verified or ()]
