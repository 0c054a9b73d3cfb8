"""``skewguard awscli``, with commands that pretend to be an AWS CLI. `tests/real` runs it with real ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from skewguard.cli.awscli import plugin_files
from skewguard.cli.awscli.config_file import names_plugin, with_plugin, without_plugin
from tests.support import completed, exit_code

DIRECTORY = "/home/me/.local/share/skewguard/awscli"
COMMENT = '# Set up by "skewguard awscli enable"; "skewguard awscli disable" removes it.\n'
PATH = f"cli_legacy_plugin_path = {DIRECTORY}\n"
NAME = "skewguard = skewguard_awscli\n"

LINES = [
    "[default]",
    "region = us-east-1",
    "[profile one]",
    "  output=json",
    "s3 =",
    "    max_queue_size = 3",
    "# [plugins]",
    "; cli_legacy_plugin_path = elsewhere",
    "[preview]",
    "skewguard =",
    "",
    "   ",
]
PLUGINS = [
    "",
    "cli_legacy_plugin_path = /a",
    "endpoint=awscli_plugin_endpoint",
    "CLI_LEGACY_PLUGIN_PATH:/a:/b  ",
    "# x",
]


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Draw config files, with or without other plugins, an end of the last line, and carriage returns."""

    def section(heading: str, lines: list[str]) -> list[str]:
        keys = [line.partition("=")[0].partition(":")[0].strip().lower() for line in lines]
        distinct = [line for line, key in zip(lines, keys, strict=True) if not key or keys.count(key) == 1]
        return [heading, *distinct]

    lines: list[str] = draw(st.lists(st.sampled_from(["", "# a comment"]), max_size=2))
    for number, kind in enumerate(draw(st.lists(st.booleans(), max_size=3))):
        if kind and "[plugins]" not in lines:
            lines += section("[plugins]", draw(st.lists(st.sampled_from(PLUGINS), max_size=4)))
        else:
            body = draw(st.lists(st.sampled_from([line for line in LINES if not line.startswith("[")]), max_size=4))
            lines += section(f"[profile {number}]", body)
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return (ending.join(lines) + draw(st.sampled_from(["", ending]))).encode()


