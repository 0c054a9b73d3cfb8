"""What misled skewguard once: each call ends as botocore alone would have it, and the next ones are right."""

from __future__ import annotations

import pytest

from skewguard.interval import SECOND
from tests.simulation.calls import DIRECT, URL
from tests.simulation.scenarios import HOUR, MINUTE
from tests.simulation.scripted import Script
from tests.simulation.servers import Server

STORE = "https://store.example"


def a_store(script: Script, **options: object) -> Server:
    return script.server(STORE, **{"utc": False} | options)


@pytest.mark.parametrize("dialect", ["silent", "head", "terse"])
def test_a_proxys_clock_is_not_proved_by_a_denial(dialect: str) -> None:
    """The denial is retried by the proxy's Date, and now it is refused for its time: the first answer is shown."""
    with Script() as script:
        store = a_store(script, dialect=dialect, date="proxy", proxy_error=HOUR)
        call = script.call(store, fault="denied")
        assert (call.error, len(call.stamps)) == (call.twin.error, 2)
        script.start_process()
        script.succeeds(store)
        assert not script.world.file.known


@pytest.mark.parametrize("dialect", ["silent", "head", "terse"])
@pytest.mark.parametrize("date", ["honest", "absent", "proxy on errors"])
def test_a_guess_is_undone(dialect: str, date: str) -> None:
    """UTC stands in for a store that shares the host's wrong clock: the second request goes by the wall clock."""
    with Script(wall_error=-7_200, source="instant") as script:
        store = a_store(script, local=True, dialect=dialect, date=date, proxy_error=HOUR)
        script.succeeds(store, requests=2)
        script.succeeds(store)


@pytest.mark.parametrize("date", ["absent", "aged", "garbage"])
def test_a_vote_is_undone_by_a_refusal_that_tells_no_time(date: str) -> None:
    """A source lies on a right host, and nothing contradicts it but the refusal."""
    with Script(source="lying") as script:
        script.succeeds(script.server(dialect="terse", date=date), requests=2)


def test_a_lost_answer_and_a_liar_leave_the_last_attempt_to_the_wall_clock() -> None:
    """AWS states no time, and the source has a new lie each time it is asked: to ask it again would lose the call."""
    with Script(source="lying") as script:
        aws = script.server(dialect="terse", date="absent")
        script.sleep("frozen", MINUTE)
        call = script.call(aws, attempts=3, fault="reset")
        assert (call.outcome, len(call.stamps)) == ("ok", 3)


def test_over_plain_http_utc_is_a_guess() -> None:
    """Anything may answer there, whatever its name; a silent refusal beside a proxy's Date is undone."""
    with Script(wall_error=-1_200, source="instant") as script:
        url = "http://sts.us-east-1.amazonaws.com"
        fake = script.server(url, kind="plain", utc=False, offset=-1_200 * SECOND, dialect="head", date="proxy")
        fake.proxy_error = 1_200 * SECOND
        script.succeeds(fake, requests=2)


def test_words_are_heard_where_the_call_goes_on_by_the_wall_clock() -> None:
    """A store is set twice while a call is under way; what the second refusal says dates the calls after it."""
    with Script() as script:
        store = a_store(script, offset=2 * HOUR)
        script.succeeds(store, requests=2)
        script.set_clock(store, 4 * HOUR)
        call = script.program.call(store)
        script.world.run(lambda: len(call.stamps) == 2)
        script.set_clock(store, 6 * HOUR)
        script.world.run(lambda: len(call.stamps) == 3)
        script.succeeds(store)


def test_a_genuine_error_leaves_the_guess_in_use() -> None:
    """Each such error costs a second request, but the calls that follow are right."""
    with Script(wall_error=-7_200, source="instant") as script:
        store = a_store(script, date="absent")
        assert script.call(store, fault="invalid").outcome == "invalid"
        script.succeeds(store)


def test_a_burst_is_not_two_clocks() -> None:
    """Five calls at once are refused for their time, and each is mended: what they taught stays."""
    with Script(source="lying") as script:
        store = a_store(script, dialect="s3", tolerance=300)
        calls = [script.program.call(store) for _ in range(5)]
        script.world.run(lambda: all(call.outcome for call in calls))
        assert {call.outcome for call in calls} == {"ok"}
        script.succeeds(store)


def test_three_slow_uploads_are_not_two_clocks() -> None:
    """They were too long under way, so the clock that is known is still the store's."""
    with Script(wall_error=-7_200) as script:
        store = a_store(script, dialect="s3")
        script.succeeds(store, requests=2)
        for _ in range(3):
            assert script.call(store, wait=HOUR, attempts=1).outcome == "time"
        script.succeeds(store)


def test_a_refusal_renews_the_proof_that_it_agrees_with() -> None:
    """So a source that lies does not outrank it a quarter of an hour later."""
    with Script(source="lying") as script:
        script.succeeds(script.aws, requests=2)
        script.wait(16 * MINUTE)
        script.succeeds(script.aws, requests=2)
        script.succeeds(script.aws)


def test_an_accepted_wall_clock_ends_a_claim_whatever_the_date() -> None:
    """A store is set right while a proxy dates its answers."""
    with Script() as script:
        store = a_store(script, dialect="s3", date="proxy on errors", proxy_error=3 * HOUR, offset=2 * HOUR)
        script.succeeds(store, requests=2)
        script.set_clock(store, 0)
        store.dialect = "terse"
        script.succeeds(store, requests=2)
        url = script.call(store, kind=URL)
        assert url.stamps == url.twin.stamps


@pytest.mark.parametrize("kind", [URL, DIRECT])
def test_a_freeze_of_a_host_that_was_wrong_before(kind: str) -> None:
    """Its tools set the clock right; what cannot be signed again goes by it, though it jumped by less than it stood."""
    with Script(wall_error=1_200) as script:
        script.succeeds(script.aws, requests=2)
        script.sleep("frozen", HOUR, script.repair)
        call = script.call(script.aws, kind=kind)
        assert call.stamps == call.twin.stamps


def test_one_attempt_is_dated_by_the_wall_clock_while_nothing_is_proved() -> None:
    """By default a caller has several; then a guess may date the first."""
    with Script(source="lying") as script:
        store = a_store(script)
        script.succeeds(store, attempts=1)
        script.succeeds(store, rewindable=False)


def test_what_answers_late_claims_no_clock() -> None:
    """It was refused because it was late, and a proxy's Date stands beside it."""
    with Script() as script:
        store = a_store(script, dialect="terse", date="proxy", proxy_error=HOUR, tolerance=300)
        assert script.call(store, wait=6 * MINUTE).outcome == "time"
        url = script.call(store, kind=URL)
        assert abs(url.stamps[0] - script.world.truth) < SECOND
