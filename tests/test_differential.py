"""No call is worse off for being guarded, whatever servers, proxies, sources and clocks do; and that can be found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from skewguard.signing import call
from tests.differential.judge import LOST, Seen, judge
from tests.differential.play import Stage
from tests.differential.scripts import AWS, KINDS, Call, Endpoint, Script, generate

OK, SKEWED, DENIED = Seen("", 1), Seen("RequestTimeTooSkewed", 1), Seen("AccessDenied", 1, denied=True)
TWO = Script(endpoints=(Endpoint(other=3600),), calls=(Call(),) * 9)
LIED_TO = Script(endpoints=(Endpoint(AWS),), sources=(7200,), calls=(Call("url"), Call(), Call("url")))


@pytest.mark.slow
def test_no_call_is_worse_off(stage: Stage) -> None:
    """``python -m tests.differential`` plays more."""
    assert [(one.seed, one.complaints, one.script.line()) for one in stage.worse(range(7 * len(KINDS)))] == []


_FILE = Path(__file__).parent / "differential" / "once_worse.txt"
ONCE_WORSE = dict(line.split(": ", 1) for line in _FILE.read_text().splitlines())
"""Scripts that seeds have found, each the simplest that shows it."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.mark.parametrize("line", ONCE_WORSE.values(), ids=list(ONCE_WORSE))
def test_what_was_worse_once(stage: Stage, line: str) -> None:
    script = Script.parse(line)
    assert judge(script, *stage.pair(script)) == []


@pytest.mark.slow
def test_a_bug_is_found(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    """Whatever cannot be repeated is dated by a guess; the simplest script that shows it is short."""
    monkeypatch.setattr(call, "may_follow", lambda _: True)
    found = stage.worse(range(5 * len(KINDS)))
    assert found
    assert len(found[0].simplest(stage).calls) < 4


def test_a_line_is_a_script() -> None:
    for seed in range(20 * len(KINDS)):
        assert Script.parse(generate(seed).line()) == generate(seed)


@pytest.mark.parametrize(
    ("script", "plain", "guarded", "complaint"),
    [
        (Script(calls=(Call(),)), [OK], [OK], ""),
        (Script(calls=(Call(),)), [SKEWED], [Seen("", 2)], ""),
        (Script(calls=(Call(),)), [OK], [SKEWED], "refused"),
        (Script(calls=(Call(),)), [DENIED], [SKEWED], "another error"),
        (Script(calls=(Call(),)), [DENIED], [OK], ""),
        (Script(calls=(Call(),)), [OK], [Seen("", 3)], "requests"),
        (Script(calls=(Call(),) * 2), [OK] * 2, [Seen("", 2)] * 2, "costs"),
        (Script(calls=(Call(),)), [OK], [Seen("", 1, refreshes=4)], "refreshes"),
        (Script(calls=(Call(),)), [OK], [Seen("InternalError", 1, faults=1)], ""),
        (TWO, [OK, SKEWED] * 4 + [OK], [OK] * (5 - LOST) + [SKEWED] * (4 + LOST), ""),
        (TWO, [OK, SKEWED] * 4 + [OK], [SKEWED] * 9, "lost"),
        (LIED_TO, [OK] * 3, [SKEWED, OK, OK], ""),
        (LIED_TO, [OK] * 3, [OK, OK, SKEWED], "refused"),
    ],
)
def test_the_judge(script: Script, plain: list[Seen], guarded: list[Seen], complaint: str) -> None:
    """It finds each way to be worse, and excuses what the design admits."""
    found = [text.partition(":")[0] for text in judge(script, plain, guarded)]
    assert found[:1] == ([complaint] if complaint else [])
