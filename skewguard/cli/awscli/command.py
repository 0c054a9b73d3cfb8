"""``skewguard awscli enable``, ``disable`` and ``status``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from skewguard.cli.awscli import config_file, installed, plugin_files
from skewguard.cli.awscli.installed import CannotGuardError
from skewguard.cli.output import write
from skewguard.cli.replacement import replace
from skewguard.errors import ConfigError

NOT_GUARDED = 1
"""The exit code if the CLI is not, or cannot be, guarded."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("action", choices=("enable", "disable", "status"), help="what to do")
    parser.add_argument(
        "--profile-file",
        metavar="PATH",
        help="the AWS config file; by default the one that the CLI reads: AWS_CONFIG_FILE, else ~/.aws/config",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (status only)")
    parser.epilog = (
        "`enable` copies skewguard to a directory of your own and names it in the config file; `disable` removes what "
        "it has added there. Exit codes: 0, 1 if the CLI is not guarded or cannot be, 2 for wrong arguments."
    )


def run(options: argparse.Namespace) -> int:
    """Do it; return the exit code."""
    given = options.profile_file or os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    config = Path(given).expanduser()
    directory = plugin_files.directory()
    if options.json and options.action != "status":
        raise ConfigError("--json is for status")
    if options.json:
        return _status_json(config, directory)
    try:
        return {"enable": _enable, "disable": _disable, "status": _status}[options.action](config, directory)
    except (CannotGuardError, ValueError) as error:
        write(f"skewguard awscli: not guarded: {error}", to_stderr=True)
    except OSError as error:
        write(f"skewguard awscli: {error.filename}: {error.strerror}", to_stderr=True)
    return NOT_GUARDED


def _enable(config: Path, directory: Path) -> int:
    cli = installed.find()
    installed.refuse_version_1(cli)
    before = _read(config)
    after = config_file.with_plugin(before, str(directory), needs_path=cli.needs_path)
    plugin_files.copy(directory)
    path_file = installed.link(cli, directory)
    installed.try_plugin(cli, directory)
    if after != before:
        config.parent.mkdir(parents=True, exist_ok=True)
        replace(config.resolve(), after)  # a link stays one
    write(f"{cli} is guarded, by the section [plugins] of {config} and a copy of skewguard in {directory}.")
    if path_file is not None:
        write(f"Its Python finds that by {path_file}.")
    return 0


def _disable(config: Path, directory: Path) -> int:
    before = _read(config)
    after = config_file.without_plugin(before, str(directory))
    if after == before:
        write(f"{config} does not name the plugin.")
        return 0
    replace(config.resolve(), after)
    write(f"{config} is as it was. {directory} is left, for other config files that may name it.")
    return 0


def _status(config: Path, directory: Path) -> int:
    cli = installed.find()
    write(str(cli))
    if not config_file.names_plugin(_read(config)):
        write(f"It is not guarded: {config} does not name the plugin. To guard it: skewguard awscli enable")
        return NOT_GUARDED
    if reason := installed.complaint(cli, config):
        write(f"It is not guarded: {reason}")
        return NOT_GUARDED
    write(f"It is guarded, by {config}.")
    if plugin_files.missing(directory):
        write("Its copy of skewguard is of another version. To renew it: skewguard awscli enable")
    return 0


def _status_json(config: Path, directory: Path) -> int:
    """Print the status as JSON; the reason is null if the CLI is guarded."""
    found: str | None = None
    try:
        cli = installed.find()
        found = str(cli)
        reason = "the config file does not name the plugin"
        if config_file.names_plugin(_read(config)):
            reason = installed.complaint(cli, config)
    except (CannotGuardError, ValueError) as error:
        reason = str(error)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    status = {
        "guarded": not reason,
        "cli": found,
        "config": str(config),
        "reason": reason or None,
        "outdated": not reason and bool(plugin_files.missing(directory)),
    }
    write(json.dumps(status))
    return NOT_GUARDED if reason else 0


def _read(config: Path) -> bytes:
    try:
        return config.read_bytes()
    except FileNotFoundError:
        return b""
