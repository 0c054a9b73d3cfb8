"""``skewguard watch`` in a terminal, on a clock that is stepped meanwhile."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.ntp_server import Server, wall_server
from tests.real.faketime import FakeTime
from tests.real.terminal import Terminal, terminal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the terminal and libfaketime are Linux's")


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    """Two NTP servers that are right, and one that is three minutes ahead."""
    with contextlib.ExitStack() as ending:
        yield [ending.enter_context(wall_server(offset)) for offset in (0, 0, 180)]


def watching(
    servers: list[Server], clock: FakeTime, interval: str = "0.1"
) -> contextlib.AbstractContextManager[Terminal]:
    sources = [argument for server in servers for argument in ("--source", server.uri)]
    command = [sys.executable, "-m", "skewguard", "watch", "--interval", interval, *sources]
    return terminal(*command, env=clock.env())


def plots(lines: list[str], servers: list[Server]) -> list[list[str]]:
    """Return the lines of each plot, below its source's name; none if not all are there yet."""
    names = [server.uri for server in servers]
    starts = [lines.index(name) for name in names if name in lines]
    if len(starts) < len(names):
        return []
    height = starts[1] - starts[0]
    return [lines[start + 1 : start + height] for start in starts]


def marks(drawn: list[str]) -> list[int]:
    """Return the line of each round's offset in a plot, from the top, oldest first."""
    points = [(column, place) for place, line in enumerate(drawn) for column, char in enumerate(line) if char == "●"]
    return [place for _, place in sorted(points)]


def test_the_picture(servers: list[Server], fake_time: FakeTime) -> None:
    """Names, offsets, bounds and verdicts; a plot that grows, and that jumps when the wall clock is stepped."""

    def drawn(lines: list[str], judgement: str) -> bool:
        """Return whether a picture is complete: each plot has one point for each round."""
        rounds = re.search(r"round (\d+),", lines[0])
        points = {len(marks(plot)) for plot in plots(lines, servers)}
        return bool(rounds) and points == {int(rounds[1])} and max(points) > 1 and lines[1].startswith(judgement)

    with watching(servers, fake_time) as seen:
        first = list(seen.until(lambda lines: drawn(lines, "OK - this host's clock is ")))
        row = re.compile(r"ntp://127\.0\.0\.1:(\d+) +([-+]?\d+\.\d{6}) s +(\d+ us|\d+\.\d ms)  (.*)")
        rows = [match.groups() for match in map(row.fullmatch, first) if match]
        assert [int(port) for port, *_ in rows] == [server.port for server in servers]
        assert [float(offset) for _, offset, *_ in rows] == pytest.approx([0, 0, 180], abs=0.1)
        assert [verdict for *_, verdict in rows] == ["agrees", "agrees", "3 min 0 s off what most sources agree on"]

        fake_time.shift("-20m")
        later = seen.until(lambda lines: drawn(lines, "CRITICAL - this host's clock is 20 min 0 s behind true time"))
        for plot, before in zip(plots(later, servers), plots(first, servers), strict=True):
            assert plot != before
            bottom = len(plot) - 1
            places = marks(plot)
            assert places[: len(marks(before))] == [bottom] * len(marks(before)), "right before the step"
            assert places[-1] == 0, "20 minutes above, in the newest column"

        seen.type(b"\x03")
        assert seen.wait() == 0
        assert b"Traceback" not in seen.written
        assert b"\x1b[?1049l" in seen.written, "the screen from before is back"
        assert b"\x1b[?25h" in seen.written.rpartition(b"\x1b[?25l")[2], "and the cursor"
        assert b"CRITICAL" in seen.written.rpartition(b"\x1b[?1049l")[2], "with the last picture on it"


def test_sigterm_ends_it_too(servers: list[Server], fake_time: FakeTime) -> None:
    """As timeout(1) sends it, during a long wait for the next round."""
    with watching(servers, fake_time, interval="600") as seen:
        seen.until(lambda lines: "round 1," in lines[0])
        seen.child.send_signal(signal.SIGTERM)
        assert seen.wait() == 0
        assert b"\x1b[?1049l" in seen.written


def test_doctor_fits_the_terminal(servers: list[Server], fake_time: FakeTime) -> None:
    """Words are not cut at the edge."""
    fake_time.shift("-20m")
    source = servers[0].uri
    with terminal(
        sys.executable, "-m", "skewguard", "doctor", "--source", source, env=fake_time.env(), width=60
    ) as seen:
        assert seen.wait() == 1
    lines = re.sub(r"\x1b\[[\d;]*m", "", seen.written.decode()).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[1:3] == ["[FAIL] The clock that this process sees is 20 min 0 s behind", "       " + lines[2].strip()]
    assert "\x1b" in seen.written.decode()
