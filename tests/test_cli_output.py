"""The commands with a closed pipe, a full disk or an interrupt: no tracebacks, ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import skewguard
from skewguard.cli import main
from skewguard.cli.output import wrapped
from tests.ntp_server import serving, silent, wall_server
from tests.patience import PATIENCE, eventually
from tests.support import completed

pytestmark = pytest.mark.slow

SKEWGUARD = f"{sys.executable} -m skewguard"
NOTHING_KNOWN = {"doctor": 3, "check": 2, "offset": 3, "doctor --config": 0}
"""Commands and their exit codes where no source is configured."""


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash with pipefail."""
    environment = {**os.environ, "SKEWGUARD_SOURCES": "response", "AWS_CONFIG_FILE": os.devnull}
    return completed("bash", "-o", "pipefail", "-c", script, env=environment)


@pytest.mark.parametrize("command", NOTHING_KNOWN)
@pytest.mark.parametrize("rest", ["| true", "2>&1 | true", ">&-", "2>&-"])
def test_a_closed_pipe_does_not_change_the_exit_code(command: str, rest: str) -> None:
    """A reader that stops early, and streams that were closed before."""
    done = shell(f"{SKEWGUARD} {command} {rest}")
    assert done.returncode == NOTHING_KNOWN[command], done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception" not in done.stderr + done.stdout


@pytest.mark.parametrize("command", ["--version", "--help", "doctor --help"])
@pytest.mark.parametrize("rest", ["| true", ">&-"])
def test_help_into_a_closed_pipe(command: str, rest: str) -> None:
    done = shell(f"{SKEWGUARD} {command} {rest}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr()) == (0, (f"skewguard {skewguard.__version__}\n", ""))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the platform has no /dev/full")
@pytest.mark.parametrize(("command", "code"), [("doctor", 2), ("check", 3), ("doctor --config", 2), ("--version", 2)])
def test_a_full_disk_is_reported(command: str, code: int) -> None:
    """One line on stderr; `check` is then UNKNOWN."""
    done = shell(f"{SKEWGUARD} {command} > /dev/full")
    assert done.returncode == code
    assert done.stderr.splitlines()[-1] == "skewguard: cannot write: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_watch_ends_with_its_reader() -> None:
    with wall_server() as server:
        source = f"--source {server.uri}"
        done = shell(f"{SKEWGUARD} watch {source} --interval 0.05 | head -1")
        closed = shell(f"{SKEWGUARD} watch {source} --interval 0.05 >&-")
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal on POSIX")
@pytest.mark.parametrize("command", ["doctor", "check", "offset"])
def test_ctrl_c_is_quiet_and_ends_as_by_the_signal(command: str) -> None:
    """So that a shell's loop around it ends too."""
    # A child inherits an ignored signal, as under nohup; and the default where the parent handles it.
    # Another of its threads may receive the signal; then Python raises only when the main thread's wait ends.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with serving(silent) as server:
        source = server.uri
        typed = [sys.executable, "-m", "skewguard", command, "--source", source, "--timeout", "20"]
        child = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, before)
        eventually(lambda: server.requests)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == -signal.SIGINT
    assert (out, err.replace(f"skewguard doctor: asking {source}\n", "")) == ("", "")


def test_a_message_from_a_closed_stdin() -> None:
    done = shell(f"{SKEWGUARD} doctor --error - <&-")
    assert done.returncode == 3
    assert "no AWS error was found in it" in done.stdout


def test_lines_are_wrapped_to_a_terminal() -> None:
    """Lines are wrapped between words; commands stay whole and can be copied."""
    text = "[FAIL] one two three four\n[ OK ] short\n    a command that is longer than that\nWhat to do, and why: https://long.example.com/"
    assert wrapped(text, 20).splitlines() == [
        "[FAIL] one two three",
        "       four",
        "[ OK ] short",
        "    a command that is longer than that",
        "What to do, and why:",
        "https://long.example.com/",
    ]
    assert wrapped(text, 80) == text
