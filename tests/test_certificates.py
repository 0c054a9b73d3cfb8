"""Which knowledge may judge certificates: the table, row by row, and what holds of every row."""

from __future__ import annotations

import time
from typing import Any

import freezegun
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skewguard.config import Settings
from skewguard.interval import EARLIEST, SECOND, Interval, Trust, vote
from skewguard.testing import FakeClocks
from skewguard.timekeeping.certificates import ENOUGH, RELEASED, Basis, Ground, Known, Wall, basis
from skewguard.timekeeping.evidence import Grade, Shown
from skewguard.timekeeping.timekeeper import Timekeeper
from tests.fakes import FakeSource, accepted

DAY = 86_400 * SECOND
TRUTH = RELEASED + 100 * DAY
DEADBAND = 10 * SECOND
WALLS = {Wall.IMPOSSIBLE: 60 * SECOND, Wall.SLOW: TRUTH - 30 * DAY, Wall.FAST: TRUTH + 5000 * DAY}


def said(source: str, now: int = TRUTH, bound: int = SECOND, trust: Trust = Trust.WITNESS) -> Interval:
    return Interval(0, now - bound, now + bound, trust, source)


def agreed(*voters: Interval, named: bool = True, proved: Interval | None = None, newest: int = 0) -> Known:
    outcome = vote(voters, 0)
    return Known(proved, outcome.interval, outcome.truechimers, named, newest)


def judge(known: Known, wall: int, **options: bool) -> Basis:
    def offset(each: Interval) -> int:
        inside = each.earliest - DEADBAND <= wall <= each.latest + DEADBAND
        return 0 if inside else each.midpoint - wall

    return basis(known, wall, offset, **options)


KNOWN = {
    "an answer": (Ground.AUTHENTICATED, Known(said("https://sts.amazonaws.com", trust=Trust.AUTHENTICATED))),
    "an https source": (Ground.AUTHENTICATED, agreed(said("https://time.example", trust=Trust.AUTHENTICATED))),
    "ClockBound": (Ground.AUTHORITY, agreed(said("clockbound"), named=False)),
    "ClockBound elsewhere": (Ground.AUTHORITY, agreed(said("clockbound:/run/other"))),
    "ClockBoundD": (Ground.AUTHORITY, agreed(said("clockboundd"))),
    "a PTP hardware clock": (Ground.AUTHORITY, agreed(said("phc:/dev/ptp0"))),
    "three NTP servers": (Ground.THREE, agreed(*map(said, ("ntp://a", "ntp://b", "ntp://c")))),
    "three that were found": (Ground.TWO, agreed(*map(said, ("ntp://a", "ntp://b", "ntp://c")), named=False)),
    "chronyd": (Ground.LOCAL, agreed(said("chrony"))),
    "Amazon Time Sync": (Ground.LOCAL, agreed(said("ntp://169.254.169.123"), named=False)),
    "Amazon Time Sync, IPv6": (Ground.LOCAL, agreed(said("ntp://[fd00:ec2::123]"), named=False)),
    "two NTP servers": (Ground.TWO, agreed(said("ntp://a"), said("ntp://b"))),
    "one NTP server": (Ground.ONE, agreed(said("ntp://a"))),
    "one twice": (Ground.ONE, agreed(said("ntp://a"), said("ntp://a"), said("ntp://a"))),
    "a name like chrony's": (Ground.ONE, agreed(said("chrony.example"))),
}


@pytest.mark.parametrize("state", Wall)
@pytest.mark.parametrize("name", KNOWN)
def test_the_table(name: str, state: Wall) -> None:
    """Each kind of knowledge, where the clock is wrong in each way."""
    ground, known = KNOWN[name]
    found = judge(known, WALLS[state])
    assert (found.interval is not None) == (ground in ENOUGH[state])
    assert bool(found.obstacle) == (found.interval is None)


def test_each_ground_has_a_case() -> None:
    """And the table has all ways in which a clock can be wrong."""
    assert {ground for ground, _ in KNOWN.values()} == set(Ground)
    assert ENOUGH.keys() == set(Wall)


def test_the_table_itself() -> None:
    """Less suffices for what is more certainly wrong; what is faster than the truth needs the most."""
    assert ENOUGH[Wall.FAST] < ENOUGH[Wall.SLOW] < ENOUGH[Wall.IMPOSSIBLE]
    assert Ground.ONE not in ENOUGH[Wall.SLOW]
    assert ENOUGH[Wall.FAST].isdisjoint({Ground.ONE, Ground.TWO, Ground.LOCAL})


@pytest.mark.parametrize("name", KNOWN)
def test_a_wall_clock_that_may_be_right(name: str) -> None:
    """It judges by itself, and nothing is in the way."""
    for off in (0, DEADBAND, -DEADBAND):
        assert judge(KNOWN[name][1], TRUTH + off) == Basis(None)


