"""Bugs to put in, so that the simulation can show that it finds them. Each is a set of names to replace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.credentials import RefreshableCredentials

from skewguard import http_date, interval
from skewguard.clocks import Clocks, Reading
from skewguard.http_date import Span, read_date
from skewguard.interval import Interval, Trust, Vote
from skewguard.signing import answer, domains, guard, hooks, reply
from skewguard.signing.answer import Then
from skewguard.signing.call import Call
from skewguard.signing.domains import DomainSpec
from skewguard.signing.reply import Attempt, Judgement, Reply, Verdict
from skewguard.signing.responses import Responses
from skewguard.timekeeping import evidence, knowledge, polling, shared_file, timekeeper
from skewguard.timekeeping.domain import UTC, Domain
from skewguard.timekeeping.evidence import Evidence, Grade, Shown
from skewguard.timekeeping.shared_file import Contents, Store, render
from skewguard.timekeeping.sharing import SharedEstimates
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.simulation import credentials

_FOREVER = 10**30


def _midpoint(earliest: int, latest: int, sent: Reading, received: Reading, trust: Trust, source: str) -> Interval:
    half = (received.steady - sent.steady) // 2
    return Interval(received.steady, earliest + half, latest + half, trust, source)


def _at_once(earliest: int, latest: int, sent: Reading, received: Reading, trust: Trust, source: str) -> Interval:
    return Interval(received.steady, earliest, latest, trust, source)


def _always(attempt: Attempt, answer: Reply) -> Judgement:
    if 400 <= answer.status < 500:
        return Judgement(Verdict.SKEW, "it failed")
    return reply.judge(attempt, answer)


def _never_stale(attempt: Attempt, answer: Reply) -> Judgement:
    judgement = reply.judge(attempt, answer)
    return Judgement(Verdict.NOT_TIME, "") if judgement.verdict is Verdict.STALE else judgement


def _ageless(headers: Any) -> Span | None:
    return read_date({"Date": headers.get("Date")})


def _one_for_all(keeper: Timekeeper, key: str, **_: bool) -> Domain:
    return keeper.utc


def _first_wins(statements: Any, steady: int) -> Vote:
    said = tuple(one.aged(steady) for one in statements)
    return Vote(said[0], said[:1], said[1:]) if said else Vote(None, (), ())


def _stumble(text: str) -> int | None:
    if http_date._IMF_FIXDATE.fullmatch(text) is None:
        raise ValueError(text)
    return None


_estimate, _on_results = SharedEstimates.estimate, Timekeeper._on_results
_checked, _parse = Store._checked, shared_file.parse


def _just_now(others: SharedEstimates, key: str, steady: int) -> Interval | None:
    said = _estimate(others, key, steady)
    return said and said._replace(at=steady)


def _shares_sources(keeper: Timekeeper, era: object, results: Any, outcome: Vote) -> None:
    _on_results(keeper, era, results, outcome)
    if outcome.interval is not None:
        keeper._others.publish(UTC, outcome.interval, True, 0)


def _unchecked(data: bytes) -> tuple[str, Contents]:
    body = data[:-13]
    return _parse(body + b"end %08x\n" % shared_file.binascii.crc32(body))


def _of_any_boot(store: Store, data: bytes, clocks: Clocks) -> Contents:
    return _checked(store, render(_parse(data)[1], store._disk.tag()), clocks)


class _Uncounted(Call):
    renewed = property(lambda call: 0, lambda call, value: None)


_find_domain, _observe, _decide = guard.find_domain, answer._observe, answer.decide


def _stands_in_for_all(url: str, bucket: str) -> DomainSpec:
    spec = _find_domain(url, bucket)
    return spec._replace(stand_in=Grade.PROOF) if spec.stand_in else spec


def _keeps_dates(call: Call, heard: Any, *, refused: bool, helped: bool) -> Any:
    shown, clock, objection = _observe(call, heard, refused=refused, helped=helped)
    return Shown.REFUSAL if refused and clock is not None else shown, clock, objection


def _shows_the_last(call: Call, heard: Any) -> Any:
    decision = _decide(call, heard)
    return decision._replace(then=Then.CALLERS) if decision.then is Then.FIRST else decision


def _shares_claims(keeper: Timekeeper, domain: Domain) -> None:
    evidence = domain.evidence
    if evidence is not None and evidence.grade >= Grade.CLAIM and domain.shared and keeper._sharing:
        keeper._others.publish(domain.key, evidence.estimate, True, 0)


def _endless() -> Any:
    keep = evidence.TRANSITIONS[Shown.HINT][Grade.PROOF]
    return {**evidence.TRANSITIONS, Shown.REFUSAL: {**evidence.TRANSITIONS[Shown.REFUSAL], Grade.PROOF: keep}}


BUGS: dict[str, list[tuple[Any, str, Any]]] = {
    "the offset is anchored to the wall clock": [
        (timekeeper, "_CACHE_FOR", _FOREVER),
        (timekeeper, "_CACHE_SLACK", _FOREVER),
    ],
    "an answer is taken for the middle of its exchange": [(hooks, "response_interval", _midpoint)],
    "a stale answer teaches": [(hooks, "response_interval", _at_once)],
    "any refusal is retried without judging the attempt": [(answer, "judge", _always)],
    "a stale signature is not made again": [(answer, "judge", _never_stale)],
    "Age is ignored": [(reply, "read_date", _ageless)],
    "what one endpoint teaches is used for all": [(Timekeeper, "domain", _one_for_all)],
    "mocked answers are believed": [(Responses, "from_socket", staticmethod(lambda answer: True))],
    "unverified endpoints teach": [(Responses, "verified", staticmethod(lambda endpoint: True))],
    "statements do not age": [(interval, "_BILLION", _FOREVER)],
    "retries are not counted": [(hooks, "Call", _Uncounted)],
    "any Date of an acceptance is proved": [(answer, "_near", lambda heard, signed, elapsed, tolerance: True)],
    "the first source wins": [(polling, "vote", _first_wins)],
    "sources outrank answers": [(knowledge, "OUTRANKS_FOR", -1)],
    "a garbled Date raises": [(http_date, "fixdate", _stumble)],
    "what sources say is shared": [(Timekeeper, "_on_results", _shares_sources)],
    "a shared file of another boot is believed": [(Store, "_checked", _of_any_boot)],
    "a shared file that was altered is believed": [(shared_file, "parse", _unchecked)],
    "what is shared is believed to be of now": [(SharedEstimates, "estimate", _just_now)],
    "a tenant's words move UTC": [
        (hooks, "is_named_for", lambda url, prefix: True),
        (domains, "_CUSTOMERS_CODE", frozenset()),
    ],
    "a private store's bare Date is a claim": [(answer, "_observe", _keeps_dates)],
    "UTC dates presigned URLs of private stores": [(guard, "find_domain", _stands_in_for_all)],
    "claims are shared": [(Timekeeper, "share", _shares_claims)],
    "the second answer is shown": [(hooks, "decide", _shows_the_last)],
    "a proof never ends": [(evidence, "TRANSITIONS", _endless())],
    "a redirect's Date teaches": [(Reply, "own", True)],
    "nothing is undone": [(Call, "undoable", False)],
    "every grade dates what cannot be signed again": [(Evidence, "suffices", lambda known, where: True)],
    "fresh credentials are dead by true time alone": [
        (credentials.GuardedCredentials, "_is_expired", RefreshableCredentials._is_expired),
        (credentials.GuardedCredentials, "_protected_refresh", RefreshableCredentials._protected_refresh),
    ],
}
"""For each bug: the owners, the names to replace there, and the replacements."""


@contextmanager
def with_bug(name: str) -> Iterator[None]:
    kept: list[tuple[Any, str, Any]] = []
    for owner, attribute, value in BUGS[name]:
        kept.append((owner, attribute, vars(owner)[attribute]))
        setattr(owner, attribute, value)
    try:
        yield
    finally:
        for owner, attribute, value in kept:
            setattr(owner, attribute, value)
