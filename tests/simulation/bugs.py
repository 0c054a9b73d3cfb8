"""Bugs to put in, so that the simulation can show that it finds them. Each is a set of names to replace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from skewguard import interval
from skewguard.clocks import Clocks, Reading
from skewguard.interval import Interval, Trust, Vote
from skewguard.signing import answer, hooks, reply
from skewguard.signing.call import Call
from skewguard.signing.reply import Attempt, Judgement, Reply, Verdict
from skewguard.signing.responses import Responses
from skewguard.timekeeping import knowledge, polling, shared_file, timekeeper
from skewguard.timekeeping.domain import UTC, Domain
from skewguard.timekeeping.shared_file import Contents, Store, render
from skewguard.timekeeping.sharing import SharedEstimates
from skewguard.timekeeping.timekeeper import Timekeeper

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


_read_date = reply.read_date


def _ageless(headers: Any) -> reply.Span | None:
    return _read_date({"Date": headers.get("Date")})


def _one_for_all(keeper: Timekeeper, key: str, **_: bool) -> Domain:
    return keeper.utc


def _first_wins(statements: Any, steady: int) -> Vote:
    said = tuple(one.aged(steady) for one in statements)
    return Vote(said[0], said[:1], said[1:]) if said else Vote(None, (), ())


def _stumble(text: str) -> int | None:
    if reply._IMF_FIXDATE.fullmatch(text) is None:
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
        keeper._others.publish(UTC, outcome.interval, keeper.clocks, True, 0)


def _unchecked(data: bytes) -> tuple[str, Contents]:
    body = data[:-13]
    return _parse(body + b"end %08x\n" % shared_file.binascii.crc32(body))


def _of_any_boot(store: Store, data: bytes, clocks: Clocks) -> Contents:
    return _checked(store, render(_parse(data)[1], store._disk.tag()), clocks)


class _Uncounted(Call):
    retried = property(lambda call: False, lambda call, value: None)


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
    "any Date of a success is believed": [(answer, "_fits", lambda heard, signed, elapsed: True)],
    "the first source wins": [(polling, "vote", _first_wins)],
    "sources outrank answers": [(knowledge, "OUTRANKS_FOR", -1)],
    "a garbled Date raises": [(reply, "_fixdate", _stumble)],
    "what sources say is shared": [(Timekeeper, "_on_results", _shares_sources)],
    "a shared file of another boot is believed": [(Store, "_checked", _of_any_boot)],
    "a shared file that was altered is believed": [(shared_file, "parse", _unchecked)],
    "what is shared is believed to be of now": [(SharedEstimates, "estimate", _just_now)],
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
