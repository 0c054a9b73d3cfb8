"""What the caller is shown of a call: ``ResponseMetadata["SkewGuard"]``, and a note on its exception.

Only where something happened. The responses to calls that were signed by the wall clock and not refused for their
time are botocore's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from skewguard.events import logger
from skewguard.interval import SECOND
from skewguard.signing.reply import Judgement
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.timekeeper import Signing, Timekeeper
from skewguard.wording import this_clock

KEY = "SkewGuard"
"""The key of the report in ``ResponseMetadata``."""

_TLS_WORDS = ("certificate is not yet valid", "certificate has expired")


class Refusal(NamedTuple):
    """An attempt that was refused for its time.

    Attributes:
        signing: The attempt.
        judgement: Why it was refused.
        explicit: Whether the server said in words that the time was the reason.
    """

    signing: Signing
    judgement: Judgement
    explicit: bool


def report(
    parsed: Any,
    keeper: Timekeeper,
    domain: Domain,
    signing: Signing,
    refusal: Refusal | None,
    retried: bool,
    obstacle: str,
) -> None:
    """Add what became of a call so far to the response to its last attempt.

    The last refusal for its time, and the obstacle that keeps the call from being signed again, are those of `Call`.
    """
    signed, wall, _ = signing
    shown: dict[str, Any] = {"SignedOffset": (signed - wall) / SECOND, "Retried": retried, "Verdict": None}
    if refusal is not None:
        shown["Verdict"] = refusal.judgement.verdict.value
        if refusal.signing is signing:
            refused = "refused for its time" if refusal.explicit else "perhaps refused for its time"
            found = (f"{refused}: {refusal.judgement.reason}", _known(keeper, domain), obstacle)
            shown["Found"] = f"skewguard: {'; '.join(filter(None, found))}"
    parsed.setdefault("ResponseMetadata", {})[KEY] = shown


def note_refusal(error: Any, response: Any) -> None:
    """Add to a `ClientError` what was found, if its response has a report."""
    found = response.get("ResponseMetadata", {}).get(KEY, {}).get("Found")
    if found is not None:
        _note(error, found)


def note_failure(error: BaseException, keeper: Timekeeper) -> None:
    """Add to the exception of a failed TLS handshake what is known of the clock, if its words are about time."""
    if any(words in str(error) for words in _TLS_WORDS):
        _note(error, f"skewguard: certificates are judged by this host's clock; {_known(keeper, keeper.utc)}")


def _known(keeper: Timekeeper, domain: Domain) -> str:
    """Return what is known of the wall clock, compared with a domain's."""
    steady, wall = keeper.clocks.read()
    known = keeper.known(domain, steady)
    if known is None:
        return "the correct time is not known"
    reference = "true time" if domain is keeper.utc else f"the clock of {domain.key}"
    estimate = known.estimate
    grade = known.grade.label
    return this_clock(estimate.midpoint - wall, estimate.width // 2, estimate.source, reference, grade)


def _note(error: BaseException, text: str) -> None:
    add = getattr(error, "add_note", None)
    if add is None:  # Python 3.10
        logger.warning("%s", text)
    else:
        add(text)
