"""Messages that state one clock or none: of TLS, of expired tokens, and of services that refuse a token. Pure.

Each row of `SYMPTOMS` has the words, and a function that explains a match on this host. What decides is whose clock
judged: AWS's is right even if this host's is wrong.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from skewguard.cli.doctor.causes import REFUSED_FROM, Cause, Explanation, fast, here, slow, wrong
from skewguard.cli.doctor.finding import DAY
from skewguard.cli.survey import ClockOffset
from skewguard.interval import SECOND
from skewguard.wording import continued, length

Explain: TypeAlias = Callable[["re.Match[str]", "ClockOffset | None"], Explanation]


class Symptom(NamedTuple):
    """Words, and what they mean."""

    words: re.Pattern[str]
    explain: Explain


def explain(text: str, known: ClockOffset | None) -> Explanation | None:
    """Explain a message by the first symptom whose words are in it; None if there is none."""
    for symptom in SYMPTOMS:
        if match := symptom.words.search(text):
            return symptom.explain(match, known)
    return None


def _tls_dates(match: re.Match[str], known: ClockOffset | None) -> Explanation:
    """Go's words for both cases at once; the times that follow tell which."""
    shown, other = _iso(match["now"]), _iso(match["bound"])
    if shown is None or other is None:
        return _tls_either(match, known)
    early = match["side"] == "before"
    kind = "tls-not-yet-valid" if early else "tls-expired"
    begin = (
        f"the certificate {'is valid only from' if early else 'was valid until'} {match['bound']}, and the clock of "
    )
    begin += f"the host that checked it showed {match['now']}, {length(other - shown)} {match['side']} that."
    if known is None:
        side = "slow" if early else "fast"
        return Explanation(
            kind, Cause.UNKNOWN, (begin, f"Either that clock was {side}, or it is the certificate's fault.")
        )
    true = shown + known.offset
    if (slow if early else fast)(known) and (true >= other if early else true <= other):
        return Explanation(kind, Cause.CLOCK, (begin, f"{here(known)[:-1]}, which explains it."))
    blame = "Its issuer's clock was fast, or the message is of another time." if early else "It must be renewed."
    return Explanation(
        kind, Cause.OTHER, (begin, f"{here(known)} By true time, too, the certificate is not valid: {blame}")
    )


