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
from skewguard.config import PREFIX, resolve

STARTUP = Path(__file__).parent / "startup"
"""The directory that holds the ``sitecustomize``."""

REPLACES = os.name == "posix"
"""Whether a process can become another, with its signals and exit code. Windows starts a second one."""

FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes, the same as those of ``env``, ``nohup`` and ``timeout``; any other is the command's."""

_OPTIONS = {
    "--source": ("URI", "a time source to use instead of those configured; may be repeated"),
    "--min-sources": ("N", "how many sources must agree"),
    "--timeout": ("S", "how long the sources may take, s"),
    "--wait": ("S", "how long the program's first session may wait until true time is known, s"),
    "--max-offset": ("S", "never correct by more than this, s"),
    "--deadband": ("S", "leave a clock alone that is off by no more than this, s"),
}
"""Each is passed to the program as its SKEWGUARD_* variable."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments. The command itself has been split off by then."""
    parser.allow_abbrev = False  # `split` knows whole names only
    parser.usage = "skewguard exec [-h] [OPTION ...] [--] COMMAND [ARGUMENT ...]"
    for name, (metavar, text) in _OPTIONS.items():
        action = "append" if name == "--source" else "store"
        parser.add_argument(name, action=action, metavar=metavar, help=text)
    parser.epilog = (
        "Other options are SKEWGUARD_* variables. The exit code is the command's; 2 for wrong options, 125 if there is "
        "no command, 126 if it cannot be executed, 127 if it is not found."
    )


def split(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split ``exec [OPTION ...] [--] COMMAND...`` into the options of ``exec`` and the unchanged command."""
    index = 1
    while index < len(given):
        if given[index] == "--":
            return list(given[:index]), list(given[index + 1 :])
        if not given[index].startswith("-"):
            return list(given[:index]), list(given[index:])
        index += 2 if given[index] in _OPTIONS else 1  # an option's value may follow it
    return list(given), []


def run(options: argparse.Namespace) -> int:
    """Become the command; return an exit code only if that fails. ConfigError if an option is unusable."""
    command: list[str] = options.command
    if not command:
        write("skewguard exec: no command is given", to_stderr=True)
        return FAILED
    variables = chosen(options)
    resolve({name.removeprefix(PREFIX).lower(): text for name, text in variables.items()}, {}, {})
    try:
        environment = guarded({**os.environ, **variables})
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


def chosen(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables for the options given on the command line."""
    found = {}
    for name in _OPTIONS:
        typed = name.removeprefix("--").replace("-", "_")
        value = getattr(options, typed)
        if value is not None:
            option = "sources" if typed == "source" else typed
            found[f"{PREFIX}{option.upper()}"] = ",".join(value) if isinstance(value, list) else value
    return found


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
