"""Calls that other code signs and sends: the one public class for answers that botocore never hears."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from skewguard import _late_imports, _reach
from skewguard._fail_open import fail_open
from skewguard.timekeeping.timekeeper import Signing

if TYPE_CHECKING:  # it loads botocore's signers, which takes some hundred milliseconds
    from skewguard.signing.foreign_call import ForeignCall

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


class SignedCall:
    """One call to AWS, or to a server that checks AWS's signatures, which other code than botocore's clients sends.

    Its answer is heard as those to botocore's calls are: it teaches the time as far as they would, and says whether
    signing again would help. Without `install` nothing is learned, and nothing is to be signed again. A call is used
    by one thread or task at a time.

    Attributes:
        service: The name of the called service in the signature's scope, ``"bedrock"``. An answer teaches the time of
            AWS only if the host is named for it.
        repeatable: Whether the body can be sent again.
    """

    def __init__(self, service: str, *, repeatable: bool = True) -> None:
        self.service = service
        self.repeatable = repeatable
        self._call: ForeignCall | None = None

    @contextmanager
    def signing(self, url: str) -> Iterator[None]:
        """Sign one attempt within the block, once for each.

        botocore's signers, and those that `other_signers` names, are dated there by the time that the server will
        accept, as far as it is known. Other signers take it from `timestamp`.

        Args:
            url: Where the request goes.
        """
        call = self._guarded()
        if call is None:
            yield
            return
        with call.signing(url):
            yield

    def timestamp(self) -> datetime.datetime:
        """Return the time to sign as of, in UTC, for signers that are told the time. For use within `signing`."""
        try:
            if self._call is not None and self._call.is_signing:
                return _EPOCH + datetime.timedelta(microseconds=self._call.time() // 1000)
        except Exception as error:
            fail_open(error, "the guard failed, so the wall clock is used")
        return datetime.datetime.now(datetime.timezone.utc)

    def answered(self, url: str, status: int, headers: Mapping[str, str], body: bytes = b"", *, verified: bool) -> bool:
        """Learn from the answer to the last attempt; return whether the call should be signed and sent again.

        At most one attempt is asked for. May wait for the time sources, no longer than the ``timeout`` option, if the
        server refused the time and did not tell its own.

        Args:
            url: Where the answer came from, after redirects.
            status: Its HTTP status.
            headers: Its headers; the values of a repeated one are joined by a comma.
            body: Its body, if it is an error; else it need not be read.
            verified: Whether TLS checked the server's certificate, and its host name.
        """
        call = self._call
        if call is None:
            return False
        try:
            with _late_imports.importing:
                from skewguard.signing.foreign_answers import ForeignAnswer, hear

            call.service = self.service
            call.call.rewindable = self.repeatable
            return hear(call, ForeignAnswer(url, status, headers, body, verified=verified))
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return False

    @property
    def note(self) -> str:
        """What was found out, if the last attempt was refused for its time and is not signed again; else empty."""
        return "" if self._call is None else self._call.note

    def _was_signed(self, url: str, signing: Signing) -> None:
        """Note an attempt that one of botocore's signers has signed already."""
        try:
            call = self._guarded()
            if call is not None:
                call.was_signed(url, signing)
        except Exception as error:
            fail_open(error, "a request is not guarded")

    @property
    def _is_guarded(self) -> bool:
        """Whether its answers are heard, so that the body of a refusal is worth reading."""
        try:
            return self._call is not None and self._call.call.guard.is_on()
        except Exception as error:
            fail_open(error, "an answer was not heard")
            return False

    @property
    def _steered(self) -> bool:
        """Whether the last attempt's signer read the time here."""
        return self._call is not None and self._call.steered

    def _guarded(self) -> ForeignCall | None:
        try:
            if self._call is None:
                guard = _reach.foreign_guard()
                if guard is not None:
                    with _late_imports.importing:
                        # First, because what waits for it must find no module of ours half imported.
                        import botocore.auth  # noqa: F401

                        from skewguard.signing.foreign_call import ForeignCall

                    self._call = ForeignCall(guard, self.service, repeatable=self.repeatable)
        except Exception as error:
            fail_open(error, "a request is not guarded")
        return self._call