class TestTheConfigFile:
    """Nothing but the plugin's own lines changes."""

    @pytest.mark.slow
    @given(content=files(), needs_path=st.booleans())
    @example(content=b"", needs_path=True)
    @example(content=b"[plugins]", needs_path=True)
    @example(content=b"\n", needs_path=True)
    def test_what_is_added_can_be_removed(self, content: bytes, needs_path: bool) -> None:
        """To the byte; and adding it twice changes nothing."""
        try:
            added = with_plugin(content, DIRECTORY, needs_path=needs_path)
        except ValueError:
            return  # the CLI cannot read it
        assert names_plugin(added)
        assert not names_plugin(content)
        assert without_plugin(added, DIRECTORY) == content
        assert with_plugin(added, DIRECTORY, needs_path=needs_path) == added
        assert with_plugin(added, DIRECTORY, needs_path=not needs_path) == with_plugin(
            content, DIRECTORY, needs_path=not needs_path
        )

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", f"{COMMENT}[plugins]\n{PATH}{NAME}"),
            ("[default]\nregion = x\n", f"[default]\nregion = x\n\n{COMMENT}[plugins]\n{PATH}{NAME}"),
            ("[default]\nregion = x", f"[default]\nregion = x\n\n{COMMENT}[plugins]\n{PATH}{NAME}"[:-1]),
            ("[plugins]\na = b\n[default]\n", f"[plugins]\n{COMMENT}{PATH}{NAME}a = b\n[default]\n"),
            (
                "[plugins]\ncli_legacy_plugin_path = /a\na = b\n",
                f"[plugins]\n{COMMENT}{NAME}cli_legacy_plugin_path = /a{os.pathsep}{DIRECTORY}\na = b\n",
            ),
            ("[plugins]\nskewguard = skewguard.contrib.awscli\n", f"[plugins]\n{COMMENT}{PATH}{NAME}"),
            ("[default]\r\n", f"[default]\n\n{COMMENT}[plugins]\n{PATH}{NAME}".replace("\n", "\r\n")),
        ],
    )
    def test_where_it_is_added(self, before: str, after: str) -> None:
        assert with_plugin(before.encode(), DIRECTORY, needs_path=True).decode() == after

    def test_another_plugin_added_since_stays(self) -> None:
        added = with_plugin(b"[default]\n", DIRECTORY, needs_path=True) + b"other = module\n"
        assert without_plugin(added, DIRECTORY) == b"[default]\n\n[plugins]\nother = module\n"

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            ("region = x\n", "the AWS CLI cannot read it"),
            ("[plugins]\n[plugins]\n", "the AWS CLI cannot read it"),
            ("[plugins]\ncli_legacy_plugin_path =\n  /a\n", "in a way that skewguard does not change"),
            ("[plugins]\nskewguard =\n  a\n", "the AWS CLI cannot read it"),
        ],
    )
    def test_what_is_not_changed(self, content: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            with_plugin(content.encode(), DIRECTORY, needs_path=True)


class TestTheCopy:
    """The directory that the CLI imports the plugin from."""

    def test_it_suffices(self, tmp_path: Path) -> None:
        """For a Python that has botocore, and nothing of ours."""
        plugin_files.copy(tmp_path)
        program = f"""
import sys, botocore.session
sys.path[:] = [{str(tmp_path)!r}, *(entry for entry in sys.path if entry)]
import skewguard_awscli
emitter = botocore.session.Session().get_component("event_emitter")
skewguard_awscli.awscli_initialize(emitter)
emitter.emit("session-initialized", session=botocore.session.Session())
import skewguard, ntplib
assert skewguard.status().installed
print(skewguard.__file__, ntplib.__file__)
"""
        done = completed(sys.executable, "-c", program, cwd="/")
        assert done.stdout.split() == [f"{tmp_path}/skewguard/__init__.py", f"{tmp_path}/ntplib.py"], done.stderr
        assert done.stderr == ""

    def test_it_is_renewed(self, tmp_path: Path) -> None:
        """Files that differ are replaced, and those that an older skewguard left are removed."""
        plugin_files.copy(tmp_path)
        (tmp_path / "skewguard" / "clocks.py").write_text("older")
        (tmp_path / "skewguard" / "older.py").write_text("older")
        assert list(plugin_files.missing(tmp_path)) == ["skewguard/clocks.py"]
        plugin_files.copy(tmp_path)
        assert not plugin_files.missing(tmp_path)
        assert not (tmp_path / "skewguard" / "older.py").exists()


PRETENDER = """#!/bin/sh
test "$1" = --version && echo '{version}' && exit
{body}
"""
CALLED = "echo 'session-initialized: calling handler <function _skewguard at 0x1>' >&2"


class Machine:
    """A user's home, and a directory with commands called aws."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch) -> None:
        self.home, self.config = home, home / ".aws" / "config"
        self.copy = home / ".local" / "share" / "skewguard" / "awscli"
        self._patch = patch
        patch.setenv("HOME", str(home))
        for name in ("AWS_CONFIG_FILE", "XDG_DATA_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", str(home / "nothing"))

    def has(self, version: str, body: str = CALLED, directory: str = "bin") -> None:
        """Write a command, and name its directory in PATH, behind the others."""
        place = self.home / directory
        place.mkdir()
        (place / "aws").write_text(PRETENDER.format(version=version, body=body))
        (place / "aws").chmod(0o755)
        self._patch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{place}")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


VERSION_2 = "aws-cli/2.38.1 Python/3.14.10 Linux/6.1 source/x86_64.debian"
VERSION_1 = "aws-cli/1.46.2 Python/3.11.7 Linux/6.1 botocore/1.44.8"


class TestTheCommand:
    """What it says, what it changes, and its exit codes."""

    def test_enable_and_disable(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        machine.has(VERSION_2)
        assert exit_code("awscli", "enable") == 0
        assert capsys.readouterr().out.startswith(f"AWS CLI 2.38.1 ({machine.home}/bin/aws, Python 3.14) is guarded, ")
        content = machine.config.read_bytes()
        assert content == with_plugin(b"", str(machine.copy), needs_path=True)
        assert not plugin_files.missing(machine.copy)
        assert exit_code("awscli", "status") == 0
        assert "It is guarded, by " in capsys.readouterr().out
        assert exit_code("awscli", "enable") == 0
        assert machine.config.read_bytes() == content
        assert exit_code("awscli", "disable") == 0
        assert machine.config.read_bytes() == b""
        assert exit_code("awscli", "disable") == 0
        assert exit_code("awscli", "status") == 1

    @pytest.mark.parametrize("named", ["option", "variable"])
    def test_another_file_that_is_a_link_with_a_mode(
        self, named: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        machine.has(VERSION_2)
        real, link = machine.home / "real", machine.home / "link"
        real.write_text("[default]\n")
        real.chmod(0o640)
        link.symlink_to(real)
        arguments = ["--profile-file", str(link)]
        if named == "variable":
            monkeypatch.setenv("AWS_CONFIG_FILE", str(link))
            arguments = []
        assert exit_code("awscli", "enable", *arguments) == 0
        assert link.is_symlink()
        assert real.stat().st_mode & 0o777 == 0o640
        assert names_plugin(real.read_bytes())
        assert exit_code("awscli", "disable", *arguments) == 0
        assert (link.is_symlink(), real.read_text()) == (True, "[default]\n")
        assert not machine.config.exists()

    @pytest.mark.parametrize(
        ("version", "body", "reason"),
        [
            ("aws-cli/2.9.19 Python/3.9.11 Linux/6.1 exe/x86_64", CALLED, "skewguard needs 3.10 or later"),
            ("aws-cli/2.0.30 Python/3.11.2 Linux/6.1 exe/x86_64", CALLED, "2.9.0 or later can be guarded"),
            ("aws-cli/1.22.34 Python/3.10.6 Linux/5.15 botocore/1.23.34", CALLED, "1.27.27 or later can be guarded"),
            ("something else", CALLED, "does not tell its version: something else"),
            (VERSION_2, "echo 'skewguard: the AWS CLI is not guarded: no module' >&2", "not guarded: no module"),
            (VERSION_2, "echo 'No module named skewguard_awscli' >&2; exit 255", "No module named skewguard_awscli"),
            (VERSION_2, "exit 3", "it ends with exit code 3"),
            (VERSION_2, "exit 0", "it does not load the plugin"),
            (VERSION_1, CALLED, "its Python has no directory to which modules can be added"),
        ],
    )
    def test_what_cannot_be_guarded(
        self, version: str, body: str, reason: str, machine: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The config file stays as it is."""
        machine.has(version, body)
        machine.config.parent.mkdir()
        machine.config.write_text("[default]\n")
        assert exit_code("awscli", "enable") == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("skewguard awscli: not guarded: ")
        assert reason in line
        assert machine.config.read_text() == "[default]\n"

    @pytest.mark.parametrize("action", ["enable", "status"])
    def test_no_aws(self, action: str, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        assert exit_code("awscli", action) == 1
        assert capsys.readouterr().err == "skewguard awscli: not guarded: no aws is found in PATH\n"

    def test_both_versions(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        """Version 1 would end if a directory is set. Where it comes first, version 2 ignores what is set for it."""
        machine.has(VERSION_2)
        machine.has(VERSION_1, directory="other")
        assert exit_code("awscli", "enable") == 1
        assert "other/aws, Python 3.11) is in PATH, too. " in capsys.readouterr().err

    def test_a_file_that_the_cli_cannot_read(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        machine.has(VERSION_2)
        machine.config.parent.mkdir()
        machine.config.write_text("region\n")
        assert exit_code("awscli", "enable") == 1
        assert capsys.readouterr().err.startswith("skewguard awscli: not guarded: ")

    def test_a_home_that_cannot_be_written(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        machine.has(VERSION_2)
        (machine.home / ".local").touch()
        assert exit_code("awscli", "enable") == 1
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("skewguard awscli: ")
        assert line.endswith(": Not a directory")

    def test_a_copy_of_another_version(self, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
        machine.has(VERSION_2)
        assert exit_code("awscli", "enable") == 0
        (machine.copy / "ntplib.py").write_text("older")
        assert exit_code("awscli", "status") == 0
        assert "Its copy of skewguard is of another version." in capsys.readouterr().out


def test_wrong_arguments() -> None:
    done = subprocess.run([sys.executable, "-m", "skewguard", "awscli"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
