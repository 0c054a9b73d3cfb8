"""One call that other code signs and sends: botocore emits no event for it, and never hears the answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skewguard._fail_open import fail_open
from skewguard.signing.call import Call
from skewguard.signing.guard import Guard
from skewguard.signing.patches.under_way import UNDER_WAY
from skewguard.timekeeping.timekeeper import NEVER, Signing

ATTEMPTS = 2
"""How often it is sent at most: it is signed again once."""


class ForeignCall:
    """One call, over all its attempts. `Call` takes it for the request that is being signed.

    Attributes:
        call: What the event handlers know of it.
        service: The name of its service, as in the scope of its signature.
        url: Where its last attempt was signed for.
        auth_path: Nothing; botocore's requests to S3 have it.
        context: What botocore's requests keep about their retries.
        answers: How many attempts have been answered.
        steered: Whether its last signing read the time here, so that another signing could be dated otherwise.
        note: Why it is not signed again, though it was refused for its time; empty if it was not.
    """

    auth_path: str | None = None

    def __init__(self, guard: Guard, service: str, *, repeatable: bool) -> None:
        self.context: dict[str, Any] = {"retries": {"max": ATTEMPTS, "attempt": 1}}
        self.call = Call(guard, None, None, self.context)
        self.call.rewindable = repeatable
        self.service = service
        self.url = ""
        self.answers = 0
        self.steered = False
        self.note = ""

    @contextmanager
    def signing(self, url: str) -> Iterator[None]:
        """Date by true time what signs an attempt to this URL within the block, where the wall clock is wrong."""
        before = UNDER_WAY.get()
        try:
            UNDER_WAY.set(self if self._prepare(url) else None)
            yield
        finally:
            UNDER_WAY.set(before)

    @property
    def is_signing(self) -> bool:
        """Whether an attempt of this call is being signed in this context."""
        return UNDER_WAY.get() is self

    def _prepare(self, url: str) -> bool:
        """Note that the wall clock dates the attempt, until its signer asks; return whether it is guarded."""
        self.steered, self.note = False, ""
        self.url = url
        call = self.call
        call.signing = NEVER
        try:
            guard = call.guard
            if guard.is_on():
                self.context["retries"]["attempt"] = self.answers + 1
                call.route = guard.route(url, None)
                steady, wall = guard.keeper.clocks.read()
                call.signing = (wall, wall, steady)
                return True
        except Exception as error:
            fail_open(error, "a request is not guarded")
        return False

    def begin(self) -> int | None:
        """Note that the attempt is being signed; return the time to sign as of (ns), or None for the wall clock."""
        at = self.call.begin(self)
        self.steered = True
        return at

    def time(self) -> int:
        """Return the time to sign as of, ns, for signers that are told it."""
        self.begin()
        return self.call.signing[0]

    def leave(self) -> None:
        """Leave this attempt to its signer: it carries another time, so its answer is not heard."""
        self.call.leave()

    def was_signed(self, url: str, signing: Signing) -> None:
        """Note an attempt that was signed before this call was made, by a signer that read the time here."""
        self.url = url
        self.call.route = self.call.guard.route(url, None)
        self.call.signing = signing
        self.steered = True
