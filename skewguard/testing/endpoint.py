"""`StrictEndpoint`: a loopback server that is as strict as AWS about signatures and clocks."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TypedDict

from skewguard.testing.aws.verifier import Key, Verifier
from skewguard.testing.clocks import host_wall
from skewguard.testing.exchange import Exchange
from skewguard.testing.listener import Listener, Response
from skewguard.testing.records import Canned, Fault, Record, Step
from skewguard.testing.tls import AWS_SUFFIXES, Authority, redirected
from skewguard.testing.wire import Hangup, Request
from skewguard.timekeeping import shared_file

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # AWS's own documentation example
_NOT_RUNNING = "the server is not running; call start() or use it as a context manager"


class _Always(TypedDict):
    endpoint_url: str
    aws_access_key_id: str
    aws_secret_access_key: str
    region_name: str


class ClientKwargs(_Always, total=False):
    """The arguments of ``boto3.client`` that `StrictEndpoint.client_kwargs` gives, as type checkers see them."""

    verify: str  # only with TLS


_running: weakref.WeakSet[StrictEndpoint] = weakref.WeakSet()


def any_running() -> bool:
    """Return whether a server runs in this process."""
    return bool(_running)


class StrictEndpoint:
    """A server on 127.0.0.1 that checks the signature and the date of every request, and refuses as AWS does.

    Use it as a context manager, or call `start` and `stop`. Every public attribute may be changed while it runs.
    """

    def __init__(
        self,
        *,
        offset: float = 0.0,
        tls: bool = False,
        credentials: Mapping[str, str] | None = None,
        clock: Callable[[], int] | None = None,
        tolerance: float | None = None,
        service: str | None = None,
        signature_first: bool = False,
        date_mode: str | Callable[[int], str | None] = "honest",
        explain: bool = True,
        delay: float = 0.0,
        inbound_delay: float = 0.0,
        close_on_error: bool = False,
        keep: int = 10_000,
    ) -> None:
        """Describe the server; nothing runs yet.

        Args:
            offset: Seconds the server's clock is ahead of `clock`; negative if it is behind.
            tls: Serve https, with a certificate of an authority made for it (see `ca_bundle`). Needs trustme.
            credentials: Secrets by access key. By default one pair, AWS's documentation example.
            clock: ns since the Unix epoch; by default the host's wall clock.
            tolerance: Seconds by which a request's date may be off, this value itself excluded. By default as the
                service has it: 900 for S3, STS, SQS, SNS, DynamoDB and Cognito Identity, 300 for others.
            service: The only signing name accepted; unsigned requests are taken to be for it.
            signature_first: Check key and signature before the date, as a few servers do.
            date_mode: The Date header: ``honest``; ``omit``; ``duplicate`` (two that differ by an hour);
                ``cached`` (4.8 hours old, with an Age); any other text is sent as it is; a callable gets the server's
                time in ns and returns the text, or None to omit it.
            explain: False empties error messages and leaves out the fields that state a time.
            delay: Seconds to wait between the checks of a request and the response.
            inbound_delay: Seconds to wait between a request's arrival and the checks, as if it took that long to come.
            close_on_error: Close the connection after every error, and refuse a wrong date before the body is read, as
                S3 may. Otherwise that happens only to a client that sends ``Expect: 100-continue``.
            keep: How many records `requests` holds; the oldest are dropped.

        Raises:
            ImportError: `tls` needs trustme, which is not installed.
        """
        self.offset = offset
        self.clock = clock or host_wall
        self.date_mode = date_mode
        self.explain = explain
        self.delay = delay
        self.inbound_delay = inbound_delay
        self.close_on_error = close_on_error
        given = {ACCESS_KEY: SECRET_KEY} if credentials is None else credentials
        keys = {access: Key(secret) for access, secret in given.items()}
        self._verifier = Verifier(keys, service, tolerance, signature_first)
        self._exchange = Exchange(self, self._verifier)
        self._tls = tls
        self._listener: Listener | None = None
        self._authority: Authority | None = None
        self._records: deque[Record] = deque(maxlen=keep)
        self._count = 0
        self._lock = threading.Lock()
        self._script: deque[Step] = deque()

    def start(self) -> StrictEndpoint:
        """Listen on a free port; return the server itself. Starting a running server does nothing."""
        if self._listener is None:
            shared_file.keep_private()
            self._authority = Authority() if self._tls else None
            self._listener = Listener(self._handle, self._authority.context if self._authority else None)
            _running.add(self)
        return self

    def stop(self) -> None:
        """Close every connection and join every thread. Records stay. Stopping a stopped server does nothing."""
        _running.discard(self)
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        authority, self._authority = self._authority, None
        if authority is not None:
            authority.close()

    def __enter__(self) -> StrictEndpoint:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def now(self) -> int:
        """Read the server's clock, ns since the Unix epoch."""
        return self.clock() + round(self.offset * 1_000_000_000)

    @property
    def port(self) -> int:
        """The port listened on. RuntimeError if the server is not running."""
        if self._listener is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._listener.port

    @property
    def url(self) -> str:
        """The value for ``endpoint_url``. RuntimeError if the server is not running."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ca_bundle(self) -> str | None:
        """Path of the certificate to trust; None without TLS. RuntimeError if the server is not running."""
        if not self._tls:
            return None
        if self._authority is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._authority.bundle

    @property
    def client_kwargs(self) -> ClientKwargs:
        """Arguments with which ``boto3.client(name, **kwargs)`` talks to this server: URL, keys, region, trust."""
        access, secret = next(iter(self._verifier.keys.items()))
        kwargs: ClientKwargs = {
            "endpoint_url": self.url,
            "aws_access_key_id": access,
            "aws_secret_access_key": secret.secret,
            "region_name": "us-east-1",
        }
        if self.ca_bundle is not None:
            kwargs["verify"] = self.ca_bundle
        return kwargs

    def as_aws(self) -> AbstractContextManager[None]:
        """Replace AWS for this process until the block ends.

        Every AWS name resolves to this server, on port 443 with TLS and on port 80 without, and every other address
        that is not loopback is refused with OSError. With TLS ``AWS_CA_BUNDLE`` is set; proxies are switched off; both
        are restored at the end. Blocks of several servers nest. Sockets opened by native code (awscrt's own client) are
        not redirected.
        """
        mine, port = (443 if self._tls else 80), self.port
        environment = {"no_proxy": "*", "NO_PROXY": "*"}
        if self.ca_bundle is not None:
            environment["AWS_CA_BUNDLE"] = self.ca_bundle

        def route(name: str, asked: int) -> int | None:
            return port if asked == mine and name.endswith(AWS_SUFFIXES) else None

        return redirected(route, environment)

    def add_credentials(
        self, access_key: str, secret_key: str, token: str | None = None, expires: int | None = None
    ) -> None:
        """Accept one more key, or change one.

        Args:
            access_key: The key's name.
            secret_key: Its secret.
            token: The session token that must be sent with it; None accepts any, or none.
            expires: When the key expires, seconds since the Unix epoch by the server's clock; None for never.
        """
        self._verifier.keys[access_key] = Key(secret_key, token, expires)

    def put_object(self, bucket: str, key: str, data: bytes = b"") -> None:
        """Store an object in S3, without a request; the bucket is made if there is none."""
        self._exchange.buckets.fill(bucket, key, data, self.now() / 1_000_000_000)

    @property
    def tolerance(self) -> float | None:
        """Seconds by which a request's date may be off; None: as the service has it."""
        return self._verifier.tolerance

    @tolerance.setter
    def tolerance(self, seconds: float | None) -> None:
        self._verifier.tolerance = seconds

    @property
    def requests(self) -> list[Record]:
        """Records of the requests, oldest first; a copy."""
        with self._lock:
            return list(self._records)

    @property
    def count(self) -> int:
        """How many requests there were since the start or the last `clear`."""
        return self._count

    def clear(self) -> None:
        """Drop the records and the rest of the script; buckets, tables and keys stay."""
        with self._lock:
            self._records.clear()
            self._script.clear()
            self._count = 0

    def script(self, *steps: Step) -> None:
        """Set what happens to the next requests, one step each, after the steps that are left.

        Args:
            *steps: A `Canned` response, a `Fault`, `DROP` to close the connection, or None to check and serve as usual.
        """
        self._script.extend(steps)

    def fail_next(self, code: str, message: str = "", *, status: int | None = None, times: int = 1) -> None:
        """Refuse the next request, or the next few, with an error in their own protocol; see `Fault`."""
        self.script(*[Fault(code, message, status)] * times)

    def reply_next(
        self,
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        times: int = 1,
    ) -> None:
        """Respond to the next request, or the next few, with exactly this; see `Canned`."""
        self.script(*[Canned(status, headers, body)] * times)

    def pause(self, seconds: float) -> None:
        """Wait. Hangup if the server is stopped meanwhile, because a response sent early would be a wrong one."""
        if seconds > 0:
            listener = self._listener
            if listener is None or listener.stopping.wait(seconds):
                raise Hangup

    def _handle(self, request: Request, receive: Callable[[], None]) -> Response:
        try:
            step = self._script.popleft()
        except IndexError:
            step = None
        response, record = self._exchange.run(request, receive, step)
        with self._lock:
            self._records.append(record)
            self._count += 1
        return response
