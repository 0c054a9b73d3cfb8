"""The AWS CLI that is installed: which version, which Python, and whether the plugin works in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skewguard.cli.awscli import config_file

_VERSION = re.compile(r"aws-cli/(\d+)\.(\d+)\.(\d+)\S* Python/(\d+)\.(\d+)")
_PATIENCE = 60  # s, for one command that makes no request
_OLDEST = {1: (1, 27, 27), 2: (2, 9, 0)}
_OLDEST_PYTHON = (3, 10)

_CALLED = "session-initialized: calling handler <function _skewguard "
"""What the CLI logs when it calls the plugin."""

_WHERE = """
import json, site, sys, sysconfig
venv = sys.prefix != sys.base_prefix
print(json.dumps(sysconfig.get_path("purelib") if venv else site.ENABLE_USER_SITE and site.getusersitepackages()))
"""


class CannotGuardError(Exception):
    """Why the CLI cannot be guarded, for people."""


class AwsCli(NamedTuple):
    """An AWS CLI.

    Attributes:
        path: Its command.
        version: Its version, of three numbers.
        python: The version of its Python, of two numbers.
    """

    path: str
    version: tuple[int, ...]
    python: tuple[int, ...]

    def __str__(self) -> str:
        version, python = (".".join(map(str, numbers)) for numbers in (self.version, self.python))
        return f"AWS CLI {version} ({self.path}, Python {python})"

    @property
    def needs_path(self) -> bool:
        """Whether its config file can and must name the plugin's directory."""
        return self.version[0] > 1


def find() -> AwsCli:
    """Return the AWS CLI that a shell would run. CannotGuardError if there is none, or it is too old."""
    path = shutil.which("aws")
    if path is None:
        raise CannotGuardError("no aws is found in PATH")
    found = _examine(path)
    if found.python < _OLDEST_PYTHON:
        raise CannotGuardError(f"{found}: it brings its own Python, and skewguard needs 3.10 or later")
    if found.version < _OLDEST.get(found.version[0], (0,)):
        oldest = ".".join(map(str, _OLDEST[found.version[0]]))
        raise CannotGuardError(f"{found} is too old: {oldest} or later can be guarded")
    return found


def refuse_version_1(cli: AwsCli) -> None:
    """Raise CannotGuardError if a version 1 is in PATH, too: it ends with each command if a directory is set."""
    if not cli.needs_path:
        return
    for path in _everywhere():
        try:
            other = _examine(path)
        except CannotGuardError:
            continue
        if not other.needs_path:
            raise CannotGuardError(
                f"{other} is in PATH, too. With the config file that {cli} needs, it would end with an error"
            )


def link(cli: AwsCli, directory: Path) -> Path | None:
    """Make version 1 find the plugin's directory, by a path file beside its own modules; return that file.

    CannotGuardError if its Python cannot be asked, or nothing may be written there.
    """
    if cli.needs_path:
        return None
    with Path(cli.path).open("rb") as file:
        first = file.readline(4096).decode("utf-8", "replace").strip()
    if not first.startswith("#!"):
        raise CannotGuardError(f"{cli}: {cli.path} is not a script, so its Python is not known")
    done = _run([*first[2:].split(), "-c", _WHERE], dict(os.environ))
    place = json.loads(done.stdout or "null") if done.returncode == 0 else None
    if not place:
        raise CannotGuardError(f"{cli}: its Python has no directory to which modules can be added")
    path = Path(place) / "skewguard-awscli.pth"
    content = f"{directory}\n"
    try:
        if not path.is_file() or path.read_text("utf-8") != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
    except OSError as error:
        raise CannotGuardError(f"{cli}: {path} cannot be written: {error.strerror}") from error
    return path


def try_plugin(cli: AwsCli, directory: Path) -> None:
    """Run a command that makes no request, with the plugin and no other setting. CannotGuardError if that fails."""
    with tempfile.TemporaryDirectory(prefix="skewguard-") as made:
        config = Path(made) / "config"
        config.write_bytes(config_file.with_plugin(b"", str(directory), needs_path=cli.needs_path))
        reason = complaint(cli, config)
    if reason:
        raise CannotGuardError(f"{cli}: {reason}")


def complaint(cli: AwsCli, config: Path) -> str:
    """Return what the CLI reports about the plugin with a config file; nothing if it works."""
    variables = {"AWS_CONFIG_FILE": str(config), "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": ""}
    command = [cli.path, "configure", "get", "plugins.skewguard", "--debug"]
    done = _run(command, {name: value for name, value in os.environ.items() if name != "AWS_PROFILE"} | variables)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith("skewguard: ")), "")
    if done.returncode or told:
        return told or (lines or [f"it ends with exit code {done.returncode}"])[-1]
    return "" if _CALLED in done.stderr else "it does not load the plugin"


def _everywhere() -> Iterator[str]:
    """List the commands called aws in PATH, each once."""
    seen = set()
    for entry in os.get_exec_path():
        path = shutil.which("aws", path=entry)
        if path is not None and os.path.realpath(path) not in seen:
            seen.add(os.path.realpath(path))
            yield path


def _examine(path: str) -> AwsCli:
    done = _run([path, "--version"], os.environ | {"AWS_CONFIG_FILE": os.devnull})
    parts = _VERSION.search(done.stdout + done.stderr)  # older ones print it to stderr
    if parts is None:
        output = (done.stderr or done.stdout).strip().splitlines()
        raise CannotGuardError(f"{path} does not tell its version: {(output or ['it prints nothing'])[-1]}")
    numbers = tuple(map(int, parts.groups()))
    return AwsCli(path, numbers[:3], numbers[3:])


def _run(command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - the user's own command
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotGuardError(f"{command[0]} cannot be run: {error}") from error