@pytest.mark.parametrize("state", Wall)
@pytest.mark.parametrize("name", KNOWN)
def test_where_only_what_is_authenticated_counts(name: str, state: Wall) -> None:
    ground, known = KNOWN[name]
    found = judge(known, WALLS[state], authenticated_only=True)
    assert (found.interval is not None) == (ground is Ground.AUTHENTICATED)


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("newest", [0, TRUTH + 2 * DAY])
def test_the_floor(name: str, newest: int) -> None:
    """A time that is over, by this release or by an authenticated statement, judges nothing."""
    _, known = KNOWN[name]
    back = RELEASED - TRUTH - DAY if not newest else 0
    move = lambda each: each and each._replace(earliest=each.earliest + back, latest=each.latest + back)
    known = Known(move(known.proved), move(known.agreed), tuple(map(move, known.voters)), named=True, newest=newest)
    for wall in (*WALLS.values(), RELEASED + DAY, TRUTH + 3 * DAY):
        assert judge(known, wall).interval is None


def test_below_an_authenticated_time() -> None:
    """A wall clock that was set back below it is as certainly wrong as one of 1970."""
    one = KNOWN["one NTP server"][1]
    assert judge(one, TRUTH - 30 * DAY).interval is None
    assert judge(one._replace(newest=TRUTH - DAY), TRUTH - 30 * DAY).interval is not None


def test_sources_that_contradict_the_answers() -> None:
    """Either may be the liar: the wall clock judges, as before."""
    known = agreed(*(said(name, TRUTH - DAY) for name in ("ntp://a", "ntp://b", "ntp://c")))
    known = known._replace(proved=said("https://sts.amazonaws.com", trust=Trust.AUTHENTICATED))
    for wall in WALLS.values():
        assert judge(known, wall).interval is None


STATEMENTS = st.builds(
    said,
    st.sampled_from(["ntp://a", "ntp://b", "ntp://c", "chrony", "phc:/dev/ptp0", "ntp://169.254.169.123", "x"]),
    st.integers(TRUTH - 400 * DAY, TRUTH + 400 * DAY) | st.just(TRUTH),
    st.integers(0, 100 * SECOND),
    st.sampled_from(Trust),
)
ALL_KNOWN = st.builds(
    lambda voters, named, proved, newest: agreed(*voters, named=named, proved=proved, newest=newest),
    st.lists(STATEMENTS, max_size=4),
    st.booleans(),
    st.none() | STATEMENTS.map(lambda each: each._replace(trust=Trust.AUTHENTICATED)),
    st.just(0) | st.integers(RELEASED, TRUTH + DAY),
)
ANY_WALL = st.integers(0, TRUTH + 5000 * DAY) | st.sampled_from(list(WALLS.values()))


@given(ALL_KNOWN, ANY_WALL, st.booleans())
def test_what_holds_of_everything(known: Known, wall: int, authenticated_only: bool) -> None:
    """Whatever is known, and whatever the wall clock shows."""
    found = judge(known, wall, authenticated_only=authenticated_only).interval
    if found is None:
        return
    # It is a statement that was made, never a mixture; and the wall clock contradicts it.
    assert found in (known.proved, known.agreed, *known.voters)
    assert not found.earliest - DEADBAND <= wall <= found.latest + DEADBAND
    assert found.latest >= max(RELEASED, known.newest)
    if authenticated_only:
        assert found.trust is Trust.AUTHENTICATED
    if found.trust is Trust.AUTHENTICATED and found is not known.agreed:
        return
    names = {each.source for each in known.voters}
    local = names & {"chrony", "phc:/dev/ptp0", "ntp://169.254.169.123"}
    if wall >= max(RELEASED, known.newest):
        assert len(names) >= 2 or local  # one liar alone turns no clock
        if wall > found.latest:
            assert (len(names) >= 3 and known.named) or "phc:/dev/ptp0" in names


@given(ALL_KNOWN, ANY_WALL)
def test_a_liar_alone_makes_nothing_older_valid(known: Known, wall: int) -> None:
    """One unauthenticated source cannot turn a plausible wall clock back."""
    one = Known(
        None, said("ntp://a", TRUTH - 100 * DAY), (said("ntp://a", TRUTH - 100 * DAY),), known.named, known.newest
    )
    found = judge(one, wall).interval
    assert found is None or found.earliest > wall


