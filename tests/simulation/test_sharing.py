"""Several processes on one host: what one has learned the next one knows, and what only one believes stays its own."""

from __future__ import annotations

import random

import pytest

from skewguard import events
from skewguard.interval import SECOND
from tests.simulation.scenarios import HOUR, MINUTE
from tests.simulation.sharing import SPOILED
from tests.simulation.stage import AWS, Play
from tests.simulation.world import START, Host

DAY = 24 * HOUR


def taught(play: Play, wall_error: int = -1_200) -> None:
    """Have one process learn how wrong the wall clock is."""
    aws = play.server()
    play.succeeds(aws, requests=2 if wall_error else 1)


def reboot(play: Play, wall_error: int = 0) -> None:
    """Boot anew, with a wall clock that is so many seconds off, and begin a process."""
    play.world.reboot(Host(play.world.truth - START + wall_error * SECOND))
    play.next_process()


class TestWhatOneHasLearned:
    """The first process pays, once."""

    def test_the_next_twenty_know(self) -> None:
        """Twenty processes of one call, a minute apart: 21 requests."""
        with Play(wall_error=-1_200) as play:
            taught(play)
            for _ in range(19):
                play.passes(MINUTE)
                play.next_process()
                play.succeeds(play.servers[0])

    @pytest.mark.parametrize("step", [-7_200, 300, 1_200, 7_200])
    def test_holds_over_a_step(self, step: int) -> None:
        """What is shared is true time, not an offset."""
        with Play(wall_error=-1_200) as play:
            taught(play)
            play.host.step(step * SECOND)
            play.next_process()
            play.succeeds(play.servers[0])

    @pytest.mark.parametrize("tools", [True, False])
    def test_holds_over_a_night_asleep(self, tools: bool) -> None:
        """Whether or not the wall clock is put right on waking."""
        with Play(wall_error=-1_200, drift=60_000) as play:
            taught(play)
            play.sleeps("suspended", 8 * HOUR, play.repair if tools else lambda: None)
            play.next_process()
            play.succeeds(play.servers[0])

    def test_is_late_after_a_freeze_and_soon_right(self) -> None:
        """Nothing on the host counts while it stands still, so one process has to be told, and tells the others."""
        with Play(wall_error=-1_200) as play:
            taught(play)
            play.sleeps("frozen", HOUR, play.repair)
            for requests in (2, 1, 1):
                play.next_process()
                play.succeeds(play.servers[0], requests=requests)

    def test_of_one_stores_clock_is_used_for_that_store(self) -> None:
        """The others' clocks are their own."""
        with Play() as play:
            store = play.server("https://store.example", utc=False, offset=1_200 * SECOND)
            aws = play.server()
            play.succeeds(store, requests=2)
            play.next_process()
            play.succeeds(store)
            play.succeeds(aws)
            play.passes(2 * HOUR)  # by now, somebody may have put it right
            play.next_process()
            play.succeeds(store, requests=2)


class TestWhatOneBelieves:
    """And nobody else should."""

    def test_a_lying_source_misleads_one_process_alone(self) -> None:
        """It believes its source until a server speaks; its neighbours never hear of it."""
        with Play(source="lying") as play:
            liar = play.program
            play.next_process()
            aws = play.server()
            play.succeeds(aws)
            play.program = liar
            play.succeeds(aws, requests=2)
            play.next_process()
            play.succeeds(aws)
            assert [event.offset for event in play.told(events.CorrectionChanged)] == []

    def test_what_it_heard_from_servers_is_shared_all_the_same(self) -> None:
        """On a host that is wrong, even the misled process tells the truth once it has heard it."""
        with Play(wall_error=-1_200, source="lying") as play:
            taught(play)  # its source had it sign an hour wrong
            play.next_process()
            play.succeeds(play.servers[0])


class TestWhatIsNotBelieved:
    """A file that is not what a process of this boot has written is as good as none."""

    @pytest.mark.parametrize("how", SPOILED)
    def test_a_spoiled_file_costs_a_request_and_nothing_else(self, how: str) -> None:
        """The next process begins for itself, and the one after it knows again."""
        for seed in range(20):
            with Play(wall_error=-1_200) as play:
                taught(play)
                play.world.file.spoil(how, play.host, random.Random(seed))
                for requests in (2, 1):
                    play.next_process()
                    play.succeeds(play.servers[0], requests=requests)

    def test_the_file_of_before_a_boot(self) -> None:
        """Steady clocks begin anew with each boot, so nothing that was known of the last one holds."""
        with Play(wall_error=-1_200) as play:
            taught(play)
            play.passes(HOUR)
            reboot(play)
            play.passes(2 * HOUR)  # from now on, nothing in the file is from the future
            play.succeeds(play.servers[0])
            reboot(play, wall_error=-7_200)
            play.succeeds(play.servers[0], requests=2)

    def test_a_full_disk(self) -> None:
        """Whoever has learned knows it still; whoever comes next begins for itself."""
        with Play(wall_error=-1_200) as play:
            play.world.file.full = True
            taught(play)
            play.succeeds(play.servers[0])
            play.next_process()
            play.succeeds(play.servers[0], requests=2)

    def test_what_is_heard_over_plain_http(self) -> None:
        """Anybody on the way may have said it: no neighbour begins with that."""
        with Play(wall_error=-1_200) as play:
            plain = play.server(AWS.replace("https", "http"), utc=False)
            for _ in range(2):
                play.succeeds(plain, requests=2)
                play.next_process()
            assert not play.world.file.known
            assert not play.told(events.Refused)
