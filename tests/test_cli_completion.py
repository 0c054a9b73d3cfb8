"""Completion in each shell, and the man page: both are made from the parser."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from skewguard.cli import completion, main
from skewguard.cli.parser import COMMANDS, describe
from tests import man_page
from tests.real.need import need
from tests.support import completed

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shells of Linux")

CASES = [
    ("skewguard ch", {"check"}),
    ("skewguard check --w", {"--warning"}),
    ("skewguard check --empty-state u", {"unknown"}),
    ("skewguard awscli en", {"enable"}),
    ("skewguard doctor --en", {"--endpoint"}),
    ("skewguard completion f", {"fish"}),
]

BASH = """
source "$1"
COMP_WORDS=($2); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_skewguard
printf '%s\\n' "${{COMPREPLY[@]}}"
""".replace("{{", "{").replace("}}", "}")


def shell(name: str) -> str:
    found = shutil.which(name)
    need(found is not None, name, f"apt-get install {name}")
    assert found is not None
    return found


@pytest.mark.parametrize(("typed", "offered"), CASES)
@pytest.mark.parametrize("name", ["bash", "fish"])
def test_what_is_offered(name: str, typed: str, offered: set[str], tmp_path: Path) -> None:
    """By the shell itself."""
    script = tmp_path / "script"
    script.write_text(getattr(completion, name)(describe()))
    command = ["-c", BASH, "bash"] if name == "bash" else ["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]
    done = completed(shell(name), *command, script, typed)
    assert done.returncode == 0, done.stderr
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == offered


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_each_script_is_valid_and_complete(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It names every subcommand and option."""
    assert main(["completion", name]) == 0
    script = capsys.readouterr().out
    done = completed(shell(name), "-n", "/dev/stdin", input=script)
    assert (done.returncode, done.stderr) == (0, "")
    for command in describe():
        assert command.name in script
        for option in command.options:
            assert all(one.lstrip("-") in script for one in (*option.names, *option.choices))


class TestManPage:
    def test_it_is_up_to_date(self) -> None:
        assert man_page.PAGE.read_text("utf-8") == man_page.page(), "python -m tests.man_page --write"

    def test_it_describes_every_option(self) -> None:
        shown = completed(shell("mandoc"), "-T", "ascii", man_page.PAGE).stdout
        plain = "".join(
            shown[i] for i in range(len(shown)) if shown[i : i + 1] != "\b" and shown[i + 1 : i + 2] != "\b"
        )
        for command in describe():
            for option in command.options:
                assert all(name in plain for name in option.names if name not in ("-h", "--help"))
        assert all(name in plain for name in COMMANDS)

    def test_its_markup(self) -> None:
        done = completed(shell("mandoc"), "-T", "lint", "-W", "error", man_page.PAGE)
        assert done.stdout == ""
