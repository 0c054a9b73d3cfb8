"""The command ``skewguard``, also ``python -m skewguard``. One module or folder for each subcommand.

Each has ``USAGE_ERROR``, the exit code for wrong arguments; ``configure``, which adds its arguments; and ``run``, which
returns the exit code. `check` also has ``usage_line``, for stdout if the arguments are wrong. Data goes to stdout,
messages to stderr. Only the module of the typed subcommand is loaded.
"""

from __future__ import annotations

import argparse
import io
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

from skewguard import __version__
from skewguard.cli import exec_
from skewguard.cli.output import CannotWriteError, write
from skewguard.errors import SkewguardWarning
from skewguard.wording import did_you_mean

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

_COMMANDS = {
    "awscli": ("awscli.command", "Guard the AWS CLI, version 1 or 2, by its plugin."),
    "check": ("check", "Check the clock for a monitoring system."),
    "doctor": ("doctor.command", "Find out which clock is wrong, by how much, and what to do."),
    "exec": ("exec_", "Run a Python program, and its Python children, with skewguard installed."),
    "offset": ("offset", "Print how far the clock is off: true time minus wall clock, s; positive when slow."),
    "wait": ("wait", "Wait until true time is known, for scripts and systemd units."),
    "watch": ("watch.command", "Watch how far off the clock is by each time source: a table and a plot, or lines."),
}
"""The subcommands: the module of each, and its help text."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand, by default with this process's arguments; return the exit code.

    Raises:
        SystemExit: The arguments are wrong, or ask for help.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default", SkewguardWarning)
            warnings.showwarning = _show
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        # End as Python itself does, so that a shell's loop ends too, but without the traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        raise


def _show(message: Warning | str, *_: object, **__: object) -> None:
    write(f"skewguard: {message}", to_stderr=True)


def _run(given: list[str]) -> int:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a system's error message may not fit the encoding
    command: list[str] = []
    if given[:1] == ["exec"]:
        given, command = exec_.split(given)  # argparse must not parse the command's own options
    parser = _Parser(prog="skewguard", description="Keeps AWS calls working on a wrong clock.")
    parser.add_argument("--version", action="version", version=f"skewguard {__version__}")
    subparsers = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    typed = next((argument for argument in given if argument in _COMMANDS), None)
    module: ModuleType | None = None
    for name, (path, text) in _COMMANDS.items():
        made = subparsers.add_parser(name, help=text, description=text)
        if name == typed:
            module = import_module(f"skewguard.cli.{path}")
            made.usage_error = module.USAGE_ERROR
            made.usage_line = getattr(module, "usage_line", None)
            module.configure(made)
    usage_error = parser.usage_error
    try:
        options, unknown = parser.parse_known_args(given)
        assert module is not None, "a subcommand is required"
        usage_error = module.USAGE_ERROR
        if unknown:  # the subcommand's parser has its exit code
            subparsers.choices[options.subcommand].error(f"unrecognized arguments: {' '.join(unknown)}")
        options.command = command
        return int(module.run(options))
    except CannotWriteError as error:
        write(f"skewguard: cannot write: {error}", to_stderr=True)
        return usage_error


class _Parser(argparse.ArgumentParser):
    """An argument parser with the subcommand's own exit code for wrong arguments."""

    usage_error = 2
    usage_line: Callable[[str], str] | None = None

    def error(self, message: str) -> NoReturn:
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