def _tls_by_true_time(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    """By skewguard itself, with ``true_time_tls``."""
    begin = "the certificate was judged by true time, not by the host's clock: it is the certificate that is wrong."
    return Explanation("tls-by-true-time", Cause.OTHER, (begin, here(known)))


def _tls_either(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "the certificate has expired or is not yet valid, by the clock of the host that checked it."
    return _tls("tls", begin, known, blamed=wrong(known))


def _tls_not_yet_valid(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "TLS rejects its certificate as not yet valid, as happens when the local clock is slow."
    return _tls("tls-not-yet-valid", begin, known, blamed=slow(known))


def _tls_expired(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "TLS rejects its certificate as expired, as happens when the local clock is fast."
    return _tls("tls-expired", begin, known, blamed=fast(known))


def _tls(kind: str, begin: str, known: ClockOffset | None, *, blamed: bool) -> Explanation:
    if known is None:
        return Explanation(kind, Cause.UNKNOWN, (begin, here(known)))
    if not blamed:
        return Explanation(
            kind, Cause.OTHER, (begin, f"But {continued(here(known))} It is the certificate, or its host.")
        )
    if known.least >= DAY:
        return Explanation(kind, Cause.CLOCK, (begin, here(known)))
    dates = "Whether that is enough depends on the certificate's dates: correct the clock first."
    return Explanation(kind, Cause.UNKNOWN, (begin, f"{here(known)} {dates}"))


def _two_epochs(match: re.Match[str], known: ClockOffset | None) -> Explanation:
    """AWS states its clock and the token's expiry."""
    ago = max(int(match["now"]) - int(match["expiry"]), 0)
    begin = f"the token had expired {length(ago * SECOND)} before, by AWS's clock."
    return _dead_token(begin, known)


def _aws_says_expired(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    return _dead_token("the credentials have expired, by AWS's clock: fetch new ones.", known)


def _dead_token(begin: str, known: ClockOffset | None) -> Explanation:
    kind = "credentials-expired"
    if known is None:
        return Explanation(kind, Cause.UNKNOWN, (begin, "On a slow clock, programs keep expired ones.", here(known)))
    if slow(known):
        return Explanation(kind, Cause.CLOCK, (begin, f"{here(known)} On a slow clock, programs keep expired ones."))
    return Explanation(kind, Cause.OTHER, (begin, f"{here(known)} The clock is not the reason."))


def _local_expiry(match: re.Match[str], known: ClockOffset | None) -> Explanation:
    """The program judged by this host's clock, and may state it."""
    begin = "the program found its token expired by this host's clock, as happens if that is fast."
    times = match.groupdict()
    if times.get("now"):
        over = (int(times["now"]) - int(times["expiry"])) * 1_000_000
        begin = f"the program found its token expired {length(over)} ago, by this host's clock."
        if fast(known) and known is not None and -known.offset + known.bound >= over:
            return Explanation("expired-here", Cause.CLOCK, (begin, f"{here(known)[:-1]}, which explains it."))
    elif fast(known):
        return Explanation("expired-here", Cause.CLOCK, (begin, f"{here(known)[:-1]}: correct that first."))
    if known is None:
        return Explanation("expired-here", Cause.UNKNOWN, (begin, here(known)))
    return Explanation("expired-here", Cause.OTHER, (begin, f"{here(known)} The token has expired: fetch a new one."))


def _sign_in(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    """The session's end is judged here; a slow clock makes none end early."""
    begin = (
        "this host's clock, not AWS's, decided that the token of the session has expired; a fast clock does so early."
    )
    first, ended = ": correct that first, then sign in again.", ". The session has ended: sign in again."
    return _by_clock("sign-in", begin, known, fast(known), first, ended)


def _session(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    """Refused by AWS, or judged here: the words are the same."""
    begin = "the session of the sign-in was refused by AWS, or seemed to have ended by this host's clock."
    if known is None or wrong(known):
        more = "The words are the same if it has really ended, so correct the clock first, and then sign in again."
        more = more if known is not None else "Sign in again; if that does not help, it is the clock."
        return Explanation("sign-in", Cause.UNKNOWN, (begin, f"{here(known)} {more}"))
    return Explanation("sign-in", Cause.OTHER, (begin, f"{here(known)} The session has ended: sign in again."))


def _login(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    """A renewal carries a proof with this host's time, so a clock that is wrong either way ends it."""
    begin = "the renewal of the sign-in was refused. It carries this host's time, and AWS refuses a wrong one likewise."
    first, ended = ": correct that first, then sign in again.", ". The session has ended: sign in again."
    return _by_clock("sign-in", begin, known, wrong(known), first, ended)


def _too_early(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "the program found its token not yet valid by this host's clock, as happens if that is slow."
    issuer = ". The clock of the token's issuer may be fast."
    return _by_clock("not-yet-valid-here", begin, known, slow(known), ", which explains it.", issuer)


def _still_expired(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "botocore fetched credentials that have expired by this host's clock, as happens if that is fast."
    first, issuer = ": correct that first.", ": their issuer returned old ones."
    return _by_clock("still-expired", begin, known, fast(known), first, issuer)


def _presigned(_: re.Match[str], known: ClockOffset | None) -> Explanation:
    begin = "a presigned URL was used after it had expired, by the server's clock. On a slow clock, URLs expire early."
    first, late = ": if the URL was made here, correct that first.", ": it was used too late, or made on another host."
    return _by_clock("presigned-expired", begin, known, slow(known), first, late)


def _by_clock(
    kind: str, begin: str, known: ClockOffset | None, blamed: bool, if_blamed: str, if_not: str
) -> Explanation:
    """Blame this host's clock, or something else. The last two continue the sentence about it."""
    if known is None:
        return Explanation(kind, Cause.UNKNOWN, (begin, here(known)))
    cause, rest = (Cause.CLOCK, if_blamed) if blamed else (Cause.OTHER, if_not)
    return Explanation(kind, cause, (begin, f"{here(known)[:-1]}{rest}"))


def _refused_token(service: str, check: str) -> Explain:
    """Make the explanation of a service that refuses a token, and does not say why."""

    def explain(_: re.Match[str], known: ClockOffset | None) -> Explanation:
        begin = f"{service} refused a token or password, which AWS's tools make from the time. It does not say why:"
        begin += f" a wrong clock, an old token and a missing permission look the same. {here(known)}"
        if known is not None and known.least >= REFUSED_FROM:
            return Explanation(
                "token-refused", Cause.CLOCK, (begin, "No token that is dated by it is valid: correct it.")
            )
        if known is None or wrong(known):
            more = "Correct the clock first." if known is not None else "If it is right, check the rest:"
            return Explanation("token-refused", Cause.UNKNOWN, (begin, f"{more} {check}"))
        return Explanation("token-refused", Cause.OTHER, (begin, f"The clock is not the reason. {check}"))

    return explain


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_TOKENS = "A token made anew is needed after 15 minutes"

SYMPTOMS = (
    Symptom(
        _words(
            r"certificate has expired or is not yet valid: current time (?P<now>" + _STAMP + r") is "
            r"(?P<side>before|after) (?P<bound>" + _STAMP + r")"
        ),
        _tls_dates,
    ),
    Symptom(_words(r"certificate (?:has expired|is not yet valid) by true time"), _tls_by_true_time),
    Symptom(_words(r"certificate has expired or is not yet valid"), _tls_either),
    Symptom(
        _words(r"certificate (?:is )?not yet valid|certificate is not valid yet|CERT_NOT_YET_VALID"), _tls_not_yet_valid
    ),
    Symptom(_words(r"certificate has expired|CERT_HAS_EXPIRED"), _tls_expired),
    Symptom(_words(r"refreshed credentials are still expired"), _still_expired),
    Symptom(_words(r"AccessDenied.{0,200}Request has expired"), _presigned),
    Symptom(
        _words(
            r"token expired: (?:current date/time )?(?P<now>\d{10})\d{0,3} "
            r"(?:>=|must be before the expiration date/time) ?(?P<expiry>\d{10})"
        ),
        _two_epochs,
    ),
    Symptom(_words(r"unexpired token: now=(?P<now>\d{13})ms, exp=(?P<expiry>\d{13})ms"), _local_expiry),
    Symptom(
        _words(r"Token has expired and refresh failed|token (?:for \S{1,80} )?(?:has expired|is expired) and refresh"),
        _sign_in,
    ),
    Symptom(_words(r"SSO session associated with this profile has expired|UnauthorizedSSOToken"), _session),
    Symptom(
        _words(
            r"LoginRefreshRequired|Your session has expired or credentials have changed"
            r"|CreateOAuth2Token operation: [^\n]{0,40}expired|CreateOAuth2Token[^\n]{0,200}TOKEN_EXPIRED"
        ),
        _login,
    ),
    Symptom(_words(r"token is not yet valid|token used before issued|ImmatureSignatureError"), _too_early),
    Symptom(_words(r"oidc: token is expired|ExpiredSignatureError|Signature has expired\b"), _local_expiry),
    Symptom(
        _words(
            r"ExpiredToken|token included in the request is expired"
            r"|(?:provided|security|authorization) token has expired|Token too old: \d"
        ),
        _aws_says_expired,
    ),
    Symptom(
        _words(r"PAM authentication fail|pam_authenticate failed"),
        _refused_token("a database of RDS", f"{_TOKENS}; then the policy's rds-db:connect, and the grant of rds_iam."),
    ),
    Symptom(
        _words(r"must be logged in to the server|asked for the client to provide credentials"),
        _refused_token(
            "a Kubernetes cluster", f"{_TOKENS}; then the access entries of EKS, or the ConfigMap aws-auth."
        ),
    ),
    Symptom(
        _words(r"SASL\w*[ .:_]?auth[^\n]{0,160}Access denied|SaslAuthenticat[^\n]{0,160}Access denied"),
        _refused_token("a Kafka cluster of MSK", f"{_TOKENS}; then the policy's kafka-cluster:Connect."),
    ),
    Symptom(
        _words(r"unable to access 'https://git-codecommit\.[^']{1,200}': The requested URL returned error: 403"),
        _refused_token(
            "CodeCommit", "A cached password is refused after 15 minutes; then the policy's codecommit:GitPull."
        ),
    ),
)
"""In this order: the first whose words are in a message explains it."""


def _iso(text: str) -> int | None:
    """Parse a time of RFC 3339 as ns since the Unix epoch; None if no calendar has it."""
    whole = re.sub(r"\.\d+", "", text).replace("Z", "+00:00")
    try:
        return round(datetime.datetime.fromisoformat(whole).timestamp()) * SECOND
    except (ValueError, OverflowError):
        return None
