"""The commands as child processes, with right and wrong NTP daemons, on real and faked clocks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pynag.Utils import PerfData

from skewguard.testing import StrictEndpoint
from tests.contrib_apps import aws
from tests.real.chronyd import Chronyd, chronyd
from tests.real.faketime import FakeTime
from tests.support import completed, https

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="chronyd and libfaketime are Linux's")

OFFSETS = (0, 90, -90, 300, -300, 1200, -180, 3600)


@pytest.fixture(scope="module")
def daemons() -> Iterator[dict[int, Chronyd]]:
    """One chronyd for each clock, by its offset from the host's, s."""
    with contextlib.ExitStack() as ending:
        yield {offset: ending.enter_context(chronyd(offset)) for offset in OFFSETS}


def uri(daemon: Chronyd) -> str:
    return f"ntp://{daemon.host}:{daemon.port}?allow_local=1"


def run(
    *arguments: str, faked: FakeTime | None = None, clean: bool = False, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) if faked is None else faked.env()
    if clean:
        environment = {name: value for name, value in environment.items() if not name.startswith(("AWS_", "SKEWGUARD"))}
    return completed(sys.executable, "-m", "skewguard", *arguments, env=environment | variables)


@pytest.mark.parametrize(
    ("offset", "code"), [(0, 0), (90, 1), (-90, 1), (300, 2), (-300, 2), (1200, 2), (-180, 1), (3600, 2)]
)
def test_check(offset: int, code: int, daemons: dict[int, Chronyd]) -> None:
    """The thresholds, and numbers within their own bound."""
    done = run("check", "--source", uri(daemons[offset]), clean=True)
    assert done.returncode == code, done
    assert done.stdout.count("\n") == 1
    found, bound = read_as_nagios_does(done.stdout)
    assert abs(float(found.value) - offset) <= float(bound.value) + 0.05  # the daemons' fake is exact to some ms
    assert found.get_status() == code, "the ranges say the same as the exit code"
    assert (found.uom, found.warn, found.crit, found.min) == ("s", "-60:60", "-240:240", "")
    assert (bound.uom, bound.warn, bound.crit, bound.min) == ("s", "", "", "0")


@pytest.mark.parametrize(("more", "code"), [([], 2), (["--empty-state", "unknown"], 3)])
def test_check_without_an_answer(more: list[str], code: int) -> None:
    """A daemon that has ended. There is no performance data."""
    with chronyd() as gone:
        source = uri(gone)
    done = run("check", "--source", source, *more, clean=True)
    assert done.returncode == code, done
    assert done.stdout.startswith(
        ("CRITICAL - no time source gave the time: ", "UNKNOWN - no time source gave the time: ")
    )
    assert "|" not in done.stdout


def read_as_nagios_does(line: str) -> Any:
    """Return the metrics of a plugin's line, as pynag reads them."""
    read = PerfData(line.strip().partition(" | ")[2])
    assert read.is_valid()
    assert [metric.label for metric in read.metrics] == ["offset", "bound"]
    return read.metrics


def test_offset(daemons: dict[int, Chronyd]) -> None:
    assert float(run("offset", "--source", uri(daemons[-180])).stdout) == pytest.approx(-180, abs=0.1)
    found = json.loads(run("offset", "--json", "--source", uri(daemons[1200])).stdout)
    assert found["offset"] == pytest.approx(1200, abs=0.1)
    assert 0 < found["error_bound"] < 1
    assert found["source"] in uri(daemons[1200])


def test_as_configured(daemons: dict[int, Chronyd]) -> None:
    """The environment sets the sources and how many must agree; the command line overrides it."""
    configured = {"SKEWGUARD_SOURCES": uri(daemons[0])}
    assert run("check", **configured).returncode == 0
    short = run("check", **configured, SKEWGUARD_MIN_SOURCES="2")
    assert (short.returncode, "only 1 of the time sources answered" in short.stdout) == (2, True)
    assert run("check", "--min-sources=1", **configured, SKEWGUARD_MIN_SOURCES="2").returncode == 0
    assert run("check", "--source", uri(daemons[300]), **configured).returncode == 2


def test_two_that_disagree(daemons: dict[int, Chronyd]) -> None:
    """Neither is trusted, and `doctor` shows both."""
    both = ["--source", uri(daemons[0]), "--source", uri(daemons[1200])]
    done = run("check", "--json", *both)
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert (found["offset"], "disagree" in found["message"]) == (None, True)
    assert sorted(round(source["offset"]) for source in found["sources"]) == [0, 1200]
    done = run("doctor", *both)
    assert done.returncode == 3
    assert done.stdout.count("too few sources agree with it") == 2


