"""Whether a guarded caller is worse off than a plain one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tests.differential.scripts import AWS, PRIVATE, Script

LOST = 3
"""Calls that may be lost to two clocks behind one name, until nothing is corrected there."""

PAUSE = 60
"""For so long, s, what did not help is not tried again: a guess, or a refresh that one of two clocks demands."""

OUTRANKS = 900
"""For so long, s, what AWS says outranks the sources."""


class Seen(NamedTuple):
    """One call as its caller and the server see it.

    Attributes:
        code: The error code; empty if the call was accepted.
        requests: How many requests it took, without those that met a fault.
        faults: How many of them met one.
        denied: Whether the last answer refused it for another reason than time.
        refreshes: How often the credentials have been refreshed so far.
    """

    code: str
    requests: int
    faults: int = 0
    denied: bool = False
    refreshes: int = 0


def judge(script: Script, plain: Sequence[Seen], guarded: Sequence[Seen]) -> list[str]:
    """List in what the guarded caller is worse off; each begins with its kind and a colon."""
    found = list(_calls(script, plain, guarded))
    pauses = sum(call.gap > PAUSE for call in script.calls)
    for kind, allowed in (("accepted", _lessons(script)), ("denied", _lessons(script) + pauses)):
        same = [(one, other) for one, other in zip(plain, guarded, strict=True) if _kind(one) == kind]
        extra = sum(max(other.requests - one.requests, 0) for one, other in same)
        if extra > allowed and not _two_clocks(script):
            found.append(f"costs: {extra} more requests for {len(same)} {kind} calls, {allowed} allowed")
    if plain and guarded[-1].refreshes > plain[-1].refreshes + 1 + pauses:
        found.append(f"refreshes: {guarded[-1].refreshes} instead of {plain[-1].refreshes}")
    if _two_clocks(script):
        lost = sum(bool(one.code) for one in guarded) - sum(bool(one.code) for one in plain)
        if lost > LOST:
            found.append(f"lost: {lost} more of {len(plain)} calls than plain")
    return found


def _kind(seen: Seen) -> str:
    return "denied" if seen.denied else "refused" if seen.code else "accepted"


def _calls(script: Script, plain: Sequence[Seen], guarded: Sequence[Seen]) -> Iterator[str]:
    for number, (one, other) in enumerate(zip(plain, guarded, strict=True)):
        where = f"call {number} ({script.calls[number].op})"
        redirected = script.calls[number].fault[0] in range(300, 400)  # botocore may look for the bucket's region
        # What plain botocore is refused as well may take three: by a guess, by the wall clock, by the server's.
        if other.requests > one.requests + 1 + (redirected or bool(one.code)):
            yield f"requests: {where} took {other.requests} requests instead of {one.requests}"
        if any(excused(script, number, plain, guarded) for excused in EXEMPT.values()):
            continue
        if other.code and not one.code:
            yield f"refused: {where} fails with {other.code}"
        elif one.denied and other.code not in ("", one.code):
            yield f"another error: {where} fails with {other.code} instead of {one.code}"


def _lessons(script: Script) -> int:
    """Return how many requests may be refused for the guard to learn a clock, or that one has changed or was false."""
    changes = sum(bool(call.steps) + bool(call.sets) + (call.denial in ("stated", "quoted")) for call in script.calls)
    return len(script.endpoints) + changes


def _two_clocks(script: Script) -> bool:
    return any(endpoint.other is not None for endpoint in script.endpoints)


def _lied_to(script: Script, number: int, plain: Sequence[Seen], guarded: Sequence[Seen]) -> bool:
    """Return whether a call cannot be repeated, and AWS has not refused the lie of the sources lately."""
    if not any(script.sources) or script.endpoints[script.calls[number].at].name in PRIVATE:
        return False
    age, refused, accepted = script.calls[number].gap, False, all(abs(lead) < 900 for lead in script.sources)
    for call in reversed(script.calls[:number]):
        name = script.endpoints[call.at].name
        silent = call.op == "head" and script.attempts == 1
        if age < OUTRANKS and call.op not in ("url", "unsigned") and not silent:
            refused = refused or name == AWS or (name not in PRIVATE and not accepted)
        age += call.gap
    return _cannot_be_repeated(script, number, plain[number]) and not refused


def _told_a_lie(script: Script, number: int, plain: Sequence[Seen], guarded: Sequence[Seen]) -> bool:
    """Return whether a call is the first to be heard there after a false refusal, and is one itself or the last try."""
    call = script.calls[number]
    heard = [one for one, seen in zip(script.calls[:number], guarded, strict=False) if seen.requests]
    before = [one for one in heard if one.at == call.at and one.op not in ("url", "unsigned")]
    lied = bool(before) and before[-1].denial == "stated"
    return lied and (call.denial == "stated" or _cannot_be_repeated(script, number, plain[number]))


def _short_lived(script: Script, number: int, *_: Sequence[Seen]) -> bool:
    """Return whether a wrong host hands out a URL for a minute, where a proxy is minutes off or the clock was stepped.

    Alone it makes one that is good for longer, because signature version 2 states an end, but no beginning.
    """
    call = script.calls[number]
    there = script.endpoints[call.at]
    stepped = any(one.steps for one in script.calls[: number + 1] if one.at == call.at)
    return call.op == "url" and (stepped or there.date is not None) and abs(script.host - there.clock) > 900


def _cannot_be_repeated(script: Script, number: int, plain: Seen) -> bool:
    used_up = 0 < script.attempts <= plain.requests + plain.faults
    return used_up or script.calls[number].op in ("url", "put from 10")


EXEMPT: dict[str, Callable[[Script, int, Sequence[Seen], Sequence[Seen]], bool]] = {
    "a source that lies on a right host: what is voted counts as proved, until AWS refuses it": _lied_to,
    "a server that refuses a right time in words: all is dated by what it says, until it refuses that": _told_a_lie,
    "a proof is good to the server's tolerance, and until its clock is stepped: a minute is less": _short_lived,
    "two clocks behind one name, in turns: only counts can be compared": lambda script, *_: _two_clocks(script),
    "the one request more met a fault": lambda _, at, plain, guarded: guarded[at].faults > plain[at].faults,
}
"""The residual risks that the design admits, and the calls they excuse. Any call may take one request more."""
