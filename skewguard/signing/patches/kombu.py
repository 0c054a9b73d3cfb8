"""kombu's own requests to SQS, by which Celery's workers poll: botocore signs them, and libcurl sends them.

botocore never sees the answers. So a request keeps its context over all its attempts, as botocore's own do, and each
answer is heard before kombu gets it. What was refused for its time is made again in the same way.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.patches import library
from skewguard.signing.patches.patching import Group, NamePatch, Patch

_PART = "hearing the answers to kombu's requests"
_MODULES = {
    "kombu.asynchronous.aws.connection": "AsyncAWSQueryConnection",
    "kombu.asynchronous.aws.sqs.connection": "AsyncSQSConnection",
}
_ATTEMPTS = 3  # the request, signed again, and by the wall clock once more


class KombuRequest:
    """One of kombu's requests, over all its attempts.

    Attributes:
        client: The client whose signer signs it.
        sender: kombu's HTTP client, which sends it.
        operation: Its operation's name.
        context: What botocore's signer gets to know of it.
        answers: How many attempts have been answered.
        first: The answer for which it was signed again, as kombu would get it.
    """

    def __init__(
        self, connection: Any, operation: str, make: Callable[..., Any], callback: Callable[[Any], Any]
    ) -> None:
        self.client = connection.sqs_connection
        self.sender = connection._httpclient
        self.operation = operation
        self.context = {"client_config": self.client.meta.config, "retries": {"max": _ATTEMPTS}}
        self.answers = 0
        self.first: Any = None
        self._make = make
        self._callback = callback

    def send(self) -> None:
        """Sign and send it."""
        before = _under_way.get()
        try:
            _under_way.set(self)
            self._make(callback=self._answered)
        finally:
            _under_way.set(before)

    def _answered(self, response: Any) -> Any:
        self.answers += 1
        try:
            heard = response if _hear is None else _hear(self, response)
            if heard is None:
                return self.send()
        except Exception as error:
            fail_open(error, "an answer to kombu was not heard")
            heard = response
        return self._callback(heard)


_under_way: ContextVar[KombuRequest | None] = ContextVar("skewguard-kombu", default=None)
_hear: Callable[[KombuRequest, Any], Any] | None = None


def hear_kombu(hear: Callable[[KombuRequest, Any], Any]) -> None:
    """Pass each answer to a request of kombu's to `hear` before kombu gets it.

    To be called once kombu's connections to AWS are imported. `hear` returns, for a request and the answer to it, what
    kombu is to get; None if the request is to be made again.
    """
    global _hear
    _hear = hear
    KOMBU.apply()


def _heard_request(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def make_request(self: Any, operation: str, *args: Any, **kwargs: Any) -> Any:
        callback = kwargs.pop("callback", None)
        if callback is None:
            return original(self, operation, *args, **kwargs)
        make = functools.partial(original, self, operation, *args, **kwargs)
        KombuRequest(self, operation, make, callback).send()
        return callback

    return make_request


def _with_context(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the class of the requests that kombu gives to botocore's signer."""

    def make(*args: Any, **kwargs: Any) -> Any:
        made = original(*args, **kwargs)
        request = _under_way.get()
        if request is not None:
            made.context = request.context
        return made

    return make


def _connections() -> Iterable[Patch]:
    for module, name in _MODULES.items():
        connection = library.loaded(module, name)
        if connection is not None and "make_request" in vars(connection):  # before kombu 5.4, SQS's had none of its own
            yield NamePatch(_PART, connection, "make_request", _heard_request)
            yield NamePatch(_PART, sys.modules[module], "AWSRequest", _with_context)


KOMBU = Group(_connections)
"""To be applied when kombu's connections to AWS are imported."""
