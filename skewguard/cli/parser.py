"""The parser of the command, and a plain description of it, from which completion and the man page are made."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from skewguard import __version__
from skewguard.cli.output import write
from skewguard.wording import did_you_mean

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

DESCRIPTION = "Keeps AWS calls working on a wrong clock."

COMMANDS = {
    "awscli": ("awscli.command", "Guard the AWS CLI, version 1 or 2, by its plugin."),
    "check": ("check", "Check the clock for a monitoring system."),
    "doctor": ("doctor.command", "Find out which clock is wrong, by how much, and what to do."),
    "completion": ("completion", "Print a script that completes this command in bash, zsh or fish."),
    "exec": ("exec_", "Run a Python program, and its Python children, with skewguard installed."),
    "offset": ("offset", "Print how far the clock is off: true time minus wall clock, s; positive when slow."),
    "wait": ("wait", "Wait until true time is known, for scripts and systemd units."),
    "watch": ("watch.command", "Watch how far off the clock is by each time source: a table and a plot, or lines."),
}
"""The subcommands: the module of each, and its help text."""


class Option(NamedTuple):
    """One option, or positional argument.

    Attributes:
        names: Its names; empty for a positional argument.
        value: What stands for its value; empty for a switch.
        choices: The values that there are, if they are listed.
    """

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str


class Command(NamedTuple):
    """One subcommand."""

    name: str
    help: str
    usage: str
    options: tuple[Option, ...]
    epilog: str


def build(wanted: Collection[str]) -> tuple[Parser, dict[str, Parser]]:
    """Build the parser, and configure the subcommands that are wanted; return it, and the subcommands' parsers.

    The option ``run`` is the function of the subcommand.
    """
    parser = Parser(prog="skewguard", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"skewguard {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for name, (path, text) in COMMANDS.items():
        made = subparsers.add_parser(name, help=text, description=text)
        if name in wanted:
            module = import_module(f"skewguard.cli.{path}")
            made.usage_error = getattr(module, "USAGE_ERROR", made.usage_error)
            made.usage_line = getattr(module, "usage_line", None)
            made.set_defaults(run=module.run)
            module.configure(made)
    return parser, dict(subparsers.choices)


def describe() -> list[Command]:
    """Describe every subcommand."""
    found = []
    for name, made in build(COMMANDS)[1].items():
        options = tuple(map(_option, made.actions))
        positional = [f" {'|'.join(option.choices) or option.value}" for option in options if not option.names]
        usage = made.usage or f"skewguard {name} [OPTION ...]{''.join(positional)}"
        found.append(Command(name, COMMANDS[name][1], usage, options, made.epilog or ""))
    return found


def _option(action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices or ()))
    value = action.metavar if isinstance(action.metavar, str) else action.dest
    takes_value = action.nargs != 0
    return Option(tuple(action.option_strings), value if takes_value else "", choices, action.help or "")


class Parser(argparse.ArgumentParser):
    """An argument parser with the subcommand's own exit code for wrong arguments."""

    usage_error = 2
    usage_line: Callable[[str], str] | None = None

    @property
    def actions(self) -> list[argparse.Action]:
        """The options and arguments."""
        return self._actions

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with the subcommand's own code."""
        message += self._hint(message)
        if self.usage_line is not None:
            write(self.usage_line(message))
        self.print_usage(sys.stderr)
        self.exit(self.usage_error, f"{self.prog}: error: {message}\n")

    def _hint(self, message: str) -> str:
        """Return what was probably meant by a misspelt subcommand, choice or option."""
        meant = ""
        if "Did you mean" not in message and "maybe you meant" not in message:
            if wrong := re.search(r"invalid choice: '([^']+)'", message):
                meant = did_you_mean(wrong[1], [str(one) for action in self._actions for one in action.choices or ()])
            elif wrong := re.match(r"unrecognized arguments: (-[^\s=]+)", message):
                meant = did_you_mean(wrong[1], [name for action in self._actions for name in action.option_strings])
        return meant and f".{meant}"

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        write(message.rstrip("\n"), to_stderr=file is sys.stderr)
