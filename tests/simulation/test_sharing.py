"""Several processes on one host: they share what servers said, and nothing else."""

from __future__ import annotations

import random

import pytest

from skewguard import events
from skewguard.interval import SECOND
from tests.simulation.scenarios import HOUR, MINUTE
from tests.simulation.scripted import AWS, Script
from tests.simulation.sharing import SPOILED
from tests.simulation.world import START, Host


def taught(script: Script, wall_error: int = -1_200) -> None:
    """Let one process learn how wrong the wall clock is."""
    script.succeeds(script.aws, requests=2 if wall_error else 1)


def reboot(script: Script, wall_error: int = 0) -> None:
    """Reboot, with a wall clock that is `wall_error` seconds off, and start a process."""
    script.world.reboot(Host(script.world.truth - START + wall_error * SECOND))
    script.start_process()


class TestWhatOneHasLearned:
    """Only the first process needs a retry."""

    def test_the_next_twenty_know(self) -> None:
        """Twenty processes of one call, a minute apart: 21 requests."""
        with Script(wall_error=-1_200) as script:
            taught(script)
            for _ in range(19):
                script.wait(MINUTE)
                script.start_process()
                script.succeeds(script.aws)

    @pytest.mark.parametrize("step", [-7_200, 300, 1_200, 7_200])
    def test_holds_over_a_step(self, step: int) -> None:
        """What is shared is true time, not an offset."""
        with Script(wall_error=-1_200) as script:
            taught(script)
            script.host.step(step * SECOND)
            script.start_process()
            script.succeeds(script.aws)

    @pytest.mark.parametrize("tools", [True, False])
    def test_holds_over_a_night_asleep(self, tools: bool) -> None:
        """Whether or not the wall clock is corrected on waking."""
        with Script(wall_error=-1_200, drift=60_000) as script:
            taught(script)
            script.sleep("suspended", 8 * HOUR, script.repair if tools else lambda: None)
            script.start_process()
            script.succeeds(script.aws)

    def test_is_late_after_a_freeze(self) -> None:
        """No clock of the host counts while it stands still, so one process has to learn again, and shares that."""
        with Script(wall_error=-1_200) as script:
            taught(script)
            script.sleep("frozen", HOUR, script.repair)
            for requests in (2, 1, 1):
                script.start_process()
                script.succeeds(script.aws, requests=requests)

    def test_of_one_stores_clock_is_used_for_that_store(self) -> None:
        """Other servers' clocks are their own."""
        with Script() as script:
            store = script.server("https://store.example", utc=False, offset=1_200 * SECOND)
            script.succeeds(store, requests=2)
            script.start_process()
            script.succeeds(store)
            script.succeeds(script.aws)
            script.wait(2 * HOUR)  # by now, it may have been corrected
            script.start_process()
            script.succeeds(store, requests=2)


class TestWhatOneBelieves:
    def test_a_lying_source_misleads_one_process_alone(self) -> None:
        """It believes its source until a server answers; other processes never read that."""
        with Script(source="lying") as script:
            liar = script.program
            script.start_process()
            script.succeeds(script.aws)
            script.program = liar
            script.succeeds(script.aws, requests=2)
            script.start_process()
            script.succeeds(script.aws)
            assert [event.offset for event in script.emitted(events.CorrectionChanged)] == []

    def test_what_it_heard_from_servers_is_shared_all_the_same(self) -> None:
        """On a host that is wrong, the misled process too shares the truth once it has learned it."""
        with Script(wall_error=-1_200, source="lying") as script:
            taught(script)  # its source had it sign an hour wrong
            script.start_process()
            script.succeeds(script.aws)


class TestWhatIsNotBelieved:
    """A file that no process of this boot wrote is ignored."""

    @pytest.mark.parametrize("how", SPOILED)
    def test_a_spoiled_file_costs_a_request_and_nothing_else(self, how: str) -> None:
        """The next process learns for itself, and the one after it knows again."""
        for seed in range(20):
            with Script(wall_error=-1_200) as script:
                taught(script)
                script.world.file.spoil(how, script.host, random.Random(seed))
                for requests in (2, 1):
                    script.start_process()
                    script.succeeds(script.aws, requests=requests)

    def test_the_file_of_before_a_boot(self) -> None:
        """Steady clocks start again with each boot, so nothing of the last one counts."""
        with Script(wall_error=-1_200) as script:
            taught(script)
            script.wait(HOUR)
            reboot(script)
            script.wait(2 * HOUR)  # from now on, nothing in the file is from the future
            script.succeeds(script.aws)
            reboot(script, wall_error=-7_200)
            script.succeeds(script.aws, requests=2)

    def test_a_full_disk(self) -> None:
        """A process still knows what it learned; the next one learns for itself."""
        with Script(wall_error=-1_200) as script:
            script.world.file.full = True
            taught(script)
            script.succeeds(script.aws)
            script.start_process()
            script.succeeds(script.aws, requests=2)

    def test_what_is_heard_over_plain_http(self) -> None:
        """Anything on the way may have sent it: no other process uses it."""
        with Script(wall_error=-1_200) as script:
            plain = script.server(AWS.replace("https", "http"), utc=False)
            for _ in range(2):
                script.succeeds(plain, requests=2)
                script.start_process()
            assert not script.world.file.known
            assert not script.emitted(events.Refused)