class World:
    """A timekeeper with clocks of its own, and with sources that have been asked."""

    def __init__(self, wall: int, *names: str, **settings: Any) -> None:
        self.clocks = FakeClocks(wall)
        self._ahead = TRUTH - self.clocks.steady
        self.keeper = Timekeeper(Settings(sources=(), share=False), self.clocks)
        self.ask(*names, **settings)

    def ask(self, *names: str, **settings: Any) -> None:
        """Ask sources of these names, which know true time."""
        sources = tuple(FakeSource(name, truth=lambda: self.clocks.steady + self._ahead) for name in names)
        self.keeper.configure(Settings(sources=sources, share=False, **settings))
        self.keeper.start()

    def hear(self, shown: Shown = Shown.AUTHENTIC) -> Interval:
        """Learn true time from an answer of AWS; return what it says."""
        answer = said("https://sts.amazonaws.com/", trust=Trust.AUTHENTICATED)._replace(at=self.clocks.steady)
        self.keeper.learn(self.keeper.utc, accepted(answer, shown))
        return answer


class TestTheTimekeeper:
    """What it has is what the table judges by."""

    @pytest.mark.parametrize(
        ("wall", "names", "allowed"),
        [
            (60 * SECOND, ["ntp://a"], True),
            (TRUTH - 30 * DAY, ["ntp://a"], False),
            (TRUTH - 30 * DAY, ["ntp://a", "ntp://b"], True),
            (TRUTH - 30 * DAY, ["chrony"], True),
            (TRUTH + 30 * DAY, ["ntp://a", "ntp://b"], False),
            (TRUTH + 30 * DAY, ["ntp://a", "ntp://b", "ntp://c"], True),
            (TRUTH + 30 * DAY, ["phc:/dev/ptp0"], True),
            (TRUTH, ["ntp://a", "ntp://b", "ntp://c"], False),
        ],
    )
    def test_sources(self, wall: int, names: list[str], allowed: bool) -> None:
        found = World(wall, *names).keeper.certificates()
        assert (found.interval is not None) == allowed
        assert found.interval is None or found.interval.earliest <= TRUTH <= found.interval.latest

    def test_it_ages(self) -> None:
        """An interval is as of now, and none is older than `max_age`."""
        made = World(60 * SECOND, "ntp://a")
        made.clocks.advance(3600)
        found = made.keeper.certificates().interval
        assert found is not None
        assert found.earliest <= TRUTH + 3600 * SECOND <= found.latest
        made.clocks.advance(86_400)
        assert made.keeper.certificates().interval is None

    def test_max_offset(self) -> None:
        """What may not be corrected may not be judged either."""
        found = World(60 * SECOND, "ntp://a", max_offset=DAY).keeper.certificates()
        assert found == Basis(None, "max_offset forbids the correction")

    def test_after_a_jump_forward(self) -> None:
        """A machine may have been frozen, and its clock set right: the estimate is late."""
        made = World(TRUTH, "ntp://a", "ntp://b", "ntp://c")
        made.clocks.step(40 * 86_400)
        found = made.keeper.certificates()
        assert found.interval is None
        assert "jumped" in found.obstacle

    def test_an_answer_that_was_proved(self) -> None:
        """The wall clock is set to 2040 later: AWS has told the time."""
        made = World(TRUTH - 20 * SECOND)
        answer = made.hear()
        made.clocks.step(-30 * 86_400)
        assert made.keeper.certificates().interval == answer

    def test_a_claim_is_not_enough(self) -> None:
        """Nor a guess, nor another endpoint's clock, nor a metadata service's."""
        for shown in (Shown.HINT, Shown.REFUSAL):
            made = World(TRUTH - 30 * DAY)
            made.hear(shown)
            assert made.keeper.known(made.keeper.utc, made.clocks.steady) is not None
            assert made.keeper.certificates().interval is None
        made = World(60 * SECOND)
        made.keeper.overhear(said("http://169.254.169.254")._replace(at=made.clocks.steady))
        assert made.keeper.known(made.keeper.utc, made.clocks.steady) is not None
        own = made.keeper.domain("https://store", stand_in=Grade.GUESS)
        made.keeper.learn(own, accepted(said("https://store/")._replace(at=made.clocks.steady), Shown.ACCEPTANCE))
        assert made.keeper.certificates().interval is None

    def test_while_a_library_fakes_the_clock(self) -> None:
        """OpenSSL does not read that clock."""
        made = World(60 * SECOND, "ntp://a")
        with freezegun.freeze_time("2026-01-01"):
            assert made.keeper.certificates() == Basis(None)
        assert made.keeper.certificates().interval is not None

    def test_an_authenticated_time_is_remembered(self) -> None:
        """Once it is too old to be an estimate, it still shows what is over."""
        made = World(TRUTH - 20 * SECOND)
        made.hear()
        made.clocks.advance(3 * 86_400)
        made.clocks.step(-30 * 86_400)
        made.ask("ntp://a")
        assert made.keeper.certificates().interval is not None


def test_the_release_is_over() -> None:
    """Otherwise a right clock would seem impossible. Nor was it made before what is plausible."""
    assert EARLIEST < RELEASED < time.time_ns()