def test_a_falseticker_is_named(daemons: dict[int, Chronyd]) -> None:
    """`doctor` asks all of them, even if two agree already."""
    others = [argument for _ in range(2) for argument in ("--source", uri(daemons[0]))]  # the same one, asked once
    with chronyd() as third:
        done = run("doctor", *others, "--source", uri(third), "--source", uri(daemons[1200]))
    assert done.returncode == 1
    assert done.stdout.count("; agrees") == 2
    assert done.stdout.count("; 20 min 0 s off what most sources agree on") == 1
    assert done.stdout.startswith("[ OK ] This host's clock is right")


def test_doctor_on_a_healthy_clock(daemons: dict[int, Chronyd]) -> None:
    """One line on stdout; the sources it asks on stderr."""
    done = run("doctor", "--source", uri(daemons[0]), clean=True)
    assert done.returncode == 0, done
    assert re.fullmatch(r"\[ OK \] This host's clock is right: it is .* AWS accepts it\.\n", done.stdout)
    assert done.stderr == f"skewguard doctor: asking {uri(daemons[0]).partition('?')[0]}\n"
    assert "a slow upload" in run("doctor", "-v", "--source", uri(daemons[0])).stdout


@pytest.mark.parametrize(
    ("offset", "first", "refused"),
    [
        (1200, r"\[FAIL\] This host's clock is 20 min 0 s behind true time \(within \d.*", 2),
        (300, r"\[FAIL\] This host's clock is (5 min 0 s|4 min 60 s) behind true time \(within \d.*", 1),
        (-180, r"\[WARN\] This host's clock is 3 min 0 s ahead of true time \(within \d.*", 0),
        (3600, r"\[FAIL\] This host's clock is (1 h 0 min 0 s|60 min 0 s) behind true time \(within \d.*", 2),
    ],
)
def test_doctor_on_a_wrong_clock(offset: int, first: str, refused: int, daemons: dict[int, Chronyd]) -> None:
    """The offset, AWS's refusals, and a command. The host's clock is right: the source is ahead."""
    done = run("doctor", "--source", uri(daemons[offset]), clean=True)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert re.fullmatch(first, lines[0])
    assert len(re.findall("refuses? this host's requests now", done.stdout)) == refused
    assert ("1 whole hour" in done.stdout) == (offset == 3600)
    assert "is faked" not in done.stdout
    assert any(line.startswith("    ") for line in lines), "no command to type"
    found = json.loads(run("doctor", "--json", "--source", uri(daemons[offset])).stdout)
    assert abs(found["offset"] - offset) <= found["error_bound"] + 0.05
    assert found["commands"] == [line.strip() for line in lines if line.startswith("    ")]


@pytest.mark.parametrize(("shift", "words"), [("+20m", "20 min 0 s ahead of"), ("-20m", "20 min 0 s behind")])
def test_doctor_on_a_faked_clock(shift: str, words: str, fake_time: FakeTime, daemons: dict[int, Chronyd]) -> None:
    """`doctor` reports the fake, and no command that would set the host's clock."""
    fake_time.shift(shift)
    done = run("doctor", "--source", uri(daemons[0]), clean=True, faked=fake_time)
    assert done.returncode == 1
    assert done.stdout.startswith(f"[FAIL] The clock that this process sees is {words} true time (within ")
    assert "[FAIL] This process's clock is faked (LD_PRELOAD is set: libfaketime)" in done.stdout
    assert done.stdout.endswith("    env -u LD_PRELOAD COMMAND\n")
    found = json.loads(run("doctor", "--json", "--source", uri(daemons[0]), faked=fake_time).stdout)
    assert abs(abs(found["offset"]) - 1200) <= found["error_bound"] + 0.05
    assert run("check", "--source", uri(daemons[0]), faked=fake_time).returncode == 2


def test_the_remedy_for_a_fake_works(fake_time: FakeTime, daemons: dict[int, Chronyd]) -> None:
    """The last line, with a real command instead of COMMAND."""
    fake_time.shift("+20m")
    found = run("doctor", "--source", uri(daemons[0]), faked=fake_time).stdout.splitlines()[-1].split()
    command = [sys.executable, "-m", "skewguard", "check", "--source", uri(daemons[0])]
    done = completed(*found[:-1], *command, env=fake_time.env())
    assert done.returncode == 0, done


