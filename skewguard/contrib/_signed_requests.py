"""What the authenticators for requests, httpx and httpx2 share."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping, MutableMapping
from typing import Any

from skewguard._fail_open import fail_open
from skewguard._signed_call import SignedCall
from skewguard.events import logger
from skewguard.signing import remembered

_unsteered: set[str] = set()


class SignedRequest:
    """One request of a client library's, over all its attempts.

    Attributes:
        call: What hears its answers.
        url: Its URL before it was signed.
        sent_url: Its URL as signed.
    """

    def __init__(self, signer: Any, url: str, headers: Mapping[str, Any]) -> None:
        self.call = SignedCall("")
        self.url = self.sent_url = url
        self._signer = signer
        self._plain = dict(headers)
        self._changed: dict[str, Any] = {}
        self._by_botocore: remembered.SignedRequest | None = None

    def find(self, headers: Mapping[str, Any]) -> None:
        """Find what one of botocore's signers has signed already, by its signature."""
        try:
            self._by_botocore = found = remembered.take(_authorization(headers))
            if found is not None:
                self.call._was_signed(self.url, found.signing)  # noqa: SLF001 - not for users, who have `signing`
        except Exception as error:
            fail_open(error, "a request is not guarded")

    def note_signed(self, url: str, headers: Mapping[str, Any], *, repeatable: bool) -> None:
        """Note an attempt that has been signed."""
        self.call.repeatable = False
        try:
            self.sent_url = url
            before = {name.lower(): value for name, value in self._plain.items()}
            self._changed = {
                name: before.get(name.lower()) for name, value in headers.items() if before.get(name.lower()) != value
            }
            self.call.service = service_of(_authorization(headers))
            self.call.repeatable = repeatable
        except Exception as error:
            fail_open(error, "a request is not guarded")

    @property
    def is_guarded(self) -> bool:
        """Whether its answers are heard. If not, their bodies are the caller's alone."""
        return self.call._is_guarded  # noqa: SLF001 - as above

    def hear(self, url: str, status: int, headers: Mapping[str, str], body: bytes, *, verified: bool) -> bool:
        """Learn from an answer; return whether to sign and send again. A refusal for time that stays is logged."""
        again = self.call.answered(url, status, headers, body, verified=verified)
        if self.call.note:
            logger.info("%s", self.call.note)
            if self._signer is not None and not self.call._steered:  # noqa: SLF001 - as above
                name = _name_of(self._signer)
                if name not in _unsteered:
                    _unsteered.add(name)
                    logger.warning("%s read the wall clock itself; see other_signers", name)
        return again

    def restore(self, headers: MutableMapping[str, Any]) -> None:
        """Undo in the headers what signing changed: some signers keep a timestamp that they find."""
        for name, plain in self._changed.items():
            if plain is None:
                headers.pop(name, None)
            else:
                headers[name] = plain

    def sign_again(self, headers: MutableMapping[str, Any]) -> None:
        """Sign again what one of botocore's signers had signed; change the headers that signing changes."""
        if self._by_botocore is not None:
            with self.call.signing(self.url):
                new = self._by_botocore.sign_again()
            plain = dict(self._by_botocore.headers)
            headers.update({name: value for name, value in new.items() if plain.get(name) != value})


def _name_of(signer: Any) -> str:
    """Return the name of a function, or that of an authenticator's class."""
    while isinstance(signer, functools.partial):
        signer = signer.func
    named = signer if hasattr(signer, "__qualname__") else type(signer)
    return f"{named.__module__}.{named.__qualname__}"


def _authorization(headers: Mapping[str, Any]) -> str:
    value = headers.get("Authorization", "")
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)  # requests may have either


def service_of(authorization: str) -> str:
    """Return the service in the scope of a signature, ``.../us-east-1/bedrock/aws4_request``; empty if it has none."""
    scope = authorization.partition("Credential=")[2].partition(",")[0].split("/")
    return scope[-2] if len(scope) >= 4 else ""


def is_verified(context: Any) -> bool:
    """Return whether TLS with these settings checks the server's certificate, and its host name."""
    verified = getattr(context, "verify_mode", None) is ssl.CERT_REQUIRED
    return verified and bool(getattr(context, "check_hostname", False))
