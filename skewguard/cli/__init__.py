"""The command ``skewguard``, also ``python -m skewguard``. One module or folder for each subcommand.

Each has ``configure``, which adds its arguments, and ``run``, which returns the exit code. If ``run`` raises
ConfigError, the arguments are wrong, and the exit code is 2 or the module's ``USAGE_ERROR``. `check` has that, and
``usage_line``, which formats a line for stdout. Data goes to stdout, messages to stderr. Only the module of the typed
subcommand is loaded.
"""

from __future__ import annotations

import io
import signal
import sys
import warnings
from collections.abc import Sequence

from skewguard.cli import exec_
from skewguard.cli.output import CannotWriteError, write
from skewguard.cli.parser import COMMANDS, build
from skewguard.errors import ConfigError, SkewguardWarning


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
    typed = next((argument for argument in given if argument in COMMANDS), None)
    parser, subparsers = build([typed] if typed else [])
    usage_error = parser.usage_error
    try:
        options, unknown = parser.parse_known_args(given)
        subparser = subparsers[options.subcommand]
        usage_error = subparser.usage_error
        if unknown:  # the subcommand's parser has its exit code
            subparser.error(f"unrecognized arguments: {' '.join(unknown)}")
        options.command = command
        try:
            return int(options.run(options))
        except ConfigError as error:
            write(f"{subparser.prog}: {error}", to_stderr=True, wrap=True)
            return usage_error
    except CannotWriteError as error:
        write(f"skewguard: cannot write: {error}", to_stderr=True)
        return usage_error
