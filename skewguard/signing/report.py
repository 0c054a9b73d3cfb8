"""What became of a call, for whoever made it: in ``ResponseMetadata["SkewGuard"]``, and in a note on its exception.

Only where something happened. The answers of calls that were signed by the wall clock and not refused for their time
are botocore's own.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from skewguard.events import logger
from skewguard.interval import SECOND
from skewguard.signing.reply import Judgement
from skewguard.timekeeping.domain import Domain
from skewguard.timekeeping.timekeeper import Signing, Timekeeper
from skewguard.wording import clock_offset

KEY = "SkewGuard"
"""Where the report stands in ``ResponseMetadata``."""

_TLS_WORDS = ("certificate is not yet valid", "certificate has expired")


class Refusal(NamedTuple):
    """An attempt that was refused for its time.

    Attributes:
        signing: The attempt.
        judgement: What it was found to be.
    """

    signing: Signing
    judgement: Judgement


def report(
    parsed: Any, keeper: Timekeeper, domain: Domain, signing: Signing, refusal: Refusal | None, retried: bool, why: str
) -> None:
    """Put what became of a call so far into the response to its last attempt.

    Args:
        parsed: The response.
        keeper: The process's.
        domain: Whose clock the last attempt was held against.
        signing: The last attempt.
        refusal: The last attempt of this call that was refused for its time, if one was.
        retried: Whether this call was signed again.
        why: Why it will not be signed again now, if that is known.
    """
    signed, wall, _ = signing
    told: dict[str, Any] = {"SignedOffset": (signed - wall) / SECOND, "Retried": retried, "Verdict": None}
    if refusal is not None:
        told["Verdict"] = refusal.judgement.verdict.value
        if refusal.signing is signing:
            known = _known(keeper, domain)
            told["Found"] = f"skewguard: refused for its time: {refusal.judgement.reason}; {known}{why and '; '}{why}"
    parsed.setdefault("ResponseMetadata", {})[KEY] = told


def why_not(*, retried: bool, rewindable: bool, enabled: bool, left: bool) -> str:
    """Say why a call will not be signed again; empty if that is not known.

    Args:
        retried: Whether it was already.
        rewindable: Whether its body can be sent again.
        enabled: Whether skewguard is switched on.
        left: Whether the caller allows one more attempt.
    """
    if retried:
        return "it had been signed again already"
    if not rewindable:
        return "its body cannot be sent again"
    if not enabled:
        return "skewguard is switched off"
    return "" if left else "the caller allows no further attempt"


def note_refusal(error: Any, response: Any) -> None:
    """Say on a `ClientError` what was found; nothing for an answer without a report."""
    found = response.get("ResponseMetadata", {}).get(KEY, {}).get("Found")
    if found is not None:
        _note(error, found)


def note_failure(error: BaseException, keeper: Timekeeper) -> None:
    """Say on a failed TLS handshake what is known of the clock, if its words are about time."""
    if any(words in str(error) for words in _TLS_WORDS):
        _note(error, f"skewguard: certificates are judged by this host's clock; {_known(keeper, keeper.utc)}")


def _known(keeper: Timekeeper, domain: Domain) -> str:
    """Say what is known of the wall clock, held against a domain's."""
    steady, wall = keeper.clocks.read()
    known = keeper.known(domain, steady)
    if known is None:
        return "the correct time is not known"
    reference = "true time" if domain is keeper.utc else f"the clock of {domain.key}"
    off = clock_offset(known.midpoint - wall, known.width // 2, known.source, reference)
    return f"this host's clock is {off}"


def _note(error: BaseException, text: str) -> None:
    add = getattr(error, "add_note", None)
    if add is None:  # Python 3.10
        logger.warning("%s", text)
    else:
        add(text)
