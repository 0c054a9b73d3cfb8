"""The command ``skewguard``, also ``python -m skewguard``. One module per subcommand; data to stdout, talk to stderr.

Each has ``HELP``, a line; ``configure``, which describes its arguments; and ``run``, which answers the exit code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from skewguard.cli import exec_

_COMMANDS: dict[str, ModuleType] = {"exec": exec_}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        arguments: What was typed after ``skewguard``; by default this process's.

    Returns:
        The exit code.

    Raises:
        SystemExit: The arguments are wrong, or ask for help.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if given[:1] == ["exec"]:
        given, command = exec_.split(given)  # argparse must not look at what is not for us
    parser = argparse.ArgumentParser(prog="skewguard", description="Keeps AWS calls working on a wrong clock.")
    parser.add_argument("--version", action=_Version, help="print the version, and exit")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        module.configure(subparsers.add_parser(name, help=module.HELP, description=module.HELP))
    options = parser.parse_args(given)
    options.command = command
    return int(_COMMANDS[options.subcommand].run(options))


class _Version(argparse.Action):
    """As argparse's own, but the version, which is slow to find, is looked up only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"skewguard {version('skewguard')}")
        except PackageNotFoundError:
            print("skewguard (not installed)")
        parser.exit()
