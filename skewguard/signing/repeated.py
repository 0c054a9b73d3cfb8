"""Transfers by awscrt's S3 client, which native code signs by the wall clock: what failed for its time is repeated.

The classic client of boto3, or of the AWS CLI, repeats it. Its calls are guarded, so they learn the time. From then on
it makes the transfers at once, until the clock is right.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import botocore.awsrequest

from skewguard._fail_open import fail_open
from skewguard.signing.guard import Guard
from skewguard.signing.reply import TOLERANCE, Attempt, Verdict, judge, read

_TOO_SKEWED = "AWS_ERROR_S3_REQUEST_TIME_TOO_SKEWED"  # after six attempts, all with about the same timestamp


def wall_clock_is_wrong(guard: Guard, url: str) -> bool:
    """Return whether the server of a URL may refuse what is signed by the wall clock, as far as is known."""
    try:
        if not guard.is_on():
            return False
        signed, wall, _ = guard.keeper.signing_time(guard.route(url, None).domain)
    except Exception as error:
        fail_open(error, "the wall clock was not judged")
        return False
    return abs(signed - wall) > TOLERANCE


class RepeatingManager:
    """s3transfer's manager for awscrt, and a classic one for what must be repeated. All else is left to the first."""

    def __init__(
        self, crt: Any, translate: Callable[[Any], Any], make_classic: Callable[[], Any], guard: Guard, url: str
    ) -> None:
        """Wrap the first.

        Args:
            crt: The manager for awscrt.
            translate: Returns the client's own exception for one of awscrt's; None if there was no response.
            make_classic: Makes the classic manager, when it is first needed.
            guard: The guard of the client that the classic manager uses.
            url: The endpoint of that client.
        """
        self.guard = guard
        self.translate = translate
        self._crt = crt
        self._make_classic = make_classic
        self._classic: Any = None
        self._url = url
        self._lock = threading.Lock()
        self._transfers: list[_Transfer] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._crt, name)

    def upload(self, fileobj: Any, bucket: str, key: str, extra_args: Any = None, subscribers: Any = None) -> Any:
        """Upload a file or stream; return the future."""
        return self._submit("upload", (fileobj, bucket, key), extra_args, subscribers, _Upload(fileobj))

    def download(self, bucket: str, key: str, fileobj: Any, extra_args: Any = None, subscribers: Any = None) -> Any:
        """Download to a file or stream; return the future."""
        return self._submit("download", (bucket, key, fileobj), extra_args, subscribers, _Download(fileobj))

    def delete(self, bucket: str, key: str, extra_args: Any = None, subscribers: Any = None) -> Any:
        """Delete an object; return the future."""
        return self._submit("delete", (bucket, key), extra_args, subscribers, _Body())

    def __enter__(self) -> RepeatingManager:
        self._crt.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._end(lambda manager: manager.__exit__(*error))

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all transfers, or cancel them."""
        self._end(lambda manager: manager.shutdown(*args, **kwargs))

    def classic(self) -> Any:
        """Return the classic manager."""
        with self._lock:
            if self._classic is None:
                self._classic = self._make_classic()
            return self._classic

    def _submit(self, name: str, args: tuple[Any, ...], extra_args: Any, subscribers: Any, body: _Body) -> Any:
        if wall_clock_is_wrong(self.guard, self._url):
            return getattr(self.classic(), name)(*args, extra_args=extra_args, subscribers=subscribers)
        transfer = _Transfer(self, name, args, subscribers or (), body)
        transfer.begin(self._crt, extra_args)
        with self._lock:
            self._transfers = [each for each in self._transfers if not each.settled.is_set()]
            self._transfers.append(transfer)
        return transfer

    def _end(self, end: Callable[[Any], object]) -> None:
        end(self._crt)
        for transfer in self._transfers:
            transfer.settled.wait()
        if self._classic is not None:
            end(self._classic)


class _Body:
    """What a transfer reads or writes, as far as it decides whether the transfer can be repeated."""

    def __init__(self, fileobj: Any = None) -> None:
        self._stream = None if isinstance(fileobj, str) else fileobj
        self._start: int | None = None
        with contextlib.suppress(Exception):  # a stream that cannot tell cannot be repeated
            if self._stream is not None and self._stream.seekable():
                self._start = self._stream.tell()

    def rewind(self) -> bool:
        """Return whether the transfer can be repeated, and prepare that."""
        return True


class _Upload(_Body):
    def rewind(self) -> bool:
        if self._stream is not None and self._start == 0:
            self._stream.seek(0)
        return self._stream is None or self._start == 0


class _Download(_Body):
    def rewind(self) -> bool:
        return self._stream is None or (self._start is not None and self._stream.tell() == self._start)


class _Transfer:
    """One transfer: its future, and the only subscriber to its events, which notifies the caller's.

    Attributes:
        settled: Set once it is certain which of the two managers ends it.
    """

    def __init__(
        self, manager: RepeatingManager, name: str, args: tuple[Any, ...], subscribers: Any, body: _Body
    ) -> None:
        self.settled = threading.Event()
        self._manager = manager
        self._name = name
        self._args = args
        self._subscribers = tuple(subscribers)
        self._body = body
        self._began = manager.guard.keeper.clocks.read()
        self._extra_args: dict[str, Any] = {}
        self._future: Any = None
        self._repeating = False
        self._again: Any = None  # the future of the repetition
        self._moved = 0  # bytes, in this attempt
        self._shown = 0  # bytes, of which the subscribers know

    def begin(self, crt: Any, extra_args: Any) -> None:
        """Give the transfer to awscrt."""
        self._future = getattr(crt, self._name)(*self._args, extra_args=extra_args, subscribers=[self])

    # -- the future ---------------------------------------------------------------------------------------------

    @property
    def meta(self) -> Any:
        """What was asked for."""
        return self._future.meta

    def done(self) -> bool:
        """Return whether the transfer is over."""
        return self.settled.is_set() and bool(self._last.done())

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end; raise what the transfer failed with."""
        try:
            return self._future.result(timeout)
        except Exception:
            if not self.settled.is_set() and not self._future.done():
                raise  # it took too long
            self.settled.wait()
            if self._again is None:
                raise
        return self._again.result()

    def cancel(self) -> None:
        """Cancel the transfer."""
        self._last.cancel()

    def set_exception(self, exception: BaseException) -> None:
        """Replace what the transfer failed with, once it is over."""
        self._last.set_exception(exception)

    @property
    def _last(self) -> Any:
        return self._again or self._future

    # -- the subscriber -----------------------------------------------------------------------------------------

    def on_queued(self, future: Any, **more: Any) -> None:
        """Notify the subscribers once. What they add to the arguments is kept before awscrt's manager changes it."""
        if self._repeating:
            self._again = future
            return
        self._future = future
        self._notify("on_queued", more)
        self._extra_args = dict(future.meta.call_args.extra_args)

    def on_progress(self, bytes_transferred: int, **more: Any) -> None:
        """Notify the subscribers, of each byte once."""
        self._moved += bytes_transferred
        if self._repeating:
            bytes_transferred = self._moved - self._shown
            if bytes_transferred <= 0:
                return
        self._shown = self._moved
        self._notify("on_progress", {**more, "bytes_transferred": bytes_transferred})

    def on_done(self, error: BaseException | None = None, **more: Any) -> None:
        """Notify the subscribers, unless it is to be repeated."""
        if not self._repeating:  # the classic manager names no error
            more = {**more, "error": error}
        if self._repeating or error is None or not self._starts_again(error, more):
            self._end(more)

    def _end(self, more: dict[str, Any]) -> None:
        self.settled.set()
        self._notify("on_done", more)

    def _notify(self, event: str, values: dict[str, Any]) -> None:
        for subscriber in self._subscribers:
            heard = getattr(subscriber, event, None)
            if heard is not None:
                heard(**{**values, "future": self})

    # -- the repetition -----------------------------------------------------------------------------------------

    def _starts_again(self, error: BaseException, more: dict[str, Any]) -> bool:
        """Begin a repetition, in a thread, because this one is awscrt's; return whether it was begun."""
        try:
            guard = self._manager.guard
            if not (guard.is_on() and self._may_be_about_time(error) and self._body.rewind()):
                return False
            self._repeating, self._moved = True, 0
            threading.Thread(target=self._repeat, args=(more,), name="skewguard-repeat", daemon=True).start()
        except Exception as failure:
            self._repeating = False
            fail_open(failure, "a transfer was not repeated")
        return self._repeating

    def _may_be_about_time(self, error: BaseException) -> bool:
        if getattr(error, "name", None) == _TOO_SKEWED:
            return True
        response = getattr(self._manager.translate(error), "response", None)
        if not response:
            return False
        metadata = response["ResponseMetadata"]
        headers = botocore.awsrequest.HeadersDict(metadata["HTTPHeaders"])
        now = self._manager.guard.keeper.clocks.read()
        attempt = Attempt(self._began.wall, max(now.steady - self._began.steady, 0), exact=False)
        return judge(attempt, read(metadata["HTTPStatusCode"], headers, response)).verdict is not Verdict.NOT_TIME

    def _repeat(self, more: dict[str, Any]) -> None:
        try:
            classic = getattr(self._manager.classic(), self._name)
            self._again = classic(*self._args, extra_args=self._extra_args, subscribers=[self])
        except Exception as error:
            fail_open(error, "a transfer was not repeated")
            self._again = None
            self._end(more)
        finally:
            self.settled.set()
