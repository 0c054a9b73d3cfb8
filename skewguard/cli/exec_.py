"""``skewguard exec -- COMMAND...``: guard an unchanged Python program, and its Python children.

It prepends to PYTHONPATH a directory that holds nothing but a ``sitecustomize``, so that it also reaches Pythons
without skewguard. The rest happens there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from skewguard.cli.output import write

STARTUP = Path(__file__).parent / "startup"
"""The directory that holds the ``sitecustomize``."""

REPLACES = os.name == "posix"
"""Whether a process can become another, with its signals and exit code. Windows starts a second one."""

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes, the same as those of ``env``, ``nohup`` and ``timeout``; any other is the command's."""

USAGE_ERROR = 2
"""The exit code for wrong arguments: argparse's own."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments. The command itself has been split off by then."""
    parser.usage = "skewguard exec [-h] [--] COMMAND [ARGUMENT ...]"
    parser.epilog = (
        "Options are SKEWGUARD_* variables. The exit code is the command's; 125 if no command is given, 126 if it "
        "cannot be executed, 127 if it is not found."
    )


def split(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split ``exec [-h] [--] COMMAND...`` into the options of ``exec`` and the unchanged command."""
    for index in range(1, len(given)):
        if given[index] == "--":
            return list(given[:index]), list(given[index + 1 :])
        if not given[index].startswith("-"):
            return list(given[:index]), list(given[index:])
    return list(given), []


def run(options: argparse.Namespace) -> int:
    """Become the command; return an exit code only if that fails."""
    command: list[str] = options.command
    if not command:
        write("skewguard exec: no command is given", to_stderr=True)
        return FAILED
    try:
        environment = guarded(os.environ)
    except Exception as error:
        write(f"skewguard exec: {command[0]} runs unguarded: {error}", to_stderr=True)
        environment = dict(os.environ)
    try:
        if REPLACES:
            os.execvpe(command[0], command, environment)
        return subprocess.run(command, env=environment, check=False).returncode
    except OSError as error:
        write(f"skewguard exec: {command[0]}: {error.strerror}", to_stderr=True)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


def guarded(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment, with the start-up directory at the front of PYTHONPATH.

    ValueError if PYTHONPATH cannot hold the directory; FileNotFoundError if that is not as it was installed.
    """
    ours = str(STARTUP)
    if os.pathsep in ours:
        raise ValueError(f"PYTHONPATH cannot hold {ours!r}")
    if not (STARTUP / "sitecustomize.py").is_file():
        raise FileNotFoundError(f"{ours} holds no sitecustomize.py")
    before = environment.get("PYTHONPATH", "")
    others = [entry for entry in before.split(os.pathsep) if entry != ours] if before else []
    return {**environment, "PYTHONPATH": os.pathsep.join([ours, *others])}
