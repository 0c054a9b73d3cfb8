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
from skewguard.tls.dates import BY_TRUE_TIME
from skewguard.wording import clock_of, this_clock

KEY = "SkewGuard"
"""The key of the report in ``ResponseMetadata``."""

_TLS_WORDS = ("certificate is not yet valid", "certificate has expired")


class FailedAttempt(NamedTuple):
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
    failed: FailedAttempt | None,
    retried: bool,
    obstacle: str,
) -> None:
    """Add what became of a call so far to the response to its last attempt.

    The last refusal for its time, and the obstacle that keeps the call from being signed again, are those of `Call`.
    """
    signed, wall, _ = signing
    shown: dict[str, Any] = {"SignedOffset": (signed - wall) / SECOND, "Retried": retried, "Verdict": None}
    if failed is not None:
        shown["Verdict"] = failed.judgement.verdict.value
        if failed.signing is signing:
            refused = "refused for its time" if failed.explicit else "perhaps refused for its time"
            found = (f"{refused}: {failed.judgement.reason}", _known(keeper, domain), obstacle)
            shown["Found"] = f"skewguard: {'; '.join(filter(None, found))}"
    parsed.setdefault("ResponseMetadata", {})[KEY] = shown


def note_refusal(error: Any, response: Any) -> None:
    """Add to a `ClientError` what was found, if its response has a report."""
    found = response.get("ResponseMetadata", {}).get(KEY, {}).get("Found")
    if found is not None:
        _note(error, found)


def is_about_dates(error: BaseException) -> bool:
    """Return whether a TLS handshake failed because of a certificate's dates."""
    return any(words in _text(error) for words in _TLS_WORDS)


def is_ours(error: BaseException) -> bool:
    """Return whether true time, and not the wall clock, has judged that certificate."""
    return BY_TRUE_TIME in _text(error)


def _text(error: BaseException) -> str:
    """Return an exception's words, and those of the one that it wraps: a proxy's are only there."""
    return f"{error} {getattr(error, 'kwargs', {}).get('error', '')}"


def note_failure(error: BaseException, keeper: Timekeeper) -> None:
    """Add to the exception of a handshake that failed because of a certificate's dates what is known of the clock."""
    if is_ours(error):
        _note(error, f"skewguard: true_time_tls is set, so certificates are judged by true time; {_known_utc(keeper)}")
        return
    found = f"skewguard: certificates are judged by this host's clock; {_known_utc(keeper)}"
    basis, known = keeper.certificates(), keeper.now() is not None
    if keeper.settings.true_time_tls:
        found += f"; true_time_tls does not apply: {basis.obstacle}" if basis.obstacle else ""
    elif basis.interval is not None:
        found += "; true_time_tls=True would judge them by true time"
    elif basis.obstacle or not known:  # else the clock may be right, and the certificate wrong
        found += "; the option true_time_tls judges them by true time where that is known well enough"
    _note(error, found)


def _known_utc(keeper: Timekeeper) -> str:
    return _known(keeper, keeper.utc)


def _known(keeper: Timekeeper, domain: Domain) -> str:
    """Return what is known of the wall clock, compared with a domain's."""
    steady, wall = keeper.clocks.read()
    known = keeper.known(domain, steady)
    if known is None:
        return "the correct time is not known"
    said, reference = known.estimate, clock_of(domain.key)
    return this_clock(said.midpoint - wall, said.width // 2, said.source, reference, known.grade.label)


def _note(error: BaseException, text: str) -> None:
    add = getattr(error, "add_note", None)
    if add is None:  # Python 3.10
        logger.warning("%s", text)
    else:
        add(text)