def test_the_state_that_chronyd_reports(daemons: dict[int, Chronyd]) -> None:
    """One that follows another, one that follows its own clock, and one that follows none."""
    with chronyd(upstream=daemons[0]) as follower, chronyd(synchronized=False) as lost:
        for daemon, words in (
            (follower, "[ OK ] chronyd follows 7F000001 (stratum 2): the clock is "),
            (daemons[0], "[NOTE] chronyd follows its own clock"),
            (lost, "[NOTE] chronyd is not synchronized."),
        ):
            source = f"chrony://{daemon.host}:{daemon.cmdport}"
            done = run("doctor", "-v", "--source", uri(daemons[0]), "--source", source)
            assert words in done.stdout, done.stdout


CALL = """
import boto3
try:
    boto3.client("sts").get_caller_identity()
except Exception as error:
    print(error)
"""


def test_a_pasted_error(fake_time: FakeTime, daemons: dict[int, Chronyd]) -> None:
    """A refused call is explained by the clock if that is wrong, and by waiting if it is right."""
    fake_time.shift("-20m")
    with StrictEndpoint() as server:
        error = fake_time.run(CALL, env=aws(server)).stdout
    assert "Signature expired" in error
    source = uri(daemons[0])
    done = run("doctor", "--source", source, "--error", error, faked=fake_time)
    assert done.returncode == 1
    assert re.search(r"which is (20 min [0-3]|19 min 59) s later; 15 min 0 s would be accepted\.", done.stdout)
    assert "The error: this host's clock is 20 min 0 s slow, which explains it." in done.stdout
    assert "the request waited that long" in run("doctor", "--source", source, "--error", error).stdout


class TestEndpoints:
    @pytest.mark.parametrize(("offset", "code"), [(0, 0), (1200, 1)])
    def test_a_store_whose_clock_is_wrong(self, offset: int, code: int, daemons: dict[int, Chronyd]) -> None:
        """One HEAD, without credentials; the finding is about the server, not the host."""
        with StrictEndpoint(offset=offset, tls=True) as server:
            variables = {"AWS_CA_BUNDLE": server.ca_bundle or ""}
            done = run("doctor", "-v", "--source", uri(daemons[0]), "--endpoint", server.url, **variables)
            (asked,) = server.requests
            url = server.url
        assert done.returncode == code, done
        assert asked.method == "HEAD"
        assert not {name.lower() for name in asked.headers} & {"authorization", "x-amz-date", "cookie"}
        assert done.stdout.startswith("[ OK ] This host's clock is right")
        assert ("the server's own clock is" in done.stdout) == bool(offset)
        assert done.stderr.endswith(f", HEAD {url}\n")

    def test_a_store_alone_is_not_believed(self) -> None:
        """Its clock may be wrong: only AWS with a verified certificate is trusted to keep UTC."""
        with StrictEndpoint(offset=1200) as server:
            done = run("doctor", "--endpoint", server.url)
        assert done.returncode == 3
        assert re.search(r"its clock is (20 min \d|19 min 59) s ahead of this host's", done.stdout)

    @pytest.mark.parametrize(
        ("shift", "words"),
        [
            ("-10d", "as happens when the local clock is slow.\n"),
            ("+10d", "as happens when the local clock is fast. This host's is."),
        ],
    )
    def test_certificates_on_a_wrong_clock(
        self, shift: str, words: str, tmp_path: Path, fake_time: FakeTime, daemons: dict[int, Chronyd]
    ) -> None:
        """TLS fails, and its message is explained; NTP still measures the offset."""
        fake_time.shift(shift)
        with https(tmp_path, -2, 2) as (url, variables):
            done = run("doctor", "--source", uri(daemons[0]), "--endpoint", url, faked=fake_time, **variables)
            alone = run("doctor", "--endpoint", url, faked=fake_time, **variables)
        assert (done.returncode, alone.returncode) == (1, 3)
        assert words in done.stdout, done.stdout
        assert "TLS rejects its certificate as" in alone.stdout

    @pytest.mark.parametrize(
        ("begins", "ends", "words"),
        [(1, 2, "But this host's clock is right."), (-2, -1, "The clock is not the reason")],
    )
    def test_certificates_that_are_wrong_themselves(
        self, begins: int, ends: int, words: str, tmp_path: Path, daemons: dict[int, Chronyd]
    ) -> None:
        """The clock is not the reason."""
        with https(tmp_path, begins, ends) as (url, variables):
            done = run("doctor", "--source", uri(daemons[0]), "--endpoint", url, **variables)
        assert done.returncode == 1
        assert words in done.stdout, done.stdout
        assert done.stdout.startswith("[ OK ] This host's clock is right")

    def test_one_that_is_not_there(self, daemons: dict[int, Chronyd]) -> None:
        done = run("doctor", "--source", uri(daemons[0]), "--endpoint", "http://127.0.0.1:1")
        assert done.returncode == 1
        assert "its clock could not be read: [Errno 111] Connection refused" in done.stdout
