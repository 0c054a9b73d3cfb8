"""``skewguard doctor``: diagnosis, remedies and origins of options, in tables."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from skewguard import host_clock
from skewguard.cli import check, main
from skewguard.cli.doctor import command as doctor
from skewguard.cli.doctor import endpoint, error_message, examination, option_origins, remedies
from skewguard.cli.doctor.diagnosis import blocked, diagnose, verdict
from skewguard.cli.doctor.endpoint import EndpointClock
from skewguard.cli.doctor.examination import Examination, Rtc
from skewguard.cli.doctor.finding import Finding, Level, whole_hours
from skewguard.cli.doctor.machine import Machine
from skewguard.cli.doctor.remedies import choose
from skewguard.cli.survey import SourceResult, Survey
from skewguard.errors import ConfigError
from skewguard.host_clock import HostClock
from skewguard.interval import SECOND
from skewguard.sources.chrony_packet import Tracking
from tests.pages import ROOT, console
from tests.roles import configure
from tests.support import completed
from tests.surveys import WALL, example, known

HOUR = 3600 * SECOND
NOT_YET_VALID, EXPIRED = (EndpointClock("u", problem="x", certificate=why) for why in ("not yet valid", "expired"))
FINE = HostClock(synchronized=True, max_error=0, daemons=("chronyd",))


def seen(
    offset: float | None = 0, bound: float = 0.01, error: str = "ntp://a did not answer within 1.0 s", **more: Any
) -> Examination:
    """Return an examination of a host that is `offset` s slow by its one source; None if that is silent."""
    said = None if offset is None else known(offset, bound)
    heard = SourceResult("ntp://a", said, None if said else error, None if said is None else 0)
    return Examination(**{"survey": Survey(said, (heard,), WALL), "host": FINE, **more})


def texts(seen: Examination) -> str:
    return "\n".join(str(finding) for finding in diagnose(seen))


class TestFindings:
    @pytest.mark.parametrize(
        ("offset", "bound", "level", "words", "refuses", "may"),
        [
            (0, 0.01, Level.OK, "is right: it is 0 us ahead of true time (within 10.0 ms, by ntp://a).", 0, 0),
            (-59, 0.01, Level.NOTE, "clock is 59.0 s ahead of true time (within 10.0 ms, by ntp://a). AWS tol", 0, 0),
            (1.1, 0.01, Level.NOTE, "clock is 1.1 s behind true time (within 10.0 ms, by ntp://a). AWS tol", 0, 0),
            (0.9, 0.01, Level.OK, "is right: it is 900.0 ms behind true time ", 0, 0),
            (1.5, 2, Level.OK, "is right: it is 1.5 s behind true time ", 0, 0),  # may be
            (61, 0.01, Level.WARN, "clock is 61.0 s behind true time ", 0, 0),
            (59.9, 0.2, Level.WARN, "clock is 59.9 s behind true time ", 0, 0),  # may be off by more than a minute
            (239, 2, Level.FAIL, "clock is 3 min 59 s behind true time ", 0, 0),
            (-299, 2, Level.FAIL, "clock is 4 min 59 s ahead of true time ", 0, 1),
            (300.1, 0.1, Level.FAIL, "clock is 5 min 0 s behind true time ", 1, 0),
            (899, 5, Level.FAIL, "clock is 14 min 59 s behind true time ", 1, 1),
            (-901, 0.5, Level.FAIL, "clock is 15 min 1 s ahead of true time ", 2, 0),
            (1e9, 1, Level.FAIL, "clock is 11574 d 1 h behind true time ", 2, 0),
        ],
    )
    def test_the_offset(self, offset: float, bound: float, level: Level, words: str, refuses: int, may: int) -> None:
        """The limits are AWS's; an uncertain refusal is reported as one."""
        found = diagnose(seen(offset, bound))
        assert found[0].level is level
        assert words in found[0].text
        all_of_it = texts(seen(offset, bound))
        assert all_of_it.count("AWS refuses this host's requests now") == refuses
        assert all_of_it.count("AWS may refuse this host's requests now") == may
        assert ("AWS still accepts" in all_of_it) == (level > Level.NOTE and not refuses and not may)

    @pytest.mark.parametrize(
        ("more", "words", "level"),
        [
            ({"faked": "freezegun"}, "freezegun fakes the clock in this process", Level.FAIL),
            ({"preloaded": "LD_PRELOAD"}, "[NOTE] LD_PRELOAD is set for libfaketime", Level.NOTE),
            ({"kernel_ahead": -20 * SECOND}, "clock is faked: it is 20.0 s ahead of the kernel's", Level.FAIL),
            ({"kernel_ahead": SECOND // 2}, "AWS accepts it", Level.OK),
            ({"host": FINE._replace(daemons=())}, "No time daemon is running", Level.NOTE),
            ({"host": FINE._replace(daemons=None)}, "cannot be seen from here", Level.NOTE),
            ({"host": FINE._replace(synchronized=False)}, "reports the clock as not synchronized.", Level.NOTE),
            ({"host": FINE._replace(max_error=5_000_000)}, "the clock as synchronized, within 5.0 ms", Level.OK),
            ({"host": FINE._replace(timesyncd_synchronized_at=WALL - 90 * SECOND)}, "its server 90.0 s ago", Level.OK),
            ({"host": FINE._replace(timesyncd_saved_at=WALL + HOUR)}, "saved a time that is 1 h 0 min 0 s", Level.WARN),
            ({"rtc": Rtc(SECOND // 2)}, "[ OK ] Hardware clock: right.", Level.OK),
            ({"rtc": Rtc(2 * HOUR, True), "utc_offsets": (2 * HOUR,)}, "(configured as local time): right.", Level.OK),
            ({"rtc": Rtc(2 * HOUR, False)}, "local time. Remedy, once the wall clock is right: ti", Level.WARN),
            ({"rtc": Rtc(300 * SECOND, False)}, "0 s fast. Remedy, once the wall clock is right: sudo hw", Level.WARN),
        ],
    )
    def test_one_thing_about_a_host_whose_clock_is_right(self, more: dict[str, Any], words: str, level: Level) -> None:
        found = seen(0, **more)
        assert words in texts(found)
        assert verdict(diagnose(found)) is level

    @pytest.mark.parametrize(
        ("offset", "words"), [(86_401, "certificates seem not yet valid."), (-1e8, "certificates seem expired.")]
    )
    def test_tls_fails_first_on_a_clock_that_is_days_off(self, offset: float, words: str) -> None:
        """`doctor` says so, and does not promise that skewguard helps."""
        assert words in texts(seen(offset))
        assert remedies.advise(seen(offset))[-1].endswith("succeed, unless TLS fails first.")
        assert "TLS" not in texts(seen(offset / abs(offset) * 80_000))
        assert remedies.advise(seen(80_000))[-1].endswith("succeed.")

    def test_a_source_is_quoted_once(self) -> None:
        assert texts(seen(None)).count("did not answer within 1.0 s") == 1
        assert texts(seen(None)).startswith("[FAIL] It is not known whether this host's clock is right: no time")

    def test_a_fake_is_distinguished_from_a_wrong_host(self) -> None:
        """If the kernel's clock is wrong too, the fake is not the only reason."""
        both = seen(-1200, kernel_ahead=-600 * SECOND)
        assert texts(both).startswith("[FAIL] This host's clock is 20 min 0 s ahead of")
        assert "ahead of the kernel's clock, which is 10 min 0 s fast." in texts(both)
        assert any(line.startswith("    sudo") for line in remedies.advise(both))
        one = seen(-1200, kernel_ahead=-1200 * SECOND, preloaded="LD_PRELOAD")
        assert not any("sudo" in line for line in remedies.advise(one))

    @pytest.mark.parametrize(
        ("offset", "zones", "words"),
        [
            (3600, (0,), "1 whole hour"),
            (-3583, (0,), "1 whole hour"),  # seen with S3: RequestTime and ServerTime 59 min 43 s apart
            (7200, (2 * HOUR, HOUR), "exactly this host's time zone (+2 h 0 min 0 s)"),
            (-19_800, (19_800 * SECOND,), "exactly this host's time zone (+5 h 30 min 0 s)"),
            (14 * 3600, (0,), "14 whole hours"),
            (1800, (1800 * SECOND,), "exactly this host's time zone (+30 min 0 s)"),
            (3600 + 61, (0,), ""),
            (19_800, (0,), ""),
            (1200, (0,), ""),
            (0, (0,), ""),
            (0, (HOUR,), ""),
            (15 * 3600, (0,), ""),
        ],
    )
    def test_whole_hours(self, offset: int, zones: tuple[int, ...], words: str) -> None:
        assert whole_hours(offset * SECOND, 0, zones) == words

    def test_a_vague_offset_is_no_whole_hour(self) -> None:
        assert not whole_hours(HOUR, 600 * SECOND, (0,))

    @pytest.mark.parametrize(
        ("error", "silent", "words"),
        [
            ("ntp://a did not answer within 1.0 s", True, "port 123) gets no answer; most likely a firewall drops it"),
            ("no answer in time", True, "gets no answer"),
            ("ntp://a cannot be reached: Network is unreachable", True, "gets no answer"),
            ("ntp://a cannot be reached: Connection refused", False, "where no NTP server listens"),
            ("ntp://a cannot be looked up: Name or service not known", False, "name cannot be looked up"),
            (
                "ntp://a asks this host to slow down (kiss code RATE)",
                False,
                "answers, but none with a usable time",
            ),
        ],
    )
    def test_udp(self, error: str, silent: bool, words: str) -> None:
        found = seen(None, error=error)
        assert blocked(found) == silent
        assert words in texts(found)
        assert texts(found).startswith("[FAIL] It is not known whether this host's clock is right")

    def test_udp_that_is_blocked_beside_a_source_that_answers(self) -> None:
        """It is a note, and does not change the exit code."""
        heard = (
            SourceResult("chrony", known(0, name="chrony"), None, 0),
            SourceResult("ntp://b:1123", None, "no answer in time"),
        )
        found = Examination(Survey(heard[0].measured, heard, WALL), FINE)
        assert "[NOTE] NTP (UDP port 1123) gets no answer" in texts(found)
        assert verdict(diagnose(found)) is Level.NOTE

    @pytest.mark.parametrize(
        ("answer", "offset", "words"),
        [
            (EndpointClock("u", 0, SECOND), 0, "[ OK ] endpoint u: its clock is 0 us behind"),
            (EndpointClock("u", 1200 * SECOND, SECOND), 0, "the server's own clock is 20 min 0 s fast"),
            (EndpointClock("u", 1200 * SECOND, SECOND), 1200, "may refuse requests signed by this host's clock."),
            (NOT_YET_VALID, None, "as happens when the local clock is slow."),
            (NOT_YET_VALID, 1e8, "as happens when the local clock is slow."),
            (NOT_YET_VALID, -5, "But this host's clock is right"),
            (EXPIRED, -1e8, "as happens when the local clock is fast. This host's is."),
            (EXPIRED, 0, "The clock is not the reason."),
            (EXPIRED, None, "Either it is, or this host's clock is fast."),
            (EndpointClock("u", problem="timed out"), 0, "its clock could not be read: timed out"),
        ],
    )
    def test_endpoints(self, answer: EndpointClock, offset: float | None, words: str) -> None:
        assert words in texts(seen(offset, endpoint=answer))

    def test_aws_gives_the_time_if_no_source_does(self) -> None:
        found = seen(None, endpoint=EndpointClock("https://sts.amazonaws.com", 600 * SECOND, SECOND, utc=True))
        assert texts(found).startswith(
            "[FAIL] This host's clock is 10 min 0 s behind true time (within 1.0 s, by https://sts"
        )
        assert "the server's own clock" not in texts(found)

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            ({}, "[ OK ] chronyd follows C0000201 (stratum 3): the clock is 72 us slow of NTP time, "),
            ({}, "of NTP time, last corrected 12.0 s ago."),
            ({"leap": 3}, "[NOTE] chronyd is not synchronized. List its servers with: chronyc -n sources"),
            ({"ref_id": 0}, "[NOTE] chronyd is not synchronized."),
            ({"ref_id": 0x7F7F0101}, "[NOTE] chronyd follows its own clock, which nothing corrects."),
        ],
    )
    def test_chronyd(self, more: dict[str, int], words: str) -> None:
        """Its own report, timed by the kernel's clock even if this process's clock is faked."""
        said = Tracking(0xC0000201, 3, 0, WALL + HOUR - 12 * SECOND, 72_000, 0, 0, 0, 0)
        assert words in texts(seen(0, chrony=dataclasses.replace(said, **more), kernel_ahead=HOUR))

    @pytest.mark.parametrize(
        ("offset", "correction", "others", "kind"),
        [
            (0, 0.000_1, (), "daemon-follows"),
            (1200, 0.000_1, (), "daemon-misled"),  # it has set the clock by a server that is 20 minutes off
            (0.5, 0.000_1, (), "daemon-follows"),
            (1200, 1200, (), "daemon-follows"),  # it knows, and slews
            (None, 1200, (0, 1200), "daemon-doubtful"),
            (None, 0, (None,), "daemon-follows"),
        ],
    )
    def test_a_daemon_that_follows_a_wrong_server(
        self, offset: float | None, correction: float, others: tuple[float | None, ...], kind: str
    ) -> None:
        """It is not OK, and nothing lets it set the clock again."""
        said = Tracking(0xC0000201, 3, 0, WALL - SECOND, round(correction * SECOND), 0, 0, 0, 0)
        found = seen(offset, chrony=said)
        if others:
            heard = tuple(
                SourceResult(f"ntp://{i}", None if one is None else known(one), "silent" if one is None else None)
                for i, one in enumerate(others)
            )
            found = found._replace(survey=Survey(None, heard, WALL))
        (daemon,) = [one for one in diagnose(found) if one.id.startswith("daemon-")]
        assert daemon.id == kind
        assert (daemon.level is Level.OK) == (kind == "daemon-follows")
        commands = remedies.commands(found)
        if kind != "daemon-follows":
            assert not any("makestep" in command for command in commands)
        elif offset == 1200:
            assert commands == ["sudo chronyc makestep"]

    def test_a_clock_that_was_not_found_wrong_is_not_set(self) -> None:
        """Where the time is not known, the advice is how to learn it."""
        for kind in ("", "container", "wsl", "docker-desktop"):
            found = seen(None, machine=Machine("linux", kind, tools=frozenset({"curl"})))
            advice = "\n".join(remedies.advise(found))
            assert "leave it as it is" in advice
            assert not re.search(r"sudo|makestep|hwclock|set-ntp|restart|date -u -s", advice)
            assert remedies.commands(found) == []

    def test_every_finding_has_an_id_with_a_heading(self) -> None:
        """Those that the code names are those on the page, each once, in the same words."""
        page = (ROOT / "docs" / "troubleshooting" / "doctor.md").read_text("utf-8")
        headings = re.findall(r"^### `([a-z-]+)`$", page, re.M)
        assert sorted(set(headings)) == sorted(headings)
        package = Path(doctor.__file__).parent
        code = "".join((package / name).read_text("utf-8") for name in ("diagnosis.py", "daemons.py"))
        named = set(re.findall(r'"((?:[a-z]+-)+[a-z]+|libfaketime)"(?=[,)\n])', code)) - {"systemd-timesyncd"}
        assert {one for one in headings if not one.startswith("error-")} == named

    def test_a_finding_as_text(self) -> None:
        assert str(Finding(Level.OK, "x.")) == "[ OK ] x."


DESKTOP = {"proc/sys/kernel/osrelease": "6.6.12-linuxkit", ".dockerenv": ""}
PI = {"proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0", "run/systemd/system/x": ""}
MACHINES: list[tuple[dict[str, str], dict[str, str], str, str, tuple[str, ...] | None, str]] = [
    # files, environment, sys.platform, kind, daemons, and the first command
    ({}, {}, "win32", "", None, "net start w32time"),
    ({}, {}, "darwin", "", None, "sudo sntp -sS time.apple.com"),
    ({"proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2"}, {}, "linux", "wsl", (), "sudo hwclock -s"),
    (DESKTOP, {}, "linux", "docker-desktop", None, "docker run --rm --privileged alpine hwclock -s"),
    ({".dockerenv": ""}, {}, "linux", "container", None, "sudo chronyc makestep"),
    ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "linux", "container", None, "sudo chronyc makestep"),
    ({}, {"AWS_LAMBDA_FUNCTION_NAME": "f"}, "linux", "lambda", None, "skewguard.install()"),
    (PI, {}, "linux", "raspberry-pi", ("systemd-timesyncd",), "sudo systemctl restart systemd-timesyncd"),
    ({}, {}, "linux", "", ("chronyd",), "sudo chronyc makestep"),
    ({}, {}, "linux", "", ("ntpd",), "sudo service ntp stop"),
    ({}, {}, "linux", "", ("ntpd-rs",), "sudo systemctl restart ntpd-rs"),
    ({}, {}, "linux", "", ("phc2sys",), "sudo systemctl restart phc2sys"),
    ({"run/systemd/system/x": ""}, {}, "linux", "", (), "sudo timedatectl set-ntp true"),
    ({}, {}, "linux", "", (), "sudo apt-get install -y chrony"),
]


class TestRemedies:
    """The detected machine, and the commands for it."""

    @pytest.mark.parametrize("row", MACHINES)
    def test_what_to_type(self, row: tuple[Any, ...], tmp_path: Path) -> None:
        files, environ, system, kind, daemons, command = row
        for path, text in files.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        tools = {"timedatectl", "apt-get"}
        machine = Machine.detect(environ, tmp_path, system, lambda tool: tool if tool in tools else None)
        assert machine.kind == kind
        assert choose(machine, daemons).commands[0] == command

    def test_a_daemon_cannot_help_where_ntp_is_blocked(self) -> None:
        """Except on EC2, where NTP comes from the hypervisor."""
        machine = Machine("linux", tools=frozenset({"curl"}))
        assert "curl -sI https://" in choose(machine, ("chronyd",), blocked=True).commands[0]
        assert "169.254.169.123" in choose(machine._replace(ec2=True), ("chronyd",), blocked=True).then

    @pytest.mark.skipif(shutil.which("sh") is None, reason="POSIX's shell")
    @pytest.mark.parametrize(("answer", "set_to"), [("Date: Sat, 21 Nov 2026 15:50:13 GMT", "Sat, 21 Nov"), ("", "")])
    def test_the_time_by_https(self, answer: str, set_to: str, tmp_path: Path) -> None:
        """If curl receives nothing, the clock is not set: GNU's `date -s ""` would set it to midnight."""
        for name, does in (("curl", f"printf 'HTTP/2 200\\r\\n{answer}\\r\\n'"), ("sudo", 'echo "$@"')):
            (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
            (tmp_path / name).chmod(0o755)
        commands = choose(Machine("linux", tools=frozenset({"curl"})), None, blocked=True).commands
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = completed("sh", "-c", "\n".join(commands), env={"PATH": path})
        assert done.stdout.startswith(f"date -u -s {set_to}") if set_to else not done.stdout
        assert "\r" not in done.stdout
        assert (done.returncode == 0) == bool(set_to)

    def test_nothing_to_type_where_nothing_is_wrong(self) -> None:
        assert remedies.advise(seen(0)) == []
        assert len(doctor.as_text(seen(0), diagnose(seen(0)), 0, verbose=False).splitlines()) == 1
        frozen = remedies.advise(seen(0, faked="freezegun"))
        assert "freezegun" in frozen[1]
        assert not any("sudo" in line for line in frozen)


class TestReading:
    def test_the_hardware_clock(self, tmp_path: Path) -> None:
        assert examination.hardware_clock(tmp_path, WALL) is None
        clock = tmp_path / "sys/class/rtc/rtc0/since_epoch"
        clock.parent.mkdir(parents=True)
        clock.write_text("1800003600\n")
        assert examination.hardware_clock(tmp_path, WALL) == Rtc(HOUR + SECOND // 2, None)
        (tmp_path / "etc").mkdir()
        for mode, local in (("LOCAL", True), ("UTC", False), ("?", None)):
            (tmp_path / "etc/adjtime").write_text(f"0.0 0 0.0\n0\n{mode}\n")
            assert examination.hardware_clock(tmp_path, WALL) == Rtc(HOUR + SECOND // 2, local)
        clock.write_text("nonsense")
        assert examination.hardware_clock(tmp_path, WALL) is None

    @pytest.mark.parametrize(("status", "fraction"), [(0x2000, 5_000_000), (0, 5_000)])
    def test_the_kernels_time(self, status: int, fraction: int) -> None:
        """In ns or in µs."""
        fields = [0] * 21
        fields[5], fields[9], fields[10] = status, 1_800_000_000, fraction
        assert examination.kernel_time(host_clock.TIMEX.pack(*fields)) == WALL + 5_000_000
        with pytest.raises(ValueError, match="207"):
            examination.kernel_time(bytes(207))
        assert len(struct.unpack(host_clock.TIMEX.format, bytes(host_clock.TIMEX.size))) == len(fields)

    @pytest.mark.parametrize(
        ("environ", "name"),
        [
            ({}, ""),
            ({"LD_PRELOAD": "/lib/libjemalloc.so"}, ""),
            ({"LD_PRELOAD": "/usr/lib/faketime/libfaketime.so.1"}, "LD_PRELOAD"),
            ({"DYLD_INSERT_LIBRARIES": "libfaketime.1.dylib"}, "DYLD_INSERT_LIBRARIES"),
            ({"FAKETIME": "+1d"}, "FAKETIME"),
        ],
    )
    def test_what_is_preloaded(self, environ: dict[str, str], name: str) -> None:
        assert examination.preloaded(environ) == name

    @pytest.mark.parametrize(
        ("written", "url"),
        [
            ("sts.amazonaws.com", "https://sts.amazonaws.com"),
            ("localhost:9000", "https://localhost:9000"),
            ("http://[::1]:9000/x", "http://[::1]:9000/x"),
        ],
    )
    def test_urls(self, written: str, url: str) -> None:
        assert endpoint.complete(written) == url

    @pytest.mark.parametrize(
        "written",
        ["", "ftp://h", "https://", "https://u:w@host", "https://a b", "http://h:99999", "http://[::1", "file:///etc"],
    )
    def test_no_urls(self, written: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ConfigError):
            endpoint.complete(written)
        assert main(["doctor", "--endpoint", written]) == 2
        assert not capsys.readouterr().out


class TestOrigins:
    ENVIRON = {
        "SKEWGUARD_MAX_OFFSET": "3600",
        "SKEWGUARD_TIMEOUT": "soon",
        "SKEWGUARD_SOURCES": "chrony, ntp://time.example.com",
        "SKEWGUARD_SOURCE": "chrony",
        "SKEWGUARD_ENABLED": "false",
        "AWS_DISABLE_CLOCK_SKEW_CORRECTION": "true",
        "AWS_PROFILE": "work",
        "AWS_CONFIG_FILE": "/etc/aws",
    }
    PROFILE = {"timeout": "2.5", "max_offset": "1", "deadband": "many", "sundial": "1", "enabled": "false"}

    def test_each_place(self) -> None:
        traced = option_origins.trace({"min_sources": "2"}, self.ENVIRON, self.PROFILE)
        rows = {row.name: row for row in reversed(traced)}
        profile = "[work] in /etc/aws"
        assert rows["min_sources"][1:] == ("2", "command line", "", "")
        assert rows["max_offset"][1:] == ("3600 s", "environment", "SKEWGUARD_MAX_OFFSET", "")
        assert rows["sources"].value == "chrony, ntp://time.example.com"
        assert rows["timeout"][1:4] == ("2.5 s", "profile", profile)
        assert rows["timeout"].problem.startswith("SKEWGUARD_TIMEOUT: ")
        assert rows["deadband"][1:4] == ("10 s", "default", "")
        assert "many" in rows["deadband"].problem
        assert rows["enabled"][1:3] == ("false", "environment")
        assert rows["sundial"].problem.startswith("there is no such option. There are correct_presigned, ")
        meant = "there is no such option. Did you mean SKEWGUARD_SOURCES?"
        assert [row[3:] for row in traced if row.name == "source"] == [("SKEWGUARD_SOURCE", meant)], "a typing error"
        switch = "the switch is AWS_DISABLE_CLOCK_SKEW_CORRECTION, or disable_clock_skew_correction in the AWS profile"
        assert ("SKEWGUARD_ENABLED", switch) in [row[3:] for row in traced if row.name == "enabled"]
        assert rows["max_age"][1:] == ("86400 s", "default", "", "")

    def test_it_agrees_with_resolve(self) -> None:
        """The printed value is the value used, whatever its origin."""
        from skewguard.config import Settings, resolve

        profile = {name: text for name, text in self.PROFILE.items() if name != "enabled"}
        settled = resolve({}, self.ENVIRON, profile)
        for row in option_origins.trace({}, self.ENVIRON, profile):
            if row.value != "(ignored)":
                assert row.value == option_origins._text(row.name, getattr(settled, row.name)), row
        defaults = {row.name: row.value for row in option_origins.trace({}, {}, {})}
        assert defaults == {name: option_origins._text(name, getattr(Settings(), name)) for name in defaults}

    def test_the_command(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        """A real profile; the table, and the exit code if something is ignored."""
        configure(tmp_path, monkeypatch, "[default]\nskewguard =\n  max_offset = 60\n")
        assert main(["doctor", "--config"]) == 0
        out = capsys.readouterr().out
        assert f"max_offset             60 s      profile      [default] in {tmp_path / 'config'}\n" in out
        assert "sources                response  environment  SKEWGUARD_SOURCES\n" in out
        monkeypatch.setenv("SKEWGUARD_DEADBAND", "x")
        assert main(["doctor", "--config"]) == 1
        assert "ignored: deadband: SKEWGUARD_DEADBAND: " in capsys.readouterr().out
        assert main(["doctor", "--config", "--source", "sundial"]) == 2


class TestThePage:
    """docs/cli.md shows what is printed."""

    @pytest.mark.parametrize(("name", "offset", "code"), [("healthy", 0, 0), ("wrong", 1200, 1)])
    def test_doctor(self, name: str, offset: int, code: int) -> None:
        found = example(offset)
        assert console(name)[1] == doctor.as_text(found, diagnose(found), code, verbose=False) + "\n"

    def test_error(self) -> None:
        found = example(0)
        command = console("error")[0]
        told = error_message.explain(command, found.survey.estimate)
        lines = doctor.as_text(found, [diagnose(found)[0], *told], 0, verbose=False, explained=len(told))
        assert console("error")[1] == lines + "\n"

    def test_check(self) -> None:
        assert console("check")[1] == check.assess(example(1200).survey, 60 * SECOND, 240 * SECOND).line + "\n"

    def test_config(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.delenv("SKEWGUARD_SOURCES")
        monkeypatch.delenv("SKEWGUARD_SHARE")
        monkeypatch.setenv("SKEWGUARD_MAX_OFFSET", "3600")
        monkeypatch.setenv("SKEWGUARD_TIMEOUT", "soon")
        assert main(["doctor", "--config", "--source", "chrony"]) == 1
        assert capsys.readouterr().out == console("config")[1]

    @pytest.mark.parametrize("name", ["check", "doctor", "offset", "watch"])
    def test_every_option_is_documented(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        for option in set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}:
            assert option in (ROOT / "docs" / "cli.md").read_text("utf-8")
